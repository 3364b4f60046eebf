"""Batch extraction and variance decisions on the Deck: the figures, the distribution, the last three."""

from __future__ import annotations

from gainstage.engine.views.judged import Judged
from gainstage.engine.views.snapshot import BatcherView, DecisionRow, DecisionsView
from gainstage.tui.render import format as fmt
from gainstage.tui.render import judged
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.glyphs import spark
from gainstage.tui.widgets.panel import Panel


def outcome(d: DecisionRow) -> tuple[str, str]:
    """The decision in a glyph and a word, with its token; a split is no fault."""
    if d.massive:
        return ("■ SPLIT massive" if d.split else "▲ MASSIVE"), "warn"
    return ("◆ SPLIT", "info") if d.split else ("● KEEP", "muted")


class VoicesPanel(Panel):
    TITLE = "voices"
    OF_ENGINE = True
    HINT = "3"

    def __init__(self) -> None:
        super().__init__(id="voices")
        self.batcher: BatcherView | None = None
        self.decisions: DecisionsView | None = None

    def show(self, batchers: tuple[BatcherView, ...], decisions: DecisionsView) -> None:
        batcher = next((b for b in batchers if b.name == "voices"), None)
        if (batcher, decisions) != (self.batcher, self.decisions):
            self.batcher, self.decisions = batcher, decisions
            self.redraw()

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        if self.decisions is None:
            return [Line().add("not known yet", p["faint"])]
        if height <= 2:
            return [self._one_line(p)]
        lines = [*self._batches(width, p), self._clusters(width, p), self._variance(width, p)]
        if not self.decisions.latest:
            lines.append(Line().add("The first decision comes with the first voices.", p["faint"]))
        lines.extend(self._latest(d, width, p) for d in self.decisions.latest[: max(0, height - len(lines))])
        return lines

    def _batches(self, width: int, p: Palette) -> list[Line]:
        b = self.batcher
        if b is None:
            return [Line().add("no batches yet", p["faint"]), Line()]
        first = Line().add("batches ", p["muted"]).add(fmt.count(b.batches), p["text"]).add("  voices/batch ", p["muted"])
        first.add(f"{fmt.brief(b.items_p50)}", p["text"]).add(f" p95 {fmt.brief(b.items_p95)}", p["muted"])
        first.add("  ", p["ground"]).add(fmt.rate(b.per_second, "/s"), p["bright"])
        hits, misses = b.cache_hits or 0, b.cache_misses or 0
        cached = fmt.percent(hits / (hits + misses)) if hits + misses else fmt.UNKNOWN
        second = (
            Line()
            .add("cache ", p["muted"])
            .add(cached, p["text"])
            .add("  budget ", p["muted"])
            .add(f"{b.budget:g} s a batch", p["text"])
        )
        if b.out_of_memory:
            second.add(f"  ▲ memory {b.out_of_memory}", p["warn"])
        if b.fallbacks:
            second.add(f"  ▲ {b.fallbacks} on CPU", p["warn"])
        return [first, second]

    def _clusters(self, width: int, p: Palette) -> Line:
        d = self.decisions
        assert d is not None
        share = f" {d.split / d.clusters:.0%}" if d.clusters else ""
        line = Line().add("clusters ", p["muted"]).add(fmt.count(d.clusters), p["bright"])
        line.add(" ● kept ", p["muted"]).add(fmt.count(d.kept), p["text"])
        line.add(" ◆ split ", p["muted"]).add(f"{fmt.count(d.split)}{share}", p["info"])
        if d.massive:
            line.add(" massive ", p["muted"]).add(fmt.count(d.massive), p["text"])
        return line

    def _variance(self, width: int, p: Palette) -> Line:
        d = self.decisions
        assert d is not None
        line = Line().add("variance ", p["muted"])
        counts = d.variance_histogram
        if counts:
            top = float(max([*counts, 1]))
            half = len(counts) // 2
            heights = [(c / top) ** 0.5 for c in counts]  # root scale: one tall bar must not flatten the tail
            line.add(spark(heights[:half], half), p["bar"]).add("┊", p["limit"]).add(
                spark(heights[half:], len(counts) - half), p["info"]
            )
        limits = Judged.limits(d)
        line.add(f" limits {judged.variance_limit(limits)}, {judged.range_limit(limits)}", p["muted"])
        if d.grey:
            line.add(f" ~{d.grey}", p["text"])
        return line

    def _latest(self, d: DecisionRow, width: int, p: Palette) -> Line:
        text, token = outcome(d)
        line = (
            Line()
            .add(fmt.clock(d.wall, seconds=False), p["faint"])
            .gap(1, p["ground"])
            .fit(d.recording, 11, p["muted"])
            .gap(1, p["ground"])
        )
        figures = Judged.of(d, None)
        line.fit(fmt.cluster(d.cluster), 3, p["muted"]).add(f" {judged.variance(figures)}, {judged.range_of(figures)} ", p["muted"])
        line.add(text, p[token])
        if d.split:
            line.clip(f" {'/'.join(str(round(s)) for _, s in d.speakers[:3])} s", width - line.used, p["muted"])
        elif d.speakers:
            line.clip(f" {d.speakers[0][0]}", width - line.used, p["muted"])
        return line

    def _one_line(self, p: Palette) -> Line:
        d, b = self.decisions, self.batcher
        assert d is not None
        line = Line().add("voices ", p["muted"])
        if b is not None:
            line.add(f"{fmt.count(b.batches)} batches p50 {fmt.brief(b.items_p50)}", p["text"]).add(" · ", p["faint"])
        line.add(f"kept {fmt.count(d.kept)} ", p["text"]).add(f"◆ split {fmt.count(d.split)} ", p["info"])
        return line.add(f"massive {fmt.count(d.massive)}", p["text"]).add(
            f" · limit {judged.variance_limit(Judged.limits(d))}", p["muted"]
        )
