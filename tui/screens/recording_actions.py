"""Actions on recordings, the same wherever a recording is under the cursor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gainstage.engine.views.commands import Command
from gainstage.engine.views.desk import Desk
from gainstage.tui.render import format as fmt
from gainstage.tui.screens.table_screen import TableScreen

CAUSES_SAID = 12
ENDED = frozenset({"stored", "failed", "skipped", "cancelled"})
NOT_SKIPPED = frozenset({"stored", "skipped"})
NOT_RETRIED = frozenset({"stored", "running"})


@dataclass(frozen=True, slots=True)
class Failures:
    """What is to be tried again: in words, as arguments of the command, and how many of each cause."""

    words: str
    arguments: dict[str, object]
    counts: tuple[tuple[str, int], ...]


class RecordingActionsScreen(TableScreen):
    """A screen on which recordings are selected: :meth:`selected_ids` says which."""

    def status_of(self, id: str) -> str | None:
        """The status of a recording that is on this screen; None where it is not known here."""
        return None

    @staticmethod
    def _named(ids: list[str]) -> str:
        return ids[0] if len(ids) == 1 else fmt.plural(len(ids), "recording")

    def _ids_for(self, verb: str, words: str, ended: frozenset[str]) -> list[str]:
        """The recordings that can be acted on; those with a status of ``ended`` are left out, and the operator reads so."""
        ids = self.recording_ids(words)
        left_out = [id for id in ids if self.status_of(id) in ended]
        if left_out:
            status = self.status_of(left_out[0])
            same = all(self.status_of(id) == status for id in left_out)
            state = f"{'is' if len(left_out) == 1 else 'are'} {status}" if same else "have ended"
            self.console.notice(f"{self._named(left_out)} {state}: nothing to {verb}", "info")
        return [id for id in ids if id not in left_out]

    def do_retry(self, words: str) -> None:
        if ids := self._ids_for("retry", words, NOT_RETRIED):
            self.console.send(Command("retry", {"ids": ids}), f"retry {self._named(ids)}")

    def do_raise(self, words: str) -> None:
        if ids := self._ids_for("put to the front", words, ENDED):
            self.console.send(Command("priority", {"ids": ids, "to_front": True}), f"{self._named(ids)} to the front")

    def do_skip(self, words: str) -> None:
        if ids := self._ids_for("skip", words, NOT_SKIPPED):
            self._confirm_end("skip", ids, "It is marked as not wanted, and what it has done so far is thrown away.", "Skip it")

    def do_cancel(self, words: str) -> None:
        if ids := self._ids_for("cancel", words, ENDED):
            self._confirm_end("cancel", ids, "What it has done so far is thrown away; r queues it again later.", "Cancel it")

    def _confirm_end(self, name: Literal["skip", "cancel"], ids: list[str], consequence: str, yes: str) -> None:
        from gainstage.tui.screens.modals.confirm import ConfirmScreen

        named = self._named(ids)
        command = Command(name, {"ids": ids})
        question = ConfirmScreen(f"{name.capitalize()} {named}?", [consequence], yes=yes)
        self.app.push_screen(question, lambda sure: self.console.send(command, f"{name} {named}") if sure else None)

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
