"""Actions on recordings, the same wherever a recording is under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.desk import Command
from tui import format as fmt

if TYPE_CHECKING:
    from tui.app import GainstageApp


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
        from tui.screens.modals.confirm import ConfirmScreen

        app = self.console_app
        if not (ids := self._ids(words)):
            return
        question = ConfirmScreen(
            f"Cancel {self._named(ids)}?", ["What it has done so far is thrown away; r queues it again later."], yes="Cancel it"
        )
        app.push_screen(
            question, lambda yes: app.send(Command("cancel", {"ids": ids}), f"cancel {self._named(ids)}") if yes else None
        )

    def retry_arguments(self) -> tuple[dict[str, object], str]:
        """What ``R`` would retry here, and in words."""
        return {"all": True}, "every failed recording"

    def do_retry_filtered(self, _: str) -> None:
        from tui.screens.modals.confirm import ConfirmScreen

        app = self.console_app
        arguments, words = self.retry_arguments()
        app.ask(
            "retry-count",
            lambda desk: desk.failures(),
            lambda groups: app.push_screen(
                ConfirmScreen(
                    f"Retry {words}?", [f"{g.count:>5} × {g.cause}" for g in groups][:12] or ["nothing has failed"], yes="Retry"
                ),
                lambda yes: app.send(Command("retry", arguments), f"retry {words}") if yes else None,
            ),
        )

    async def do_log_of(self, _: str) -> None:
        if ids := self._ids(""):
            screen = await self.console_app.go("logs")
            screen.do_filter(f"rec:{ids[0]}")  # type: ignore[attr-defined]

    async def do_goto_recording(self, _: str) -> None:
        if ids := self._ids(""):
            await self.console_app.do_goto(ids[0])
