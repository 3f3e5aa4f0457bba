"""Pictures of several people on one page: names, who speaks as a thin bar, the relation in a small line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rsat_data.preview import paint
from rsat_data.preview.paint import Picture

BAR = 4
"""Height of the bar that says who speaks, pixels at 512."""


@dataclass(frozen=True)
class Label:
    """What stands below a picture."""

    name: str
    person: str = ""
    """A or B: whose bar it has; "" for none."""


class Page:
    """A grid of square-ish pictures with a line below each, and a title over each column where there are some.

    Args:
        labels: of the pictures, row by row.
        columns: pictures a row.
        width, height: of a picture, pixels, even.
        titles: over the columns; empty for none.
        caption: a line in the middle of the lowest row.
    """

    def __init__(
        self, labels: Sequence[Label], columns: int, width: int, height: int, titles: Sequence[str] = (),
        caption: str = "",
    ) -> None:  # fmt: skip
        self.labels, self.columns, self.width, self.height = labels, columns, width, height
        scale = max(width / 512, 0.5)
        self.text = max(10, round(15 * scale))
        self.bar = max(2, round(BAR * scale))
        self.foot = 2 * round((self.bar + 1.9 * self.text) / 2)
        self.head = 2 * round(0.95 * self.text) if titles else 0
        rows = -(-len(labels) // columns)
        self.picture: Picture = paint.canvas(self.head + rows * (height + self.foot), columns * width)
        for number, title in enumerate(titles):
            shown = paint.fit(title, self.text, width - self.text)
            x = number * width + (width - paint.width_of(shown, self.text)) // 2
            paint.text(self.picture, (x, round(0.2 * self.text)), shown, self.text, paint.INK)
        line = self._footer(rows - 1) + self.bar + round(0.25 * self.text)
        shown = paint.fit(caption, self.text, self.picture.shape[1] // 2)
        middle = (self.picture.shape[1] - paint.width_of(shown, self.text)) // 2
        paint.text(self.picture, (middle, line), shown, self.text, paint.FAINT)
        room = width - self.text - (paint.width_of(shown, self.text) // columns if shown else 0)
        for number, label in enumerate(labels):
            row, column = divmod(number, columns)
            name = paint.fit(label.name, self.text, room)
            x = column * width + self.text // 2
            if shown and column == columns - 1:  # the caption lies in the middle
                x = (column + 1) * width - self.text // 2 - paint.width_of(name, self.text)
            paint.text(self.picture, (x, self._footer(row) + self.bar + round(0.25 * self.text)), name, self.text)

    def _footer(self, row: int) -> int:
        return self.head + row * (self.height + self.foot) + self.height

    def fill(self, pictures: Sequence[np.ndarray], speaking: dict[str, bool]) -> Picture:
        """The page with these pictures (height, width, 3); the same array every time."""
        for number, picture in enumerate(pictures):
            row, column = divmod(number, self.columns)
            foot, x = self._footer(row), column * self.width
            self.picture[foot - self.height : foot, x : x + self.width] = picture
        return self.marked(speaking)

    def marked(self, speaking: dict[str, bool]) -> Picture:
        """The page with the pictures it had, and who speaks now."""
        for number, label in enumerate(self.labels):
            row, column = divmod(number, self.columns)
            foot, x = self._footer(row), column * self.width
            if label.person:
                colour = paint.GOOD if speaking[label.person] else paint.PANEL
                self.picture[foot : foot + self.bar, x : x + self.width] = colour
        return self.picture
