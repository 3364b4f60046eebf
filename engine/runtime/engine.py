"""One engine: takes recordings from the queue, processes each on a thread of its own, stops cleanly."""

from __future__ import annotations

import itertools
import os
import threading
import traceback
from collections.abc import Callable

from gainstage.config.origins import Loaded
from gainstage.config.paths import Paths
from gainstage.engine.errors import Cancelled, EngineError, OutOfMemory, Transient
from gainstage.engine.queue.jobs import Claim
from gainstage.engine.runtime.completion import Completion, unforeseen
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.runtime.in_flight import InFlight
from gainstage.engine.runtime.run_state import RunStateMachine
from gainstage.engine.runtime.threads import EngineThreads
from gainstage.engine.stages import ROLES
from gainstage.engine.store.database import Database

Flow = Callable[[Flight, EngineContext], None]
"""What a recording goes through: :func:`gainstage.engine.pipeline.ingest`, or simulated stages of a benchmark or experiment."""

TAKE_AGAIN_S = 0.5
"""Between two tries to take a recording from a database that is away."""


class Engine:
    """:meth:`run` blocks until the engine is stopped, or the queue is empty when ``until_empty``.

    ``prepare`` is called once the models are loaded, before the first recording is taken.
    """

    def __init__(
        self,
        loaded: Loaded,
        paths: Paths,
        database: Database,
        *,
        flow: Flow,
        until_empty: bool = False,
        models: bool = True,
        title: str = "",
        prepare: Callable[[EngineContext], None] | None = None,
    ) -> None:
        self.flow = flow
        self.prepare = prepare
        self.in_flight = InFlight()
        self.context = EngineContext(
            loaded,
            paths,
            database,
            until_empty=until_empty,
            with_models=models,
            title=title,
            on_span=self.in_flight.add_span,
        )
        self.run_state = RunStateMachine(self.context, self.in_flight)
        self.completion = Completion(self.context, self.run_state)
        self.threads = EngineThreads(self.context, self.in_flight, self.run_state)
        self._numbers = itertools.count(1)

    def run(self) -> None:
        """Take and process recordings until stopped. Raises :class:`gainstage.engine.errors.Misconfigured` when a model cannot
        be used: nothing was taken then, and what is queued stays so.
        """
        self._sweep()
        with self.threads.running():
            self._get_ready()
            try:
                self._take_until_stopped()
            finally:  # also when taking broke: what is in flight goes back into the queue
                for flight in self.in_flight.flights():
                    flight.end("release", "engine stops")
                if not self.in_flight.wait_empty():
                    left = ", ".join(f.recording.id for f in self.in_flight.flights())
                    text = f"did not let go in time, queued again by the next engine: {left}"
                    self.context.journal.log("warning", text, kind="state")

    def close(self) -> None:
        """Give everything back; safe to call twice."""
        self.context.close()

    def _sweep(self) -> None:
        """Remove what dead engines left in the work folder, and downloads of recordings that have ended."""
        context, swept = self.context, self.context.sweep_work()
        context.journal.log(
            "info", f"engine {context.id} starts", kind="state", pid=os.getpid(), swept=len(swept.removed), kept=len(swept.kept)
        )
        for name, why in swept.failed:
            context.journal.log("warning", f"work folder {name} of a dead engine stays: {why}", kind="state")
        context.faults.guarded_step("partial downloads", context.fetcher.sweep)

    def _get_ready(self) -> None:
        """Load and check the models, unless asked to leave meanwhile."""
        models = self.context.models
        models.stopped = lambda: self.run_state.leaving or self.context.token.cancelled
        if self.context.with_models:
            models.check_hub()
        for role in ROLES if self.context.with_models else ():
            if self.run_state.leaving:
                return
            self.context.models.load([role])
        if self.context.with_models:
            self.context.recognise_models()
        if self.prepare is not None and not self.run_state.leaving:
            self.prepare(self.context)
        self.run_state.ready()

    def _take_until_stopped(self) -> None:
        token = self.context.token
        while not token.cancelled:
            self.in_flight.wait_for_room(self.run_state.may_take)
            if token.cancelled or (self.run_state.leaving and not len(self.in_flight)):
                return
            if not self.run_state.may_take():
                continue
            try:
                claim = self.context.queue.take()
                if claim is not None:
                    self.run_state.busy()
                    self._launch(claim)
                elif self.run_state.idle():
                    return
            except Transient as error:
                self.context.faults.database_away(error)
                token.wait(TAKE_AGAIN_S)

    def _launch(self, claim: Claim) -> None:
        context, live = self.context, self.context.live.current_with_revision()
        attempts = live.settings.retry.attempts
        settings = claim.recording.options.applied(live.settings)
        flight = Flight(claim, settings, live.revision, context.token.child(), context.stages, attempts=attempts)
        if not self.in_flight.add(flight):
            blocked = Transient(
                "an earlier attempt of this engine has not ended",
                cause="work folder in use",
                hint="It is tried again; restart the engine if it stays.",
            )
            self.completion.settle(flight, blocked, "")
            return
        try:
            threading.Thread(target=self._process, args=(flight,), name=f"recording-{next(self._numbers)}", daemon=True).start()
        except RuntimeError as error:  # no thread to be had
            self.completion.settle(flight, OutOfMemory(str(error), cause="no more threads", hint="Lower in_flight."), "")
            self.in_flight.remove(flight)

    def _process(self, flight: Flight) -> None:
        try:
            self.flow(flight, self.context)
        except Cancelled as error:
            self.completion.broken_off(flight, error)
        except EngineError as error:
            self.completion.settle(flight, error, traceback.format_exc())
        except Exception as error:  # a fault of ours or of a library: recorded with its cause, retried like any other
            self.completion.settle(flight, unforeseen(error), traceback.format_exc())
        else:
            self.completion.stored(flight)
        finally:
            self.in_flight.remove(flight)
