"""Heat map of what single changes cost."""

import numpy as np

from tfshrink.layer_groups import BLOCK_GROUPS
from tfshrink.report.figure import figure

UNITS = {"kl": "mean divergence, nats", "jsd": "mean JSD, nats"}


def draw_map(sensitivity, path, measure="kl"):
    """Draws a measure over blocks and bit-widths, kind of layer by kind.

    Args:
        sensitivity: `Sensitivity`.
        path: PNG or SVG file.
        measure: Entry of its rows that is positive, such as `"kl"`.
    """
    from matplotlib import colors

    values, widths = sensitivity.table(measure)
    count = len(BLOCK_GROUPS)
    inside = [name.startswith("block_") for name in sensitivity.names]
    blocks = sum(inside) // count
    shown = np.where(values > 0, values, np.nan)
    low, high = 1e-6, 1.0
    if np.isfinite(shown).any():
        low, high = np.nanmin(shown), np.nanmax(shown)
    norm = colors.LogNorm(low, max(high, 1.01 * low))
    with figure(path, count, size=(9.0, 1.5 * count + 1.0)) as (own, axes):
        for row, (kind, axis) in enumerate(
            zip(BLOCK_GROUPS, axes, strict=True)
        ):
            part = shown[row : count * blocks : count].T
            image = axis.imshow(part, aspect="auto", norm=norm)
            labels = [f"{bits} bits" for bits in widths]
            axis.set_yticks(range(len(widths)), labels)
            axis.set_title(kind.replace("_", " "), loc="left", fontsize=10)
        axes[-1].set_xlabel("block")
        own.colorbar(image, ax=axes, label=UNITS.get(measure, measure))
