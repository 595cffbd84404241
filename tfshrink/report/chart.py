"""A figure that is drawn once: for the page, and as PNG and SVG files."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

from tfshrink.files import atomic_write
from tfshrink.report import theme
from tfshrink.report.inline_svg import inline_svg

DOTS = 150  # an inch, of PNG files
FORMATS = ("png", "svg")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """What a figure shows, and how it is drawn.

    Args:
        name: Stem of its files.
        caption: What it shows, for people; also read aloud in its place.
        plot: Function of `(figure, axes)`, the axes as a list, that draws and
            returns the list of its `Tip`s.
        rows: Axes below each other, with one horizontal axis.
        size: Inches. Text is as wide on the page as the figure is: one of 5.6
            inches can still be read on a phone.
        polar: Whether the axes are.
    """

    name: str
    caption: str
    plot: Callable
    rows: int = 1
    size: tuple = (5.6, 3.7)
    polar: bool = False

    def draw(self):
        """Draws the figure.

        Returns:
            `(figure, tips)`: Matplotlib's figure, and what `plot` returned.
        """
        from matplotlib.figure import Figure

        # At 72 dots an inch a pixel is a point, the unit of an SVG.
        own = Figure(self.size, dpi=72, layout="constrained")
        axes = own.subplots(
            self.rows,
            1,
            sharex=True,
            squeeze=False,
            subplot_kw={"projection": "polar"} if self.polar else None,
        )
        return own, self.plot(own, list(axes[:, 0]))

    @functools.cached_property
    def drawn(self):
        """The figure as part of a page.

        `(svg, tips)`: text of the element, and a list of
        `[x, y, width, height, text]` in its units, centres first.
        """
        import matplotlib

        with matplotlib.rc_context(theme.settings(self.name)):
            own, tips = self.draw()
            text = inline_svg(own, self.caption)
            return text, [tip.place(own) for tip in tips]

    def save(self, path):
        """Writes the figure, light, as PNG or SVG by the file's ending."""
        import matplotlib

        path = pathlib.Path(path)
        kind = path.suffix.removeprefix(".").lower()
        with matplotlib.rc_context(theme.settings(self.name)):
            own, _ = self.draw()
            with atomic_write(path, "wb") as file:
                own.savefig(
                    file,
                    dpi=DOTS,
                    format=kind,
                    metadata={"Date": None} if kind == "svg" else None,
                )
