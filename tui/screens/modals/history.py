"""Every command of this console and what became of it."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding

from gainstage.tui.console.command_log import CommandLog, told
from gainstage.tui.console.frame import Frame
from gainstage.tui.console.theme import Palette
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.screens.modals.dialog import Dialog

_SIGNS = {"ok": "✓", "warn": "▲", "pending": "…"}


class HistoryScreen(Dialog[None]):
    WIDTH = 110
    BINDINGS: ClassVar[list[Any]] = [Binding("H,enter,q", "leave", show=False)]

    def __init__(self, outbox: CommandLog) -> None:
        super().__init__()
        self.outbox = outbox

    def heading_text(self) -> str:
        return "commands sent from here"

    def lines(self, width: int, p: Palette) -> list[Line]:
        if not self.outbox.history:
            return [Line().add("Nothing sent yet.", p["muted"])]
        lines = []
        for sent in reversed(self.outbox.history):
            text, band = told(sent)
            token = {"ok": "ok", "warn": "warn"}.get(band, "muted")
            line = Line().add(fmt.clock(sent.wall), p["faint"]).add(f" {_SIGNS[band]} ", p[token])
            lines.append(line.clip(text, width - line.used, p["text"]))
        return lines

    def apply(self, frame: Frame) -> None:
        self.panel.redraw()
