"""Margins of several properties around a circle, plan by plan."""

import numpy as np

from tfshrink.report import theme
from tfshrink.report.chart import Chart
from tfshrink.report.line_chart import legend
from tfshrink.report.tip import Tip

LEAST, MOST = -1.0, 1.0  # what is drawn; further out is drawn at the rim


def radar_chart(name, caption, spokes, series):
    """A chart of one spoke a property, one outline a plan.

    Args:
        name: As `Chart` has it.
        caption: The same.
        spokes: Names of the properties.
        series: Dict of a plan's name to `(values, texts)`, one of each a
            spoke: 1 is as the reference, 0 on the threshold, below it violated.

    Returns:
        `Chart`.
    """
    angles = np.linspace(0, 2 * np.pi, len(spokes), endpoint=False)

    def plot(own, axes):
        (axis,) = axes
        axis.set_theta_zero_location("N")
        axis.set_theta_direction(-1)
        axis.set_ylim(LEAST, MOST)
        around = np.linspace(0, 2 * np.pi, 181)
        # The one ring that decides.
        axis.plot(around, 0 * around, color=theme.LIGHT["ink"], lw=1.4)
        tips = []
        for place, (label, (values, texts)) in enumerate(series.items()):
            shown = np.clip(np.nan_to_num(values, nan=LEAST), LEAST, MOST)
            style = theme.series(place)
            closed = (np.append(a, a[0]) for a in (angles, shown))
            axis.plot(*closed, label=label, clip_on=False, **style)
            tips += map(Tip, [axis] * len(shown), angles, shown, texts)
        _name(axis, angles, spokes)
        legend(own, axis)
        return tips

    return Chart(
        name=name, caption=caption, plot=plot, polar=True, size=(5.6, 4.1)
    )


def _name(axis, angles, spokes):
    """Names the spokes outside of the rim, and two of the rings."""
    axis.set_xticks(angles, [name.replace("_", "\n") for name in spokes])
    for label, angle in zip(axis.get_xticklabels(), angles, strict=True):
        side = np.sin(angle)
        if abs(side) > 0.1:
            label.set_horizontalalignment("left" if side > 0 else "right")
    axis.set_yticks([LEAST, -0.5, 0.0, 0.5, MOST], [""] * 5)
    axis.spines["polar"].set_visible(False)
    between = np.pi / len(spokes)
    for ring, text in ((0.0, "threshold"), (MOST, "unchanged model")):
        axis.text(
            between,
            ring,
            text,
            color=theme.LIGHT["note"],
            size=theme.TEXT - 2,
            zorder=4,
            bbox={"fc": theme.LIGHT["paper"], "lw": 0, "pad": 1},
        )
