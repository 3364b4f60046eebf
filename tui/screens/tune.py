"""4 Tune: every setting live; staged, applied, undone; what changed and what it did."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from gainstage.engine.views.commands import Command
from gainstage.engine.views.rows import SettingRow
from gainstage.tui.console.actions import bindings
from gainstage.tui.console.frame import Frame
from gainstage.tui.console.poller import Feed, FeedResult
from gainstage.tui.render import format as fmt
from gainstage.tui.render.values import BadValue, read_value, stepped
from gainstage.tui.screens.base import DeskScreen
from gainstage.tui.widgets.changes import ChangesPanel
from gainstage.tui.widgets.settings_table import SettingsTable, shown_value
from gainstage.tui.widgets.staged import StagedPanel
from gainstage.tui.widgets.table import Table


class TuneScreen(DeskScreen):
    NAME = "tune"
    BINDINGS: ClassVar[list[Any]] = bindings("tune")

    def __init__(self) -> None:
        super().__init__()
        self.settings, self.changes, self.staged = SettingsTable(), ChangesPanel(), StagedPanel()
        self._changes = Feed("changes", lambda desk: desk.changes(), 1.0)

    def body(self) -> ComposeResult:
        with Horizontal(id="tune-row"):
            yield self.settings
            with Vertical(id="tune-side"):
                yield self.changes
                yield self.staged

    def on_mount(self) -> None:
        self.set_focus(self.settings)

    def feeds(self) -> tuple[Feed, ...]:
        return (self._changes,)

    def receive(self, answer: FeedResult) -> None:
        if answer.feed is self._changes:
            self.changes.error = answer.error
            if answer.value is not None and answer.value != self.changes.items:
                self.changes.set_items(answer.value)

    def apply(self, frame: Frame) -> None:
        self._show()

    def _show(self, *, force: bool = False) -> None:
        app = self.console_app
        pending = frozenset(str(s.command.args.get("key")) for s in app.outbox.pending if s.command.name == "set")
        self.settings.show(tuple(app.settings.values()), app.outbox.staged, pending, force=force)
        if self.settings.selected is not None and self.settings.setting is None:
            self.settings.move_to(self.settings.cursor)
        self.staged.show(app.outbox.staged, app.settings, self.settings.setting)

    def on_table_moved(self, event: Table.Moved) -> None:
        self.staged.show(self.console_app.outbox.staged, self.console_app.settings, self.settings.setting)

    # -- values

    def _stage(self, row: SettingRow, value: Any) -> None:
        self.console_app.outbox.stage(row.key, row.value, value)
        self._show(force=True)

    def _step(self, steps: int) -> None:
        app = self.console_app
        row = self.settings.setting
        if row is None or self.focused is not self.settings:
            return
        held = app.outbox.staged.get(row.key)
        try:
            self._stage(row, stepped(row, held.new if held is not None else row.value, steps))
        except BadValue as problem:
            app.notice(f"{row.key}: {problem}", "info")

    def do_cursor_left(self, _: str) -> None:
        self._step(-1)

    def do_cursor_right(self, _: str) -> None:
        self._step(1)

    def do_big_left(self, _: str) -> None:
        self._step(-5)

    def do_big_right(self, _: str) -> None:
        self._step(5)

    def do_edit(self, _: str) -> None:
        row = self.settings.setting
        if row is None:
            return
        held = self.console_app.outbox.staged.get(row.key)
        value = held.new if held is not None else row.value
        start = "" if row.secret else fmt.value(value)
        self.prompt.ask(f"{row.key} = ", self._typed, start=start, suggest=list(row.choices) or None, hint=row.help)

    def _typed(self, text: str) -> None:
        row = self.settings.setting
        if row is None:
            return
        try:
            self._stage(row, read_value(row, text))
        except BadValue as problem:
            self.console_app.notice(f"{row.key}: {problem}", "warn")

    def do_open(self, _: str) -> None:
        from gainstage.tui.screens.modals.change import ChangeScreen

        if self.focused is self.changes and self.changes.selected is not None:
            self.app.push_screen(ChangeScreen(self.changes.selected))
        else:
            self.console_app.perform("edit")

    def on_table_opened(self, event: Table.Opened) -> None:
        self.console_app.perform("open")

    def do_apply(self, _: str) -> None:
        app = self.console_app
        staged = app.outbox.take_staged()
        if not staged:
            app.notice("nothing is staged: ← → or e", "info")
            return
        for s in staged:
            row = app.settings.get(s.key)
            words = f"{s.key} {shown_value(row, s.old)} → {shown_value(row, s.new)}" if row is not None else s.key
            app.send(Command("set", {"key": s.key, "value": s.new}), words)
        self._show(force=True)

    def do_back(self, words: str) -> None:
        app = self.console_app
        if app.outbox.staged:
            app.outbox.take_staged()
            self._show(force=True)
        elif self.maximised_panel is None and (self.settings.filter_text or self.settings.differences):
            self.settings.differences = False
            self._filter("")
        else:
            app.do_back(words)

    # -- undo

    def do_undo(self, _: str) -> None:
        self.console_app.send(Command("undo"), "undo the last change")

    def do_undo_to(self, words: str) -> None:
        from gainstage.tui.screens.modals.confirm import ConfirmScreen

        app = self.console_app
        change = self.changes.selected
        if words.strip().isdigit():
            revision = int(words)
        elif change is not None:
            revision = change.revision - 1
        else:
            app.notice("no change under the cursor", "info")
            return
        later = [c for c in self.changes.items if c is not None and c.revision > revision and c.state == "applied"]
        lines = [f"{c.key}  {fmt.value(c.new)} → {fmt.value(c.old)}" for c in later][:10]
        question = ConfirmScreen(f"Undo {fmt.plural(len(later), 'change')}?", lines, yes="Undo")
        app.push_screen(
            question,
            lambda yes: app.send(Command("undo_to", {"revision": revision}), f"undo to revision {revision}") if yes else None,
        )

    # -- looking

    def do_differences(self, _: str) -> None:
        self.settings.differences = not self.settings.differences
        self.settings.top = 0
        self._show(force=True)

    def do_filter(self, words: str) -> None:
        if words:
            self._filter(words)
        else:
            self.prompt.ask(
                "/", self._filter, start=self.settings.filter_text, changed=self._filter, hint="part of a name or of its help"
            )

    def _filter(self, text: str) -> None:
        self.settings.filter_text = text.strip()
        self.settings.top = 0
        self._show(force=True)

    # -- presets and the file

    def do_presets(self, words: str) -> None:
        from gainstage.config.origins import SettingError, profile_names, read_profile

        app = self.console_app
        if not words:
            from gainstage.tui.screens.modals.choose import ChooseScreen

            names = [(name, "staged, not sent") for name in profile_names()]
            app.push_screen(ChooseScreen("stage a preset", names), lambda name: self.do_presets(name) if name else None)
            return
        try:
            _, values = read_profile(words.strip())
        except SettingError as problem:
            app.notice(str(problem), "warn")
            return
        staged = 0
        for key, value in values.items():
            row = app.settings.get(key)
            if row is not None and row.value != value and row.effect != "run":
                app.outbox.stage(key, row.value, value)
                staged += 1
        app.notice(f"{words}: {fmt.plural(staged, 'value')} staged, A applies" if staged else f"{words}: nothing differs", "info")
        self._show(force=True)

    def do_write_back(self, _: str) -> None:
        from gainstage.tui.commands.write_back import write_back

        app = self.console_app
        path = app.settings_file
        if path is None:
            app.notice("this console knows no settings file", "warn")
            return
        live = {row.key: row.value for row in app.settings.values() if row.origin.startswith("live") and not row.secret}
        if not live:
            app.notice("no live value differs from the file", "info")
            return
        app.ask(
            "write-back",
            lambda _: write_back(path, live),
            lambda n: app.notice(f"{fmt.plural(n, 'value')} written to {path}", "ok"),
        )
