"""Audio hours per hour over time, with a mark where a setting was changed."""

from __future__ import annotations

from gainstage.engine.views.events import Event
from gainstage.engine.views.snapshot import Run
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.glyphs import braille, nice_top, time_axis
from gainstage.tui.widgets.panel import Panel

WINDOWS_MIN = (15, 30, 60)
YOUNG_MIN = 5
"""With fewer minutes than these known, what was each five seconds is drawn: a run of half a minute is a picture too."""
STEP_S = 5.0


def stretched(values: list[float | None], points: int) -> list[float | None]:
    """The values drawn out to more points, straight lines between them; gaps stay gaps."""
    n = len(values)
    if n == 0 or points <= 0:
        return []
    if n == 1:
        return [values[0]] * points
    out: list[float | None] = []
    for i in range(points):
        x = i * (n - 1) / max(1, points - 1)
        a, b = values[int(x)], values[min(n - 1, int(x) + 1)]
        out.append(a if b is None else b if a is None else a + (b - a) * (x - int(x)))
    return out


class ThroughputPanel(Panel):
    TITLE = "throughput"

    def __init__(self) -> None:
        super().__init__(id="throughput")
        self.run: Run | None = None
        self.changes: tuple[tuple[float, str], ...] = ()
        self.wall = self.now = 0.0

    def show(self, run: Run, wall: float, changes: tuple[tuple[float, str], ...], past_s: float = 0.0) -> None:
        """``changes``: (time, words) of settings changed, oldest first. ``past_s`` is how long the engine has sent nothing more."""
        now = wall + past_s
        if (run, changes, wall // 5, now // 5) != (self.run, self.changes, self.wall // 5, self.now // 5):
            self.run, self.changes, self.wall, self.now = run, changes, wall, now
            self.redraw()

    def heading(self, p: Palette) -> Line:
        return super().heading(p).add("  audio hours per hour", p["muted"])

    def corner(self, p: Palette) -> Line:
        run = self.run
        if run is None:
            return Line()
        rate = fmt.times(run.rtfx) if run.rtfx is not None else "measuring" if run.running and self.now == self.wall else "idle"
        return Line().add("now " if self.now == self.wall else "last ", p["faint"]).add(rate, p["bright"])

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        run = self.run
        if run is None:
            return [Line().add("not known yet", p["faint"])]
        rows = max(1, height - 2)
        label = 6
        cells = max(4, width - label)
        recent, share, window = self._recent(run)
        top = nice_top(max([1.0, *(v for v in recent if v is not None)]))
        lines: list[Line] = []
        drawn = stretched(recent, round(2 * cells * share))
        graph = braille(drawn, cells, rows, top)
        for i, text in enumerate(graph):
            scale = top if i == 0 else top / 2 if i == rows // 2 and top >= 2 else None
            line = Line().fit(f"{fmt.brief(scale)}┤" if scale is not None else "┤", label, p["faint"], ">")
            lines.append(line.add(text, p["bar"]))
        lines.append(self._axis(window * 60.0, cells, label, p))
        lines.append(self._sums(width, p))
        return lines

    @staticmethod
    def _recent(run: Run) -> tuple[list[float | None], float, int]:
        """What is drawn, oldest first and None while idle, the share of the axis that it fills, and the minutes of that."""
        if len(run.rtfx_history) < YOUNG_MIN and any(v is not None for v in run.rtfx_trend):
            trend = list(run.rtfx_trend)
            return trend, min(1.0, len(trend) * STEP_S / (60.0 * YOUNG_MIN)), YOUNG_MIN
        window = next((w for w in WINDOWS_MIN if len(run.rtfx_history) <= w), WINDOWS_MIN[-1])
        recent = [*run.rtfx_history[-window:], run.rtfx]
        return recent, min(1.0, len(recent) / (window + 1)), window

    def _axis(self, seconds: float, cells: int, label: int, p: Palette) -> Line:
        marks = [wall for wall, _ in self.changes]
        return Line().fit("└", label, p["faint"], ">").extend(time_axis(self.wall - seconds, self.wall, cells, marks, p))

    def _sums(self, width: int, p: Palette) -> Line:
        run = self.run
        assert run is not None
        if self.changes and self.wall - self.changes[-1][0] < 300:
            return Line().add("◆ ", p["change"]).clip(self.changes[-1][1], width - 2, p["text"])
        line = Line().add("failed ", p["muted"]).add(fmt.count(run.failed), p["warn" if run.failed else "text"])
        line.add("  retrying ", p["muted"]).add(fmt.count(run.retrying), p["text"]).add("  skipped ", p["muted"]).add(
            fmt.count(run.skipped), p["text"]
        )
        return line.add("  stored ", p["muted"]).add(
            f"{fmt.roughly(self.now - run.last_commit_wall)} ago" if run.last_commit_wall else fmt.UNKNOWN, p["text"]
        )


def changes_of(events: list[Event]) -> tuple[tuple[float, str], ...]:
    """The changes of settings among journal lines, the last twenty."""
    return tuple((e.wall, e.text) for e in events if e.kind == "change")[-20:]
