"""Questions and commands to the desk, each in a thread of its own so that drawing never waits for a database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from gainstage.config.setting_keys import split_scope, with_scope
from gainstage.engine.views.commands import Ack, Command, DeskError
from gainstage.engine.views.desk import Desk
from gainstage.tui.console.offload import offload
from gainstage.tui.console.shell import Shell
from gainstage.tui.state.command_log import STAGE_S, Sent
from gainstage.tui.state.setting_scope import reach

T = TypeVar("T")


class DeskCalls:
    """Commands are sent one after the other, in the order in which they were given."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._sending = False

    def ask(self, group: str, question: Callable[[Desk], T], then: Callable[[T], Any]) -> None:
        """Ask once; ``then`` gets the answer on the drawing thread. A newer question of the same group replaces this one."""
        shell = self._shell

        async def run() -> None:
            try:
                answer = await offload(lambda: question(shell.desk), group)
            except DeskError as problem:
                shell.notice(str(problem), "warn")
                return
            shell.run_guarded(group, lambda: then(answer))

        shell.run_in_background(run(), group, exclusive=True)

    def send(self, command: Command, label: str) -> None:
        """Queue a command. Its acknowledgement comes as a notice and in the history; nothing else changes here."""
        shell = self._shell
        if command.name == "set":
            command, label = self._scoped(command, label)
        shell.command_log.enqueue(command, label, shell.desk.now())
        if not self._sending:
            self._sending = True
            shell.run_in_background(self._send_all(), "send")

    def _scoped(self, command: Command, label: str) -> tuple[Command, str]:
        """A change for whom the screens show, and said so; one that names its scope keeps it."""
        shell, key = self._shell, str(command.args.get("key", ""))
        row = shell.settings.get(key)
        if split_scope(key)[1] or key.startswith("console."):
            return command, label
        scope = row.scope if row is not None else ""
        if shell.desk.engine is None or scope:
            label += reach(scope, shell.frame.engines)
        return replace(command, args={**command.args, "key": with_scope(key, scope)}), label

    def stage_soon(self, key: str, old: Any, new: Any) -> None:
        """Stage a value that is sent when no other step has followed for ``STAGE_S`` seconds."""
        shell = self._shell
        shell.command_log.stage(key, old, new, shell.desk.now() + STAGE_S)
        shell.redraw_now()

    async def _send_all(self) -> None:
        waiting = self._shell.command_log.waiting
        try:
            while waiting:
                await self._send_one(waiting.popleft())
        finally:
            self._sending = False

    async def _send_one(self, sent: Sent) -> None:
        shell = self._shell
        try:
            ack = await offload(lambda: shell.desk.send(sent.command), "send")
        except DeskError as problem:
            ack = Ack(-sent.number, "refused", str(problem))
        answered = shell.command_log.answered(sent, ack)
        if ack.state == "pending":
            shell.poller.follow(ack.id)
        else:
            shell.finished(answered)
        shell.redraw_now()
