"""Heat map of what single changes cost."""

import numpy as np

from tfshrink.layer_groups import BLOCK_GROUPS
from tfshrink.report.bit_map import GAP
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
    count, names = len(BLOCK_GROUPS), sensitivity.names
    blocks = sum(name.startswith("block_") for name in names) // count
    shown = np.where(values > 0, values, np.nan)
    unit = UNITS.get(measure, measure)
    outer = list(range(count * blocks, len(names)))
    panels = []
    for row, kind in enumerate(BLOCK_GROUPS):
        # Those of a kind, a gap, and what lies outside of the blocks.
        places = [*range(row, count * blocks, count), *[None] * GAP, *outer]
        panels.append(
            Panel(
                kind.replace("_", " "),
                np.array(
                    [
                        [np.nan if i is None else own[i] for i in places]
                        for own in shown.T
                    ]
                ),
                [f"{bits} bits" for bits in widths],
                [
                    [_text(names, values, i, j, bits, unit) for i in places]
                    for j, bits in enumerate(widths)
                ],
            )
        )
    columns = [str(i) for i in range(blocks)]
    return heat_chart(
        "sensitivity",
        f"What one layer group alone costs at fewer bits: {unit}; at the "
        f"right: {' and '.join(names[i] for i in outer)}.",
        panels,
        x_label="block of the model",
        columns=columns + [""] * (GAP + len(outer)),
        label=unit,
        log=True,
    )


def _text(names, values, place, column, bits, unit):
    if place is None:
        return ""
    return f"{names[place]} at {bits} bits\n{values[place, column]:.3g} {unit}"
