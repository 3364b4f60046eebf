"""The keys of a screen, made from the table of actions; what is refused now says why."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input

from gainstage.tui.render.cells import Line
from gainstage.tui.render.safe import wrapped
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.dialog import Dialog
from gainstage.tui.state.actions import SCREEN_TITLES, Action, actions_on, refusal, shown_key


class HelpScreen(Dialog[None]):
    WIDTH = 132
    AUTO_FOCUS = ""  # the keys of the help work until a search is begun
    BINDINGS: ClassVar[list[Any]] = [
        Binding("question_mark,enter,q", "leave", show=False),
        Binding("slash", "search", show=False),
    ]

    def __init__(self, screen_name: str) -> None:
        super().__init__()
        self.screen_name = screen_name
        self.typed = ""

    def fields(self) -> ComposeResult:
        yield Input(placeholder="a key, a command, or words of what it does", classes="dialog-input", compact=True)

    def fields_height(self) -> int:
        return 1

    def on_mount(self) -> None:
        super().on_mount()
        self.set_focus(None)

    def action_search(self) -> None:
        self.query_one(Input).focus()

    def action_leave(self) -> None:
        """Out of the search first, then out of the help."""
        if self.typed:
            self.query_one(Input).value = ""
            self.set_focus(None)
        else:
            super().action_leave()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self.typed = event.value.strip().casefold()
        self.panel.top = 0
        self.changed()

    @on(Input.Submitted)
    def _entered(self) -> None:
        self.set_focus(None)

    def _matches(self, action: Action) -> bool:
        keys = shown_key(action, self.console.keymap)
        return self.typed in f"{keys} {action.title} :{action.id} {action.help}".casefold()

    def heading_text(self) -> str:
        return f"keys of {SCREEN_TITLES[self.screen_name]}"

    def corner_text(self) -> str:
        return "/ search  ↑↓ scroll  Esc closes"

    def lines(self, width: int, p: Palette) -> list[Line]:
        actions = actions_on(self.screen_name)
        groups: list[tuple[str, list[Action]]] = [
            (
                "On this screen",
                [a for a in actions if a.screens and not a.id.startswith(("cursor", "page", "big", "top", "bottom"))],
            ),
            ("The run", [a for a in actions if not a.screens and a.needs != "nothing"]),
            ("Everywhere", [a for a in actions if not a.screens and a.needs == "nothing"]),
            ("Moving", [a for a in actions if a.screens and a.id.startswith(("cursor", "page", "big", "top", "bottom"))]),
        ]
        lines: list[Line] = []
        for name, all_of in groups:
            group = [action for action in all_of if self._matches(action)]
            if not group:
                continue
            if lines:
                lines.append(Line())
            lines.append(Line().add(name, p["title+b"]))
            lines.extend(line for a in group for line in self._entry(a, width, p))
        if self.typed:
            return lines or [Line().add(f"nothing here matches {self.typed}", p["muted"])]
        lines += [
            Line(),
            Line()
            .add("Filters  ", p["title+b"])
            .clip(
                "text · stage:transcribe · status:failed · cause:throttled · len>2h · len<10m · !text inverts",
                width - 9,
                p["muted"],
            ),
            Line()
            .add("Keys     ", p["title+b"])
            .clip('rebind with the setting console.keys, action name to key, such as  pause = "ctrl+p"', width - 9, p["muted"]),
        ]
        return lines

    def _entry(self, action: Action, width: int, p: Palette) -> list[Line]:
        console = self.console
        keymap = console.keymap
        refused = refusal(action, console.frame)
        line = Line().fit(shown_key(action, keymap) or ":", 10, p["faint" if refused else "accent"], ">").gap(2, p["ground"])
        line.fit(action.title, 26, p["faint" if refused else "bright"]).gap(1, p["ground"])
        command = f":{action.id}" + (f" {action.usage}" if action.usage else "")
        tail = 24 if width > 90 else 0
        asks = " Asks first." if action.dangerous else ""
        text = f"{action.help} Now refused: {refused}." if refused else action.help + asks
        start = line.used
        first, *rest = wrapped(text, width - start - tail) or [""]
        line.fit(first, width - start - tail, p["muted"])
        if tail:
            line.gap(1, p["ground"]).fit(command, tail - 1, p["faint"])
        return [line, *(Line().gap(start, p["ground"]).add(more, p["muted"]) for more in rest)]
