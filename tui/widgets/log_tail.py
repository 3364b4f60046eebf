"""The journal as it is written: a tail that formats only what it shows, folds repeats, filters and follows."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from datetime import datetime

from textual import events

from gainstage.engine.views.events import EVENTS_KEPT, Event
from gainstage.tui.render import format as fmt
from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.filters import Filter, matches
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.filter_table import FilterTable
from gainstage.tui.widgets.table import Column, Table
from gainstage.tui.widgets.ticker import sign_of

RATE_S = 60.0
LEVELS = ("debug", "info", "warning", "error")
WORDS = {"debug": "DEBUG", "info": "INFO", "warning": "WARN", "error": "ERROR"}
TOKENS = {"debug": "faint", "info": "muted", "warning": "warn", "error": "crit"}
FOLD_BACK = 40
"""A repeat is folded into the same words among this many lines before it."""

_WIDE = (
    Column("time", "TIME", 12, keep=8),
    Column("level", "LEVEL", 5, keep=9),
    Column("thread", "THREAD", 13, keep=5),
    Column("recording", "RECORDING", 11, keep=7, ids=True),
    Column("text", "", 20, grow=True, keep=10),
)
_ENGINE = Column("engine", "ENGINE", 14, keep=6)
"""Shown where lines of several engines are held."""
_NARROW = (
    Column("time", "TIME", 8, keep=8),
    Column("level", "LEVEL", 5, keep=9),
    Column("recording", "REC", 4, keep=5),
    Column("text", "", 20, grow=True, keep=10),
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the journal; ``times`` repeats of the same words are folded into the latest."""

    event: Event
    times: int = 1


def _same(a: Event, b: Event) -> bool:
    return (a.kind, a.level, a.stage, a.recording, a.engine) == (b.kind, b.level, b.stage, b.recording, b.engine) and _words(
        a
    ) == _words(b)


def _words(e: Event) -> str:
    """The text without its numbers: two tries of the same thing read the same."""
    return "".join(c for c in e.text if not c.isdigit())


class LogTail(FilterTable[LogLine]):
    TITLE = "journal"
    FIELDS = ("recording", "stage", "kind", "thread", "engine")
    FILTER_HINT = "words · rec:ID · kind:retry · thread:store · engine:ID · !inverts"
    FAULTS = "warnings and errors"

    def __init__(self) -> None:
        super().__init__(id="log")
        self.events: list[Event] = []
        self.entries: list[LogLine] = []
        self.follow = True
        self.level = "info"
        self.stage: str | None = None
        self.fold = True
        self.dropped = 0
        self.per_second = 0.0
        self.engines: frozenset[str] = frozenset()  # of the lines held
        self._filter = Filter()

    def key_of(self, item: LogLine) -> str:
        return str(item.event.seq)

    def recording_of(self, item: LogLine) -> str | None:
        return item.event.recording

    def find(self, key: str) -> int | None:
        """Sequence numbers rise, so a place is found by halving."""
        low, high, wanted = 0, len(self.items), int(key)
        while low < high:
            middle = (low + high) // 2
            item = self.items[middle]
            if item is not None and item.event.seq < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self.items) else None

    # -- lines in

    def take_events(self, events: list[Event], dropped: int) -> None:
        """New lines, oldest first."""
        self.dropped = dropped
        if not events:
            return
        self.events.extend(events)
        surplus = len(self.events) - EVENTS_KEPT
        if surplus > 0:
            del self.events[:surplus]
        fresh = {e.engine for e in events if e.engine}
        if not fresh <= self.engines:
            self.engines |= fresh
            self.forget()
        wanted = [e for e in events if self._wanted(e)]
        for e in wanted:
            self._append(e)
        if len(self.entries) > EVENTS_KEPT:
            del self.entries[: len(self.entries) - EVENTS_KEPT]
        self._show()

    def measure(self, now: float) -> None:
        """How many lines a second came in the last minute, whether or not one came just now."""
        first = bisect_left(self.events, now - RATE_S, key=lambda e: e.wall)
        span = min(RATE_S, now - self.events[0].wall) if self.events else 0.0
        fresh = (len(self.events) - first) / max(1.0, span)
        before, self.per_second = self.per_second, fresh
        if fmt.rate(fresh) != fmt.rate(before):
            self.redraw()

    def _append(self, e: Event) -> None:
        if self.fold:
            for i in range(len(self.entries) - 1, max(-1, len(self.entries) - 1 - FOLD_BACK), -1):
                earlier = self.entries[i]
                if e.level in ("warning", "error", "debug") and _same(earlier.event, e):
                    del self.entries[i]
                    self.entries.append(LogLine(e, earlier.times + 1))
                    return
        self.entries.append(LogLine(e))

    def _wanted(self, e: Event) -> bool:
        if LEVELS.index(e.level) < LEVELS.index("warning" if self.faults_only else self.level):
            return False
        if self.stage is not None and e.stage != self.stage:
            return False
        f = self._filter
        return f.empty or matches(
            f,
            f"{e.text} {e.kind} {e.thread or ''}",
            recording=e.recording,
            stage=e.stage,
            kind=e.kind,
            thread=e.thread,
            engine=e.engine,
        )

    @property
    def narrowed(self) -> bool:
        return super().narrowed or self.stage is not None

    def show_all(self) -> None:
        super().show_all()
        self.stage = None

    def refilter(self) -> None:
        self._filter = self.filter
        self.entries = []
        for e in self.events:
            if self._wanted(e):
                self._append(e)
        self.cursor_key = None if self.follow else self.cursor_key
        self._show()
        self.redraw()

    def clear(self) -> None:
        """Forget the lines held; the file keeps them."""
        self.events, self.entries, self.engines = [], [], frozenset()
        self._show()
        self.redraw()

    def _show(self) -> None:
        if self.follow:
            self.cursor_key, self.touched = None, False
            self.cursor = max(0, len(self.entries) - 1)
            self.top = max(0, len(self.entries) - self.rows_shown)
        self.set_items(self.entries)

    # -- moving

    def move_to(self, row: int) -> None:
        """Moving off the last line stops following; moving onto it follows again."""
        self.follow = row >= len(self.items) - 1
        super().move_to(row)

    def _scroll(self, rows: int) -> None:
        if rows < 0:
            self.follow = False
        super()._scroll(rows)
        if rows > 0 and self.top + self.rows_shown >= len(self.items):
            self.follow = True

    def search(self, step: int) -> bool:
        """The cursor to the next line that holds what the filter line says, also where ``!`` hides such lines."""
        n = len(self.entries)
        f = self.filter
        for i in range(1, n + 1):
            place = (self.cursor + i * step) % n
            if matches(replace(f, invert=False), self.entries[place].event.text, recording=self.entries[place].event.recording):
                self.move_to(place)
                return True
        return False

    # -- drawing

    def heading(self, p: Palette) -> Line:
        line = super().heading(p).add(f"  ≥ {WORDS['warning' if self.faults_only else self.level]}", p["text"])
        line.add(f"  stage {self.stage or 'all'}", p["text" if self.stage else "muted"])
        self.add_filter(line, p)
        if self.follow:
            line.add("  ▼ following", p["ok"])
        else:
            line.add("  ‖ held, f follows", p["info"])
        return line

    def corner(self, p: Palette) -> Line:
        line = (
            Line()
            .add(f"{len(self.entries):,} of {len(self.events):,} lines", p["muted"])
            .add(f"  {fmt.rate(self.per_second)}/s", p["faint"])
        )
        return line.add(f"  ▲ {self.dropped:,} dropped, the file has all", p["warn"]) if self.dropped else line

    def columns(self) -> tuple[Column, ...]:
        columns = _NARROW if self.narrow else _WIDE
        return (*columns[:2], _ENGINE, *columns[2:]) if len(self.engines) > 1 else columns

    def nothing(self, p: Palette) -> list[Line]:
        if self.events:
            return self.no_match(len(self.events), p, "lines")
        return [Line(), Line().add("  nothing written yet", p["faint"])]

    def mark(self, item: LogLine) -> tuple[str, str]:
        sign, token = sign_of(item.event)
        return (sign, token) if token != "muted" else (" ", "text")

    def cell(self, item: LogLine, key: str, width: int, p: Palette) -> Line | tuple[str, str]:
        e = item.event
        match key:
            case "time":
                text = datetime.fromtimestamp(e.wall).strftime("%H:%M:%S.%f")[:-3]
                return (text if width > 10 else text[3:-1]), "faint"
            case "level":
                return WORDS[e.level], TOKENS[e.level]
            case "thread":
                return e.thread or "", "muted"
            case "engine":
                return e.engine or "", "muted"
            case "recording":
                return e.recording or "", "muted"
            case "text":
                return self._text(item, width, p)
        return "", "text"

    @staticmethod
    def _text(item: LogLine, width: int, p: Palette) -> Line:
        e = item.event
        text = e.text.removeprefix(f"{e.recording} ") if e.recording else e.text
        tail = f"  ×{item.times}" if item.times > 1 else ""
        if e.traceback:
            tail += f"  ▸ {len(e.traceback.splitlines())} lines"
        line = Line().clip(
            safe.conceal(text), width - len(tail), p["bright" if e.level == "error" else "text" if e.level != "debug" else "muted"]
        )
        return line.add(tail, p["accent"])


class EventPanel(Table[str]):
    """The line under the cursor in full: its fields and its traceback."""

    TITLE = "line"
    HEADER = False
    COLUMNS = (Column("line", "", 20, grow=True),)

    def __init__(self) -> None:
        super().__init__(id="event")
        self.entry: LogLine | None = None
        self.whole = False

    def key_of(self, item: str) -> str:
        return item

    def find(self, key: str) -> int | None:
        return None

    def on_resize(self, event: events.Resize) -> None:
        self.write()
        super().on_resize(event)

    def show(self, entry: LogLine | None) -> None:
        if entry != self.entry:
            self.entry = entry
            self.cursor = self.top = 0
            self.write()

    def write(self) -> None:
        """The lines for the present width."""
        e = self.entry.event if self.entry is not None else None
        if e is None:
            self.set_items(())
            return
        width = max(20, self.inner[0] - 2)
        fields = {"kind": e.kind, "stage": e.stage, "recording": e.recording, "thread": e.thread, "engine": e.engine, **e.data}
        shown_fields = "  ".join(f"{k}={fmt.value(v)}" for k, v in fields.items() if v is not None)
        lines = [*safe.wrapped(safe.conceal(e.text), width), *safe.wrapped(safe.conceal(shown_fields), width)]
        if e.traceback:
            trace = safe.conceal(e.traceback).splitlines()
            shown = trace if self.whole else trace[-1:]
            lines += [t for line in shown for t in safe.wrapped(line, width)]
            if not self.whole and len(trace) > 1:
                lines.append(f"… {len(trace) - 1} more lines: Enter")
        self.set_items(lines)
        self.redraw()

    def heading(self, p: Palette) -> Line:
        if self.entry is None:
            return super().heading(p)
        e = self.entry.event
        line = Line().add(fmt.clock(e.wall), p["bright"]).add(f"  {WORDS[e.level]}", p[TOKENS[e.level]])
        return line.add(f"  ×{self.entry.times}", p["accent"]) if self.entry.times > 1 else line

    def corner(self, p: Palette) -> Line:
        return Line().add("Enter traceback  v recording  y copy", p["faint"])

    def mark(self, item: str) -> tuple[str, str]:
        return " ", "text"

    def cell(self, item: str, key: str, width: int, p: Palette) -> Line | tuple[str, str]:
        return Line().clip(item, width, p["text"])
