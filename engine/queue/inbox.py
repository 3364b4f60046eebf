"""Carries out the commands an engine is asked, one after the other, on a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from gainstage.engine.backoff import Backoff
from gainstage.engine.errors import EngineError, Transient
from gainstage.engine.queue import commands
from gainstage.engine.queue.commands import Received, Reply
from gainstage.engine.store.database import Database
from gainstage.engine.views.commands import Command

T = TypeVar("T")
Later = Callable[[], "str | Reply"]
"""Work that takes its time: done on a thread of its own, so that the commands behind it need not wait."""
Handle = Callable[[Command], "str | Reply | Later"]
Report = Callable[[str, Exception], object]
"""Called with the name of what failed and its error, for the journal."""

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0
"""Between two tries to reach a database that is away."""


class Inbox(threading.Thread):
    """``handle`` acts on a command and returns the answer (in words, or with data), or work to be done beside (:data:`Later`); it
    raises :class:`gainstage.engine.errors.EngineError` to refuse. A command is given to it once, whatever was announced or lost.
    ``report`` gets what must not get lost although nobody waits for it.
    """

    def __init__(self, db: Database, engine_id: str, handle: Handle, report: Report) -> None:
        super().__init__(name="inbox", daemon=True)
        self.db = db
        self.engine_id = engine_id
        self._on_command = handle
        self._report = report
        self._waiting: queue.SimpleQueue[Received | None] = queue.SimpleQueue()
        self._known: set[int] = set()
        self._ending = threading.Event()

    def put(self, received: Received) -> None:
        """Take a command in; one that is known already changes nothing."""
        if received.id not in self._known:
            self._known.add(received.id)
            self._waiting.put(received)

    def stop(self, timeout_s: float = 10.0) -> None:
        """End after the command at hand."""
        self._ending.set()
        self._waiting.put(None)
        if self.ident is not None:
            self.join(timeout_s)

    def run(self) -> None:
        while (received := self._waiting.get()) is not None:
            try:
                if self._through_outage(partial(commands.take, self.db, self.engine_id, received.id)):
                    self._answered(received, partial(self._on_command, received.command))
            except Exception as error:  # a command that cannot even be answered expires; the others are still served
                self._report(f"answering the command {received.command.name}", error)
            self._known.discard(received.id)  # announced again, it is not taken a second time

    def answer(self, id: int, text: str, *, refused: bool = False, data: Any = None) -> None:
        """Answer a command; waits through an outage unless the inbox ends."""
        self._through_outage(partial(commands.answer, self.db, self.engine_id, id, refused=refused, text=text, data=data))

    def _answered(self, received: Received, act: Callable[[], str | Reply | Later]) -> None:
        try:
            reply = act()
        except EngineError as error:
            self.answer(received.id, error.message, refused=True)
        except Exception as error:  # a fault in a handler is the operator's to know; the engine must stay reachable
            self._report(f"command {received.command.name}", error)
            self.answer(received.id, f"a fault of the engine: {type(error).__name__}: {error}", refused=True)
        else:
            if callable(reply):
                threading.Thread(
                    target=self._answered, args=(received, reply), name=f"command-{received.command.name}", daemon=True
                ).start()
            elif isinstance(reply, Reply):
                self.answer(received.id, reply.text, data=reply.data)
            else:
                self.answer(received.id, reply)

    def _through_outage(self, call: Callable[[], T]) -> T | None:
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        while True:
            try:
                return call()
            except EngineError as error:  # an outage, or rights that were taken away: either may pass
                if not isinstance(error, Transient):
                    self._report("commands wait", error)
                if self._ending.wait(backoff.next()):
                    return None
