"""What was changed, when, by whom - and what it did."""

from __future__ import annotations

from gainstage.engine.advisor.measured_effects import complete
from gainstage.engine.advisor.track_record import track_record
from gainstage.engine.views.rows import ChangeRow
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.table import Column, Table


def effect_line(change: ChangeRow, width: int, p: Palette, now: float) -> Line:
    """The measured effect of a change, or why there is none yet."""
    line = Line().gap(2, p["ground"])
    if change.state == "refused":
        return line.clip(f"refused: {change.text}", width - 2, p["warn"])
    if change.state == "pending":
        return line.add("waiting for the engine …", p["muted"])
    if change.predicted_gain is not None:
        line.add(f"predicted {round(change.predicted_gain * 100):+d}%  ", p["muted"])
    if change.effect_text:
        line.add("so far " if change.interim else "measured ", p["muted"]).clip(
            change.effect_text.removesuffix(" so far"),
            width - line.used,
            p["text" if change.effect_text != "not enough data" else "faint"],
        )
    elif complete(change.wall, now):  # its engine ended first, or there was none
        line.add("effect was not measured", p["faint"])
    else:
        line.add("effect is being measured, while there is work", p["faint"])
    if change.predicted and change.predicted_gain is None and width - line.used > 20:
        line.clip(f"   {change.predicted}", width - line.used, p["muted"])
    return line


class ChangesPanel(Table[ChangeRow]):
    TITLE = "what changed"
    HEADER = False
    ROW_LINES = 2
    COLUMNS = (Column("change", "CHANGE", 20, grow=True),)

    def __init__(self) -> None:
        super().__init__(id="changes")
        self.error: str | None = None
        self.autopilot: str | None = None  # what it does

    def show_autopilot(self, doing: str | None) -> None:
        if doing != self.autopilot:
            self.autopilot = doing
            self.redraw()

    def key_of(self, item: ChangeRow) -> str:
        return str(item.revision)

    def heading(self, p: Palette) -> Line:
        doing = f"  autopilot {self.autopilot}" if self.autopilot else ""
        record = track_record([item for item in self.items if item is not None])
        return super().heading(p).add(f"  {record.text}" if record.of else "", p["muted"]).add(doing, p["accent"])

    def corner(self, p: Palette) -> Line:
        return Line().add("u undo last  U undo to here  Enter", p["faint"])

    def nothing(self, p: Palette) -> list[Line]:
        return [Line().add(f"  {self.error or 'nothing changed yet; changes and what they did are kept here'}", p["faint"])]

    def mark(self, item: ChangeRow) -> tuple[str, str]:
        if item.state == "refused":
            return "✗", "warn"
        if item.state == "pending":
            return "…", "muted"
        return ("◇", "muted") if item.undone_by is not None else ("◆", "change")

    def cell(self, item: ChangeRow, key: str, width: int, p: Palette) -> Line | tuple[str, str]:
        undone = item.undone_by is not None
        line = Line().add(fmt.clock(item.wall), p["faint"]).gap(1, p["ground"]).fit(item.by, 9, p["muted"]).gap(1, p["ground"])
        line.clip(f"{item.key} ", width - line.used, p["muted" if undone else "text"])
        line.add(f"{fmt.value(item.old)} → {fmt.value(item.new)}", p["muted" if undone else "bright+b"])
        if undone:
            line.clip(f"  undone by {item.undone_by}", width - line.used, p["muted"])
        return line

    def more_lines(self, item: ChangeRow, width: int, p: Palette) -> list[Line]:
        return [effect_line(item, width, p, self.console.desk.now())]
