"""The engine's heartbeat, and its housekeeping at every beat: bring back what dead engines held, keep claims and flights in
step, and write down what changes of settings did.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from gainstage.engine.advisor import measured_effects
from gainstage.engine.advisor.forecast import expect
from gainstage.engine.queue import changes
from gainstage.engine.queue.jobs import HeldClaim, Recovered
from gainstage.engine.store.vectors import build_indexes
from gainstage.engine.views.rows import ChangeRow

if TYPE_CHECKING:
    from gainstage.engine.runtime.engine import Engine
    from gainstage.engine.runtime.run_state import RunControl

LOOKED_AT = 50
"""Latest changes of settings that are looked at for what they did."""

INDEX_EVERY_S = 300.0

BEAT_AGAIN_S = 1.0
"""Longest wait after a heartbeat that did not get through."""

ABANDONED_S = 600.0
"""A change nobody could measure this long after its window was over (its engine has ended) is given up."""


class Housekeeping:
    """``window_s``, ``settle_s`` and ``least_s`` are those of :mod:`gainstage.engine.advisor.measured_effects`.

    The heartbeat has a thread and a connection of its own: commits that fill the pool, or a recovery that waits for a lock,
    must not make a living engine look dead.
    """

    def __init__(
        self,
        engine: Engine,
        control: RunControl,
        *,
        window_s: float = measured_effects.WINDOW_S,
        settle_s: float = measured_effects.SETTLE_S,
        least_s: float = measured_effects.LEAST_S,
    ) -> None:
        self.engine = engine
        self.control = control
        self.window_s = window_s
        self.settle_s = settle_s
        self.least_s = least_s
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._heart = threading.Thread(target=self._live, name="heartbeat", daemon=True)
        self._strays: dict[str, HeldClaim] = {}
        self._lost: set[tuple[str, int]] = set()
        self._indexer: threading.Thread | None = None
        self._indexed_at = time.monotonic()
        self._predicted = engine.live.revision

    def start(self) -> None:
        self._heart.start()
        self._thread.start()

    def stop(self) -> None:
        """End the threads. Not before the last flight has landed: a drain of an hour needs its heartbeat."""
        self._ending.set()
        for thread in (self._heart, self._thread):
            if thread.ident is not None:
                thread.join(10)

    def _live(self) -> None:
        period_s = self.engine.queue.heartbeat_s
        wait_s = period_s
        while not self._ending.wait(wait_s):
            wait_s = period_s if self.control.steadily("heartbeat", self._beats) else min(period_s, BEAT_AGAIN_S)

    def _beats(self) -> None:
        """Beat over one connection until the end, or until it is lost."""
        with self.engine.database.own_connection() as connection:
            connection.execute("set synchronous_commit = off")  # a sign of life need not wait for a disk that is slow
            while True:
                if not self.engine.queue.beat(connection):
                    self.engine.journal.log("warning", "this engine had been given up by the others: registered anew", kind="state")
                if self._ending.wait(self.engine.queue.heartbeat_s):
                    return

    def _run(self) -> None:
        period_s = self.engine.queue.heartbeat_s
        while not self._ending.wait(period_s):
            for name, step in (
                ("recovery", self.recover),
                ("claims", self.reconcile),
                ("measured effects", self.measure),
                ("vector index", self.index),
            ):
                if not self.control.steadily(name, step):
                    break

    def recover(self) -> None:
        self.told(self.engine.queue.recover())

    def told(self, recovered: Recovered) -> None:
        """Say what was taken back from dead engines."""
        for id in recovered.requeued:
            self.engine.journal.log("warning", "its engine died: queued again", recording=id, kind="state")
        for id in recovered.ended:
            self.engine.journal.log("error", "its engine died while holding it: ended", recording=id, kind="failure")
        if recovered.requeued:
            self.engine.nudge()

    def index(self) -> None:
        """Now and then build the vector indexes that are due; a big one takes minutes, so on a thread of its own."""
        busy = self._indexer is not None and self._indexer.is_alive()
        if busy or time.monotonic() - self._indexed_at < INDEX_EVERY_S:
            return
        self._indexed_at = time.monotonic()
        self._indexer = threading.Thread(
            target=self.control.steadily, args=("vector index", self._build), name="indexer", daemon=True
        )
        self._indexer.start()

    def _build(self) -> None:
        for name in build_indexes(self.engine.database, self.engine.settings.store.index_rows):
            self.engine.journal.log("info", f"vector index {name} built", kind="state", stage="store")

    # -- claims and flights -----------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """What the database says we hold against what flies here.

        A claim without a flight (the answer to a claim was lost with the connection) is given back; a flight without a claim
        (others took over while we were frozen) is ended; a wish to cancel that came before the flight stood is fulfilled.
        Anything but a wish must be seen twice, as claims and flights change between the two looks.
        """
        held = self.engine.queue.held()
        flights = {(f.recording.id, f.claim.turn): f for f in self.engine.flights()}
        strays = {id: h for id, h in held.items() if (id, h.turn) not in flights}
        for id, claim in strays.items():
            if self._strays.get(id) == claim and self.engine.queue.give_back(id, claim):
                self.engine.journal.log("warning", "claimed, but not in flight here: queued again", recording=id, kind="state")
        lost = {key for key in flights if key[0] not in held or held[key[0]].turn != key[1]}
        for key in lost & self._lost:
            flights[key].end("lost", "taken over by another engine")
        for key, flight in flights.items():
            if key not in lost and held[key[0]].wish and not flight.token.cancelled:
                flight.end("cancel", "cancelled by the operator")
        self._strays, self._lost = strays, lost

    # -- what changes of settings did -------------------------------------------------------------------------------

    def predict(self) -> None:
        """Write beside each new change what it should do, from the last frame before it."""
        revision = self.engine.live.revision
        if revision <= self._predicted:
            return
        history = list(self.control.sampler.history)
        for row in changes.history(self.engine.database, LOOKED_AT):
            frame = next((f for f in reversed(history) if f.wall <= row.wall), None)
            if row.revision > self._predicted and row.predicted is None and row.state != "refused" and frame is not None:
                expected = expect(frame, _in_flight(row, self.engine.settings.in_flight), {row.key: row.new})
                if expected is not None:
                    changes.predict(self.engine.database, row.revision, expected.text)
        self._predicted = revision

    def measure(self) -> None:
        """Write beside each change what it did, once the window after it is over; figures are this engine's own."""
        if not self.engine.live.revision:
            return
        now, rows = time.time(), [c for c in changes.history(self.engine.database, LOOKED_AT) if c.state == "applied"]
        frames = list(self.control.sampler.history)
        for n, row in enumerate(rows):
            if row.effect_text is not None or not measured_effects.complete(
                row.wall, now, window_s=self.window_s, settle_s=self.settle_s
            ):
                continue
            if row.wall > self.engine.started_wall:
                later = rows[n - 1].wall if n else float("inf")
                earlier = rows[n + 1].wall if n + 1 < len(rows) else float("-inf")
                found = measured_effects.effect(
                    frames,
                    row.wall,
                    row.key,
                    window_s=self.window_s,
                    settle_s=self.settle_s,
                    since_wall=earlier,
                    until_wall=later,
                    least_s=self.least_s,
                )
                changes.record_effect(self.engine.database, row.revision, found.before, found.after, found.text)
            elif measured_effects.complete(row.wall, now - ABANDONED_S, window_s=self.window_s, settle_s=self.settle_s):
                changes.record_effect(self.engine.database, row.revision, None, None, measured_effects.NOT_ENOUGH)


def _in_flight(row: ChangeRow, now: int) -> int:
    """The limit in force before the change."""
    return int(row.old) if row.key == "in_flight" and row.old is not None else now
