"""Batch extraction: how full the batches are, what they cost, what the cache saved."""

from __future__ import annotations

from gainstage.engine.views.snapshot import BatcherView
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line, sides
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.glyphs import meter, spark
from gainstage.tui.widgets.panel import Panel


class BatchesPanel(Panel):
    TITLE = "batch extraction"

    def __init__(self) -> None:
        super().__init__(id="batches")
        self.batchers: tuple[BatcherView, ...] = ()

    def show(self, batchers: tuple[BatcherView, ...]) -> None:
        if batchers != self.batchers:
            self.batchers = batchers
            self.redraw()

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        if not self.batchers:
            return [Line().add("no batches yet", p["faint"])]
        if height <= 3:
            return [self._brief(b, p) for b in self.batchers]
        lines: list[Line] = []
        for b in self.batchers:
            lines += [Line()] if lines else []
            lines += self._one(b, width, p)
        return lines

    @staticmethod
    def _brief(b: BatcherView, p: Palette) -> Line:
        line = (
            Line()
            .fit(b.name, 8, p["bright"])
            .add(f"{fmt.count(b.batches)} batches", p["text"])
            .add(f" · {fmt.rate(b.per_second, '/s')}", p["text"])
        )
        line.add(f" · p50 {fmt.brief(b.items_p50)} p95 {fmt.brief(b.items_p95)}", p["muted"]).add(
            f" · fill {fmt.percent(b.fill)}", p["muted"]
        )
        return line.add(f" · ▲ {b.out_of_memory} out of memory", p["warn"]) if b.out_of_memory else line

    @staticmethod
    def _one(b: BatcherView, width: int, p: Palette) -> list[Line]:
        head = (
            Line()
            .add(b.name, p["bright+b"])
            .add(f"  {fmt.brief(b.items)} in {fmt.plural(b.batches, 'batch', 'batches')}", p["muted"])
        )
        head = sides(head, Line().add(fmt.rate(b.per_second, "/s"), p["accent"]), width, p["ground"])
        top = max([*b.sizes, 1])
        sizes = Line().fit("size", 7, p["muted"]).add(spark([(c / top) ** 0.5 for c in b.sizes], len(b.sizes)), p["bar"])
        sizes.add(f" p50 {fmt.brief(b.items_p50)} p95 {fmt.brief(b.items_p95)} max {fmt.brief(b.items_max)}", p["text"])
        fill = Line().fit("fill", 7, p["muted"])
        meter(fill, b.fill, 8, p).add(f" {fmt.percent(b.fill)}", p["text"]).add(
            f" of {b.budget:g}{' s' if b.unit.startswith('s ') else ''}", p["muted"]
        )
        if b.padding_waste is not None:
            fill.add(f"  waste {fmt.percent(b.padding_waste)}", p["muted"])
        waits = (
            Line()
            .fit("wait", 7, p["muted"])
            .add(f"{fmt.span(b.wait_p50_s)}", p["text"])
            .add(f" p95 {fmt.span(b.wait_p95_s)}", p["muted"])
        )
        waits.add(" run ", p["muted"]).add(fmt.span(b.service_p50_s), p["text"]).add(
            f" p95 {fmt.span(b.service_p95_s)}", p["muted"]
        )
        lines = [head, sizes, fill, waits]
        if b.cache_hits is not None:
            total = b.cache_hits + (b.cache_misses or 0)
            cache = Line().fit("cache", 7, p["muted"])
            share = b.cache_hits / total if total else None
            meter(cache, share, 10, p, "ok").add(f" {fmt.percent(share)}", p["text"]).add(
                f" hit, {fmt.brief(b.cache_hits)} saved", p["muted"]
            )
            lines.append(cache)
        faults = Line().fit("faults", 7, p["muted"])
        faults.add(f"memory {b.out_of_memory}", p["warn" if b.out_of_memory else "faint"])
        faults.add(f"  on CPU {b.fallbacks}", p["warn" if b.fallbacks else "faint"])
        faults.add(f"  refused {b.refused}", p["text" if b.refused else "faint"])
        return [*lines, faults]
