"""A screen around one table: filter, faults, sort, columns and back work the same on all of them."""

from __future__ import annotations

from typing import Any

from gainstage.tui.screens.base import DeskScreen
from gainstage.tui.widgets.filter_table import FilterTable
from gainstage.tui.widgets.table import Table


class TableScreen(DeskScreen):
    """Subclasses give :attr:`main_table`, and :meth:`refilter` where more than the table depends on the filter."""

    @property
    def main_table(self) -> FilterTable[Any]:
        """The table that ``/``, ``!`` and ``s`` act on."""
        raise NotImplementedError

    def refilter(self) -> None:
        """The filter or the order has changed."""
        self.main_table.refilter()

    def selected_ids(self) -> list[str]:
        """The recordings that an action is for."""
        return []

    # -- filter

    def do_filter(self, words: str) -> None:
        if words:
            self.filter_by(words)
        else:
            table = self.main_table
            self.prompt.ask("/", self.filter_by, start=table.filter_text, changed=self.filter_by, hint=table.FILTER_HINT)

    def filter_by(self, text: str) -> None:
        """Show only rows that match a filter line."""
        self.main_table.filter_text = text.strip()
        self.refilter()

    def do_faults(self, _: str) -> None:
        self.main_table.faults_only = not self.main_table.faults_only
        self.refilter()

    def do_back(self, words: str) -> None:
        table = self.main_table
        if self.drop_unsent():
            return
        if self.maximised_panel is None and table.narrowed:
            table.show_all()
            self.refilter()
        elif table.marked:
            table.marked = frozenset()
            table.redraw()
        else:
            self.console.perform_global("back", words)

    def drop_unsent(self) -> bool:
        """Drop values that were tried or staged; whether there were any."""
        return False

    # -- order and columns

    def do_sort(self, words: str) -> None:
        table = self.main_table
        if words and words not in table.SORTS:
            self.console.notice(f"no column {words!r} to sort by: {', '.join(table.SORTS)}", "warn")
            return
        table.sort_next(words)
        self.refilter()

    def do_reverse(self, _: str) -> None:
        self.main_table.reverse()
        self.refilter()

    def on_table_header_clicked(self, event: Table.HeaderClicked) -> None:
        if event.table is self.main_table and self.main_table.sort_clicked(event.key):
            self.refilter()

    def do_columns(self, _: str) -> None:
        self.main_table.fewer_columns = not self.main_table.fewer_columns
        self.main_table.redraw()

    # -- the row under the cursor

    def on_table_opened(self, event: Table.Opened) -> None:
        self.console.perform("open")

    def recording_ids(self, words: str = "") -> list[str]:
        """Ids that were typed, else those selected; a notice when there are none."""
        ids = words.split() or self.selected_ids()
        if not ids:
            self.console.notice("no recording under the cursor", "info")
        return ids

    def do_log_of(self, _: str) -> None:
        if ids := self.recording_ids():
            self.console.perform("logs", f"rec:{ids[0]}")

    def do_goto_recording(self, _: str) -> None:
        if ids := self.recording_ids():
            self.console.perform("goto", ids[0])
