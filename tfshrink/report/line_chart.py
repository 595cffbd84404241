"""Lines over one axis, such as a loss over steps."""

import dataclasses

from tfshrink.report import theme
from tfshrink.report.chart import Chart
from tfshrink.report.tip import Tip

FEW = 40  # points of a line that still have markers
WIDE, KEY = 56, 7  # letters of a legend's line, and as which a key counts


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
        label: Its name.
        x, y: Sequences of as many numbers.
        texts: What each point says; the label, x and y by default.
        joined: Whether its points are.
    """

    label: str
    x: list
    y: list
    texts: list | None = None
    joined: bool = True


def line_chart(
    name,
    caption,
    lines,
    *,
    x_label,
    y_label,
    log=False,
    at=None,
    diagonal=False,
    size=(5.6, 3.7),
):
    """A chart of lines that differ in colour, marker and dash.

    Args:
        name: As `Chart` has it.
        caption: The same.
        lines: List of `Line`.
        x_label: Of the horizontal axis, with its unit.
        y_label: Of the vertical one.
        log: Whether the vertical axis is logarithmic.
        at: A number to draw a horizontal line at, or `None`.
        diagonal: Whether to draw x = y.
        size: Inches.

    Returns:
        `Chart`.
    """

    def plot(own, axes):
        (axis,) = axes
        if at is not None:
            axis.axhline(at, color=theme.LIGHT["ink"], lw=1.0, zorder=1)
        if diagonal:
            ends = [0, 1]
            axis.plot(ends, ends, color=theme.LIGHT["line"], lw=1.0)
        tips = []
        for place, line in enumerate(lines):
            tips += _draw(axis, line, place, x_label, y_label)
        if log:
            axis.set_yscale("log")
            plain_numbers(axis.yaxis)
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        legend(own, axis)
        return tips

    return Chart(name=name, caption=caption, plot=plot, size=size)


def _draw(axis, line, place, x_label, y_label):
    style = theme.series(place)
    if len(line.x) > FEW:
        style["marker"] = ""
    if not line.joined:
        style["linestyle"] = ""
    axis.plot(line.x, line.y, label=line.label, **style)
    texts = line.texts or [
        f"{line.label}\n{x_label}: {x:,.5g}\n{y_label}: {y:.4g}"
        for x, y in zip(line.x, line.y, strict=True)
    ]
    return [
        Tip(axis, x, y, text)
        for x, y, text in zip(line.x, line.y, texts, strict=True)
    ]


def legend(own, axis):
    """The names of what an axis shows, below the figure."""
    handles, labels = axis.get_legend_handles_labels()
    if labels:
        columns = max(1, WIDE // (max(map(len, labels)) + KEY))
        own.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=min(columns, len(labels)),
        )


def plain_numbers(axis):
    """Writes 0.001 and 1,000, where Matplotlib writes powers.

    Args:
        axis: Matplotlib's, logarithmic.
    """
    from matplotlib import ticker

    axis.set_major_locator(ticker.LogLocator(numticks=7))
    axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.6g}"))
    low, high = axis.get_view_interval()
    minor = ticker.NullFormatter()
    if high < 12 * low:  # fewer than two powers of ten would be labelled
        axis.set_minor_locator(ticker.LogLocator(subs=(2.0, 5.0), numticks=9))
        minor = axis.get_major_formatter()
    axis.set_minor_formatter(minor)
