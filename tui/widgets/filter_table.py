"""A table that is narrowed down by a filter line and by ``!``, and sorted by its columns: the same on every screen."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from gainstage.tui.render.cells import Line
from gainstage.tui.render.filters import Filter, read_filter
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.table import Table

T = TypeVar("T")


class FilterTable(Table[T], Generic[T]):
    """Subclasses say in :meth:`refilter` how rows are chosen anew; the screen calls it after every change of the filter."""

    FIELDS: ClassVar[tuple[str, ...]] = ()
    """Fields of the filter line, as in ``stage:transcribe``."""
    FILTER_HINT: ClassVar[str] = ""
    """What may be typed, shown in the empty filter line."""
    FAULTS: ClassVar[str] = "faults only"
    """What ``!`` leaves."""
    SORTS: ClassVar[tuple[str, ...]] = ()
    """Columns to sort by, in the order of the sort key."""
    DESCENDING: ClassVar[frozenset[str]] = frozenset()
    """Columns whose largest value comes first."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.filter_text = ""
        self.faults_only = False
        self.fewer_columns = False

    @property
    def filter(self) -> Filter:
        """The filter line, parsed."""
        return read_filter(self.filter_text, self.FIELDS)

    @property
    def narrowed(self) -> bool:
        """Whether rows may be hidden."""
        return bool(self.filter_text or self.faults_only)

    def show_all(self) -> None:
        """Hide no row; :meth:`refilter` shows them."""
        self.filter_text, self.faults_only = "", False

    def refilter(self) -> None:
        """Choose the rows anew."""
        self.redraw()

    def add_filter(self, line: Line, p: Palette) -> Line:
        """What narrows the table, for its heading; a field that the table does not have is named."""
        if not self.narrowed:
            return line
        words = " ".join(filter(None, (f"! {self.FAULTS}" if self.faults_only else "", self.filter_text)))
        line.add(f"  {words}", p["accent"])
        unknown = self.filter.unknown
        return line.add(f"  ▲ no field {unknown[0]}: {', '.join(self.FIELDS)}", p["warn"]) if unknown else line

    def no_match(self, total: int, p: Palette, rows: str = "") -> list[Line]:
        """What is shown when every row is hidden."""
        line = Line().add(f"  0 of {total:,}{rows and ' ' + rows} match  ", p["muted"])
        line.add(self.filter_text or self.FAULTS, p["accent"])
        return [Line(), line.add("   Esc", p["accent"]).add(" clears", p["muted"])]

    # -- order

    def sort_next(self, name: str = "") -> None:
        """Sort by a column, or by the one after the present one."""
        column = self.sorted_by[0] if self.sorted_by else self.SORTS[0]
        name = name if name in self.SORTS else self.SORTS[(self.SORTS.index(column) + 1) % len(self.SORTS)]
        self.sorted_by = (name, name in self.DESCENDING)

    def reverse(self) -> None:
        """Turn the order round."""
        column, descending = self.sorted_by or (self.SORTS[0], self.SORTS[0] in self.DESCENDING)
        self.sorted_by = (column, not descending)

    def sort_clicked(self, column: str) -> bool:
        """A column title was clicked; whether the table can be sorted by it."""
        if column not in self.SORTS:
            return False
        if self.sorted_by and self.sorted_by[0] == column:
            self.reverse()
        else:
            self.sort_next(column)
        return True
