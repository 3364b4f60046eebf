"""The last events in two lines, newest first."""

from __future__ import annotations

from gainstage.engine.views.events import Event
from gainstage.tui.render import format as fmt
from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.panel import Panel

SHOWN = 40
_QUIET = frozenset({"decision", "log", "model", "stage"})


def sign_of(e: Event) -> tuple[str, str]:
    """Glyph and token of a journal line."""
    if e.kind == "change":
        return "◆", "change"
    if e.level == "error":
        return "■", "crit"
    if e.level == "warning":
        return "▲", "warn"
    if e.kind == "stored":
        return "✓", "ok"
    return "•", "muted"


class TickerPanel(Panel):
    TITLE = "events"
    HINT = "6 logs"

    def __init__(self) -> None:
        super().__init__(id="ticker", focusable=False)
        self.events: tuple[Event, ...] = ()

    def take_events(self, events: list[Event]) -> None:
        """Newer lines; only those worth a glance are kept."""
        worth = [e for e in events if e.level in ("warning", "error") or e.kind not in _QUIET]
        if worth:
            self.events = tuple([*reversed(worth), *self.events][:SHOWN])
            self.redraw()

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        if not self.events:
            return [Line().add("nothing yet", p["faint"])]
        lines = [Line()]
        for event in self.events:
            sign, token = sign_of(event)
            text = safe.display(event.text)
            need = 12 + safe.width(text) + 3
            line = lines[-1]
            if line.used and line.used + need - 3 > width:
                if len(lines) >= height:
                    break
                line = Line()
                lines.append(line)
            line.add(fmt.clock(event.wall), p["faint"]).add(f" {sign} ", p[token])
            room = width - line.used
            line.clip(text, room, p["text" if event.level == "info" else token]).gap(3, p["ground"])
        return lines
