"""The base of everything that moves: a widget that draws its own lines and repaints only those that changed."""

from __future__ import annotations

import unicodedata
from typing import ClassVar

from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.state.protocol import Canvas, console_of

_ASCII = str.maketrans(
    {
        **dict.fromkeys("╭╮╰╯┌┐└┘├┤┼╶╴", "+"),
        **dict.fromkeys("─╌┈▁▂–—‖", "-"),
        **dict.fromkeys("━╸╺", "="),
        **dict.fromkeys("│┃┊╎▏▎▐▕", "|"),
        **dict.fromkeys("▃▄▅", "="),
        **dict.fromkeys("▆▇█▉▊▋▌▍", "#"),
        **dict.fromkeys("░▒▓", ":"),
        **dict.fromkeys("▸▶→❯", ">"),
        **dict.fromkeys("◂←", "<"),
        **dict.fromkeys("●◆◇✱•", "*"),
        **dict.fromkeys("○◌", "o"),
        **dict.fromkeys("▲↑", "^"),
        **dict.fromkeys("▼↓↧", "v"),
        **dict.fromkeys("×✗", "x"),
        **dict.fromkeys("·…", "."),
        **dict.fromkeys("“”", '"'),
        **dict.fromkeys("‘’", "'"),
        "■": "!", "↻": "@", "✓": "+", "±": "~", "❄": "*", "°": " ",
    }
)  # fmt: skip


def _ascii(text: str) -> str:
    plain = text.translate(_ASCII)
    return plain if plain.isascii() else "".join(c if c.isascii() else _ascii_letter(c) for c in plain)


def _ascii_letter(c: str) -> str:
    """A letter without its accents, a filled cell for a cell of a graph, question marks as wide as anything else."""
    if "\u2800" <= c <= "\u28ff":
        return " " if c == "\u2800" else "#"
    bare = "".join(part for part in unicodedata.normalize("NFKD", c) if part.isascii())
    return bare if len(bare) == safe.width(c) else "?" * safe.width(c)


class Live(Widget):
    """Draws :meth:`draw` line by line. Call :meth:`redraw` after the data changed: unchanged lines cost nothing.

    A widget on a screen that is not shown only notes that it is out of date; under a dialog it is shown.
    """

    ALLOW_SELECT = False
    FADES: ClassVar[bool] = True
    """Whether old figures in here are drawn faded."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._rows: list[list[Segment]] = []
        self._painted: list[Strip] = []
        self._drawn_for: tuple[int, int, int] | None = None

    @property
    def console(self) -> Canvas:
        """What this widget draws with."""
        return console_of(self)

    def draw(self, width: int, height: int, p: Palette) -> list[Line]:
        """The lines of the widget, at most ``height`` of them. Must not change any state."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw again and repaint the lines that came out different."""
        width, height = self.size
        if not width or not height or not self.is_attached or not self.screen.is_current:
            self._drawn_for = None
            return
        before = self._rows
        fresh = self._drawn_for is None or self._drawn_for[:2] != (width, height)
        self._build(width, height)
        if fresh or len(before) != len(self._rows):
            self.refresh()
            return
        changed: list[Region] = []
        for y, row in enumerate(self._rows):
            if row is not before[y]:
                last = changed[-1] if changed else None
                if last is not None and last.bottom == y:
                    changed[-1] = Region(0, last.y, width, last.height + 1)
                else:
                    changed.append(Region(0, y, width, 1))
        if changed:
            self.refresh(*changed)

    def forget(self) -> None:
        """Draw from the beginning next time."""
        self._drawn_for = None

    def _build(self, width: int, height: int) -> None:
        console = self.console
        p = console.palette_of(self.FADES)
        try:
            lines = self.draw(width, height, p)[:height]
        except Exception as problem:  # shown with an id, logged, and the console goes on
            console.report(problem, f"drawing {type(self).__name__}")
            lines = [Line().add("this panel could not be drawn", p["crit"])]
        console.counts.builds += 1
        base = p["ground"]
        rows, strips = self._rows, self._painted
        if len(rows) != height or self._drawn_for is None or self._drawn_for[0] != width:
            rows, strips = [], []
        new_rows: list[list[Segment]] = []
        new_strips: list[Strip] = []
        for y in range(height):
            parts = lines[y].parts if y < len(lines) else []
            if y < len(rows) and rows[y] == parts:
                new_rows.append(rows[y])
                new_strips.append(strips[y])
                continue
            console.counts.lines += 1
            new_rows.append(parts)
            strip = lines[y].strip(width, base) if y < len(lines) else Strip.blank(width, base)
            if console.plain_ascii:
                strip = Strip([Segment(_ascii(s.text), s.style) for s in strip], width)
            new_strips.append(strip)
        self._rows, self._painted = new_rows, new_strips
        self._drawn_for = (width, height, console.palette_version)

    def render_line(self, y: int) -> Strip:
        width, height = self.size
        if self._drawn_for != (width, height, self.console.palette_version):
            self._drawn_for = None
            self._build(width, height)
        return self._painted[y] if y < len(self._painted) else Strip.blank(width)

    def on_show(self) -> None:
        self.redraw()

    def as_text(self) -> str:
        """What is drawn, as plain text."""
        return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in self._painted)
