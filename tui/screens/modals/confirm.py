"""Questions before something that cannot be taken back. No is always the default; stopping at once takes a typed word."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input

from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.dialog import Dialog


def buttons(names: list[str], chosen: int, p: Palette) -> Line:
    """Answers side by side, the chosen one marked."""
    line = Line()
    for i, name in enumerate(names):
        line.add(f" ▸ {name} " if i == chosen else f"   {name} ", p["accent+rb" if i == chosen else "muted"]).gap(2, p["ground"])
    return line


class ConfirmScreen(Dialog[bool]):
    """Yes or no; Enter takes what is marked, which is No until moved."""

    WIDTH = 70
    BINDINGS: ClassVar[list[Any]] = [
        Binding("left,right,tab,shift+tab,h,l", "other", show=False),
        Binding("enter", "take", show=False),
        Binding("y", "answer(True)", show=False),
        Binding("n", "answer(False)", show=False),
    ]

    def __init__(self, question: str, explained: list[str], *, yes: str = "Yes", no: str = "No") -> None:
        super().__init__()
        self.question, self.explained = question, explained
        self.names = [no, yes]
        self.chosen = 0

    def heading_text(self) -> str:
        return self.question

    def corner_text(self) -> str:
        return "y  n  Esc"

    def lines(self, width: int, p: Palette) -> list[Line]:
        body = [
            Line().add(text, p["text"])
            for paragraph in self.explained
            for text in (safe.wrapped(paragraph, width) if paragraph else [""])
        ]
        return [Line(), *body, Line(), buttons(self.names, self.chosen, p)]

    def action_other(self) -> None:
        self.chosen = 1 - self.chosen
        self.changed()

    def action_take(self) -> None:
        self.dismiss(self.chosen == 1)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    def on_click(self, event: events.Click) -> None:
        row = self.panel.region.bottom - 2
        if event.screen_y == row:
            no_end = self.panel.region.x + 2 + len(self.names[0]) + 4
            self.dismiss(event.screen_x > no_end)


class StopScreen(Dialog[str]):
    """Drain, or stop at once after typing ``stop``."""

    WIDTH = 76
    BINDINGS: ClassVar[list[Any]] = [Binding("tab", "app.focus_next", show=False)]

    def __init__(self, running: int, scope: str = "") -> None:
        """``scope`` says which engines it is about, where there are several."""
        super().__init__()
        self.running, self.scope = running, scope

    def fields(self) -> ComposeResult:
        yield Input(
            placeholder="drain, or stop to stop at once; Esc leaves everything as it is",
            id="stop-word",
            classes="dialog-input",
            compact=True,
        )

    def fields_height(self) -> int:
        return 1

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(Input).focus()

    def heading_text(self) -> str:
        return f"Stop the engine{self.scope}"

    def lines(self, width: int, p: Palette) -> list[Line]:
        return [
            Line(),
            Line()
            .add("drain ", p["accent+b"])
            .clip(f" finishes the {self.running:,} in flight, starts nothing new, then stops.", width - 6, p["text"]),
            Line()
            .add("stop  ", p["crit"])
            .clip(" stops at once; what is in flight is queued again, from its start.", width - 6, p["text"]),
            Line(),
            Line().add("Type one of the two words and Enter. q only closes this console.", p["muted"]),
        ]

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        word = event.value.strip().lower()
        if word in ("drain", "stop"):
            self.dismiss(word)
        else:
            event.input.value = ""
