"""6 Logs: the journal, filtered, folded and followed; a line in full below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult

from gainstage.tui.screens.table_screen import TableScreen
from gainstage.tui.state.actions import bindings
from gainstage.tui.state.frame import Frame
from gainstage.tui.widgets.log_tail import LEVELS, WORDS, EventPanel, LogTail
from gainstage.tui.widgets.table import Table

if TYPE_CHECKING:
    from gainstage.engine.views.events import Event


class LogsScreen(TableScreen):
    NAME = "logs"
    BINDINGS: ClassVar[list[Any]] = bindings("logs")

    def __init__(self) -> None:
        super().__init__()
        self.log_tail, self.line = LogTail(), EventPanel()

    def body(self) -> ComposeResult:
        yield self.log_tail
        yield self.line

    def on_mount(self) -> None:
        self.set_focus(self.log_tail)

    def take_events(self, events: list[Event]) -> None:
        self.log_tail.take_events(events, self.console.events_dropped)
        self.line.show(self.log_tail.selected)

    def apply(self, frame: Frame) -> None:
        self.log_tail.measure(frame.now)

    def on_table_moved(self, event: Table.Moved) -> None:
        if event.table is self.log_tail:
            self.line.show(self.log_tail.selected)

    # -- actions

    @property
    def main_table(self) -> LogTail:
        return self.log_tail

    def selected_ids(self) -> list[str]:
        line = self.log_tail.selected
        return [line.event.recording] if line is not None and line.event.recording else []

    def do_follow(self, _: str) -> None:
        self.log_tail.move_to(10**9)

    def do_level(self, words: str) -> None:
        word = words.strip().lower()
        named = next((name for name in LEVELS if word and (name.startswith(word) or WORDS[name].lower() == word)), None)
        if word and named is None:
            self.console.notice(f"no level {word!r}: {', '.join(LEVELS)}", "warn")
            return
        self.log_tail.level = named or LEVELS[(LEVELS.index(self.log_tail.level) + 1) % len(LEVELS)]
        self.log_tail.refilter()

    def do_log_stage(self, words: str) -> None:
        s = self.console.newest
        names: list[str | None] = [None, *(stage.name for stage in (s.stages if s is not None else ()))]
        word = words.strip()
        if word and word not in names:
            self.console.notice(f"no stage {word!r}", "warn")
            return
        stage = self.log_tail.stage
        self.log_tail.stage = word or names[(names.index(stage) + 1 if stage in names else 0) % len(names)]
        self.log_tail.refilter()

    def do_next_match(self, _: str) -> None:
        self._match(1)

    def do_previous_match(self, _: str) -> None:
        self._match(-1)

    def _match(self, step: int) -> None:
        text = self.log_tail.filter_text
        moved = self.log_tail.search(step) if text else self._next_fault(step)
        if not moved:
            self.console.notice("no other line", "info")

    def _next_fault(self, step: int) -> bool:
        entries = self.log_tail.entries
        for i in range(1, len(entries) + 1):
            place = (self.log_tail.cursor + i * step) % len(entries)
            if entries[place].event.level in ("warning", "error"):
                self.log_tail.move_to(place)
                return True
        return False

    def do_fold(self, _: str) -> None:
        self.log_tail.fold = not self.log_tail.fold
        self.console.notice("repeats folded" if self.log_tail.fold else "every line shown", "info")
        self.log_tail.refilter()

    def do_clear(self, _: str) -> None:
        self.log_tail.clear()

    def do_open(self, _: str) -> None:
        if self.log_tail.selected is None:
            self.console.notice("no line under the cursor", "info")
            return
        self.line.whole = not self.line.whole
        self.line.write()
        self.set_class(self.line.whole, "-trace")
