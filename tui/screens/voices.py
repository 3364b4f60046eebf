"""3 Voices: decisions with their evidence, how they are spread, other limits tried out, batches, profiles."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Container

from gainstage.engine.views.commands import Command
from gainstage.engine.views.judged import Judged
from gainstage.tui.render import format as fmt
from gainstage.tui.render.values import BadValue, read_value
from gainstage.tui.screens.table_screen import TableScreen
from gainstage.tui.state.actions import bindings
from gainstage.tui.state.feeds import Feed, FeedResult
from gainstage.tui.state.frame import Frame
from gainstage.tui.widgets.batches import BatchesPanel
from gainstage.tui.widgets.decisions import DecisionsTable
from gainstage.tui.widgets.distribution import DistributionPanel
from gainstage.tui.widgets.profiles import ProfilesPanel
from gainstage.tui.widgets.whatif import KEYS, WhatIfPanel

LAST = 500


class VoicesScreen(TableScreen):
    NAME = "voices"
    BINDINGS: ClassVar[list[Any]] = bindings("voices")

    def __init__(self) -> None:
        super().__init__()
        self.decisions, self.distribution, self.whatif = DecisionsTable(), DistributionPanel(), WhatIfPanel()
        self.batches, self.profiles = BatchesPanel(), ProfilesPanel()
        self._feeds = (
            Feed("decisions", lambda desk: desk.decisions(LAST), 1.0),
            Feed("profiles", lambda desk: desk.profiles(), 5.0),
        )

    def body(self) -> ComposeResult:
        yield self.decisions
        with Container(id="voices-grid"):
            yield self.distribution
            yield self.whatif
            yield self.batches
            yield self.profiles

    def on_mount(self) -> None:
        self.set_focus(self.decisions)

    def feeds(self) -> tuple[Feed, ...]:
        return self._feeds

    def receive(self, answer: FeedResult) -> None:
        if answer.value is None:
            return
        if answer.feed is self._feeds[0]:
            if answer.value != self.decisions.all:
                self.decisions.show(answer.value)
        elif answer.feed is self._feeds[1]:
            self.decisions.has_profiles = bool(answer.value)
            self.profiles.set_items(answer.value)

    def apply(self, frame: Frame) -> None:
        self.whatif.show(self.console.settings)
        s = frame.snapshot
        if s is None:
            return
        self.decisions.show_sums(s.decisions)
        key = "identify.variance_limit" if s.decisions.variance_spreads is None else "identify.variance_spreads"
        self.distribution.show(self.decisions.all, s.decisions, self.whatif.tried.get(key))
        self.batches.show(s.batchers)

    # -- the table

    @property
    def main_table(self) -> DecisionsTable:
        return self.decisions

    def drop_unsent(self) -> bool:
        if not self.whatif.tried:
            return False
        self.whatif.drop()
        self.apply(self.frame)
        return True

    def selected_ids(self) -> list[str]:
        return [self.decisions.selected.recording] if self.decisions.selected is not None else []

    def do_next_grey(self, _: str) -> None:
        self._grey(1)

    def do_previous_grey(self, _: str) -> None:
        self._grey(-1)

    def _grey(self, step: int) -> None:
        view, items = self.decisions.view, self.decisions.items
        if view is None or not items:
            self.console.notice("no decisions yet", "info")
            return
        n = len(items)
        for i in range(1, n + 1):
            place = (self.decisions.cursor + i * step) % n
            item = items[place]
            if item is not None and Judged.of(item, view).grey:
                self.decisions.move_to(place)
                return
        self.console.notice("none within 10 % of a limit", "info")

    def do_open(self, _: str) -> None:
        from gainstage.tui.screens.modals.evidence import EvidenceScreen

        if self.focused in (None, self.decisions) and self.decisions.selected is not None:
            self.app.push_screen(EvidenceScreen(self.decisions.selected, self.decisions.view))
        else:
            self.console.notice("no decision under the cursor", "info")

    # -- what if

    def do_cursor_up(self, words: str) -> None:
        if self.focused is self.whatif:
            self.whatif.move(-1)
        else:
            super().do_cursor_up(words)

    def do_cursor_down(self, words: str) -> None:
        if self.focused is self.whatif:
            self.whatif.move(1)
        else:
            super().do_cursor_down(words)

    def do_cursor_left(self, _: str) -> None:
        self._step(-1)

    def do_cursor_right(self, _: str) -> None:
        self._step(1)

    def do_big_left(self, _: str) -> None:
        self._step(-5)

    def do_big_right(self, _: str) -> None:
        self._step(5)

    def _step(self, steps: int) -> None:
        if self.focused is not self.whatif:
            self.set_focus(self.whatif)
        if self.whatif.step(steps):
            self._try()

    def do_try_limit(self, words: str) -> None:
        console = self.console
        if not words:
            self.set_focus(self.whatif)
            key = self.whatif.key
            if key is not None:
                row = console.settings[key]
                start = fmt.value(self.whatif.tried.get(key, row.value))
                self.prompt.ask(f"try {key} = ", lambda text: self.do_try_limit(f"{key} {text}"), start=start)
            return
        parts = words.split()
        for name, text in zip(parts[::2], parts[1::2], strict=False):
            key = name if name in KEYS else f"identify.{name}"
            if key not in self.whatif.settings:
                console.notice(f"what-if knows {', '.join(k.removeprefix('identify.') for k in KEYS)}", "warn")
                return
            try:
                self.whatif.put(key, read_value(self.whatif.settings[key], text))
            except BadValue as problem:
                console.notice(f"{key}: {problem}", "warn")
                return
        self._try()

    def _try(self) -> None:
        self.apply(self.frame)
        if not self.whatif.tried:
            self.whatif.show_result(None)
            return
        changes = dict(self.whatif.tried)
        self.console.ask("what-if", lambda desk: desk.what_if(changes, LAST), self.whatif.show_result)

    def do_stage_limits(self, _: str) -> None:
        console = self.console
        if not self.whatif.tried:
            console.notice("no other limit is tried: e or ← →", "info")
            return
        for key, value in self.whatif.tried.items():
            console.send(
                Command("set", {"key": key, "value": value}),
                f"{key} {fmt.value(self.whatif.settings[key].value)} → {fmt.value(value)}",
            )
        self.whatif.drop()
