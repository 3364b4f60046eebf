"""Something in the console itself went wrong: its id, where the details are, and that the engine is untouched."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from textual.binding import Binding

from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.dialog import Dialog


class FaultScreen(Dialog[None]):
    BINDINGS: ClassVar[list[Any]] = [Binding("y", "copy", show=False), Binding("enter", "leave", show=False)]

    def __init__(self, number: str, what: str, kind: str, log: Path) -> None:
        super().__init__()
        self.number, self.what, self.kind, self.log_file = number, what, kind, log

    def heading_text(self) -> str:
        return f"the console failed · fault {self.number}"

    def lines(self, width: int, p: Palette) -> list[Line]:
        return [
            Line(),
            Line().add("■ ", p["crit"]).clip(f"{self.kind} during {self.what}", width - 2, p["bright"]),
            Line(),
            Line().add("The engine is not affected.", p["text"]),
            Line().add("The traceback is in", p["text"]),
            Line().clip(f"  {self.log_file}", width, p["accent"]),
            Line(),
            Line()
            .add("y", p["accent"])
            .add(" copies the id and the path   ", p["muted"])
            .add("Esc", p["accent"])
            .add(" goes on", p["muted"]),
        ]

    def action_copy(self) -> None:
        self.console.copy_to_clipboard(f"gainstage fault {self.number} {self.kind} {self.log_file}")
