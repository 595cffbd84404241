"""What a place of a figure says when it is pointed at."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Tip:
    """A point or a cell of a figure, and its text.

    Args:
        axis: Matplotlib's axes.
        x, y: Its centre, in units of the data.
        text: What is shown; one line below the other.
        width, height: Of a cell, in units of the data; 0 for a point.
    """

    axis: Any
    x: float
    y: float
    text: str
    width: float = 0.0
    height: float = 0.0

    def place(self, figure):
        """`[x, y, width, height, text]` in points, from the top left.

        Args:
            figure: Matplotlib's, drawn at 72 dots an inch.
        """
        half_x, half_y = self.width / 2, self.height / 2
        corners = self.axis.transData.transform(
            [
                [self.x - half_x, self.y - half_y],
                [self.x + half_x, self.y + half_y],
            ]
        )
        (left, low), (right, high) = corners
        top = figure.bbox.height
        numbers = [
            (left + right) / 2,
            top - (low + high) / 2,
            abs(right - left),
            abs(high - low),
        ]
        return [*(round(float(x), 1) for x in numbers), self.text]
