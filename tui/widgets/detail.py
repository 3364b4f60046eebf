"""One recording: what it went through, how long each stage waited and worked, what was found, what went wrong."""

from __future__ import annotations

from gainstage.engine.views.judged import Judged
from gainstage.engine.views.rows import RecordingDetail, Span
from gainstage.engine.views.snapshot import DecisionRow, FlightView
from gainstage.tui.render import format as fmt
from gainstage.tui.render import judged, safe
from gainstage.tui.render.cells import Line, sides
from gainstage.tui.render.theme import Palette
from gainstage.tui.state.alerts import lateness
from gainstage.tui.widgets.decisions import who
from gainstage.tui.widgets.glyphs import meter
from gainstage.tui.widgets.panel import Panel
from gainstage.tui.widgets.recordings_table import STATES
from gainstage.tui.widgets.ticker import sign_of
from gainstage.tui.widgets.voices_panel import outcome


def bars(spans: tuple[Span, ...], cells: int) -> list[tuple[int, int, int]]:
    """Where each span lies on a line of ``cells`` cells: (start, cells of waiting, cells of working)."""
    if not spans:
        return []
    begin = min(s.start_wall for s in spans)
    end = max(s.start_wall + s.wait_s + (s.service_s or 0.0) for s in spans)
    scale = (cells - 1) / max(1e-9, end - begin)
    places = []
    for s in spans:
        a = round((s.start_wall - begin) * scale)
        b = round((s.start_wall + s.wait_s - begin) * scale)
        c = round((s.start_wall + s.wait_s + (s.service_s or 0.0) - begin) * scale)
        places.append((a, b - a, max(1 if s.service_s is not None else 0, c - b)))
    return places


class DetailPanel(Panel):
    TITLE = "detail"

    def __init__(self) -> None:
        super().__init__(id="detail")
        self.detail: RecordingDetail | None = None
        self.flight: FlightView | None = None
        self.note = "Enter opens the recording under the cursor."
        self.now = 0.0
        self.top = 0
        self._total = 0

    def show_flight(self, flight: FlightView | None) -> None:
        """The recording as it runs in an engine now; None when it is in none."""
        if flight != self.flight:
            self.flight = flight
            self.redraw()

    def show(self, detail: RecordingDetail | None, now: float, note: str = "") -> None:
        if detail is None or self.detail is None or detail.row.id != self.detail.row.id:
            self.top = 0
        self.detail, self.now, self.note = detail, now, note
        self.redraw()

    def heading(self, p: Palette) -> Line:
        line = super().heading(p)
        if self.detail is not None:
            line.add("  ", p["ground"]).add(self.detail.row.id, p["bright"])
        return line

    def corner(self, p: Palette) -> Line:
        return Line().add("o link  L log", p["faint"])

    def scroll(self, rows: int) -> None:
        """Down by some lines (negative: up)."""
        self.top = max(0, min(self.top + rows, self._total - self.inner[1]))
        self.redraw()

    def on_mouse_scroll_down(self) -> None:
        self.scroll(3)

    def on_mouse_scroll_up(self) -> None:
        self.scroll(-3)

    def scroll_thumb(self, rows: int) -> tuple[int, int] | None:
        if self._total <= rows or rows <= 0:
            return None
        length = max(1, rows * rows // self._total)
        start = round((rows - length) * min(1.0, self.top / max(1, self._total - rows)))
        return start, start + length - 1

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        if self.detail is None:
            return [Line().add(self.note, p["faint"])]
        lines = self._short(width, p) if height < 12 else self._long(width, p)
        self._total = len(lines)
        top = max(0, min(self.top, len(lines) - height))
        return lines[top : top + height]

    def _state(self, p: Palette) -> Line:
        assert self.detail is not None
        row = self.detail.row
        text, token = STATES.get(row.status, (row.status, "text"))
        line = Line().add(text, p[token]) if row.warning is None else Line().add(f"▲ {row.status}", p["warn"])
        if row.status == "running" and row.stage:
            line.add(f" {row.stage}", p["text"])
        line.add(f"  attempt {row.attempt}/{row.attempts}", p["warn" if row.attempt > 1 else "muted"])
        if row.next_try_wall is not None:
            line.add(f"  again in {fmt.roughly(row.next_try_wall - self.now)}", p["warn"])
        if row.priority:
            line.add(f"  priority {row.priority:+d}", p["muted"])
        return line

    def _in_flight(self, width: int, p: Palette) -> list[Line]:
        """Where it is now: stages are recorded when they end, so what runs is read from the snapshot."""
        f = self.flight
        if f is None or self.detail is None or f.id != self.detail.row.id:
            return []
        line = Line().fit(f.stage, 11, p["accent"])
        if f.waiting:
            return [line.add(f"waiting for {fmt.span(f.in_stage_s)}", p["text"])]
        meter(line, f.progress, 8, p, "bar")
        line.fit(fmt.percent(f.progress), 5, p["text"], ">").add(f"  {fmt.span(f.in_stage_s)}", p["bright"])
        if f.expected_p95_s is not None:
            token = {"ok": "muted", "warn": "warn", "crit": "crit"}[lateness(f.in_stage_s, f.expected_p95_s)]
            line.add(f"  p95 {fmt.span(f.expected_p95_s)} for its length", p[token])
        beside = " · ".join(filter(None, (f"{f.side_stage} beside it" if f.side_stage else "", f.note)))
        if not beside:
            return [line]
        return [line, Line().gap(11, p["ground"]).clip(beside, width - 11, p["warn" if f.attempt > 1 else "muted"])]

    def _fault(self, width: int, p: Palette, most: int = 4) -> list[Line]:
        assert self.detail is not None
        row = self.detail.row
        lines = []
        if row.error:
            lines += [
                Line().add("■ " if i == 0 else "  ", p["crit"]).add(t, p["crit"])
                for i, t in enumerate(safe.wrapped(row.error, width - 2, most))
            ]
        if row.hint:
            lines += [
                Line().add("→ " if i == 0 else "  ", p["accent"]).add(t, p["text"])
                for i, t in enumerate(safe.wrapped(row.hint, width - 2, most))
            ]
        return lines

    def _warnings(self, width: int, p: Palette, most: int = 3) -> list[Line]:
        assert self.detail is not None
        lines = []
        for warning in self.detail.warnings:
            text = f"{warning.message}. {warning.hint}" if warning.hint else warning.message
            lines += [
                Line().add("▲ " if i == 0 else "  ", p["warn"]).add(t, p["warn"])
                for i, t in enumerate(safe.wrapped(text, width - 2, most))
            ]
        return lines

    def _short(self, width: int, p: Palette) -> list[Line]:
        """For the few lines of a narrow screen: the stages in one line, those that took longest first."""
        assert self.detail is not None
        d = self.detail
        chain = Line()
        spans = sorted(d.spans, key=lambda s: -(s.service_s if s.service_s is not None else s.wait_s))
        for i, s in enumerate(spans):
            if i:
                chain.add(" · ", p["faint"])
            took = s.service_s if s.service_s is not None else s.wait_s
            chain.add(s.stage, p["text" if s.outcome in ("ok", "done") else "accent"]).add(f" {fmt.span(took)}", p["muted"])
        facts = Line().clip(" · ".join(f"{name} {value}" for name, value in d.facts), width, p["muted"])
        head = sides(
            Line().clip(d.row.title, width - 20, p["bright"]),
            Line().add(fmt.runtime(d.row.duration_s), p["muted"]),
            width,
            p["ground"],
        )
        return [
            head,
            self._state(p),
            *(self._in_flight(width, p) or [chain]),
            *self._fault(width, p, 2),
            *self._warnings(width, p, 1),
            facts,
            *self._log(width, p, 3),
        ]

    def _long(self, width: int, p: Palette) -> list[Line]:
        assert self.detail is not None
        d = self.detail
        lines = [Line().add(t, p["bright"]) for t in safe.wrapped(d.row.title, width, 2)]
        lines.append(self._state(p))
        added = f"added {fmt.clock(d.row.added_wall)} · changed {fmt.roughly(self.now - d.row.changed_wall)} ago · {fmt.runtime(d.row.duration_s)}"
        lines += [Line().clip(added, width, p["muted"]), Line()]
        running = self._in_flight(width, p)
        lines += [*running, Line()] if running else []
        fault = [*self._fault(width, p), *self._warnings(width, p)]
        lines += [*fault, Line()] if fault else []
        lines += self._timeline(width, p)
        if d.speakers:
            lines += [Line(), *self._speakers(width, p)]
        if d.facts:
            lines.append(Line())
            cells = min(22, max(len(name) for name, _ in d.facts))
            lines += [line for name, value in d.facts for line in _fact(name, value, cells, width, p)]
        if d.decisions:
            lines += [Line(), Line().add("decisions", p["title+b"])]
            lines += [self._decision(x, width, p) for x in d.decisions[:6]]
        if d.events:
            lines += [Line(), Line().add("journal", p["title+b"]), *self._log(width, p, 8)]
        if d.traceback:
            lines += [Line(), Line().add("traceback", p["title+b"])]
            lines += [Line().add(t, p["muted"]) for t in safe.wrapped(safe.conceal(d.traceback), width, 40)]
        return lines

    @staticmethod
    def _decision(d: DecisionRow, width: int, p: Palette) -> Line:
        word, token = outcome(d)
        line = Line().fit(fmt.cluster(d.cluster), 4, p["muted"]).add(word, p[token]).add("  ", p["ground"])
        figures = Judged.of(d, None)
        text = f"  mean {fmt.decimal(d.mean, 2)} var {judged.variance(figures)} rng {judged.range_of(figures)}"
        named = Line().clip(who(d), width - line.used - len(text), p["text"])
        return sides(line.extend(named), Line().add(text, p["muted"]), width, p["ground"])

    def _timeline(self, width: int, p: Palette) -> list[Line]:
        assert self.detail is not None
        spans = self.detail.spans
        if not spans:
            return [Line().add("no stage has ended yet", p["faint"])]
        cells = width - 11 - 7 - 7 - 3
        lines = [
            Line()
            .fit("STAGE", 11, p["muted"])
            .fit("WAIT", 6, p["muted"], ">")
            .fit("TOOK", 7, p["muted"], ">")
            .add("   WHEN", p["muted"])
        ]
        for s, (start, wait, work) in zip(spans, bars(spans, cells), strict=True):
            running = s.outcome in ("running", "waiting")
            fine = running or s.outcome in ("ok", "done", "stored")
            line = Line().fit(s.stage, 11, p["accent" if running else "text" if fine else "crit"])
            line.fit(fmt.span(s.wait_s), 6, p["muted"], ">").fit(fmt.span(s.service_s), 7, p["text"], ">").gap(3, p["ground"])
            line.gap(min(start, cells), p["ground"]).add("╌" * wait, p["faint"]).add("━" * work, p["bar" if fine else "crit"])
            if not fine:
                line.clip(f" {s.outcome}", width - line.used, p["crit"])
            lines.append(line)
        return lines

    def _speakers(self, width: int, p: Palette) -> list[Line]:
        assert self.detail is not None
        total = sum(seconds for _, seconds in self.detail.speakers) or 1.0
        lines = []
        for i, (name, seconds) in enumerate(self.detail.speakers[:6]):
            line = Line().fit(name, 22, p["text"])
            meter(line, seconds / total, max(6, width - 22 - 15), p, f"voice-{i % 4 + 1}")
            lines.append(line.fit(fmt.percent(seconds / total), 5, p["text"], ">").fit(fmt.runtime(seconds), 9, p["muted"], ">"))
        return lines

    def _log(self, width: int, p: Palette, most: int) -> list[Line]:
        assert self.detail is not None
        lines = []
        for e in reversed(self.detail.events[-most:]):
            sign, token = sign_of(e)
            line = Line().add(fmt.clock(e.wall), p["faint"]).add(f" {sign} ", p[token])
            text = e.text.removeprefix(f"{self.detail.row.id} ")
            lines.append(line.clip(text, width - line.used, p["text"]))
        return lines


def _fact(name: str, value: str, cells: int, width: int, p: Palette) -> list[Line]:
    """A name and what is known of it, on as many lines as that takes."""
    first, *rest = safe.wrapped(value, width - cells - 2) or [""]
    line = Line().fit(name, cells, p["muted"]).gap(2, p["ground"]).add(first, p["text"])
    return [line, *(Line().gap(cells + 2, p["ground"]).add(more, p["text"]) for more in rest)]
