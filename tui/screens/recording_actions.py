"""Actions on recordings, the same wherever a recording is under the cursor."""

from __future__ import annotations

from dataclasses import dataclass

from gainstage.engine.views.commands import Command
from gainstage.engine.views.desk import Desk
from gainstage.tui.render import format as fmt
from gainstage.tui.screens.table_screen import TableScreen

CAUSES_SAID = 12


@dataclass(frozen=True, slots=True)
class Failures:
    """What is to be tried again: in words, as arguments of the command, and how many of each cause."""

    words: str
    arguments: dict[str, object]
    counts: tuple[tuple[str, int], ...]


class RecordingActionsScreen(TableScreen):
    """A screen on which recordings are selected: :meth:`selected_ids` says which."""

    @staticmethod
    def _named(ids: list[str]) -> str:
        return ids[0] if len(ids) == 1 else fmt.plural(len(ids), "recording")

    def do_retry(self, words: str) -> None:
        if ids := self.recording_ids(words):
            self.console.send(Command("retry", {"ids": ids}), f"retry {self._named(ids)}")

    def do_raise(self, words: str) -> None:
        if ids := self.recording_ids(words):
            self.console.send(Command("priority", {"ids": ids, "to_front": True}), f"{self._named(ids)} to the front")

    def do_skip(self, words: str) -> None:
        if ids := self.recording_ids(words):
            self.console.send(Command("skip", {"ids": ids}), f"skip {self._named(ids)}")

    def do_cancel(self, words: str) -> None:
        from gainstage.tui.screens.modals.confirm import ConfirmScreen

        console = self.console
        if not (ids := self.recording_ids(words)):
            return
        question = ConfirmScreen(
            f"Cancel {self._named(ids)}?", ["What it has done so far is thrown away; r queues it again later."], yes="Cancel it"
        )
        self.app.push_screen(
            question, lambda yes: console.send(Command("cancel", {"ids": ids}), f"cancel {self._named(ids)}") if yes else None
        )

    def failures_shown(self, desk: Desk) -> Failures:
        """What ``R`` would retry here; asked off the thread that draws."""
        groups = desk.failures()
        return Failures("every failed recording", {"all": True}, tuple((g.cause, g.count) for g in groups))

    def do_retry_filtered(self, _: str) -> None:
        from gainstage.tui.screens.modals.confirm import ConfirmScreen

        console = self.console

        def confirm(failures: Failures) -> None:
            if not failures.counts:
                console.notice(f"retry {failures.words}: nothing has failed", "info")
                return
            lines = [f"{count:>7,} × {cause}" for cause, count in failures.counts]
            lines = (
                lines
                if len(lines) <= CAUSES_SAID
                else [*lines[: CAUSES_SAID - 1], f"and {len(lines) - CAUSES_SAID + 1} more causes"]
            )
            total = sum(count for _, count in failures.counts)
            question = ConfirmScreen(f"Retry {fmt.plural(total, 'recording')}?", [failures.words, "", *lines], yes="Retry")
            self.app.push_screen(
                question, lambda yes: console.send(Command("retry", failures.arguments), f"retry {failures.words}") if yes else None
            )

        console.ask("retry-count", self.failures_shown, confirm)
