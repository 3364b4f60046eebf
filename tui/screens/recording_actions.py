"""Actions on recordings, the same wherever a recording is under the cursor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gainstage.engine.views.commands import Command
from gainstage.engine.views.desk import Desk
from gainstage.tui.render import format as fmt

if TYPE_CHECKING:
    from gainstage.tui.console.app import GainstageApp


CAUSES_SAID = 12


@dataclass(frozen=True, slots=True)
class Failures:
    """What is to be tried again: in words, as arguments of the command, and how many of each cause."""

    words: str
    arguments: dict[str, object]
    counts: tuple[tuple[str, int], ...]


class RecordingActions:
    """Mixed into screens that know :meth:`selected_ids`."""

    if TYPE_CHECKING:

        @property
        def console_app(self) -> GainstageApp: ...

    def selected_ids(self) -> list[str]:
        """The recordings an action is for: those marked, else the one under the cursor."""
        raise NotImplementedError

    def _ids(self, words: str) -> list[str]:
        ids = words.split() or self.selected_ids()
        if not ids:
            self.console_app.notice("no recording under the cursor", "info")
        return ids

    @staticmethod
    def _named(ids: list[str]) -> str:
        return ids[0] if len(ids) == 1 else fmt.plural(len(ids), "recording")

    def do_retry(self, words: str) -> None:
        if ids := self._ids(words):
            self.console_app.send(Command("retry", {"ids": ids}), f"retry {self._named(ids)}")

    def do_raise(self, words: str) -> None:
        if ids := self._ids(words):
            self.console_app.send(Command("priority", {"ids": ids, "to_front": True}), f"{self._named(ids)} to the front")

    def do_skip(self, words: str) -> None:
        if ids := self._ids(words):
            self.console_app.send(Command("skip", {"ids": ids}), f"skip {self._named(ids)}")

    def do_cancel(self, words: str) -> None:
        from gainstage.tui.screens.modals.confirm import ConfirmScreen

        app = self.console_app
        if not (ids := self._ids(words)):
            return
        question = ConfirmScreen(
            f"Cancel {self._named(ids)}?", ["What it has done so far is thrown away; r queues it again later."], yes="Cancel it"
        )
        app.push_screen(
            question, lambda yes: app.send(Command("cancel", {"ids": ids}), f"cancel {self._named(ids)}") if yes else None
        )

    def failures_shown(self, desk: Desk) -> Failures:
        """What ``R`` would retry here; asked off the thread that draws."""
        groups = desk.failures()
        return Failures("every failed recording", {"all": True}, tuple((g.cause, g.count) for g in groups))

    def do_retry_filtered(self, _: str) -> None:
        from gainstage.tui.screens.modals.confirm import ConfirmScreen

        app = self.console_app

        def found(failures: Failures) -> None:
            if not failures.counts:
                app.notice(f"retry {failures.words}: nothing has failed", "info")
                return
            lines = [f"{count:>7,} × {cause}" for cause, count in failures.counts]
            lines = (
                lines
                if len(lines) <= CAUSES_SAID
                else [*lines[: CAUSES_SAID - 1], f"and {len(lines) - CAUSES_SAID + 1} more causes"]
            )
            total = sum(count for _, count in failures.counts)
            question = ConfirmScreen(f"Retry {fmt.plural(total, 'recording')}?", [failures.words, "", *lines], yes="Retry")
            app.push_screen(
                question, lambda yes: app.send(Command("retry", failures.arguments), f"retry {failures.words}") if yes else None
            )

        app.ask("retry-count", self.failures_shown, found)

    async def do_log_of(self, _: str) -> None:
        if ids := self._ids(""):
            screen = await self.console_app.go("logs")
            screen.do_filter(f"rec:{ids[0]}")  # type: ignore[attr-defined]

    async def do_goto_recording(self, _: str) -> None:
        if ids := self._ids(""):
            await self.console_app.do_goto(ids[0])
