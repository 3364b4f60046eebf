"""The palette: every action of this screen by name, found by typing a few letters of it."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Input

from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.dialog import Dialog
from gainstage.tui.state.actions import Action, actions_on, refusal, shown_key

SHOWN = 14


def score(typed: str, action: Action) -> float:
    """How well the letters typed fit an action; 0 where they do not."""
    typed = typed.casefold().strip()
    if not typed:
        return 1.0
    title, words = action.title.casefold(), f"{action.id} {action.help}".casefold()
    if title.startswith(typed):
        return 100.0 - len(title)
    if typed in title:
        return 80.0 - title.index(typed)
    if typed in words:
        return 50.0 - min(40, words.index(typed))
    at = -1
    for letter in typed:
        at = title.find(letter, at + 1)
        if at < 0:
            return 0.0
    return 5.0 - at / 100


class PaletteScreen(Dialog[str]):
    """Gives the id of the chosen action."""

    WIDTH = 84
    BINDINGS: ClassVar[list[Any]] = [
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("pageup", f"move(-{SHOWN - 1})", show=False, priority=True),
        Binding("pagedown", f"move({SHOWN - 1})", show=False, priority=True),
        Binding("ctrl+p", "leave", show=False),
    ]

    def __init__(self, screen_name: str) -> None:
        super().__init__()
        self.actions = [a for a in actions_on(screen_name) if a.palette and not a.id.startswith(("cursor", "page"))]
        self.matching = list(self.actions)
        self.chosen = 0

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog-box"):
            yield Input(placeholder="type a few letters of what you want to do", classes="dialog-input", compact=True)
            yield self.panel

    def fields_height(self) -> int:
        return 1

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(Input).focus()

    def heading_text(self) -> str:
        return f"{len(self.matching)} actions"

    def corner_text(self) -> str:
        return "↑↓ Enter  Esc"

    def lines(self, width: int, p: Palette) -> list[Line]:
        first = max(0, min(self.chosen - SHOWN + 3, len(self.matching) - SHOWN))
        lines = []
        console = self.console
        for i, action in enumerate(self.matching[first : first + SHOWN], first):
            q = p.on_cursor() if i == self.chosen else p
            why = refusal(action, console.frame)
            line = (
                Line()
                .add("▸ " if i == self.chosen else "  ", q["accent"])
                .fit(action.title, 26, q["faint" if why else "bright"])
                .gap(1, q["ground"])
            )
            key = shown_key(action, console.keymap)
            line.fit(f"refused: {why}" if why else action.help, width - line.used - 11, q["muted"])
            lines.append(line.fit(key, 11, q["accent"], ">"))
        lines += [Line()] * (SHOWN - len(lines))
        return lines

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        scored = [(score(event.value, a), -n, a) for n, a in enumerate(self.actions)]
        self.matching = [a for points, _, a in sorted(scored, key=lambda t: t[:2], reverse=True) if points > 0]
        self.chosen = 0
        self.panel.redraw()

    @on(Input.Submitted)
    def _entered(self) -> None:
        self.dismiss(self.matching[self.chosen].id if self.matching else None)

    def action_move(self, rows: int) -> None:
        self.chosen = max(0, min(len(self.matching) - 1, self.chosen + rows))
        self.panel.redraw()

    def on_click(self, event: events.Click) -> None:
        first = max(0, min(self.chosen - SHOWN + 3, len(self.matching) - SHOWN))
        row = event.screen_y - self.panel.region.y - 1
        if self.panel.region.contains(event.screen_x, event.screen_y) and 0 <= first + row < len(self.matching):
            self.dismiss(self.matching[first + row].id)
