"""Failures by cause, the commonest first, each with what to do about it."""

from __future__ import annotations

from gainstage.engine.views.rows import FailureGroup
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.glyphs import meter
from gainstage.tui.widgets.table import Column, Table


class FailuresPanel(Table[FailureGroup]):
    TITLE = "failures by cause"
    HEADER = False
    COLUMNS = (
        Column("cause", "CAUSE", 26, keep=10),
        Column("count", "COUNT", 5, ">", keep=10),
        Column("share", "SHARE", 14, keep=5),
        Column("retry", "RETRY", 12, keep=4),
        Column("hint", "WHAT HELPS", 20, grow=True, keep=9),
    )

    def __init__(self) -> None:
        super().__init__(id="failures")
        self.total = 0

    def show(self, groups: tuple[FailureGroup, ...]) -> None:
        self.total = sum(g.count for g in groups)
        self.set_items(groups)

    def key_of(self, item: FailureGroup) -> str:
        return item.cause

    def heading(self, p: Palette) -> Line:
        return super().heading(p).add(f"  {self.total:,}", p["warn" if self.total else "muted"])

    def corner(self, p: Palette) -> Line:
        return Line().add("Enter filters  R retries these", p["faint"]) if self.items else Line()

    def nothing(self, p: Palette) -> list[Line]:
        return [Line().add("  nothing has failed", p["faint"])]

    def body(self, width: int, height: int, p: Palette) -> list[Line]:
        if height > 1 or not self.items:
            return super().body(width, height, p)
        line = Line().add("causes ", p["muted"])
        for item in self.items:
            if item is not None:
                line.add(f"{item.cause} ×{item.count}", p["text"]).add(" · ", p["faint"])
        return [line]

    def cell(self, item: FailureGroup, key: str, width: int, p: Palette) -> Line | tuple[str, str]:
        match key:
            case "cause":
                return item.cause, "bright"
            case "count":
                return f"{item.count:,}", "warn"
            case "share":
                return meter(Line(), item.count / max(1, self.total), width, p, "warn")
            case "retry":
                return ("r may help" if item.retryable else "permanent"), "muted"
            case "hint":
                return f"→ {item.hint}", "text"
        return "", "text"
