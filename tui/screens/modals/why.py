"""Why this verdict: every rule that was looked at and what it saw."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding

from gainstage.tui.render import format as fmt
from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.dialog import Dialog
from gainstage.tui.state.frame import Frame
from gainstage.tui.widgets.bars import health_word
from gainstage.tui.widgets.verdict import no_advice

EVERY_S = 1.0
"""How often the dialog follows what it explains: it is to be read."""


class WhyScreen(Dialog[None]):
    WIDTH = 108
    BINDINGS: ClassVar[list[Any]] = [Binding("w,enter,q", "leave", show=False)]

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self.frame = frame

    def heading_text(self) -> str:
        return "why this verdict"

    def apply(self, frame: Frame) -> None:
        if abs(frame.now - self.frame.now) >= EVERY_S or frame.health != self.frame.health:
            self.frame = frame
            self.changed()

    def lines(self, width: int, p: Palette) -> list[Line]:
        f = self.frame
        word, token = health_word(f)
        lines = [Line().add(word, p[token + "+b"])]
        s = f.snapshot
        if s is None:
            return [*lines, Line(), *self._said("No engine has ever reported here.", width, p)]
        v = s.verdict
        if f.health in ("stale", "offline"):
            lines += self._said(
                f"The last frame is {fmt.span(f.age_s)} old: 1.5 s is stale, 5 s offline. {f.error or ''}", width, p
            )
        lines[0].add(f"  {v.reason}", p["text"])
        if v.since_wall is not None:
            lines[0].add(f"  since {fmt.clock(v.since_wall)}", p["muted"])
        lines += [Line(), Line().add("Rules, in the order they are asked", p["title+b"])]
        for rule in v.why:
            sign, _, text = rule.partition(" ")
            chosen = sign == "→"
            name, _, seen = text.partition(": ")
            first, *rest = safe.wrapped(seen or text, width - 15) or [""]
            line = Line().add(" → " if chosen else "   ", p["accent"]).fit(name, 11, p["bright+b" if chosen else "muted"])
            lines.append(line.add(first, p["bright" if chosen else "text"]))
            lines += [Line().gap(14, p["ground"]).add(more, p["text"]) for more in rest]
        b = v.bottleneck
        lines += [Line(), Line().add("Bottleneck", p["title+b"]), *self._said(f"{b.text}. {b.evidence}", width, p)]
        if (split := s.host.split) is not None and s.host.cpu is not None:
            lines += [Line(), Line().add("Processor", p["title+b"])]
            lines += self._said(f"{s.host.cpu:.0%} of all cores in use: {split.text}", width, p)
        if s.autopilot is not None:
            lines += [Line(), Line().add("Autopilot", p["title+b"]), *self._said(f"It {s.autopilot}", width, p)]
        a = v.advice
        lines += [Line(), Line().add("Advice", p["title+b"])]
        lines += self._said(
            f"{a.text}. {a.expected}. {a.evidence}. Confidence {a.confidence}." if a else f"None: {no_advice(v)}.",
            width,
            p,
        )
        lines += [Line(), Line().add("Time left", p["title+b"])]
        t = v.forecast
        if t.left_s is None:
            lines += self._said(f"Not known: {t.basis}", width, p)
        elif t.left_s == 0:
            lines += self._said(f"{t.basis.capitalize()}.", width, p)
        else:
            low, high = fmt.roughly(t.low_s), fmt.roughly(t.high_s)
            lines += self._said(f"{fmt.roughly(t.left_s)}, between {low} and {high}: {t.basis}", width, p)
        return lines

    @staticmethod
    def _said(text: str, width: int, p: Palette) -> list[Line]:
        return [Line().gap(1, p["ground"]).add(t, p["text"]) for t in safe.wrapped(text, width - 1)]
