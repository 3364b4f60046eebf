"""Every setting of the schema: its value now, what is staged, its range, when a change acts, and where the value comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gainstage.config.setting_keys import split_scope
from gainstage.engine.views.rows import SettingRow
from gainstage.tui.render import format as fmt
from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line
from gainstage.tui.render.filters import matches
from gainstage.tui.render.theme import Palette
from gainstage.tui.state.command_log import Staged
from gainstage.tui.widgets.filter_table import FilterTable
from gainstage.tui.widgets.table import Column

EFFECTS = {"now": "now", "item": "next item", "reload": "reload", "run": "next run"}
"""When a change acts, in a word or two."""

EFFECTS_SAID = {
    "now": "acts at once",
    "item": "acts from the next recording on",
    "reload": "swaps the model when its stage has drained",
    "run": "acts at the next start of an engine",
}
"""When a change acts, in full."""

_WIDE = (
    Column("key", "SETTING", 22, keep=10),
    Column("now", "NOW", 14, ">", keep=10),
    Column("new", "NEW", 8, ">", keep=10),
    Column("range", "RANGE", 10, ">", keep=5),
    Column("effect", "APPLIES", 9, keep=7),
    Column("origin", "FROM", 14, grow=True, keep=4),
)
_NARROW = (
    Column("key", "SETTING", 24, keep=10),
    Column("now", "NOW", 17, ">", keep=10),
    Column("new", "NEW", 9, ">", keep=10),
    Column("effect", "APPLIES", 14, grow=True, keep=7),
)


@dataclass(frozen=True, slots=True)
class SettingLine:
    """A setting, or the heading of a group where ``row`` is None."""

    group: str
    row: SettingRow | None = None


def shown_key(key: str, rows: Mapping[str, SettingRow]) -> str:
    """The key of the row that shows what is sent under ``key``: a value for the engine looked at alone stands in the plain row."""
    name, scope = split_scope(key)
    return name if scope and name in rows and rows[name].scope == scope else key


def shown_value(row: SettingRow, value: object) -> str:
    """A value as shown: never a secret; sizes and times with their unit."""
    if row.secret:
        return "•••" if value else "none"
    if value is None:
        return "none"
    if row.unit == "bytes" and isinstance(value, int | float):
        return fmt.size(value)
    text = fmt.value(value)
    if row.unit and isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,.10g}{row.unit}" if row.unit in ("s", "%", "/h") else f"{value:,.10g}"
    return text


def shown_range(row: SettingRow) -> str:
    """The range of a setting: ``1-16``."""
    if row.choices:
        return f"{len(row.choices)} choices"
    if row.low is None or row.high is None:
        return ""
    if row.unit == "bytes":
        return f"{fmt.size(row.low, 0)}-{fmt.size(row.high, 0)}"
    return f"{row.low:g}-{fmt.brief(row.high) if row.high >= 10_000 else f'{row.high:g}'}"


def shown_origin(origin: str) -> str:
    """Where a value comes from, a file by its name alone."""
    return "file " + origin.removeprefix("file ").rpartition("/")[2] if origin.startswith("file ") else origin


def fitting(text: str, cells: int) -> str:
    """A value too long for its column by what tells it apart: a model without its owner, a path by its last part."""
    return text if safe.width(text) <= cells else text.rstrip("/").rpartition("/")[2]


class SettingsTable(FilterTable[SettingLine]):
    TITLE = "settings"
    FIELDS = ("origin", "effect")
    FILTER_HINT = "part of a name or of its help · effect:now · origin:live · !inverts"

    def __init__(self) -> None:
        super().__init__(id="settings")
        self.rows: tuple[SettingRow, ...] = ()
        self.staged: Mapping[str, Staged] = {}
        self.pending: frozenset[str] = frozenset()
        self.differences = False

    def key_of(self, item: SettingLine) -> str:
        return item.row.key if item.row is not None else f"[{item.group}]"

    def show(
        self, rows: tuple[SettingRow, ...], staged: Mapping[str, Staged], pending: frozenset[str], *, force: bool = False
    ) -> None:
        """``pending``: keys whose change is sent but not acknowledged."""
        if not force and (rows, dict(staged), pending) == (self.rows, self.staged, self.pending):
            return
        self.rows, self.staged, self.pending = rows, dict(staged), pending
        f = self.filter
        items: list[SettingLine] = []
        for row in rows:
            if self.differences and row.origin == "default" and row.key not in staged:
                continue
            if not matches(f, f"{row.key} {row.help}", origin=row.origin, effect=row.effect):
                continue
            group = split_scope(row.key)[0].rpartition(".")[0] or "engine"
            if not items or items[-1].group != group:
                items.append(SettingLine(group))
            items.append(SettingLine(group, row))
        self.set_items(items)
        self.redraw()

    @property
    def narrowed(self) -> bool:
        return super().narrowed or self.differences

    def show_all(self) -> None:
        super().show_all()
        self.differences = False

    @property
    def setting(self) -> SettingRow | None:
        """The setting under the cursor."""
        return self.selected.row if self.selected is not None else None

    def move_to(self, row: int) -> None:
        """Headings are stepped over."""
        if not self.items:
            return
        row = max(0, min(row, len(self.items) - 1))
        forward = row >= self.cursor
        order = (
            [*range(row, len(self.items)), *range(row, -1, -1)] if forward else [*range(row, -1, -1), *range(row, len(self.items))]
        )
        place = next((i for i in order if (item := self.items[i]) is not None and item.row is not None), row)
        super().move_to(place)
        if place > 0 and self.top == place:
            above = self.items[place - 1]
            if above is not None and above.row is None:
                self.top -= 1
                self.redraw()

    def heading(self, p: Palette) -> Line:
        line = super().heading(p)
        if self.rows and self.rows[0].scope:
            line.add(f"  of {self.rows[0].scope}", p["accent"])
        if self.differences:
            line.add("  differing from their defaults", p["accent"])
        return self.add_filter(line, p)

    def corner(self, p: Palette) -> Line:
        return Line().add("←→ step  shift ×5  e type  = differences", p["faint"])

    def columns(self) -> tuple[Column, ...]:
        return _NARROW if self.narrow else _WIDE

    def nothing(self, p: Palette) -> list[Line]:
        if self.rows:
            return [Line().add("  no setting matches  ", p["muted"]).add("Esc", p["accent"]).add(" clears", p["muted"])]
        return [Line().add("  settings are being read …", p["muted"])]

    def cells_of(self, item: SettingLine) -> list[str]:
        cells = super().cells_of(item)
        return [item.row.key, *cells[1:]] if item.row is not None else cells

    def exported(self) -> tuple[list[str], list[list[Any]]]:
        names, _ = super().exported()
        return names, [list(self.cells_of(item)) for item in self.items if item is not None and item.row is not None]

    def mark(self, item: SettingLine) -> tuple[str, str]:
        if item.row is None:
            return "▾", "faint"
        if item.row.key in self.pending:
            return "…", "change"
        if item.row.key in self.staged:
            return "◆", "change"
        return (" ", "text") if item.row.origin == "default" else ("•", "accent")

    def cell(self, item: SettingLine, key: str, width: int, p: Palette) -> Line | tuple[str, str]:
        row = item.row
        if row is None:
            return (item.group, "title+b") if key == "key" else ("", "text")
        staged = self.staged.get(row.key)
        match key:
            case "key":
                return Line().gap(2, p["ground"]).fit(row.key.removeprefix(item.group + "."), width - 2, p["text"])
            case "now":
                return fitting(shown_value(row, row.value), width), "bright" if row.origin != "default" else "text"
            case "new":
                return (fitting(shown_value(row, staged.new), width), "change+b") if staged is not None else ("", "faint")
            case "range":
                return shown_range(row), "faint"
            case "effect":
                return EFFECTS.get(row.effect, row.effect), "muted"
            case "origin":
                return shown_origin(row.origin), "accent" if row.origin.startswith(
                    "live"
                ) else "muted" if row.origin != "default" else "faint"
        return "", "text"
