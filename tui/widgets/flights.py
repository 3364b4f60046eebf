"""Recordings in flight. A row keeps its place for a second at least, and leaves five seconds after its recording is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gainstage.engine.stages import STAGES
from gainstage.engine.views.events import Event
from gainstage.engine.views.snapshot import FlightView
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.filters import Filter, matches
from gainstage.tui.render.theme import Palette
from gainstage.tui.state.alerts import lateness
from gainstage.tui.widgets.deck_lists import LEAST_ROWS, DeckLists, draw_lists
from gainstage.tui.widgets.filter_table import FilterTable
from gainstage.tui.widgets.glyphs import meter
from gainstage.tui.widgets.table import Column, Ranking

LEAVES_AFTER_S = 5.0
STAGE_ORDER = tuple(reversed(STAGES))

_WIDE = (
    Column("id", "RECORDING", 11, keep=10, ids=True),
    Column("title", "TITLE", 28, grow=True, keep=8),
    Column("length", "LENGTH", 7, ">", keep=6),
    Column("stage", "STAGE", 10, keep=10),
    Column("progress", "PROGRESS", 19, keep=9),
    Column("age", "IN STAGE", 8, ">", keep=9),
    Column("late", "VS P95", 7, ">", keep=5),
    Column("rtfx", "×RT", 5, ">", keep=4),
    Column("speakers", "SPK", 3, ">", keep=2),
    Column("segments", "SEG", 5, ">", keep=2),
    Column("note", "NOTE", 14, keep=3),
)
_NARROW = (
    Column("title", "TITLE", 20, grow=True, keep=10),
    Column("stage", "STAGE", 10, keep=10),
    Column("progress", "PROGRESS", 12, keep=9),
    Column("age", "IN STAGE", 8, ">", keep=9),
    Column("note", "NOTE", 14, keep=8),
)


@dataclass(frozen=True, slots=True)
class FlightCell:
    """A row: the recording as the engine reports it, and how it ended."""

    view: FlightView
    left: str | None = None  # "stored", "failed", "gone"
    left_at: float = 0.0

    def ended(self, event: Event) -> FlightCell:
        """With its end. The last stages may have passed between two frames: what they found is told by the event."""
        counts = {name: event.data[name] for name in ("segments", "speakers") if event.data.get(name) is not None}
        return replace(self, left="failed" if event.kind == "failure" else event.kind, view=replace(self.view, **counts))


class FlightsPanel(FilterTable[FlightCell]):
    TITLE = "in flight"
    FIELDS = ("recording", "stage")
    FILTER_HINT = "words · stage:transcribe · rec:ID · !inverts"
    SORTS = ("stage", "age", "length", "title", "id")

    def __init__(self) -> None:
        super().__init__(id="flights")
        self.waiting = self.failed = 0
        self.sorted_by = ("stage", False)
        self._ranking = Ranking()
        self._known: dict[str, FlightCell] = {}
        self._total = 0
        self.empty: list[list[tuple[str, str]]] = []
        self.lists: DeckLists | None = None
        self.now = 0.0

    @property
    def has_room(self) -> bool:
        """Whether lists fit below the rows."""
        used = len(self.items) if self.items else len(self.empty) + 1
        return self.framed and self.inner[1] - 1 - used > LEAST_ROWS

    def show_lists(self, lists: DeckLists | None) -> None:
        """What to show below the rows where there is room."""
        if lists != self.lists:
            self.lists = lists
            self.redraw()

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        lines = super().body(width, height, p)
        if self.lists is not None and not self.narrowed:
            below = draw_lists(self.lists.without(self._taken(self.lists.wall)), width - 2, height - len(lines), self.now, p)
            lines += [Line().gap(2, p["ground"]).extend(line) for line in below]
        return lines

    def _taken(self, since: float) -> frozenset[str]:
        """Recordings in flight now, or that left after ``since``: a list read then may still say that they wait."""
        return frozenset(id for id, f in self._known.items() if not f.left or f.left_at >= since)

    def key_of(self, item: FlightCell) -> str:
        return item.view.id

    def recording_of(self, item: FlightCell) -> str:
        return item.view.id

    def show(
        self,
        flights: tuple[FlightView, ...],
        now: float,
        waiting: int,
        failed: int,
        outcomes: Mapping[str, Event],
        at_once: bool = False,
    ) -> None:
        """``outcomes``: how recordings ended, by id, from the journal."""
        if not 0 <= now - self.now <= LEAVES_AFTER_S:  # another time is looked at: nobody is just leaving
            self._known = {}
        self.waiting, self.failed, self.now = waiting, failed, now
        here = {f.id: FlightCell(f) for f in flights}
        for key, flight in self._known.items():
            if key in here:
                continue
            leaving = flight if flight.left else replace(flight, left="gone", left_at=now)
            if leaving.left == "gone" and key in outcomes:
                leaving = leaving.ended(outcomes[key])
            if 0 <= now - leaving.left_at < LEAVES_AFTER_S:
                here[key] = leaving
        self._known = here
        self._total = len(flights)
        wanted = self.filter
        rows = [f for f in here.values() if self._wanted(f, wanted)]
        column, descending = self.sorted_by or ("stage", False)

        def rank(f: FlightCell) -> Any:
            v = f.view
            order = STAGE_ORDER.index(v.stage) if v.stage in STAGE_ORDER else len(STAGE_ORDER)
            keys: dict[str, Any] = {
                "stage": (order, v.waiting, -v.in_stage_s),
                "age": -v.in_stage_s,
                "length": -(v.duration_s or 0),
                "title": v.title.casefold(),
                "id": v.id,
            }
            return keys.get(column, keys["stage"])

        ranked = self._ranking.order(rows, self.key_of, rank, now, at_once=at_once)
        self.set_items(ranked[::-1] if descending else ranked)

    def _wanted(self, f: FlightCell, wanted: Filter) -> bool:
        v = f.view
        if self.faults_only and not (self._level(f) != "ok" or v.attempt > 1):
            return False
        return matches(wanted, f"{v.id} {v.title} {v.note or ''}", recording=v.id, stage=v.stage)

    @staticmethod
    def _level(f: FlightCell) -> str:
        if f.left:
            return "ok"
        return "ok" if f.view.waiting else lateness(f.view.in_stage_s, f.view.expected_p95_s)

    def heading(self, p: Palette) -> Line:
        line = super().heading(p).add(f"  {self._total}", p["bright"]).add(f"  waiting {self.waiting:,}", p["muted"])
        if self.failed:
            line.add(f"  failed {self.failed:,}", p["warn"])
        if self.narrowed:
            line.add(f"  shown {len(self.items)}", p["text"])
        return self.add_filter(line, p)

    def corner(self, p: Palette) -> Line:
        return Line().add(
            f"/ filter  ! faults  s sort: {self.sorted_by[0] if self.sorted_by else 'stage'}  Enter detail", p["faint"]
        )

    def columns(self) -> tuple[Column, ...]:
        return _NARROW if self.narrow or self.fewer_columns else _WIDE

    def nothing(self, p: Palette) -> list[Line]:
        if self._total:
            return self.no_match(self._total, p)[1:]
        lines = [Line()]
        for pieces in self.empty:
            line = Line().gap(2, p["ground"])
            for text, token in pieces:
                line.add(text, p[token])
            lines.append(line)
        return lines

    def mark(self, item: FlightCell) -> tuple[str, str]:
        if item.left:
            return {"stored": ("✓", "ok"), "failed": ("✗", "crit")}.get(item.left, ("·", "muted"))
        level = self._level(item)
        if level != "ok":
            return ("■", "crit") if level == "crit" else ("▲", "warn")
        return ("↻", "warn") if item.view.attempt > 1 else (" ", "text")

    def cell(self, item: FlightCell, key: str, width: int, p: Palette) -> Line | tuple[str, str]:
        v = item.view
        has_left = item.left is not None
        match key:
            case "id":
                return v.id, "muted" if has_left else "text"
            case "title":
                return v.title, "muted" if has_left else "text" if v.waiting else "bright"
            case "length":
                return fmt.runtime(v.duration_s), "muted"
            case "stage":
                if has_left:  # how it ended may come a frame later than that it left
                    return ("…" if item.left == "gone" else item.left or ""), "muted"
                return v.stage, "muted" if v.waiting else "text"
            case "progress":
                return self._progress(item, width, p)
            case "age":
                return ("" if has_left else fmt.span(v.in_stage_s)), "muted" if v.waiting else "text"
            case "late":
                return self._late(item)
            case "rtfx":
                return (fmt.times(v.rtfx).rstrip("×") if v.rtfx is not None else fmt.UNKNOWN), "muted"
            case "speakers":
                return (str(v.speakers) if v.speakers is not None else fmt.UNKNOWN), "muted"
            case "segments":
                return fmt.brief(v.segments), "muted"
            case "note":
                return self._note(item, width)
        return "", "text"

    @staticmethod
    def _progress(item: FlightCell, width: int, p: Palette) -> Line:
        v = item.view
        if item.left:
            return Line().fit("", width, p["muted"])
        if v.waiting:
            return Line().fit("waiting", width, p["faint"])
        line = Line()
        meter(line, v.progress, width - 5, p, "bar")
        return line.fit(fmt.percent(v.progress), 5, p["text"], ">")

    def _late(self, item: FlightCell) -> tuple[str, str]:
        v = item.view
        if item.left or v.waiting or v.expected_p95_s is None:
            return fmt.UNKNOWN, "faint"
        level = self._level(item)
        factor = v.in_stage_s / v.expected_p95_s if v.expected_p95_s else 0.0
        if level == "ok":
            return "ok", "faint"
        return f"{'■' if level == 'crit' else '▲'} {factor:.1f}×", level

    def _note(self, item: FlightCell, width: int) -> tuple[str, str]:
        v = item.view
        if item.left:
            return "", "muted"
        parts = []
        if v.attempt > 1:
            parts.append(f"attempt {v.attempt}/{v.attempts}")
        if v.side_stage:
            parts.append(f"+ {v.side_stage}")
        if v.note:
            parts.append(v.note)
        level = self._level(item)
        if level != "ok" and v.expected_p95_s and self.size.width < 100:
            parts.insert(0, f"{v.in_stage_s / v.expected_p95_s:.1f}× p95")
        return " · ".join(parts), "warn" if v.attempt > 1 or level != "ok" else "muted"
