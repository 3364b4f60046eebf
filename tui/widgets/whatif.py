"""Other limits tried over the recorded decisions: what would have come out, without any model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gainstage.engine.views.rows import SettingRow, WhatIf
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.safe import wrapped
from gainstage.tui.render.theme import Palette
from gainstage.tui.render.values import BadValue, stepped
from gainstage.tui.widgets.panel import Panel

CALIBRATED = (
    "identify.variance_spreads",
    "identify.range_spreads",
    "identify.probability",
    "identify.turn_probability",
)
COSINE = (
    "identify.variance_limit",
    "identify.range_limit",
    "identify.primary_threshold",
    "identify.split_threshold",
    "identify.other_threshold",
    "identify.margin",
)
KEYS = (*CALIBRATED, *COSINE)


class WhatIfPanel(Panel):
    TITLE = "try other limits"

    def __init__(self) -> None:
        super().__init__(id="whatif")
        self.settings: dict[str, SettingRow] = {}
        self.tried: dict[str, Any] = {}
        self.result: WhatIf | None = None
        self.cursor = 0
        self.asking = False

    def show(self, settings: Mapping[str, SettingRow]) -> None:
        scale = settings.get("identify.scale")
        keys = CALIBRATED if scale is not None and scale.value == "calibrated" else COSINE
        limits = {key: settings[key] for key in keys if key in settings}
        if limits != self.settings:
            self.settings = limits
            self.tried = {k: v for k, v in self.tried.items() if k in limits and v != limits[k].value}
            self.redraw()

    def show_result(self, result: WhatIf | None) -> None:
        self.result, self.asking = result, False
        self.redraw()

    @property
    def key(self) -> str | None:
        """The limit under the cursor."""
        keys = list(self.settings)
        return keys[min(self.cursor, len(keys) - 1)] if keys else None

    def move(self, rows: int) -> None:
        self.cursor = max(0, min(len(self.settings) - 1, self.cursor + rows))
        self.redraw()

    def step(self, steps: int) -> bool:
        """The limit under the cursor some steps up or down; whether anything is tried now."""
        key = self.key
        if key is None:
            return False
        row = self.settings[key]
        try:
            value = stepped(row, self.tried.get(key, row.value), steps)
        except BadValue:
            return False
        self.put(key, value)
        return True

    def put(self, key: str, value: Any) -> None:
        """Try a value; the one in force drops the trial."""
        if value == self.settings[key].value:
            self.tried.pop(key, None)
        else:
            self.tried[key] = value
        self.asking = bool(self.tried)
        if not self.tried:
            self.result = None
        self.redraw()

    def drop(self) -> None:
        """Try nothing."""
        self.tried, self.result = {}, None
        self.redraw()

    def corner(self, p: Palette) -> Line:
        if self.tried:
            return Line().add("A", p["accent"]).add(" apply  ", p["muted"]).add("Esc", p["accent"]).add(" drop", p["muted"])
        return Line().add("←→ step  e", p["faint"])

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        if not self.settings:
            return [Line().add("settings not read yet", p["faint"])]
        lines = [
            Line().gap(2, p["ground"]).fit("LIMIT", 19, p["muted"]).fit("NOW", 6, p["muted"], ">").fit("TRY", 7, p["muted"], ">")
        ]
        rows = max(1, min(len(self.settings), height - 4))
        first = max(0, min(self.cursor - rows + 1, len(self.settings) - rows))
        for i, (key, row) in list(enumerate(self.settings.items()))[first : first + rows]:
            here = i == self.cursor and self.has_focus
            q = p.on_cursor() if here else p
            line = Line().add("▸ " if here else "  ", q["accent"]).fit(key.removeprefix("identify."), 19, q["text"])
            line.fit(fmt.value(row.value), 6, q["muted"], ">")
            tried = self.tried.get(key)
            line.fit(
                fmt.value(tried) if tried is not None else fmt.UNKNOWN, 7, q["change+b" if tried is not None else "faint"], ">"
            )
            room = here and line.used + 4 <= width
            lines.append(line.add("  ◂▸" if room else "", q["accent"]).to(width, q["ground"]))
        return (
            [*lines, Line(), *self._result(width, p)][:height] if height > rows + 2 else [*lines, *self._result(width, p)][:height]
        )

    def _result(self, width: int, p: Palette) -> list[Line]:
        r = self.result
        if not self.tried:
            text = "← → tries another limit on the stored decisions, without a model."
            return [Line().add(line, p["faint"]) for line in wrapped(text, width)]
        if r is None:
            return [Line().add("trying …", p["muted"])]
        change = r.split_after - r.split_before
        line = (
            Line()
            .add("split ", p["muted"])
            .add(f"{r.split_before} → {r.split_after}", p["bright"])
            .add(f" ({change:+d})", p["change"])
        )
        line.add(f" · {fmt.plural(len(r.flips), 'cluster')} flip", p["text"])
        second = Line().add(f"{fmt.roughly(r.seconds_moved)} of speech in {fmt.plural(r.recordings, 'recording')}", p["muted"])
        flips = [
            Line()
            .fit(f.recording, 6, p["muted"])
            .fit(f" {fmt.cluster(f.cluster)}", 5, p["muted"])
            .clip(f"{f.before} → {f.after}", width - 11, p["text"])
            for f in r.flips[:3]
        ]
        return [line, second, *flips]
