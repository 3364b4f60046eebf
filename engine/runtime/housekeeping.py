"""An engine's housekeeping at every beat: queue again what dead engines held, keep claims and flights in step, measure changes,
build vector indexes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from gainstage.engine.clean import counted
from gainstage.engine.queue.jobs import HeldClaim, Recovered
from gainstage.engine.runtime.change_effects import ChangeEffects
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.disk_use import trim_log, trim_runs
from gainstage.engine.runtime.in_flight import InFlight
from gainstage.engine.store.kept_audio import sweep
from gainstage.engine.store.vector_index import build_indexes

INDEX_FIRST_S = 20.0
"""From an engine's start to its first look at the vector indexes: what a killed build left makes every store slow."""
INDEX_EVERY_S = 300.0
TRIM_EVERY_S = 60.0
SWEEP_EVERY_S = 3600.0


class Housekeeping:
    """A thread of the engine: :meth:`start` once, :meth:`stop` after the last flight has left."""

    def __init__(self, context: EngineContext, in_flight: InFlight, change_effects: ChangeEffects) -> None:
        self.context = context
        self.in_flight = in_flight
        self.change_effects = change_effects
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        self._unflown: dict[str, HeldClaim] = {}
        self._lost: set[tuple[str, int]] = set()
        self._indexer: threading.Thread | None = None
        self._index_at = time.monotonic() + INDEX_FIRST_S
        self._trimmed_at = float("-inf")
        self._swept_at = time.monotonic()
        self._log_begun = time.time()
        self.writing: Callable[[], Path | None] = lambda: None
        """The recorded run that is being written, which is never removed."""
        self.drain: Callable[[str], None] = lambda by: None
        """Ends the engine when what is in flight is finished."""
        self._outdated = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join(10)

    def _run(self) -> None:
        while not self._ending.wait(self.context.queue.heartbeat_s):
            for name, step in (
                ("recovery", self.recover),
                ("claims", self.reconcile),
                ("version", self.leave_to_newer),
                ("measured effects", self.change_effects.measure),
                ("vector index", self.index),
                ("disk use", self.bound_disk_use),
            ):
                if not self.context.faults.guarded_step(name, step):
                    break

    def bound_disk_use(self) -> None:
        """Once a minute: recorded runs and the log stay within what the settings allow."""
        if time.monotonic() - self._trimmed_at < TRIM_EVERY_S:
            return
        self._trimmed_at = time.monotonic()
        if time.monotonic() - self._swept_at > SWEEP_EVERY_S:
            self._swept_at = time.monotonic()
            self.context.sweep_work()
        watch, paths = self.context.settings.watch, self.context.paths
        try:
            for name in trim_runs(paths.runs, watch.runs_bytes, watch.runs_days, writing=self.writing()):
                self.context.journal.log("info", f"recorded run {name} removed: watch.runs_bytes, watch.runs_days", kind="state")
            if trim_log(paths.engine_log, watch.log_bytes, watch.log_days, self._log_begun):
                self._log_begun = time.time()
        except OSError as error:
            self.context.journal.log("warning", f"recorded runs cannot be removed: {error}", kind="state")

    def leave_to_newer(self) -> None:
        """A newer gainstage has changed the database: finish what is in flight and leave the rest to engines that know it."""
        if self._outdated or not (steps := self.context.database.newer_steps()):
            return
        self._outdated = True
        text = f"a newer gainstage has changed the database ({', '.join(steps)}): draining; start this engine with the new version"
        self.context.journal.log("warning", text, kind="state")
        self.drain("a newer gainstage")

    def recover(self) -> None:
        """Queue again what dead engines held."""
        self.report(self.context.queue.recover())

    def report(self, recovered: Recovered) -> None:
        """Say what was taken back from dead engines."""
        for id in recovered.requeued:
            self.context.journal.log("warning", "its engine died: queued again", recording=id, kind="state")
        for id in recovered.ended:
            self.context.journal.log("error", "its engine died while holding it: ended", recording=id, kind="failure")
        if recovered.requeued:
            self.in_flight.wake()

    def index(self) -> None:
        """Soon after the start, and now and then, build the vector indexes that are due; a big one takes minutes, so on a thread
        of its own.
        """
        if time.monotonic() < self._index_at or (self._indexer is not None and self._indexer.is_alive()):
            return
        self._index_at = time.monotonic() + INDEX_EVERY_S
        self._indexer = threading.Thread(target=self.index_now, name="indexer", daemon=True)
        self._indexer.start()

    def index_now(self) -> None:
        """Build the vector indexes that are due, in this thread: at the end of a run that has done everything, too short or too
        busy for one before. Ends early when the engine is stopped.
        """
        self.context.faults.guarded_step("vector index", self._build)

    def _build(self) -> None:
        if swept := sweep(self.context.database, self.context.paths.audio):
            self.context.journal.log("info", f"{counted(swept, 'kept audio file')} of deleted recordings removed", kind="state")
        if not self.context.database.can_listen:  # a pooler lends no connection for minutes; the doctor says so
            return
        for name in build_indexes(self.context.database, self.context.settings.store.index_rows, self.context.token):
            self.context.journal.log("info", f"vector index {name} built", kind="state", stage="store")

    def reconcile(self) -> None:
        """Compare the claims this engine has in the database with what is in flight here.

        A claim without a flight (the answer to a claim was lost with the connection) is given back; a flight without a claim
        (others took over while we were frozen) is ended; a wish to cancel that came before the flight stood is fulfilled.
        Anything but a wish must be seen twice, as claims and flights change between the two looks.
        """
        claims = self.context.queue.held()
        flights = {(f.recording.id, f.claim.turn): f for f in self.in_flight.flights()}
        unflown = {id: claim for id, claim in claims.items() if (id, claim.turn) not in flights}
        for id, claim in unflown.items():
            if self._unflown.get(id) == claim and self.context.queue.give_back(id, claim):
                text = "claimed, but not in flight here: queued again"
                self.context.journal.log("warning", text, recording=id, kind="state")
        lost = {key for key in flights if key[0] not in claims or claims[key[0]].turn != key[1]}
        for key in lost & self._lost:
            flights[key].end("lost", "taken over by another engine")
        for key, flight in flights.items():
            if key not in lost and claims[key[0]].wish and not flight.token.cancelled:
                flight.end("cancel", "cancelled by the operator")
        self._unflown, self._lost = unflown, lost
