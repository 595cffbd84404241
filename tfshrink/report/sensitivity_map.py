"""Heat map of what single changes cost."""

import numpy as np

from tfshrink.layer_groups import BLOCK_GROUPS
from tfshrink.report.heat_chart import heat_chart
from tfshrink.report.heat_chart import Panel

UNITS = {"kl": "mean divergence, nats", "jsd": "mean JSD, nats"}


def draw_map(sensitivity, path, measure="kl"):
    """Draws a measure over blocks and bit-widths into a file.

    Args:
        sensitivity: `Sensitivity`.
        path: PNG or SVG file.
        measure: As `map_chart` takes it.
    """
    map_chart(sensitivity, measure).save(path)


def map_chart(sensitivity, measure="kl"):
    """A figure of a measure over blocks and widths, kind of layer by kind.

    Args:
        sensitivity: `Sensitivity`.
        measure: Entry of its rows that is positive, such as `"kl"`.

    Returns:
        `Chart`.
    """
    values, widths = sensitivity.table(measure)
    count = len(BLOCK_GROUPS)
    names = sensitivity.names
    blocks = sum(name.startswith("block_") for name in names) // count
    shown = np.where(values > 0, values, np.nan)
    unit = UNITS.get(measure, measure)
    panels = []
    for row, kind in enumerate(BLOCK_GROUPS):
        places = range(row, count * blocks, count)
        panels.append(
            Panel(
                kind.replace("_", " "),
                shown[row : count * blocks : count].T,
                [f"{bits} bits" for bits in widths],
                [
                    [
                        f"{names[i]} at {bits} bits\n{values[i, j]:.3g} {unit}"
                        for i in places
                    ]
                    for j, bits in enumerate(widths)
                ],
            )
        )
    return heat_chart(
        "sensitivity",
        f"What one layer group alone costs at fewer bits: {unit}.",
        panels,
        x_label="block of the model",
        columns=[str(i) for i in range(blocks)],
        label=unit,
        log=True,
    )
