"""What is staged and will be sent with Apply; without anything staged, the setting under the cursor explained."""

from __future__ import annotations

from collections.abc import Mapping

from gainstage.config.setting_keys import split_scope
from gainstage.engine.views.rows import PredictedEffect, SettingRow
from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.state.command_log import Staged
from gainstage.tui.state.setting_scope import reach
from gainstage.tui.widgets.panel import Panel
from gainstage.tui.widgets.settings_table import EFFECTS, EFFECTS_SAID, shown_range, shown_value


class StagedPanel(Panel):
    TITLE = "setting"

    def __init__(self) -> None:
        super().__init__(id="staged", focusable=False)
        self.staged: Mapping[str, Staged] = {}
        self.rows: Mapping[str, SettingRow] = {}
        self.row: SettingRow | None = None
        self.engines = 1
        self.predicted: Mapping[str, PredictedEffect] | None = None  # of what is staged; None until the desk has answered

    def show(self, staged: Mapping[str, Staged], rows: Mapping[str, SettingRow], row: SettingRow | None, engines: int = 1) -> None:
        """``engines`` are those that a value without a scope reaches."""
        if (dict(staged), row, rows, engines) != (self.staged, self.row, self.rows, self.engines):
            self.staged, self.rows, self.row, self.engines = dict(staged), rows, row, engines
            self.redraw()

    def _whom(self) -> str:
        """Whom the staged values are for."""
        scopes = {split_scope(key)[1] or (row.scope if (row := self.rows.get(key)) else "") for key in self.staged}
        return reach(scopes.pop(), self.engines) if len(scopes) == 1 else " · several scopes"

    def show_predicted(self, predicted: Mapping[str, PredictedEffect] | None) -> None:
        if predicted != self.predicted:
            self.predicted = predicted
            self.redraw()

    def heading(self, p: Palette) -> Line:
        if self.staged:
            return Line().add(f"staged {len(self.staged)}", p["change+b"]).add(self._whom(), p["bright"])
        line = super().heading(p)
        return line.add(f"  {self.row.key}", p["bright"]) if self.row is not None else line

    def corner(self, p: Palette) -> Line:
        if not self.staged:
            return Line()
        return Line().add("A", p["accent"]).add(" apply  ", p["muted"]).add("Esc", p["accent"]).add(" drop", p["muted"])

    def _prediction(self, key: str, width: int, p: Palette) -> list[Line]:
        """What the value should do; changes that have one answer together have it below the last of them."""
        if self.predicted is None:
            return [Line().add("  predicting …", p["faint"])] if key == list(self.staged)[-1] else []
        effect = self.predicted.get(key)
        if effect is None:
            return []
        same = [other for other in self.staged if self.predicted.get(other) == effect and effect.gain is not None]
        if same and key != same[-1]:
            return []
        text = (
            f"predicted{' together' if len(same) > 1 else ''}: {effect.text}"
            if effect.gain is not None or "→" in effect.text
            else effect.text
        )
        token = "muted" if effect.gain is None else "ok" if effect.gain > 0 else "text"
        return [Line().gap(2, p["ground"]).add(line, p[token]) for line in safe.wrapped(text, width - 2)]

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        lines: list[Line] = []
        for key, s in self.staged.items():
            row = self.rows.get(key)
            if row is None:
                continue
            line = (
                Line()
                .add("◆ ", p["change"])
                .add(f"{key} ", p["text"])
                .add(f"{shown_value(row, s.old)} → {shown_value(row, s.new)}", p["bright+b"])
            )
            line.add(f"  {EFFECTS.get(row.effect, row.effect)}", p["muted"])
            lines.append(line)
            lines += self._prediction(key, width, p)
            if row.risk and height > 3:
                lines.append(Line().add("  ▲ ", p["warn"]).clip(row.risk, width - 4, p["text"]))
        if self.staged and height > len(lines) + 1:
            lines.append(Line().add("  ✓ in range; the engine checks it again", p["muted"]))
        row = self.row
        if row is None:
            return lines
        if lines and height > len(lines) + 3:
            lines += [Line(), Line().add(row.key, p["bright"])]
        if not self.staged or height > len(lines) + 1:
            lines += [Line().add(t, p["text"]) for t in safe.wrapped(row.help, width)]
            facts = f"now {shown_value(row, row.value)} · default {shown_value(row, row.default)} · from {row.origin}" + (
                f" · revision {row.revision}" if row.revision is not None else ""
            )
            scope = shown_range(row) if not row.choices else " | ".join(row.choices)
            lines += [
                Line().add(t, p["muted"]) for t in safe.wrapped(f"{EFFECTS_SAID.get(row.effect, row.effect)} · {facts}", width)
            ]
            lines += [Line().add(t, p["muted"]) for t in safe.wrapped(f"{scope} {row.unit}".strip(), width)]
            if row.risk and not self.staged:
                lines += [
                    Line().add("▲ " if i == 0 else "  ", p["warn"]).add(t, p["text"])
                    for i, t in enumerate(safe.wrapped(row.risk, width - 2))
                ]
        return lines
