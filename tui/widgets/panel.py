"""A framed panel: title at the left of its upper edge, a hint at the right, a body drawn by the subclass.

On narrow screens frames are dropped: the upper edge stays as a rule, sides and bottom go, and the space is the body's.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rich.segment import Segment
from textual.binding import Binding

from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.live import Live

NARROW = 100
"""Below this many columns there are no frames."""


class Panel(Live):
    """Subclasses give :meth:`body` and, if they like, :meth:`heading` and :meth:`corner`."""

    TITLE: ClassVar[str] = ""
    HINT: ClassVar[str] = ""
    OF_ENGINE: ClassVar[bool] = False
    """Whether it shows what an engine measures, which is of the past once that has ended."""
    BINDINGS: ClassVar[list[Any]] = [
        Binding("tab", "app.focus_next", "Next panel", show=False),
        Binding("shift+tab", "app.focus_previous", "Previous panel", show=False),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None, focusable: bool = True) -> None:
        super().__init__(id=id, classes=classes)
        self.can_focus = focusable
        self.jump_letter = ""
        self.past = ""  # how long ago the figures were measured, where they stand still

    def show_past(self, past: str) -> None:
        if past != self.past:
            self.past = past
            self.redraw()

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        """The lines inside the frame."""
        raise NotImplementedError

    def heading(self, p: Palette) -> Line:
        """What stands in the upper edge at the left."""
        return Line().add(self.TITLE, p["title+b" if self.has_focus else "title"])

    def corner(self, p: Palette) -> Line:
        """What stands in the upper edge at the right."""
        return Line().add(self.HINT, p["faint"])

    def scroll_thumb(self, rows: int) -> tuple[int, int] | None:
        """First and last body row of the scroll mark in the right edge; None where everything is shown."""
        return None

    @property
    def narrow(self) -> bool:
        """Whether the screen is too narrow for frames."""
        return self.screen.size.width < NARROW

    @property
    def framed(self) -> bool:
        """Whether the sides and the bottom are drawn."""
        return not self.narrow

    @property
    def bare(self) -> bool:
        """Without even an upper edge: every row is the body's."""
        return self.narrow and self.size.height <= 2

    @property
    def inner(self) -> tuple[int, int]:
        """Cells and rows of the body."""
        width, height = self.size
        if self.framed:
            return width - 4, height - 2
        return width - 2, height if self.bare else height - 1

    def draw(self, width: int, height: int, p: Palette) -> list[Line]:
        inner_width, inner_height = self.inner
        base = p["ground"]
        if self.bare:
            return [Line().gap(1, base).extend(line) for line in self.body(inner_width, inner_height, p)]
        edge = p["line-focus" if self.has_focus else self.console.edge]
        framed = self.framed
        top = Line().add("╭─" if framed else "─", edge)
        if self.jump_letter:
            top.add(f" {self.jump_letter} ", p["accent+rb"])
        heading, corner = self.heading(p), self.corner(p)
        if self.past and heading.used:
            heading.add(f"  {self.past}", p["stale"])
        room = width - 4
        if heading.used:
            top.gap(1, base)
            top.extend(heading.shortened(max(0, room - 2))).gap(1, base)
        tail = 2 if framed else 1
        if corner.used and top.used + corner.used + tail + 3 <= width:
            top.add("─" * (width - top.used - corner.used - tail - 2), edge).gap(1, base).extend(corner).gap(1, base)
        else:
            top.add("─" * max(0, width - top.used - tail), edge)
        top.add("─╮" if framed else "─", edge)
        lines = [top]
        body = self.body(max(0, inner_width), max(0, inner_height), p) if inner_height > 0 else []
        thumb = self.scroll_thumb(inner_height)
        if not framed:
            for line in body[:inner_height]:
                lines.append(Line().gap(1, base).extend(line))
            return lines
        for y in range(inner_height):
            line = Line().add("│", edge).gap(1, base)
            if y < len(body):
                content = body[y].strip(inner_width, base)
                line.parts.extend(content)
            else:
                line.parts.append(Segment(" " * inner_width, base))
            line.used += inner_width
            line.gap(1, base)
            inside = thumb is not None and thumb[0] <= y <= thumb[1]
            line.add("┃" if inside else "│", p["muted"] if inside else edge)
            lines.append(line)
        lines.append(Line().add("╰" + "─" * (width - 2) + "╯", edge))
        return lines

    def watch_has_focus(self, focused: bool) -> None:
        self.redraw()

    def exported(self) -> tuple[list[str], list[list[Any]]]:
        """Column names and rows for a CSV or JSON export; a panel that is no table gives its lines."""
        return ["line"], [[line] for line in self.as_text().splitlines()]
