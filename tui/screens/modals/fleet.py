"""The engines of this database: where each runs, what it does, what it waits for. Enter narrows every screen to one."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events
from textual.binding import Binding

from gainstage.engine.views.rows import FleetRow
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.dialog import Dialog
from gainstage.tui.state.frame import Frame
from gainstage.tui.widgets.table import Column, fitted

ASK_EVERY_S = 1.0
ALL = "all engines"

COLUMNS = (
    Column("engine", "ENGINE", 22, grow=True, keep=10),
    Column("host", "HOST", 12, keep=5),
    Column("card", "CARD", 16, keep=4),
    Column("state", "STATE", 9, keep=9),
    Column("heartbeat", "HEARD", 6, ">", keep=8),
    Column("rate", "RATE", 6, ">", keep=9),
    Column("bottleneck", "BOTTLENECK", 10, keep=6),
    Column("in_flight", "FLYING", 6, ">", keep=7),
    Column("memory", "MEMORY", 6, ">", keep=4),
    Column("temperature", "TEMP", 5, ">", keep=3),
    Column("version", "VERSION", 8, keep=2),
    Column("waiting", "WAITS FOR", 18, keep=3),
)


def sort_key(row: FleetRow, column: str) -> tuple[bool, Any]:
    """What a row is sorted by; unknown comes last."""
    memory = row.memory_used / row.memory_total if row.memory_used and row.memory_total else None
    value: Any = {"heartbeat": row.heartbeat_age_s, "rate": row.rtfx, "memory": memory, "waiting": row.waiting_for}.get(
        column, getattr(row, column, None)
    )
    return value is None, value if value is not None else 0


class FleetScreen(Dialog[str]):
    """Gives the id of the engine to show, :data:`ALL`, or None."""

    WIDTH = 150
    BINDINGS: ClassVar[list[Any]] = [
        Binding("enter", "take", show=False),
        Binding("s", "sort", show=False),
        Binding("S", "reverse", show=False),
        Binding("a", "widen", show=False),
        Binding("G,q", "leave", show=False),
    ]

    def __init__(self, shown: str | None) -> None:
        super().__init__()
        self.shown = shown
        self.rows: tuple[FleetRow, ...] | None = None
        self.column, self.descending = "engine", False
        self.cursor: str | None = shown
        self._asked_at = float("-inf")

    def heading_text(self) -> str:
        alive = sum(row.alive for row in self.rows or ())
        return f"{alive} engines" + (f", showing {self.shown}" if self.shown else "")

    def corner_text(self) -> str:
        return "Enter shows one  a all  s S sort  Esc"

    def on_mount(self) -> None:
        super().on_mount()
        self._ask()

    def apply(self, frame: Frame) -> None:
        if frame.now - self._asked_at >= ASK_EVERY_S:
            self._asked_at = frame.now
            self._ask()

    def _ask(self) -> None:
        self.console.ask("fleet", lambda desk: desk.fleet(), self.receive)

    def receive(self, rows: tuple[FleetRow, ...]) -> None:
        """Take the rows that the desk gave."""
        self.rows = rows
        self._sort()

    def _sort(self) -> None:
        known = sorted((r for r in self.rows or ()), key=lambda r: sort_key(r, self.column)[1:], reverse=self.descending)
        self.rows = tuple(sorted(known, key=lambda r: (not r.alive, sort_key(r, self.column)[0])))
        if self.is_mounted:
            self.changed()

    @property
    def _place_of_cursor(self) -> int:
        return next((i for i, row in enumerate(self.rows or ()) if row.engine == self.cursor), 0)

    def lines(self, width: int, p: Palette) -> list[Line]:
        fits = fitted(COLUMNS, width - 2, gap=1)
        head = Line().gap(2, p["ground"])
        for column, cells in ((f.column, f.width) for f in fits):
            arrow = ("▾" if self.descending else "▴") if column.key == self.column else ""
            head.fit(column.title + arrow, cells, p["faint"]).gap(1, p["ground"])
        lines = [head]
        for i, row in enumerate(self.rows or ()):
            q = p.on_cursor() if i == self._place_of_cursor else p
            line = Line().add("▸ " if i == self._place_of_cursor else "  ", q["accent"])
            for fit in fits:
                text, token = cell(row, fit.column.key)
                line.fit(text.rjust(fit.width) if fit.column.align == ">" else text, fit.width, q[token]).gap(1, q["ground"])
            lines.append(line.to(width, q["ground"]))
        if not self.rows:
            lines.append(Line().add("asking …" if self.rows is None else "no engine at this database", p["muted"]))
        return lines

    def action_scroll_by(self, rows: int) -> None:
        if self.rows:
            self.cursor = self.rows[max(0, min(len(self.rows) - 1, self._place_of_cursor + rows))].engine
            self.panel.redraw()

    def action_sort(self) -> None:
        names = [column.key for column in COLUMNS]
        self.column = names[(names.index(self.column) + 1) % len(names)]
        self._sort()

    def action_reverse(self) -> None:
        self.descending = not self.descending
        self._sort()

    def action_take(self) -> None:
        row = self.rows[self._place_of_cursor] if self.rows else None
        self.dismiss(row.engine if row is not None and row.alive else None)

    def action_widen(self) -> None:
        self.dismiss(ALL)

    def on_click(self, event: events.Click) -> None:
        place = event.screen_y - self.panel.region.y - 2
        if self.rows and 0 <= place < len(self.rows):
            self.cursor = self.rows[place].engine
            self.panel.redraw()


def cell(row: FleetRow, key: str) -> tuple[str, str]:
    """The text of a cell and its token."""
    plain = "text" if row.alive else "faint"
    match key:
        case "engine":
            return row.engine, "bright" if row.alive else "faint"
        case "state":
            return row.state, plain if row.state in ("running", "done", "stopped", "starting") else "warn"
        case "heartbeat":
            return f"{row.heartbeat_age_s:.0f}s" if row.heartbeat_age_s < 3600 else fmt.roughly(row.heartbeat_age_s), plain
        case "rate":
            return fmt.UNKNOWN if row.rtfx is None else f"{row.rtfx:.0f}x", plain
        case "memory":
            known = row.memory_used is not None and row.memory_total
            return (f"{100 * (row.memory_used or 0) / (row.memory_total or 1):.0f}%" if known else fmt.UNKNOWN), plain
        case "temperature":
            return fmt.UNKNOWN if row.temperature is None else f"{row.temperature:.0f}°", plain
        case "in_flight":
            return fmt.UNKNOWN if row.in_flight is None else str(row.in_flight), plain
        case "waiting":
            return row.waiting_for or "", "muted"
        case _:
            return str(getattr(row, key) or fmt.UNKNOWN), plain if key != "version" else "muted"
