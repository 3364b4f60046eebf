"""Every recording of the database, in pages: only rows near the screen are here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from gainstage.engine.views.rows import RecordingPage, RecordingRow
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.filter_table import FilterTable
from gainstage.tui.widgets.table import Column

PAGE = 200

STATES: dict[str, tuple[str, str]] = {
    "queued": ("… queued", "muted"),
    "running": ("▶ running", "text"),
    "stored": ("✓ stored", "ok"),
    "failed": ("✗ failed", "crit"),
    "skipped": ("- skipped", "muted"),
    "cancelled": ("- cancelled", "muted"),
    "retrying": ("↻ retry", "warn"),
}
"""How a status is written."""

_WIDE = (
    Column("id", "RECORDING", 11, keep=10, ids=True),
    Column("title", "TITLE", 14, grow=True, keep=8),
    Column("duration", "LENGTH", 7, ">", keep=7),
    Column("status", "STATE", 12, keep=10),
    Column("attempt", "TRY", 3, ">", keep=3),
    Column("segments", "SEG", 5, ">", keep=4),
    Column("speakers", "SPK", 3, ">", keep=3),
    Column("changed", "AGO", 5, ">", keep=7),
)
_NARROW = (
    Column("id", "RECORDING", 11, keep=10),
    Column("duration", "LENGTH", 7, ">", keep=7),
    Column("status", "STATE", 12, keep=10),
    Column("changed", "AGO", 5, ">", keep=6),
    Column("title", "TITLE", 10, grow=True, keep=9),
)


class Paged(Sequence[RecordingRow | None]):
    """``total`` rows of which one window is here; the others are None."""

    def __init__(self, total: int = 0, offset: int = 0, rows: tuple[RecordingRow, ...] = ()) -> None:
        self.total, self.offset, self.rows = total, offset, rows
        self._places = {row.id: offset + i for i, row in enumerate(rows)}

    def __len__(self) -> int:
        return self.total

    @overload
    def __getitem__(self, index: int) -> RecordingRow | None: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RecordingRow | None]: ...
    def __getitem__(self, index: int | slice) -> RecordingRow | Sequence[RecordingRow | None] | None:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.total))]
        place = index - self.offset
        return self.rows[place] if 0 <= place < len(self.rows) else None

    def place(self, key: str) -> int | None:
        """Where a row stands, if it is here."""
        return self._places.get(key)


class RecordingsTable(FilterTable[RecordingRow]):
    TITLE = "recordings"
    FIELDS = ("status", "stage", "cause", "recording")
    FILTER_HINT = "words · status:failed · stage:transcribe · cause:throttled · len>2h · !inverts"
    SORTS = ("changed", "status", "title", "duration", "stage", "attempt", "segments", "added")
    DESCENDING = frozenset({"changed", "added", "duration", "segments", "attempt"})

    def __init__(self) -> None:
        super().__init__(id="recordings")
        self.items = Paged()
        self.total = self.matched = 0
        self.now = 0.0
        self.sorted_by = ("changed", True)
        self.error: str | None = None

    def key_of(self, item: RecordingRow) -> str:
        return item.id

    def recording_of(self, item: RecordingRow) -> str:
        return item.id

    def find(self, key: str) -> int | None:
        return self.items.place(key) if isinstance(self.items, Paged) else None

    def show(self, page: RecordingPage, offset: int, now: float) -> None:
        """A page that came."""
        self.total, self.matched, self.now, self.error = page.total, page.matched, now, None
        self.set_items(Paged(page.matched, offset, page.rows))

    def here(self) -> Sequence[RecordingRow]:
        """The rows that are here."""
        return self.items.rows if isinstance(self.items, Paged) else ()

    def heading(self, p: Palette) -> Line:
        line = super().heading(p).add(f"  {self.matched:,}", p["bright"])
        if self.matched != self.total:
            line.add(f" of {self.total:,}", p["muted"])
        self.add_filter(line, p)
        if self.marked:
            line.add(f"  ✱ {len(self.marked)} marked", p["accent"])
        return line

    def corner(self, p: Palette) -> Line:
        return Line().add("/ filter  ! faults  s sort  c columns", p["faint"])

    def columns(self) -> tuple[Column, ...]:
        return _NARROW if self.size.width < 90 or self.fewer_columns else _WIDE

    def nothing(self, p: Palette) -> list[Line]:
        if self.error is not None:
            return [Line().add("  ✗ ", p["crit"]).add(self.error, p["text"])]
        if self.narrowed:
            return self.no_match(self.total, p)
        if not self.console.desk.live:
            return [Line(), Line().add("  Nothing in flight at this moment; a recorded run holds no other recordings.", p["muted"])]
        return [Line(), Line().add("  No recordings yet.  ", p["muted"]).add("a", p["accent"]).add(" adds sources", p["muted"])]

    def mark(self, item: RecordingRow) -> tuple[str, str]:
        if item.status == "failed":
            return "■", "crit"
        return ("▲", "warn") if item.status == "running" and item.attempt > 1 else (" ", "text")

    def cell(self, item: RecordingRow, key: str, width: int, p: Palette) -> Line | tuple[str, str]:
        match key:
            case "id":
                return item.id, "text"
            case "title":
                return item.title, "bright" if item.status in ("running", "failed") else "text"
            case "duration":
                return fmt.runtime(item.duration_s), "muted"
            case "status":
                if item.next_try_wall is not None and item.status == "queued":
                    return f"↻ {fmt.roughly(item.next_try_wall - self.now)}", "warn"
                return self._state(item, width, p)
            case "attempt":
                return (str(item.attempt) if item.attempt > 1 else ""), "warn"
            case "changed":
                return fmt.roughly(self.now - item.changed_wall), "muted"
            case "segments":
                return fmt.brief(item.segments), "muted"
            case "speakers":
                return (str(item.speakers) if item.speakers else fmt.UNKNOWN), "muted"
        return "", "text"

    @staticmethod
    def _state(item: RecordingRow, width: int, p: Palette) -> Line:
        text, token = STATES.get(item.status, (f"· {item.status}", "text"))
        if item.warning is not None:
            text, token = f"▲ {item.warning}", "warn"
        sign, _, word = text.partition(" ")
        if item.status in ("running", "failed") and item.stage:
            word = item.stage
        loud = item.status in ("failed", "retrying") or item.warning is not None
        return (
            Line()
            .add(sign, p[token])
            .fit(f" {word}", width - 1, p[token if loud else "text" if item.status == "running" else "muted"])
        )
