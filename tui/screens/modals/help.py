"""The keys of a screen, made from the table of actions; what is refused now says why."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding

from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.dialog import Dialog
from gainstage.tui.state.actions import SCREEN_TITLES, Action, actions_on, refusal, shown_key


class HelpScreen(Dialog[None]):
    WIDTH = 132
    BINDINGS: ClassVar[list[Any]] = [Binding("question_mark,enter,q", "leave", show=False)]

    def __init__(self, screen_name: str) -> None:
        super().__init__()
        self.screen_name = screen_name

    def heading_text(self) -> str:
        return f"keys of {SCREEN_TITLES[self.screen_name]}"

    def corner_text(self) -> str:
        return "↑↓ scroll  Esc closes"

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
        for name, group in groups:
            if lines:
                lines.append(Line())
            lines.append(Line().add(name, p["title+b"]))
            lines.extend(self._line(a, width, p) for a in group)
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

    def _line(self, action: Action, width: int, p: Palette) -> Line:
        console = self.console
        keymap = console.keymap
        refused = refusal(action, console.frame)
        line = Line().fit(shown_key(action, keymap) or ":", 10, p["faint" if refused else "accent"], ">").gap(2, p["ground"])
        line.fit(action.title, 26, p["faint" if refused else "bright"]).gap(1, p["ground"])
        command = f":{action.id}" + (f" {action.usage}" if action.usage else "")
        tail = 24 if width > 90 else 0
        asks = " Asks first." if action.dangerous else ""
        text = f"{action.help} Now refused: {refused}." if refused else action.help + asks
        line.fit(text, width - line.used - tail, p["muted"])
        if tail:
            line.gap(1, p["ground"]).fit(command, tail - 1, p["faint"])
        return line
