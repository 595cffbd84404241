"""Bars side by side, such as the share of tokens that leave at each exit."""

from tfshrink.report import theme
from tfshrink.report.chart import Chart
from tfshrink.report.line_chart import legend
from tfshrink.report.tip import Tip

LONGEST = 54  # letters of a name; all of it is in the text pointed at
ROOM = 0.8  # of the space of a group that its bars take


def bar_chart(name, caption, groups, series, *, x_label, y_label, unit=""):
    """A chart of one group of bars a name, one bar a series.

    Args:
        name: As `Chart` has it.
        caption: The same.
        groups: Names along the horizontal axis.
        series: Dict of a series' name to its numbers, one a group.
        x_label: Of the groups, with their unit.
        y_label: Of the numbers.
        unit: Behind a number that is pointed at.

    Returns:
        `Chart`.
    """
    width = ROOM / max(1, len(series))

    def plot(own, axes):
        (axis,) = axes
        tips = []
        for place, (label, values) in enumerate(series.items()):
            color = theme.series(place)["color"]
            left = [
                i - ROOM / 2 + (place + 0.5) * width for i in range(len(groups))
            ]
            axis.bar(left, values, 0.92 * width, color=color, label=label)
            tips += [
                Tip(
                    axis,
                    x,
                    value / 2,
                    f"{label}\n{x_label} {group}: {value:.3g}{unit}",
                    width,
                    abs(value),
                )
                for x, value, group in zip(left, values, groups, strict=True)
            ]
        axis.set_xticks(range(len(groups)), groups)
        axis.grid(visible=False, axis="x")
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        legend(own, axis)
        return tips

    return Chart(name=name, caption=caption, plot=plot)


def rank_chart(name, caption, rows, *, x_label):
    """A chart of one horizontal bar a name, which stands above it.

    Args:
        name: As `Chart` has it.
        caption: The same.
        rows: List of `(name, value, text)`, the first on top.
        x_label: Of the values, with their unit.

    Returns:
        `Chart`.
    """

    def plot(own, axes):
        (axis,) = axes
        color, tips = theme.LIGHT["c0"], []
        for place, (label, value, text) in enumerate(rows):
            axis.barh(place, value, 0.4, color=color)
            axis.annotate(
                label if len(label) <= LONGEST else f"{label[:LONGEST]}…",
                (0, place - 0.26),
                (3, 0),
                textcoords="offset points",
                va="bottom",
                in_layout=False,
            )
            tips.append(Tip(axis, value / 2, place, text, abs(value), 0.9))
        axis.set_ylim(len(rows) - 0.6, -0.9)
        axis.set_yticks([])
        axis.grid(visible=False, axis="y")
        axis.set_xlabel(x_label)
        return tips

    size = (5.6, 0.8 + 0.52 * len(rows))
    return Chart(name=name, caption=caption, plot=plot, size=size)
