"""The engine's sign of life: a thread, and a connection that only commands share.

Commits that fill the pool, or a recovery that waits for a lock, must not make a living engine look dead.
"""

from __future__ import annotations

import threading

from gainstage.engine.runtime.context import EngineContext

BEAT_AGAIN_S = 1.0
"""Longest wait after a heartbeat that did not get through."""


class Heartbeat:
    """A thread of the engine: :meth:`start` once, :meth:`stop` after the last flight has left."""

    def __init__(self, context: EngineContext) -> None:
        self.context = context
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Not before the last flight has left: a drain of an hour needs its heartbeat."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join(10)

    def _run(self) -> None:
        period_s = self.context.queue.heartbeat_s
        wait_s = period_s
        while not self._ending.wait(wait_s):
            wait_s = period_s if self.context.faults.guarded_step("heartbeat", self._beat) else min(period_s, BEAT_AGAIN_S)

    def _beat(self) -> None:
        with self.context.database.transaction(reserved=True) as connection:
            connection.execute("set local synchronous_commit = off")  # a sign of life need not wait for a disk that is slow
            known = self.context.queue.beat(connection)
        if not known:
            self.context.journal.log("warning", "this engine had been given up by the others: registered anew", kind="state")
