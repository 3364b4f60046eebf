"""The throughput of a run as an SVG: a bar for each stretch of time, a line at each change of a setting."""

from __future__ import annotations

import html
from math import floor, log10

from gainstage.engine.clean import clean_text, value_text
from gainstage.engine.views.run_report import RunReport
from gainstage.tui.render import format as fmt

WIDTH, HEIGHT = 760, 200
LEFT, TOP, BOTTOM = 46, 12, 26

_STYLE = "text{font:11px system-ui,sans-serif;fill:#777}.b{fill:#2f7dd1}.i{fill:#bbb}.g{stroke:#999;stroke-opacity:.35}.c{stroke:#d97706}"


def throughput_svg(report: RunReport) -> str:
    """One ``<svg>`` element. The y axis is audio seconds per second of work; time without work is a thin grey line."""
    bars = report.throughput
    if not bars:
        return ""
    first, last = bars[0].wall, bars[-1].wall + bars[-1].seconds
    highest = max((b.rtfx or 0.0) for b in bars) or 1.0
    step = tick_of(highest)
    top = step * (floor(highest / step) + 1)
    high, wide = HEIGHT - TOP - BOTTOM, WIDTH - LEFT - 8

    def x(wall: float) -> float:
        return LEFT + wide * (wall - first) / (last - first)

    def y(rate: float) -> float:
        return TOP + high * (1 - rate / top)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="throughput">']
    parts.append(f"<style>{_STYLE}</style>")
    for n in range(round(top / step) + 1):
        at = y(n * step)
        parts.append(f'<line class="g" x1="{LEFT}" x2="{WIDTH - 8}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{n * step:g}x</text>')
    for bar in bars:
        begin, width = x(bar.wall), max(0.8, x(bar.wall + bar.seconds) - x(bar.wall) - 1)
        if bar.rtfx is None:
            parts.append(f'<rect class="i" x="{begin:.1f}" y="{y(0) - 1:.1f}" width="{width:.1f}" height="1"/>')
            continue
        title = f"{fmt.clock(bar.wall)}: {bar.rtfx:.1f}x real time"
        parts.append(
            f'<rect class="b" x="{begin:.1f}" y="{y(bar.rtfx):.1f}" width="{width:.1f}" height="{y(0) - y(bar.rtfx):.1f}">'
            f"<title>{title}</title></rect>"
        )
    for change in report.changes:
        if first <= change.wall <= last:
            label = f"{change.key} {value_text(change.old)} → {value_text(change.new)}: {change.effect_text or 'not measured'}"
            parts.append(
                f'<line class="c" x1="{x(change.wall):.1f}" x2="{x(change.wall):.1f}" y1="{TOP}" y2="{y(0):.1f}">'
                f"<title>{html.escape(clean_text(label, 200))}</title></line>"
            )
    for wall, anchor in ((first, "start"), (last, "end")):
        parts.append(f'<text x="{x(wall):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{fmt.clock(wall)}</text>')
    return "".join([*parts, "</svg>"])


def tick_of(highest: float) -> float:
    """A round step (1, 2 or 5 times a power of ten) that divides an axis up to ``highest`` into two to five parts."""
    size = 10.0 ** floor(log10(highest / 2))
    return next(size * n for n in (1, 2, 5, 10) if highest / (size * n) <= 5)
