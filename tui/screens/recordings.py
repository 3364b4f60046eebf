"""2 Recordings: every recording, one in detail, failures by cause with what helps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal

from gainstage.engine.views.desk import Desk
from gainstage.engine.views.rows import Query, RecordingDetail, RecordingPage, RecordingRow
from gainstage.tui.render import export
from gainstage.tui.render import format as fmt
from gainstage.tui.render.filters import Filter, to_query
from gainstage.tui.screens.recording_actions import Failures, RecordingActionsScreen
from gainstage.tui.state.actions import bindings
from gainstage.tui.state.feeds import Feed, FeedResult
from gainstage.tui.state.frame import Frame
from gainstage.tui.widgets.detail import DetailPanel
from gainstage.tui.widgets.failures import FailuresPanel
from gainstage.tui.widgets.recordings_table import PAGE, RecordingsTable
from gainstage.tui.widgets.table import Table

EXPORT_PAGE = 1000


class RecordingsScreen(RecordingActionsScreen):
    NAME = "recordings"
    BINDINGS: ClassVar[list[Any]] = bindings("recordings")

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.detail, self.failures = RecordingsTable(), DetailPanel(), FailuresPanel()
        self.page_offset = 0
        self.wanted: str | None = None  # the recording in the detail panel
        self._page: Feed | None = None
        self._detail: Feed | None = None
        self._failures = Feed("failures", lambda desk: desk.failures(), 2.0)

    def body(self) -> ComposeResult:
        with Horizontal(id="recordings-row"):
            yield self.rows
            yield self.detail
        yield self.failures

    def on_mount(self) -> None:
        self.set_focus(self.rows)

    # -- asking

    def query_now(self) -> Query:
        """The question of the filter line, for the page in sight."""
        column, descending = self.rows.sorted_by or ("changed", True)
        query = to_query(self.rows.filter, sort=column, descending=descending, faults=self.rows.faults_only, limit=PAGE)
        return replace(query, offset=self.page_offset)

    def feeds(self) -> tuple[Feed, ...]:
        query = self.query_now()
        self._page = Feed("page", lambda desk: (query, desk.recordings(query)), 1.0)
        feeds = [self._page, self._failures]
        if self.wanted is not None:
            id = self.wanted
            self._detail = Feed("detail", lambda desk: desk.recording(id), 1.0)
            feeds.append(self._detail)
        return tuple(feeds)

    def receive(self, answer: FeedResult) -> None:
        if answer.feed is self._page:
            if answer.error is not None:
                self.rows.error = answer.error
                self.rows.set_items(())
                return
            query, page = answer.value
            self._show_page(query, page)
        elif answer.feed is self._failures and answer.value is not None:
            self.failures.show(answer.value)
        elif answer.feed is self._detail:
            detail: RecordingDetail | None = answer.value
            self.detail.show(detail, self.console.desk.now(), answer.error or "")

    def _show_page(self, query: Query, page: RecordingPage) -> None:
        self.rows.show(page, query.offset, self.console.desk.now())
        if self.wanted is None and self.rows.selected is not None:
            self._want(self.rows.selected.id)

    def apply(self, frame: Frame) -> None:
        self.rows.now = frame.now
        flights = frame.snapshot.flights if frame.snapshot is not None else ()
        self.detail.show_flight(next((flight for flight in flights if flight.id == self.wanted), None))

    def on_table_wanted(self, event: Table.Wanted) -> None:
        if event.table is self.rows:
            self.page_offset = max(0, (event.first + event.last) // 2 - PAGE // 2)
            self.watch_again()

    def on_table_moved(self, event: Table.Moved) -> None:
        if event.table is self.rows and self.rows.selected is not None:
            self._want(self.rows.selected.id)

    def _want(self, id: str) -> None:
        if id != self.wanted:
            self.wanted = id
            self.watch_again()

    def show_recording(self, text: str) -> None:
        """Go to the recording whose id is or starts with ``text``."""
        self.rows.faults_only = False
        self.wanted = None
        self.filter_by(text)
        self.set_focus(self.rows)

    # -- actions

    def selected_ids(self) -> list[str]:
        if self.rows.marked:
            return sorted(self.rows.marked)
        return [self.rows.selected.id] if self.rows.selected is not None else []

    def status_of(self, id: str) -> str | None:
        return next((row.status for row in self.rows.here() if row.id == id), None)

    def failures_shown(self, desk: Desk) -> Failures:
        """Those of the cause under the cursor, else those that match the filter, else all."""
        group = self.failures.selected if self.focused is self.failures else None
        wanted_rows = self.rows.filter
        if group is None and wanted_rows.empty:
            return super().failures_shown(desk)
        cause = group.cause if group is not None else wanted_rows.fields.get("cause")
        if cause and (group is not None or wanted_rows == Filter(fields={"cause": cause})):
            counts = [(g.cause, g.count) for g in desk.failures() if g.cause == cause]
            return Failures(f"what failed with {cause}", {"cause": cause}, tuple(counts))
        query = self.query_now()
        if not query.status and not query.invert:
            query = replace(query, status=("failed",))
        failed = [r for r in every_row(desk, query) if r.status == "failed"]
        counts = Counter(r.cause or "unknown cause" for r in failed).most_common()
        return Failures(f"what failed and matches {self.rows.filter_text}", {"ids": [r.id for r in failed]}, tuple(counts))

    @property
    def main_table(self) -> RecordingsTable:
        return self.rows

    def refilter(self) -> None:
        """Ask for the first page of the new question."""
        self.page_offset = self.rows.top = self.rows.cursor = 0
        self.rows.cursor_key, self.rows.touched = None, False
        self.rows.redraw()
        self.watch_again()

    def do_mark(self, _: str) -> None:
        item = self.rows.selected
        if item is not None:
            self.rows.marked = self.rows.marked ^ {item.id}
            self.rows.move_by(1)

    def do_cursor_up(self, words: str) -> None:
        if self.focused is self.detail:
            self.detail.scroll(-1)
        else:
            super().do_cursor_up(words)

    def do_cursor_down(self, words: str) -> None:
        if self.focused is self.detail:
            self.detail.scroll(1)
        else:
            super().do_cursor_down(words)

    def do_open(self, _: str) -> None:
        if self.focused is self.failures and self.failures.selected is not None:
            self.filter_by(f"cause:'{self.failures.selected.cause}'")
            self.set_focus(self.rows)
        elif self.focused is self.rows and self.rows.selected is not None and self.rows.selected.status == "stored":
            self.do_transcript("")
        elif self.rows.selected is not None:
            self.set_focus(self.detail)
            if self.size.width < 100 and self.maximised_panel is None:
                self.maximise()

    def do_transcript(self, _: str) -> None:
        row = self.rows.selected
        if row is None:
            self.console.notice("no recording under the cursor", "info")
        elif row.status != "stored":
            self.console.notice(f"{row.id} is {row.status}: only what is stored can be read", "info")
        else:
            self.console.perform("read", row.id)

    def do_open_link(self, _: str) -> None:
        row = self.rows.selected
        self.console.open_link((row.url or row.source) if row is not None else None)

    def do_export(self, words: str) -> None:
        """All rows that match, not only those that are here, as CSV or JSON; everything else as everywhere."""
        console = self.console
        kind, _, path = words.partition(" ")
        if kind not in ("csv", "json") or self.focused not in (None, self.rows):
            console.perform_global("export", words)
            return
        query = self.query_now()
        name = f"gainstage-recordings-{fmt.stamp(console.desk.now()).replace(' ', '-').replace(':', '')}.{kind}"
        target = console.exports / name if not path else Path(path).expanduser()

        def fetch(desk: Desk) -> object:
            rows = [[getattr(r, c) for c in COLUMNS] for r in every_row(desk, query)]
            return export.write(target, export.render(kind, list(COLUMNS), rows))

        console.ask("export", fetch, lambda where: console.notice(f"written {where}", "ok"))


def every_row(desk: Desk, query: Query) -> list[RecordingRow]:
    """All rows that match, page by page."""
    rows: list[RecordingRow] = []
    while True:
        page = desk.recordings(replace(query, offset=len(rows), limit=EXPORT_PAGE))
        rows += page.rows
        if not page.rows or len(rows) >= page.matched:
            return rows


COLUMNS = (
    "id",
    "title",
    "source",
    "status",
    "duration_s",
    "stage",
    "attempt",
    "segments",
    "speakers",
    "cause",
    "error",
    "hint",
    "warning",
    "url",
)
