"""The evidence behind one decision: every similarity it rests on, drawn against the threshold."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding

from gainstage.engine.views.judged import Judged
from gainstage.engine.views.snapshot import DecisionRow, DecisionsView
from gainstage.tui.render import format as fmt
from gainstage.tui.render import judged, safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.hearing import hear
from gainstage.tui.screens.modals.dialog import Dialog
from gainstage.tui.widgets.glyphs import meter, similarity
from gainstage.tui.widgets.voices_panel import outcome


class EvidenceScreen(Dialog[None]):
    WIDTH = 100
    BINDINGS: ClassVar[list[Any]] = [Binding("enter,q", "leave", show=False), Binding("y", "hear", show=False)]

    def __init__(self, decision: DecisionRow, view: DecisionsView | None) -> None:
        super().__init__()
        self.decision, self.view = decision, view

    def heading_text(self) -> str:
        return f"evidence · {self.decision.recording} {self.decision.cluster}"

    def corner_text(self) -> str:
        return "y hear it  Esc"

    def action_hear(self) -> None:
        hear(self.console, self.decision.recording, cluster=self.decision.cluster)

    def lines(self, width: int, p: Palette) -> list[Line]:
        d = self.decision
        word, token = outcome(d)
        lines = [Line().clip(d.title, width, p["bright"])]
        lines.append(
            Line()
            .add(word, p[token + "+b"])
            .add(f"  by rule: {d.rule}  ", p["text"])
            .add(f"settings revision {d.revision} · {fmt.clock(d.wall)}", p["muted"])
        )
        lines += [Line().add(t, p["text"]) for t in safe.wrapped(d.why, width)]
        lines += [Line(), *self._figures(width, p), Line()]
        lines.append(
            Line()
            .fit("SAMPLE", 8, p["muted"])
            .fit("SIM", 6, p["muted"], ">")
            .gap(2, p["ground"])
            .add("0 ── similarity ── 1   ┊ threshold", p["muted"])
        )
        cells = width - 18
        for i, value in enumerate(d.similarities):
            line = Line().fit(f"{i + 1}", 8, p["muted"]).fit(fmt.decimal(value, 2), 6, p["text"], ">").gap(2, p["ground"])
            lines.append(
                similarity(
                    line, None, value, None, d.threshold, cells, p, "bar" if d.threshold is None or value >= d.threshold else "info"
                )
            )
        if not d.similarities:
            lines.append(Line().add("no voice was compared: too short, or one long turn that is identified again", p["muted"]))
        lines += [Line(), Line().add("afterwards", p["title+b"])]
        total = sum(seconds for _, seconds in d.speakers) or 1.0
        for i, (name, seconds) in enumerate(d.speakers):
            line = Line().fit(name, 26, p["text"])
            meter(line, seconds / total, 30, p, f"voice-{i % 4 + 1}")
            lines.append(line.fit(fmt.percent(seconds / total), 6, p["text"], ">").fit(fmt.runtime(seconds), 9, p["muted"], ">"))
        return lines

    def _figures(self, width: int, p: Palette) -> list[Line]:
        d, v = self.decision, self.view
        line = (
            Line()
            .add("turns ", p["muted"])
            .add(f"{d.turns}", p["text"])
            .add("  speech ", p["muted"])
            .add(fmt.runtime(d.seconds), p["text"])
        )
        figures = Judged.of(d, v)
        for name, value, limit in (
            ("mean", fmt.decimal(d.mean, 2), fmt.decimal(d.threshold, 2)),
            ("variance", judged.variance(figures), judged.variance_limit(figures)),
            ("range", judged.range_of(figures), judged.range_limit(figures)),
        ):
            line.add(f"  {name} ", p["muted"]).add(value, p["bright"])
            if limit != fmt.UNKNOWN:
                line.add(f"/{limit}", p["muted"])
        ends = Line().add("min ", p["muted"]).add(fmt.decimal(d.low, 2), p["text"])
        ends.add("  max ", p["muted"]).add(fmt.decimal(d.high, 2), p["text"])
        return [line.gap(2, p["ground"]).extend(ends)] if line.used + ends.used + 2 <= width else [line, ends]
