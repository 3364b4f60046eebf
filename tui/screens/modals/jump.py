"""A letter on every panel; press it to go there."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events
from textual.screen import ModalScreen

from gainstage.tui.screens.base import DeskScreen
from gainstage.tui.widgets.panel import Panel

LETTERS = "asdfghjkl"


class JumpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[Any]] = []
    DEFAULT_CSS = "JumpScreen { background: transparent; }"

    def __init__(self, under: DeskScreen) -> None:
        super().__init__()
        self.under = under
        self.places: dict[str, Panel] = dict(zip(LETTERS, under.panels, strict=False))

    def on_mount(self) -> None:
        self._letters(True)

    def _letters(self, shown: bool) -> None:
        for letter, panel in self.places.items():
            panel.jump_letter = letter if shown else ""
            panel.forget()
            panel.refresh()

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self._letters(False)
        panel = self.places.get(event.key)
        self.dismiss(None)
        if panel is not None:
            self.under.set_focus(panel)
