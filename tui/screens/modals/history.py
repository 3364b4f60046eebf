"""Every command of this console and what became of it."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding

from tui import format as fmt
from tui.cells import Line
from tui.frame import Frame
from tui.outbox import Outbox, told
from tui.screens.modals.dialog import Dialog
from tui.theme import Palette

_SIGNS = {"ok": "✓", "warn": "▲", "pending": "…"}


class HistoryScreen(Dialog[None]):
    WIDTH = 110
    BINDINGS: ClassVar[list[Any]] = [Binding("H,enter,q", "leave", show=False)]

    def __init__(self, outbox: Outbox) -> None:
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
