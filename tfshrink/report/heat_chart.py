"""Cells in colours: panels below each other, over one axis."""

import dataclasses

import numpy as np

from tfshrink.report import theme
from tfshrink.report.chart import Chart
from tfshrink.report.tip import Tip


@dataclasses.dataclass(frozen=True)
class Panel:
    """One grid of cells.

    Args:
        title: Above it.
        values: `(R, C)`; NaN is no cell.
        rows: Names of the rows, from above.
        texts: What the cells say, `(R, C)` nested lists.
    """

    title: str
    values: np.ndarray
    rows: list
    texts: list


def heat_chart(
    name, caption, panels, *, x_label, columns, label="", log=False, kinds=None
):
    """A chart of cells.

    Args:
        name: As `Chart` has it.
        caption: The same.
        panels: List of `Panel`, each of as many columns.
        x_label: Of the columns.
        columns: Their names.
        label: What a colour means, with its unit.
        log: Whether colours are logarithmic.
        kinds: The values there are, each with a colour and a name in the
            legend; by default values are on a scale.

    Returns:
        `Chart`.
    """
    rows = sum(len(panel.rows) for panel in panels)
    height = 1.1 + 0.21 * rows + 0.3 * len(panels)

    def plot(own, axes):
        norm = _classes(kinds) if kinds else _scale(panels, log)
        tips = []
        for panel, axis in zip(panels, axes, strict=True):
            image = axis.imshow(
                np.ma.masked_invalid(panel.values),
                aspect="auto",
                cmap=theme.color_map(),
                norm=norm,
                interpolation="none",  # a pixel a cell, not one a dot
            )
            axis.grid(visible=False)
            axis.set_yticks(range(len(panel.rows)), panel.rows)
            axis.tick_params(length=0)
            axis.set_title(panel.title, loc="left")
            tips += _tips(axis, panel)
        step = -(-len(columns) // 12)
        places = range(0, len(columns), step)
        axes[-1].set_xticks(places, [columns[i] for i in places])
        axes[-1].set_xlabel(x_label)
        if kinds:
            _kinds_legend(own, image, kinds, label)
        else:
            _bar(own, axes, image, label)
        return tips

    return Chart(
        name=name,
        caption=caption,
        plot=plot,
        rows=len(panels),
        size=(5.6, height),
    )


def _tips(axis, panel):
    return [
        Tip(axis, column, row, text, 1.0, 1.0)
        for row, texts in enumerate(panel.texts)
        for column, text in enumerate(texts)
        if text
    ]


def _scale(panels, log):
    from matplotlib import colors

    values = np.concatenate([np.ravel(panel.values) for panel in panels])
    values = values[np.isfinite(values) & (values > 0 if log else True)]
    low, high = (values.min(), values.max()) if values.size else (1e-6, 1.0)
    if log:
        return colors.LogNorm(low, max(high, 1.01 * low), clip=True)
    return colors.Normalize(low, high if high > low else low + 1.0)


def _classes(kinds):
    """Equal steps of colour, whatever the values."""
    from matplotlib import colors

    edges = [kind - 0.5 for kind in kinds] + [kinds[-1] + 0.5]
    return colors.BoundaryNorm(edges, 256)


def _kinds_legend(own, image, kinds, label):
    from matplotlib.patches import Patch

    own.legend(
        handles=[
            Patch(facecolor=image.cmap(image.norm(kind)), label=f"{kind:g}")
            for kind in kinds
        ],
        title=label,
        loc="outside lower center",
        ncols=min(8, len(kinds)),
        handlelength=1.0,
    )


def _bar(own, axes, image, label):
    from tfshrink.report.line_chart import plain_numbers

    bar = own.colorbar(
        image, ax=axes, label=label, location="bottom", aspect=40, pad=0.02
    )
    bar.solids.set_rasterized(True)  # one picture, not 256 shapes
    bar.outline.set_visible(False)
    if image.norm.vmin > 0 and "Log" in type(image.norm).__name__:
        plain_numbers(bar.ax.xaxis)
