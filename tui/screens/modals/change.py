"""One change in full: what it was, what was predicted, and the figures before and after."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding

from gainstage.engine.views.rows import ChangeRow, Figures
from gainstage.tui.render import format as fmt
from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.modals.dialog import Dialog


class ChangeScreen(Dialog[None]):
    BINDINGS: ClassVar[list[Any]] = [Binding("enter,q", "leave", show=False)]

    def __init__(self, change: ChangeRow) -> None:
        super().__init__()
        self.change = change

    def heading_text(self) -> str:
        return f"change · revision {self.change.revision}"

    def lines(self, width: int, p: Palette) -> list[Line]:
        c = self.change
        lines = [
            Line().add(f"{c.key}  ", p["text"]).add(f"{fmt.value(c.old)} → {fmt.value(c.new)}", p["bright+b"]),
            Line().add(f"{fmt.stamp(c.wall)} by {c.by} · {c.state}", p["muted"]),
        ]
        if c.applied_after_s is not None:
            lines[-1].add(f" after {c.applied_after_s:.1f} s", p["muted"])
        if c.undone_by is not None:
            lines.append(Line().add(f"undone by revision {c.undone_by}", p["muted"]))
        for name, text in (
            ("said", c.text),
            ("predicted", c.predicted or ""),
            ("measured", c.effect_text or "still being measured"),
        ):
            if text:
                first, *rest = safe.wrapped(text, width - 11)
                lines += [
                    Line().fit(name, 11, p["muted"]).add(first, p["text"]),
                    *(Line().gap(11, p["ground"]).add(t, p["text"]) for t in rest),
                ]
        lines += [Line(), Line().fit("", 26, p["muted"]).fit("BEFORE", 12, p["muted"], ">").fit("AFTER", 12, p["muted"], ">")]
        before, after = c.before or Figures(), c.after or Figures()
        for name, show, a, b in (
            ("audio hours per hour", fmt.times, before.audio_hours_per_hour, after.audio_hours_per_hour),
            ("service p50", fmt.span, before.service_p50_s, after.service_p50_s),
            ("service p95", fmt.span, before.service_p95_s, after.service_p95_s),
            ("errors", fmt.count, before.errors, after.errors),
            ("GPU memory", fmt.size, before.gpu_memory, after.gpu_memory),
        ):
            write: Any = show
            lines.append(Line().fit(name, 26, p["muted"]).fit(write(a), 12, p["text"], ">").fit(write(b), 12, p["bright"], ">"))
        return [*lines, Line(), Line().add(f"{fmt.UNKNOWN} not enough data", p["faint"])]
