"""Errands of the console: questions and commands to the desk off the drawing thread, what came of them, and faults of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from gainstage.engine.views.commands import Ack, Command, DeskError
from gainstage.engine.views.desk import Desk
from gainstage.tui.console.command_log import STAGE_S, Sent, told
from gainstage.tui.console.crash import write_report
from gainstage.tui.console.offload import offload
from gainstage.tui.widgets.bars import Notice

if TYPE_CHECKING:
    from gainstage.tui.console.app import GainstageApp

T = TypeVar("T")

NOTICE_S = 6.0


class Errands:
    """Mixed into the app; ``self`` is the app."""

    _sending = False

    @property
    def _app(self) -> GainstageApp:
        return cast("GainstageApp", self)

    # -- asking and commanding

    def ask(self, group: str, question: Callable[[Desk], T], then: Callable[[T], Any]) -> None:
        """A one-off question to the desk, off this thread; a newer one of the same group replaces it."""
        app = self._app

        async def run() -> None:
            try:
                answer = await offload(lambda: question(app.desk), group)
            except DeskError as problem:
                self.notice(str(problem), "warn")
                return
            app._guarded(group, lambda: then(answer))

        app.run_worker(run(), name=group, group=group, exclusive=True, exit_on_error=False)

    def send(self, command: Command, label: str) -> None:
        """Queue a command. Its acknowledgement comes as a notice and in the history; nothing else changes here."""
        app = self._app
        app.outbox.enqueue(command, label, app.desk.now())
        if not self._sending:
            self._sending = True
            app.run_worker(self._send_all(), name="send", group="commands", exit_on_error=False)

    def stage_soon(self, key: str, old: Any, new: Any) -> None:
        """A step that is sent when no other has followed for a moment."""
        app = self._app
        app.outbox.stage(key, old, new, app.desk.now() + STAGE_S)
        app.redraw_now()

    async def _send_all(self) -> None:
        app = self._app
        try:
            while app.outbox.waiting:
                sent = app.outbox.waiting.popleft()
                await self._send_one(sent)
        finally:
            self._sending = False

    async def _send_one(self, sent: Sent) -> None:
        app = self._app
        try:
            ack = await offload(lambda: app.desk.send(sent.command), "send")
        except DeskError as problem:
            ack = Ack(-sent.number, "refused", str(problem))
        fresh = app.outbox.answered(sent, ack)
        if ack.state == "pending":
            app.pump.follow(ack.id)
        else:
            self._acknowledged(fresh)
        app.redraw_now()

    def _acknowledged(self, sent: Sent) -> None:
        text, band = told(sent)
        self.notice(text, band)
        screen = self._app.desk_screen
        if screen is not None:
            screen.watch_again()

    # -- notices and faults

    def notice(self, text: str, band: str = "info") -> None:
        """A short word in the corner; the same word again is counted, not repeated."""
        app = self._app
        until = app.desk.now() + NOTICE_S
        for held in app.notices:
            if held.text == text:
                held.times, held.until = held.times + 1, until
                break
        else:
            app.notices.append(Notice(text, band, until))
            del app.notices[:-20]
        if app.desk_screen is not None and app.desk_screen.is_running:
            app.desk_screen.show_chrome(app.frame)

    def notices_now(self) -> list[Notice]:
        """Notices still to be read, and commands under way."""
        app = self._app
        now = app.desk.now()
        app.notices = [n for n in app.notices if now < n.until <= now + 10 * NOTICE_S]
        pending = [Notice(told(s)[0], "pending", now) for s in app.outbox.pending[-2:]]
        staged = [
            Notice(f"{s.key} {s.old} → {s.new}, about to be sent", "change", now)
            for s in app.outbox.staged.values()
            if s.due is not None
        ]
        return [*app.notices, *staged, *pending]

    def report(self, problem: BaseException, what: str) -> None:
        """A fault of the console: logged, shown once with its id. The engine is not touched."""
        app = self._app
        from gainstage.tui.screens.modals.fault import FaultScreen

        number = write_report(problem, what, app.log_path)
        if number in app.reported:
            return
        app.reported.add(number)
        if app.is_running:
            app.call_later(app.push_screen, FaultScreen(number, what, type(problem).__name__, app.log_path))
