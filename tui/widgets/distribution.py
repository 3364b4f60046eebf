"""How the variances of the clusters are spread, and where the limit cuts them."""

from __future__ import annotations

from dataclasses import replace

from gainstage.engine.views.judged import Judged
from gainstage.engine.views.snapshot import DecisionRow, DecisionsView
from gainstage.tui.render import format as fmt
from gainstage.tui.render import judged
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.decisions import variance_histogram
from gainstage.tui.widgets.glyphs import columns_of, spark
from gainstage.tui.widgets.panel import Panel


class DistributionPanel(Panel):
    TITLE = "variance of similarity"

    def __init__(self) -> None:
        super().__init__(id="distribution")
        self.rows: tuple[DecisionRow, ...] = ()
        self.view: DecisionsView | None = None
        self.tried: float | None = None

    def show(self, rows: tuple[DecisionRow, ...], view: DecisionsView | None, tried: float | None) -> None:
        """``tried``: the variance limit being tried out, drawn beside the one in force."""
        if (rows, view, tried) != (self.rows, self.view, self.tried):
            self.rows, self.view, self.tried = rows, view, tried
            self.redraw()

    def heading(self, p: Palette) -> Line:
        return super().heading(p).add(f"  last {len(self.rows)}", p["muted"])

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        if self.view is None or not self.rows:
            return [Line().add("no clusters yet", p["faint"])]
        limits = Judged.limits(self.view)
        limit = limits.variance_limit or 0.0
        n = max(8, (width - 6) // 2 // 2 * 2)
        counts = variance_histogram(self.rows, self.view, n)
        roots = [round(c**0.5 * 100) for c in counts]
        if height < 6:
            line = Line().add(spark([r / max(1, *roots) for r in roots[: n // 2]], n // 2), p["bar"]).add("┊", p["limit"])
            line.add(spark([r / max(1, *roots) for r in roots[n // 2 :]], n // 2), p["info"])
            return [line.add(f"  limit {judged.variance_limit(limits)}", p["muted"])]
        rows = height - 3
        lines = []
        cut = n  # in cells: buckets are two cells wide and the limit is in the middle
        tried = None if self.tried in (None, limit) or limit <= 0 else round(min(1.0, self.tried / (2 * limit)) * 2 * n)
        labels = ticks(max(counts), rows)
        for y, text in enumerate(columns_of(roots, rows)):
            line = Line().fit(f"{labels.get(y, '')}┤", 6, p["faint"], ">")
            line.add(text[:cut], p["bar"]).add("┊", p["limit"]).add(text[cut:], p["info"])
            if tried is not None:
                line = _marked(line, 6 + tried + (1 if tried >= cut else 0), p)
            lines.append(line)
        lines.append(Line().fit("└", 6, p["faint"], ">").add("─" * (2 * n + 1), p["faint"]))
        axis = Line().gap(6, p["ground"]).fit("0", cut - 3, p["faint"]).fit(judged.variance_limit(limits), 7, p["text"], "^")
        twice = replace(limits, variance_limit=2 * limit)
        lines.append(axis.fit(judged.variance_limit(twice) + "+", 2 * n + 7 - axis.used, p["faint"], ">"))
        note = Line().add(f"{self.view.grey} near a limit", p["text"])
        if self.view.split_share_24h is not None:
            note.add(f"   split {self.view.split_share_24h:.1%} in 24 h", p["muted"])
        lines.append(note)
        return lines


def ticks(top: int, rows: int) -> dict[int, str]:
    """Labels of a root scale of ``rows`` rows up to ``top``, by row from above: round numbers, never on neighbouring rows."""
    labels: dict[int, str] = {}
    power = 10 ** max(0, len(str(top)) - 1)
    while power >= 1:
        for value in (5 * power, 2 * power, power):
            row = min(rows - 1, int(rows * (1 - (value / top) ** 0.5))) if 0 < value <= top else -1
            if row >= 0 and not {row - 1, row, row + 1} & labels.keys():
                labels[row] = fmt.brief(value)
        power //= 10
    return labels


def _marked(line: Line, column: int, p: Palette) -> Line:
    """The line with the tried limit drawn into it."""
    strip = line.strip(line.used, p["ground"])
    out = Line()
    out.parts = [*strip.crop(0, column)]
    out.used = column
    out.add("╎", p["change"])
    rest = strip.crop(column + 1)
    out.parts += [*rest]
    out.used += rest.cell_length
    return out
