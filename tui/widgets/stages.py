"""All stages one below the other; where there is room, with the machine and the throughput below them on one time axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from textual import events

from gainstage.engine.views.snapshot import StageView
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.glyphs import meter, spark, time_axis
from gainstage.tui.widgets.panel import Panel
from gainstage.tui.widgets.table import Column, Fit, fitted

WIDE_COLUMNS = 150
"""From this width on what was is drawn beside what is."""

STEP_S = 5.0
"""Seconds of a cell of the time axis."""

COLUMNS = (
    Column("name", "STAGE", 10, keep=10),
    Column("busy", "BUSY", 6, ">", keep=10),
    Column("depth", "QUEUE", 5, ">", keep=9),
    Column("wait", "OLDEST", 6, ">", keep=4),
    Column("share", "LOAD", 8, grow=True, keep=9),
    Column("percent", "", 4, ">", keep=9),
    Column("rate", "PER MIN", 7, ">", keep=6),
    Column("p50", "P50", 6, ">", keep=7),
    Column("p95", "P95", 6, ">", keep=7),
    Column("rtfx", "×RT", 5, ">", keep=5),
    Column("failed", "ERR", 4, ">", keep=8),
    Column("trend", "TREND", 10, keep=3),
)
_WIDE = (
    Column("name", "STAGE", 10, keep=10),
    Column("busy", "BUSY", 8, ">", keep=10),
    Column("depth", "QUEUE", 5, ">", keep=9),
    Column("wait", "OLDEST", 6, ">", keep=6),
    Column("share", "LOAD", 8, keep=9),
    Column("percent", "", 4, ">", keep=9),
    Column("rate", "PER MIN", 7, ">", keep=6),
    Column("p50", "P50", 6, ">", keep=7),
    Column("p95", "P95", 6, ">", keep=7),
    Column("rtfx", "×RT", 6, ">", keep=5),
    Column("failed", "ERR", 5, ">", keep=8),
    Column("note", "NOTE", 10, keep=4),
    Column("trend", "", 30, grow=True, keep=8),
)
_BESIDE = ("share", "percent", "trend")
"""Columns that a gauge has as a stage has them; the others are room for its words."""


@dataclass(frozen=True, slots=True)
class Planned:
    """Slots of a stage on their way to another number."""

    target: int
    sent: bool


@dataclass(frozen=True, slots=True)
class Gauge:
    """A line below the stages, on their time axis: what it is, its share 0..1 where it has one, words before and after that, and what
    it was each five seconds, on the scale 0..``top``."""

    name: str
    share: float | None
    words: str
    more: str
    history: tuple[float | None, ...]
    top: float = 1.0


class StagesPanel(Panel):
    TITLE = "stages"
    OF_ENGINE = True

    def __init__(self) -> None:
        super().__init__(id="stages")
        self.stages: tuple[StageView, ...] = ()
        self.bottleneck: str | None = None
        self.planned: Mapping[str, Planned] = {}
        self.gauges: tuple[Gauge, ...] = ()
        self.changes: tuple[float, ...] = ()
        self.wall = 0.0
        self.current: str | None = None

    def show(
        self,
        stages: tuple[StageView, ...],
        bottleneck: str | None,
        planned: Mapping[str, Planned],
        gauges: tuple[Gauge, ...] = (),
        changes: tuple[float, ...] = (),
        wall: float = 0.0,
    ) -> None:
        """``planned`` by stage name: what was staged or sent but not acknowledged. ``changes`` are the times of settings changed,
        ``wall`` that of the frame."""
        wall -= wall % STEP_S
        fresh = (stages, bottleneck, planned, gauges, changes, wall)
        if fresh == (self.stages, self.bottleneck, self.planned, self.gauges, self.changes, self.wall):
            return
        self.stages, self.bottleneck, self.planned, self.gauges, self.changes, self.wall = fresh
        names = [s.name for s in stages]
        if self.current not in names:
            self.current = bottleneck if bottleneck in names else "transcribe" if "transcribe" in names else next(iter(names), None)
        self.redraw()

    def move(self, step: int) -> None:
        """The cursor to a neighbour."""
        names = [s.name for s in self.stages]
        if names:
            here = names.index(self.current) if self.current in names else 0
            self.current = names[max(0, min(len(names) - 1, here + step))]
            self.redraw()

    @property
    def selected(self) -> StageView | None:
        return next((s for s in self.stages if s.name == self.current), None)

    @property
    def wide(self) -> bool:
        return self.size.width >= WIDE_COLUMNS

    def heading(self, p: Palette) -> Line:
        line = super().heading(p)
        total = sum(s.busy for s in self.stages)
        if self.stages:
            line.add(f"  {total} busy", p["muted"])
        return line

    def corner(self, p: Palette) -> Line:
        return Line().add("←→ stage  + - slots  p pause", p["faint"]) if self.has_focus and self.size.width >= 80 else Line()

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        if not self.stages:
            return [Line().add("no stages yet", p["faint"])]
        fits = fitted(_WIDE if self.wide else COLUMNS, width - 2)
        lines = [self._header(fits, p), *(self._row(s, fits, width, p) for s in self.stages)]
        gauges = self.gauges[: max(0, height - len(lines))] if self.wide else ()
        if gauges and height - len(lines) > len(gauges):
            lines.append(Line())
        lines += [self._gauge(g, fits, p) for g in gauges]
        return lines[:height]

    # -- its parts

    def _header(self, fits: list[Fit], p: Palette) -> Line:
        line = Line().gap(2, p["ground"])
        for f in fits:
            if f.column.key == "trend" and self.wide:
                line.extend(time_axis(self.wall - f.width * STEP_S, self.wall, f.width, self.changes, p))
            else:
                line.fit(f.column.title, f.width, p["muted"], f.column.align).gap(2, p["ground"])
        return line

    def _slots(self, s: StageView) -> tuple[str, str]:
        planned = self.planned.get(s.name)
        if planned is not None:
            return f"{s.busy}/{s.capacity}→{planned.target}", "change"
        if s.paused:
            return "paused", "info"
        return f"{s.busy}/{s.capacity}", "bright" if s.busy else "muted"

    @staticmethod
    def _errors(s: StageView) -> tuple[str, str]:
        if s.failed:
            return f"▲{fmt.brief(s.failed)}", "warn"
        if s.retries:
            return f"↻{fmt.brief(s.retries)}", "muted"
        return "0", "faint"

    def _load_token(self, s: StageView) -> str:
        return "accent" if s.name == self.bottleneck else "bar"

    def _trend_token(self, s: StageView) -> str:
        return "bar" if s.name == self.bottleneck else "spark"

    def _row(self, s: StageView, fits: list[Fit], width: int, p: Palette) -> Line:
        here = s.name == self.current
        q = p.on_cursor() if here else p
        mark = "■" if s.name == self.bottleneck else "‖" if s.paused else " "
        line = Line().add("▸" if here else " ", q["accent"]).add(mark, q["accent"])
        for f in fits:
            self._table_cell(line, s, f.column.key, f.width, q)
            line.gap(2, q["ground"])
        return line.to(width, q["ground"])

    @staticmethod
    def _gauge(gauge: Gauge, fits: list[Fit], p: Palette) -> Line:
        line, texts = Line().gap(2, p["ground"]).fit(gauge.name, fits[0].width, p["muted"]), iter((gauge.words, gauge.more))
        start, drawn = 2, 2 + fits[0].width  # of this column; and up to where the line is
        for before, f in pairwise(fits):
            start += before.width + 2
            if f.column.key not in _BESIDE:
                continue
            if before.column.key not in _BESIDE:  # the room between two of these
                line.to(drawn + 2, p["ground"]).fit(next(texts, ""), start - drawn - 4, p["text"])
            line.to(start, p["ground"])
            drawn = start + f.width
            if f.column.key == "share" and gauge.share is not None:
                meter(line, gauge.share, f.width, p)
            elif f.column.key == "percent" and gauge.share is not None:
                line.fit(fmt.percent(gauge.share), f.width, p["text"], ">")
            elif f.column.key == "trend":
                line.add(spark(gauge.history, f.width, gauge.top), p["spark"])
        return line

    def _table_cell(self, line: Line, s: StageView, key: str, w: int, p: Palette) -> None:
        slots, token = self._slots(s)
        errors, errors_token = self._errors(s)
        match key:
            case "name":
                line.fit(s.name, w, p["accent+b" if s.name == self.bottleneck else "text"])
            case "busy":
                line.fit(slots, w, p[token], ">")
            case "depth":
                line.fit(fmt.brief(s.depth), w, p["text" if s.depth else "faint"], ">")
            case "wait":
                line.fit(fmt.span(s.oldest_wait_s) if s.depth else "", w, p["muted"], ">")
            case "share":
                meter(line, s.busy_share, w, p, self._load_token(s))
            case "percent":
                line.fit(fmt.percent(s.busy_share), w, p["text"], ">")
            case "rate":
                line.fit(fmt.rate(s.per_minute), w, p["text"], ">")
            case "p50":
                line.fit(fmt.span(s.service_p50_s), w, p["text"], ">")
            case "p95":
                line.fit(fmt.span(s.service_p95_s), w, p["muted"], ">")
            case "rtfx":
                line.fit(fmt.times(s.rtfx) if s.rtfx is not None else fmt.UNKNOWN, w, p["muted"], ">")
            case "failed":
                line.fit(errors, w, p[errors_token], ">")
            case "note":
                line.fit((s.last_error if s.failed else s.note) or "", w, p["muted"])
            case "trend":
                line.add(spark(s.trend, w), p[self._trend_token(s)])

    def on_click(self, event: events.Click) -> None:
        if not self.stages:
            return
        i = event.y - 2
        if 0 <= i < len(self.stages):
            self.current = self.stages[i].name
            self.redraw()
