"""All stages side by side: channel strips where there is room, a table where there is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from textual import events

from gainstage.engine.views.snapshot import StageView
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.glyphs import meter, spark
from gainstage.tui.widgets.panel import Panel
from gainstage.tui.widgets.table import Column, fitted

STRIP_COLUMNS = 150
"""From this width on stages are channel strips."""

COLUMNS = (
    Column("name", "STAGE", 10, keep=10),
    Column("busy", "BUSY", 5, ">", keep=10),
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


@dataclass(frozen=True, slots=True)
class Planned:
    """Slots of a stage on their way to another number."""

    target: int
    sent: bool


class StagesPanel(Panel):
    TITLE = "stages"
    OF_ENGINE = True

    def __init__(self) -> None:
        super().__init__(id="stages")
        self.stages: tuple[StageView, ...] = ()
        self.bottleneck: str | None = None
        self.planned: Mapping[str, Planned] = {}
        self.current: str | None = None

    def show(self, stages: tuple[StageView, ...], bottleneck: str | None, planned: Mapping[str, Planned]) -> None:
        """``planned`` by stage name: what was staged or sent but not acknowledged."""
        if (stages, bottleneck, planned) == (self.stages, self.bottleneck, self.planned):
            return
        self.stages, self.bottleneck, self.planned = stages, bottleneck, planned
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
    def strips(self) -> bool:
        return self.size.width >= STRIP_COLUMNS

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
        return self._strips(width, height, p) if self.strips else self._table(width, height, p)

    # -- the words both forms share

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

    # -- channel strips

    def _strips(self, width: int, height: int, p: Palette) -> list[Line]:
        n = len(self.stages)
        room = width - 3 * (n - 1)
        widths = [room // n + (1 if i < room % n else 0) for i in range(n)]
        lines = [Line() for _ in range(7)]
        for i, (s, w) in enumerate(zip(self.stages, widths, strict=True)):
            for line, part in zip(lines, self._strip(s, w, p), strict=True):
                line.extend(part).gap(w - part.used, p["ground"])
                if i < n - 1:
                    line.add(" │ ", p["line"])
        return lines[:height]

    def _strip(self, s: StageView, w: int, p: Palette) -> list[Line]:
        here = s.name == self.current
        slots, token = self._slots(s)
        mark = ("▸" if here else "") + ("■ " if s.name == self.bottleneck else "‖ " if s.paused else " " if here else "")
        head = p.on_cursor() if here else p
        name_token = "accent+b" if s.name == self.bottleneck else "info" if s.paused else "bright" if s.busy or here else "text"
        title = Line().clip(f"{mark}{s.name}", w - len(slots) - 1, head[name_token])
        title.gap(w - title.used - len(slots), head["ground"]).add(slots, head[token])
        load = meter(Line(), s.busy_share, w - 5, p, self._load_token(s)).fit(fmt.percent(s.busy_share), 5, p["text"], ">")
        queue = Line().add("queue ", p["muted"]).fit(fmt.brief(s.depth), 4, p["text" if s.depth else "faint"], ">")
        queue.fit(fmt.span(s.oldest_wait_s) if s.depth else "", w - queue.used, p["muted"], ">")
        speed = Line().add(fmt.rate(s.per_minute, "/min"), p["text"])
        factor = fmt.times(s.rtfx) if s.rtfx is not None else ""
        speed.fit(f"{factor} rt" if factor and speed.used + len(factor) + 4 <= w else factor, w - speed.used, p["muted"], ">")
        if w < 18:
            times = Line().add("p50/95", p["muted"]).fit(fmt.span(s.service_p50_s), 5, p["text"], ">")
        else:
            times = Line().add("p50", p["muted"]).fit(fmt.span(s.service_p50_s), 6, p["text"], ">").add(" p95", p["muted"])
        times.fit(fmt.span(s.service_p95_s), w - times.used, p["text"], ">")
        errors, errors_token = self._errors(s)
        note = s.last_error if s.failed and s.last_error else s.note or ""
        tight = len(errors) + len(note) + 6 > w and errors != "0"  # the glyph says that it counts errors
        last = Line().add("" if tight else "err ", p["muted"]).add(errors, p[errors_token])
        last.fit("  " + note if note else "", w - last.used, p["muted"], ">")
        return [title, load, queue, speed, times, Line().add(spark(s.trend, w), p[self._trend_token(s)]), last]

    # -- table

    def _table(self, width: int, height: int, p: Palette) -> list[Line]:
        fits = fitted(COLUMNS, width - 2)
        header = Line().gap(2, p["ground"])
        for f in fits:
            header.fit(f.column.title, f.width, p["muted"], f.column.align).gap(2, p["ground"])
        lines = [header]
        for s in self.stages[: max(0, height - 1)]:
            here = s.name == self.current
            q = p.on_cursor() if here else p
            line = (
                Line()
                .add("▸" if here else " ", q["accent"])
                .add("■" if s.name == self.bottleneck else "‖" if s.paused else " ", q["accent"])
            )
            for f in fits:
                self._table_cell(line, s, f.column.key, f.width, q)
                line.gap(2, q["ground"])
            lines.append(line.to(width, q["ground"]))
        return lines

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
            case "trend":
                line.add(spark(s.trend, w), p[self._trend_token(s)])

    def on_click(self, event: events.Click) -> None:
        if not self.stages:
            return
        if self.strips:
            width = self.inner[0]
            n = len(self.stages)
            i = min(n - 1, max(0, (event.x - 2) * n // max(1, width)))
        else:
            i = event.y - 2
        if 0 <= i < len(self.stages):
            self.current = self.stages[i].name
            self.redraw()
