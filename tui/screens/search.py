"""7 Search: what was said, by meaning, by words, or both; in its place; open, copy, quote."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.widgets import Input

from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.search_rows import SearchHit, SearchResult
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line, sides
from gainstage.tui.render.theme import Palette
from gainstage.tui.screens.base import DeskScreen
from gainstage.tui.state.actions import bindings
from gainstage.tui.state.feeds import Feed, FeedResult
from gainstage.tui.widgets.live import Live
from gainstage.tui.widgets.results import ContextPanel, IndexPanel, ResultsTable, link_of
from gainstage.tui.widgets.table import Table

MODES = ("both", "meaning", "words")
LIMIT = 50


class QueryInput(Input):
    """The search box; Escape and Down lead to the results."""

    BINDINGS: ClassVar[list[Any]] = [
        Binding("escape,down", "results", show=False),
        Binding("ctrl+t", "app.act('mode')", show=False),
    ]

    def action_results(self) -> None:
        self.screen.query_one(ResultsTable).focus()


class QueryOptions(Live):
    """Mode and speaker, beside the search box."""

    FADES = False

    def __init__(self) -> None:
        super().__init__(id="query-options")
        self.mode = "both"
        self.speaker: str | None = None

    def draw(self, width: int, height: int, p: Palette) -> list[Line]:
        left = Line().gap(1, p["ground"])
        for name in MODES:
            left.add(("● " if name == self.mode else "○ ") + name, p["accent" if name == self.mode else "muted"]).gap(
                2, p["ground"]
            )
        right = (
            Line()
            .add("speaker ", p["muted"])
            .add(self.speaker or "anyone", p["bright" if self.speaker else "text"])
            .gap(1, p["ground"])
        )
        return [sides(left, right, width, p["ground"])]


class SearchScreen(DeskScreen):
    NAME = "search"
    BINDINGS: ClassVar[list[Any]] = bindings("search")

    def __init__(self) -> None:
        super().__init__()
        self.box = QueryInput(placeholder="what was said about …", id="query", compact=True, select_on_focus=False)
        self.options, self.results = QueryOptions(), ResultsTable()
        self.place, self.index = ContextPanel(), IndexPanel()
        self.speakers: list[str] = []
        self._index = Feed("index", lambda desk: desk.index_health(), 2.0)
        self._profiles = Feed("profiles", lambda desk: desk.profiles(), 10.0)

    def body(self) -> ComposeResult:
        with Horizontal(id="query-row"):
            yield self.box
            yield self.options
        with Horizontal(id="search-row"):
            yield self.results
            yield self.place
        yield self.index

    def on_mount(self) -> None:
        self.set_focus(self.box)

    def feeds(self) -> tuple[Feed, ...]:
        return (self._index, self._profiles)

    def receive(self, answer: FeedResult) -> None:
        if answer.feed is self._index:
            self.index.show(answer.value, self.console.desk.now(), answer.error)
        elif answer.feed is self._profiles and answer.value is not None:
            self.speakers = [profile.name for profile in answer.value]

    # -- asking

    @on(Input.Submitted, "#query")
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self._search()
        self.set_focus(self.results)

    def _search(self) -> None:
        text = self.box.value.strip()
        if not text:
            return
        mode, speaker = self.options.mode, self.options.speaker
        self.results.show(None, text, busy=True)

        def question(desk: Desk) -> SearchResult | str:
            try:
                return desk.search(text, mode, speaker, LIMIT)
            except DeskError as problem:
                return str(problem)

        def show(result: SearchResult | str) -> None:
            if isinstance(result, str):
                self.results.show(None, text, error=result)
            else:
                self.results.show(result, text)
                self._show_place()

        self.console.ask("search", question, show)

    def on_table_moved(self, event: Table.Moved) -> None:
        self._show_place()

    def _show_place(self) -> None:
        hit = self.results.selected
        if hit is None:
            self.place.show(None, ())
            return
        if self.place.hit == hit and self.place.lines:
            return
        self.place.show(hit, ())
        self.console.ask("context", lambda desk: desk.context(hit.segment), lambda lines: self.place.show(hit, lines))

    # -- actions

    def do_query(self, words: str) -> None:
        if words:
            self.box.value = words
            self._search()
        else:
            self.set_focus(self.box)

    def do_mode(self, words: str) -> None:
        word = words.strip()
        self.options.mode = word if word in MODES else MODES[(MODES.index(self.options.mode) + 1) % len(MODES)]
        self.options.redraw()
        self._search()

    def do_speaker(self, words: str) -> None:
        names: list[str | None] = [None, *self.speakers]
        speaker = self.options.speaker
        self.options.speaker = words.strip() or names[(names.index(speaker) + 1 if speaker in names else 0) % len(names)]
        self.options.redraw()
        self._search()

    def do_open(self, _: str) -> None:
        if self.results.selected is None:
            self.set_focus(self.box)
        else:
            self.set_focus(self.place)

    def on_table_opened(self, event: Table.Opened) -> None:
        self.console.perform("open")

    def do_back(self, words: str) -> None:
        if self.maximised_panel is None and self.focused is self.place:
            self.set_focus(self.results)
        elif self.maximised_panel is None and self.focused is self.results:
            self.set_focus(self.box)
        else:
            self.console.perform_global("back", words)

    def do_open_link(self, _: str) -> None:
        hit = self.results.selected
        self.console.open_link(link_of(hit) if hit is not None else None)

    def do_copy(self, _: str) -> None:
        console = self.console
        hit = self.results.selected
        if hit is None:
            console.notice("no passage under the cursor", "info")
            return
        console.copy_to_clipboard(quote(hit))
        console.notice("quote and link copied", "ok")

    def do_transcript(self, _: str) -> None:
        hit = self.results.selected
        if hit is None:
            self.console.notice("no passage under the cursor", "info")
        else:
            self.console.perform("read", f"{hit.recording} {hit.start}")

    def do_goto_recording(self, _: str) -> None:
        if self.results.selected is None:
            self.console.notice("no passage under the cursor", "info")
            return
        self.console.perform("goto", self.results.selected.recording)


def quote(hit: SearchHit) -> str:
    """A passage as it is cited: words, who, where, link."""
    where = link_of(hit) or hit.recording
    return f"“{hit.text}”\n{hit.speaker}, {hit.title}, {fmt.at(hit.start)}\n{where}"
