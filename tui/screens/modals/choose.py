"""A short list to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual import events
from textual.binding import Binding

from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.dialog import Dialog


class ChooseScreen(Dialog[str]):
    """Gives the name of the chosen row, or None."""

    WIDTH = 64
    BINDINGS: ClassVar[list[Any]] = [Binding("enter", "take", show=False)]

    def __init__(self, question: str, rows: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.question, self.rows, self.chosen = question, tuple(rows), 0

    def heading_text(self) -> str:
        return self.question

    def corner_text(self) -> str:
        return "Enter takes it  Esc"

    def lines(self, width: int, p: Palette) -> list[Line]:
        name_width = max((len(name) for name, _ in self.rows), default=0) + 2
        lines = []
        for i, (name, said) in enumerate(self.rows):
            q = p.on_cursor() if i == self.chosen else p
            line = Line().add("▸ " if i == self.chosen else "  ", q["accent"]).fit(name, name_width, q["bright"])
            lines.append(line.clip(said, width - line.used, q["muted"]).to(width, q["ground"]))
        return lines

    def action_scroll_by(self, rows: int) -> None:
        self.chosen = max(0, min(len(self.rows) - 1, self.chosen + rows))
        self.panel.redraw()

    def action_take(self) -> None:
        self.dismiss(self.rows[self.chosen][0] if self.rows else None)

    def on_click(self, event: events.Click) -> None:
        row = event.screen_y - self.panel.region.y - 1
        if 0 <= row < len(self.rows):
            self.dismiss(self.rows[row][0])
