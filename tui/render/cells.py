"""One line of cells under construction. The only way text reaches a live widget, so nothing gets past :mod:`gainstage.tui.render.safe`."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from gainstage.tui.render import safe

SHORT_PIECE = 16
"""Cells up to which a piece of a heading means nothing when it is cut."""


class Line:
    """Pieces of styled text side by side, measured in cells."""

    __slots__ = ("parts", "used")

    def __init__(self) -> None:
        self.parts: list[Segment] = []
        self.used = 0

    def add(self, text: str, style: Style) -> Line:
        """Text at its own width."""
        if text:
            text = safe.display(text)
            self.parts.append(Segment(text, style))
            self.used += safe.width(text)
        return self

    def fit(self, text: str, cells: int, style: Style, align: str = "<", *, middle: bool = False) -> Line:
        """Text in exactly ``cells`` cells: cut with an ellipsis or filled with blanks."""
        if cells > 0:
            self.parts.append(Segment(safe.fit(text, cells, align, middle=middle), style))
            self.used += cells
        return self

    def clip(self, text: str, cells: int, style: Style) -> Line:
        """Text in at most ``cells`` cells."""
        return self.add(safe.clip(text, cells), style)

    def gap(self, cells: int, style: Style) -> Line:
        """Blanks."""
        if cells > 0:
            self.parts.append(Segment(" " * cells, style))
            self.used += cells
        return self

    def to(self, column: int, style: Style) -> Line:
        """Blanks up to a column; nothing where the line is already past it."""
        return self.gap(column - self.used, style)

    def extend(self, other: Line) -> Line:
        """Another line's pieces after this one's."""
        self.parts.extend(other.parts)
        self.used += other.used
        return self

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)

    def strip(self, cells: int, base: Style) -> Strip:
        """The finished line, exactly ``cells`` wide; words that were cut off leave an ellipsis."""
        if self.used < cells:
            return Strip([*self.parts, Segment(" " * (cells - self.used), base)], cells)
        return self.cut(cells)

    def shortened(self, cells: int) -> Line:
        """The line in at most ``cells`` cells: short pieces at the end are left out whole, long ones are cut."""
        line = Line()
        for part in self.parts:
            size = safe.width(part.text)
            if line.used + size <= cells:
                line.parts.append(part)
                line.used += size
                continue
            if not line.parts or size > SHORT_PIECE:
                line.clip(part.text, cells - line.used, part.style or Style())
            break
        return line

    def cut(self, cells: int) -> Strip:
        """The first ``cells`` cells of a line at least that long; an ellipsis where anything but blanks is lost."""
        whole = Strip(self.parts, self.used)
        if self.used == cells or not whole.crop(cells, self.used).text.strip():
            return whole.crop(0, cells)
        kept = whole.crop(0, max(0, cells - 1))
        parts = list(kept)
        return Strip([*parts, Segment("…", parts[-1].style if parts else None)] if cells > 0 else [], max(0, cells))


def sides(left: Line, right: Line, cells: int, base: Style) -> Line:
    """Two lines at the two ends of ``cells`` cells; the right one keeps its place, the left one gives way."""
    room = max(0, cells - right.used)
    if left.used > room:
        kept = left.cut(room)
        left = Line()
        left.parts = list(kept)
        left.used = room
    return left.to(room, base).extend(right)
