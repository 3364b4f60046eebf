"""4 Tune: every setting live; staged, applied, undone; what changed and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from gainstage.engine.views.commands import Command, DeskError
from gainstage.engine.views.rows import SettingRow
from gainstage.tui.render import format as fmt
from gainstage.tui.render.values import BadValue, read_value, stepped
from gainstage.tui.screens.table_screen import TableScreen
from gainstage.tui.state.actions import bindings
from gainstage.tui.state.feeds import Feed, FeedResult
from gainstage.tui.state.frame import Frame
from gainstage.tui.state.presets import PresetChange, changes_of, presets_for
from gainstage.tui.widgets.changes import ChangesPanel
from gainstage.tui.widgets.settings_table import SettingsTable, shown_key, shown_value
from gainstage.tui.widgets.staged import StagedPanel
from gainstage.tui.widgets.table import Table

PREDICT_EVERY_S = 5.0
"""What is staged is predicted anew this often, from newer measurements."""


class TuneScreen(TableScreen):
    NAME = "tune"
    BINDINGS: ClassVar[list[Any]] = bindings("tune")

    def __init__(self) -> None:
        super().__init__()
        self.settings, self.changes, self.staged = SettingsTable(), ChangesPanel(), StagedPanel()
        self._changes = Feed("changes", lambda desk: desk.changes(), 1.0)
        self._predicted: Feed | None = None
        self._predicts: dict[str, Any] = {}  # the staged values that it asks about

    def body(self) -> ComposeResult:
        with Horizontal(id="tune-row"):
            yield self.settings
            with Vertical(id="tune-side"):
                yield self.changes
                yield self.staged

    def on_mount(self) -> None:
        self.set_focus(self.settings)

    def feeds(self) -> tuple[Feed, ...]:
        return (self._changes,) if self._predicted is None else (self._changes, self._predicted)

    def receive(self, answer: FeedResult) -> None:
        if answer.feed is self._changes:
            self.changes.error = answer.error
            if answer.value is not None and answer.value != self.changes.items:
                self.changes.set_items(answer.value)
        elif answer.feed is self._predicted and answer.value is not None:
            self.staged.show_predicted(answer.value)

    def _predict(self) -> None:
        """Have what is staged predicted, as one change."""
        wanted = {key: staged.new for key, staged in self.console.command_log.staged.items()}
        if wanted == self._predicts:
            return
        self._predicts = wanted
        self._predicted = Feed("predicted", lambda desk: desk.predict(wanted), PREDICT_EVERY_S) if wanted else None
        self.staged.show_predicted(None)
        self.watch_again()

    def apply(self, frame: Frame) -> None:
        self._show()
        self.changes.show_autopilot(frame.snapshot.autopilot if frame.snapshot is not None else None)

    def _show(self, *, force: bool = False) -> None:
        console = self.console
        sent = [str(s.command.args.get("key")) for s in console.command_log.pending if s.command.name == "set"]
        pending = frozenset(shown_key(key, console.settings) for key in sent)
        self.settings.show(tuple(console.settings.values()), console.command_log.staged, pending, force=force)
        if self.settings.selected is not None and self.settings.setting is None:
            self.settings.move_to(self.settings.cursor)
        self._show_staged()
        self._predict()

    def _show_staged(self) -> None:
        console, one = self.console, self.settings.setting
        self.staged.show(console.command_log.staged, console.settings, one, console.frame.engines)

    def on_table_moved(self, event: Table.Moved) -> None:
        self._show_staged()

    @property
    def main_table(self) -> SettingsTable:
        return self.settings

    def refilter(self) -> None:
        self.settings.top = 0
        self._show(force=True)

    def drop_unsent(self) -> bool:
        dropped = bool(self.console.command_log.take_staged())
        if dropped:
            self._show(force=True)
        return dropped

    # -- values

    def _stage(self, row: SettingRow, value: Any) -> None:
        self.console.command_log.stage(row.key, row.value, value)
        self._show(force=True)

    def _step(self, steps: int) -> None:
        console = self.console
        row = self.settings.setting
        if row is None or self.focused is not self.settings:
            return
        staged = console.command_log.staged.get(row.key)
        try:
            self._stage(row, stepped(row, staged.new if staged is not None else row.value, steps))
        except BadValue as problem:
            console.notice(f"{row.key}: {problem}", "info")

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
        staged = self.console.command_log.staged.get(row.key)
        value = staged.new if staged is not None else row.value
        start = "" if row.secret else fmt.value(value)
        self.prompt.ask(f"{row.key} = ", self._typed, start=start, suggest=list(row.choices) or None, hint=row.help)

    def _typed(self, text: str) -> None:
        row = self.settings.setting
        if row is None:
            return
        try:
            self._stage(row, read_value(row, text))
        except BadValue as problem:
            self.console.notice(f"{row.key}: {problem}", "warn")

    def do_open(self, _: str) -> None:
        from gainstage.tui.screens.modals.change import ChangeScreen

        if self.focused is self.changes and self.changes.selected is not None:
            self.app.push_screen(ChangeScreen(self.changes.selected))
        else:
            self.console.perform("edit")

    def do_apply(self, _: str) -> None:
        console = self.console
        staged = console.command_log.take_staged()
        if not staged:
            console.notice("nothing is staged: ← → or e", "info")
            return
        for s in staged:
            row = console.settings.get(s.key)
            words = f"{s.key} {shown_value(row, s.old)} → {shown_value(row, s.new)}" if row is not None else s.key
            console.send(Command("set", {"key": s.key, "value": s.new}), words)
        self._show(force=True)

    # -- undo

    def do_undo(self, _: str) -> None:
        self.console.send(Command("undo"), "undo the last change")

    def do_experiments(self, _: str) -> None:
        from gainstage.tui.screens.modals.experiments import ExperimentsScreen

        self.app.push_screen(ExperimentsScreen())

    def do_autopilot(self, _: str) -> None:
        row = self.console.settings.get("autopilot.on")
        if row is None:
            self.console.notice("settings are not read yet", "warn")
            return
        on = not bool(row.value)
        self.console.send(Command("set", {"key": "autopilot.on", "value": on}), f"autopilot {'on' if on else 'off'}")

    def do_undo_to(self, words: str) -> None:
        from gainstage.tui.screens.modals.confirm import ConfirmScreen

        console = self.console
        change = self.changes.selected
        if words.strip().isdecimal():
            revision = int(words)
        elif change is not None:
            revision = change.revision - 1
        else:
            console.notice("no change under the cursor", "info")
            return
        later = [c for c in self.changes.items if c is not None and c.revision > revision and c.state == "applied"]
        lines = [f"{c.key}  {fmt.value(c.new)} → {fmt.value(c.old)}" for c in later][:10]
        question = ConfirmScreen(f"Undo {fmt.plural(len(later), 'change')}?", lines, yes="Undo")
        self.app.push_screen(
            question,
            lambda yes: console.send(Command("undo_to", {"revision": revision}), f"undo to revision {revision}") if yes else None,
        )

    # -- looking

    def do_differences(self, _: str) -> None:
        self.settings.differences = not self.settings.differences
        self.refilter()

    # -- presets and the file

    def do_presets(self, words: str) -> None:
        console, name = self.console, words.strip()
        changes = {preset.name: changes_of(preset, console.settings) for preset in presets_for(console.newest)}
        if name not in changes:
            if name:
                console.notice(f"no preset {name!r}: {', '.join(changes)}", "warn")
            self._choose_preset(changes)
            return
        for change in changes[name]:
            console.command_log.stage(change.row.key, change.row.value, change.new)
        staged = len(changes[name])
        console.notice(f"{name}: {fmt.plural(staged, 'value')} staged, A applies" if staged else f"{name}: nothing differs", "info")
        self._show(force=True)

    def _choose_preset(self, changes: Mapping[str, list[PresetChange]]) -> None:
        from gainstage.tui.screens.modals.choose import ChooseScreen

        rows = []
        for preset in presets_for(self.console.newest):
            differs = ", ".join(change.text for change in changes[preset.name])
            rows.append((preset.name, f"{preset.purpose}: {differs or 'nothing differs'}"))
        question = ChooseScreen("stage a preset", rows, wide=True)
        self.app.push_screen(question, lambda name: self.do_presets(name) if name else None)

    def do_write_back(self, _: str) -> None:

        console = self.console
        path = console.settings_file
        if path is None:
            console.notice("this console knows no settings file", "warn")
            return
        live = {
            row.key: row.value
            for row in console.settings.values()
            if row.origin == "live" and "@" not in row.key and not row.secret
        }
        if not live:
            console.notice("no live value differs from the file", "info")
            return
        console.ask(
            "write-back",
            lambda _: write_to_file(path, live),
            lambda n: console.notice(f"{fmt.plural(n, 'value')} written to {path}", "ok"),
        )


def write_to_file(path: Path, values: dict[str, Any]) -> int:
    """Write live values into the settings file; how many. Raises ``DeskError`` where the file cannot be read or written."""
    from gainstage.config.errors import SettingError
    from gainstage.config.write_back import write_back

    try:
        return write_back(path, values)
    except SettingError as problem:
        raise DeskError(str(problem)) from None
