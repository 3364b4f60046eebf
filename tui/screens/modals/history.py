"""Every command of this console and what became of it."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding

from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.dialog import Dialog
from gainstage.tui.state.command_log import CommandLog, describe
from gainstage.tui.state.frame import Frame

_SIGNS = {"ok": "✓", "warn": "▲", "pending": "…"}


class HistoryScreen(Dialog[None]):
    WIDTH = 110
    BINDINGS: ClassVar[list[Any]] = [Binding("H,enter,q", "leave", show=False)]

    def __init__(self, command_log: CommandLog) -> None:
        super().__init__()
        self.command_log = command_log

    def heading_text(self) -> str:
        return "commands sent from here"

    def lines(self, width: int, p: Palette) -> list[Line]:
        if not self.command_log.history:
            return [Line().add("Nothing sent yet.", p["muted"])]
        lines = []
        for sent in reversed(self.command_log.history):
            text, band = describe(sent)
            token = {"ok": "ok", "warn": "warn"}.get(band, "muted")
            line = Line().add(fmt.clock(sent.wall), p["faint"]).add(f" {_SIGNS[band]} ", p[token])
            lines.append(line.clip(text, width - line.used, p["text"]))
        return lines

    def apply(self, frame: Frame) -> None:
        self.panel.redraw()
