"""What becomes of an operator's command: done on the database itself where no engine is needed, else asked of engines.

Everything leaves a line in table ``command`` or ``change``: who, what, when, and what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gainstage.engine.queue import changes, commands
from gainstage.engine.queue.backlog import Backlog, Ended, Reprioritised
from gainstage.engine.store.database import Database
from gainstage.engine.views.commands import Ack, Command

ONE_ENGINE = frozenset({"add", "enrol", "relabel", "embed_query"})
"""Work for any one engine: sent to the one chosen, not to all."""


OF_ENGINES = frozenset({"pause", "resume", "pause_stage", "resume_stage", "drain", "stop", "reload"})
"""Commands that go to the engine a desk is narrowed to; recordings and settings belong to all."""


class CommandRefused(Exception):
    """A command that cannot be carried out; its text is for the operator."""


class CommandDispatcher:
    """Carries commands out. Thread-safe; raises :class:`gainstage.engine.errors.Transient` in an outage."""

    def __init__(self, db: Database, backlog: Backlog) -> None:
        self.db = db
        self.backlog = backlog
        self._here: dict[str, Callable[[Command], tuple[str, int | None]]] = {
            "retry": self._retry,
            "cancel": self._cancel,
            "skip": self._skip,
            "priority": self._priority,
        }

    def send(self, command: Command, *, engine: str | None, below: Mapping[str, Any] | None) -> Ack:
        """``engine`` is the one a console looks at, for what one engine is enough for; ``below`` its settings under the live layer."""
        if command.name in ("set", "undo", "undo_to"):
            return self._settings(command, below)
        act = self._here.get(command.name)
        if act is None:
            if command.name in ONE_ENGINE and command.engine is None:
                command = Command(command.name, command.args, engine, command.by)
            return commands.send(self.db, command)
        try:
            text, question = act(command)
        except CommandRefused as no:
            return self._recorded(command, str(no), refused=True)
        return self._recorded(command, text) if question is None else Ack(question, "pending", text)

    def ack(self, id: int) -> Ack:
        """What has become of command or change ``id``. Raises KeyError for an unknown number."""
        try:
            return changes.ack(self.db, id)
        except KeyError:
            return commands.ack(self.db, id)

    def _recorded(self, command: Command, text: str, *, refused: bool = False) -> Ack:
        with self.db.transaction() as connection:
            id = commands.record(connection, command, refused=refused, text=text)
        return Ack(id, "refused" if refused else "done", text, applied_after_s=None if refused else 0.0)

    def _settings(self, command: Command, below: Mapping[str, Any] | None) -> Ack:
        if command.name == "set":
            given = command.args
            ack = changes.set_value(self.db, str(given.get("key", "")), given.get("value"), command.by, below=below)
        elif command.name == "undo":
            ack = changes.undo(self.db, command.by, below=below)
        else:
            ack = changes.undo(self.db, command.by, int(command.args["revision"]), below=below)
        if ack.id:
            return ack
        reported = self._recorded(command, ack.text, refused=ack.state == "refused")
        return replace(reported, revision=ack.revision, old=ack.old, new=ack.new, effect=ack.effect)

    def _ids(self, command: Command) -> list[str]:
        ids = [str(id) for id in command.args.get("ids", ())]
        if not ids:
            raise CommandRefused("no recording named")
        if unknown := self.backlog.unknown(ids):
            raise CommandRefused(f"unknown recording {unknown[0]}" + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""))
        return ids

    def _retry(self, command: Command) -> tuple[str, None]:
        if command.args.get("all"):
            n = self.backlog.retry(everything=True)
        elif cause := command.args.get("cause"):
            n = self.backlog.retry(cause=str(cause))
        else:
            n = self.backlog.retry(self._ids(command))
        if not n:
            raise CommandRefused("nothing to retry: only failed, skipped, cancelled and waiting recordings are")
        return f"{n} queued again", None

    def _cancel(self, command: Command) -> tuple[str, int | None]:
        return self._ended(self.backlog.cancel(self._ids(command), by=command.by), "cancelled")

    def _skip(self, command: Command) -> tuple[str, int | None]:
        return self._ended(self.backlog.skip(self._ids(command), by=command.by), "skipped")

    def _ended(self, ended: Ended, word: str) -> tuple[str, int | None]:
        if not ended.done and not ended.running:
            raise CommandRefused(f"nothing to do: what has ended is not {word}")
        running = f"{ended.running} running, their engines were asked" if ended.running else ""
        return ", ".join(part for part in (f"{ended.done} {word}" if ended.done else "", running) if part), ended.command

    def _priority(self, command: Command) -> tuple[str, int | None]:
        to_front = bool(command.args.get("to_front"))
        delta = int(command.args.get("delta", 0))
        moved: Reprioritised = self.backlog.prioritise(self._ids(command), delta=delta, to_front=to_front, by=command.by)
        n = moved.queued + moved.running
        if not n:
            raise CommandRefused("only queued and running recordings have a priority")
        return f"{n} {'put to the front' if to_front else f'moved by {delta:+d}'}", moved.command
