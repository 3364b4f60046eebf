"""A short list to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual import events
from textual.binding import Binding

from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.dialog import Dialog

MOST_LINES = 4


class ChooseScreen(Dialog[str]):
    """Gives the name of the chosen row, or None."""

    WIDTH = 64
    BINDINGS: ClassVar[list[Any]] = [Binding("enter", "take", show=False)]

    def __init__(self, question: str, rows: Sequence[tuple[str, str]], *, wide: bool = False) -> None:
        """``rows`` are names with what they mean; ``wide`` breaks long meanings into several lines."""
        super().__init__()
        self.question, self.rows, self.chosen = question, tuple(rows), 0
        self.wide = wide
        self._row_of_line: list[int] = []

    def heading_text(self) -> str:
        return self.question

    def corner_text(self) -> str:
        return "Enter takes it  Esc"

    @property
    def box_width(self) -> int:
        return 120 if self.wide else super().box_width

    def lines(self, width: int, p: Palette) -> list[Line]:
        name_width = max((len(name) for name, _ in self.rows), default=0) + 2
        lines: list[Line] = []
        self._row_of_line = []
        for i, (name, meaning) in enumerate(self.rows):
            q = p.on_cursor() if i == self.chosen else p
            for n, text in enumerate(safe.wrapped(meaning, width - name_width - 2, MOST_LINES if self.wide else 1)):
                line = Line().add("▸ " if i == self.chosen and not n else "  ", q["accent"])
                line.fit("" if n else name, name_width, q["bright"]).add(text, q["muted"])
                lines.append(line.to(width, q["ground"]))
                self._row_of_line.append(i)
        return lines

    def action_scroll_by(self, rows: int) -> None:
        self.chosen = max(0, min(len(self.rows) - 1, self.chosen + rows))
        self.panel.redraw()

    def action_take(self) -> None:
        self.dismiss(self.rows[self.chosen][0] if self.rows else None)

    def on_click(self, event: events.Click) -> None:
        line = event.screen_y - self.panel.region.y - 1
        if 0 <= line < len(self._row_of_line):
            self.dismiss(self.rows[self._row_of_line[line]][0])
