"""Experiments that were made, with their verdicts; they are started from the command line."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding

from gainstage.engine.views.experiments import ExperimentLine
from gainstage.tui.render import format as fmt
from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.dialog import Dialog

HOW = "gainstage experiment --sample 5 --set asr.batch=8"


class ExperimentsScreen(Dialog[None]):
    """Read only: `gainstage experiments show N` has the figures."""

    WIDTH = 120
    BINDINGS: ClassVar[list[Any]] = [Binding("enter,q", "leave", show=False)]

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[ExperimentLine, ...] | None = None

    def heading_text(self) -> str:
        return "experiments"

    def on_mount(self) -> None:
        super().on_mount()
        self.console.ask("experiments", lambda desk: desk.experiments(), self.receive)

    def receive(self, rows: tuple[ExperimentLine, ...]) -> None:
        """Take the rows that the desk gave."""
        self.rows = rows
        if self.is_mounted:
            self.changed()

    def lines(self, width: int, p: Palette) -> list[Line]:
        if not self.rows:
            text = "asking …" if self.rows is None else f"no experiment was made yet. {HOW} makes one beside this system"
            return [Line().add(part, p["muted"]) for part in safe.wrapped(text, width)]
        lines: list[Line] = []
        for row in self.rows:
            head = Line().add(f"{row.id:>4}  ", p["bright+b"]).add(f"{fmt.stamp(row.wall)}  ", p["muted"])
            lines.append(head.clip(safe.display(row.what), max(10, width - 40), p["text"]).add(f"  {row.state}", p["muted"]))
            for part in safe.wrapped(row.verdict or "nothing was measured", width - 6):
                lines.append(Line().gap(6, p["ground"]).add(part, p["bright"]))
        return lines
