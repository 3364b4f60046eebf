"""The owner of all parts of one engine: builds them, takes recordings from the queue, flies each on a thread, stops cleanly."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from gainstage.config.origins import Loaded
from gainstage.config.paths import Paths
from gainstage.config.settings import Settings
from gainstage.engine.errors import Cancelled, EngineError, OutOfMemory, Transient
from gainstage.engine.flow.batcher import Batcher
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.stage import Slot, Stage, StageSpan
from gainstage.engine.flow.work_folder import WorkFolders
from gainstage.engine.models.oom import is_out_of_memory
from gainstage.engine.pipeline import ingest
from gainstage.engine.queue.engines import EngineRegistry
from gainstage.engine.queue.jobs import Claim, JobQueue
from gainstage.engine.queue.live import LiveSettings, read_live
from gainstage.engine.runtime.completion import Completion, unforeseen
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.runtime.models import Models
from gainstage.engine.runtime.run_state import RunControl
from gainstage.engine.runtime.run_totals import RunTotals
from gainstage.engine.sources.fetch import Fetcher
from gainstage.engine.stages import ROLES, STAGES
from gainstage.engine.store.database import Database
from gainstage.engine.store.outage import retry_until
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.telemetry.journal import Journal
from gainstage.engine.terms import Cast
from gainstage.engine.views.events import Level
from gainstage.engine.voices.cache import VoiceCache
from gainstage.engine.voices.extract import VoiceExtractor
from gainstage.engine.voices.profiles import Profile, ProfileStore

T = TypeVar("T")

AGAIN_S = 0.5
"""Between two tries to take a recording from a database that is away."""

LANDING_S = 30.0
"""Longest wait for an attempt whose claim was lost, when the same recording comes back to this engine."""


class Engine:
    """One engine. :meth:`run` blocks until it is stopped, or the queue is empty when ``until_empty``.

    ``flow`` is the function a recording goes through; benchmarks and failure experiments put simulated stages there.
    """

    def __init__(
        self,
        loaded: Loaded,
        paths: Paths,
        database: Database,
        *,
        until_empty: bool = False,
        flow: Callable[[Flight, Engine], None] = ingest,
        models: bool = True,
        title: str = "",
        prepare: Callable[[Engine], None] | None = None,
    ) -> None:
        self.loaded = loaded
        self.paths = paths.ensure()
        self.database = database
        self.until_empty = until_empty
        self.flow = flow
        self.with_models = models
        self.prepare = prepare
        self.title = title
        self.id = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(2).hex()}"
        self.started_wall = time.time()
        self.token = CancelToken()
        self.journal = Journal(paths.logs, engine=self.id)
        self.live = LiveSettings(loaded.settings)
        with database.connection() as connection:
            for why in self.live.load(*read_live(connection)):
                self.journal.log("warning", f"live setting {why}", kind="change")
        self.tally = RunTotals()
        self.store = RecordingStore(database)
        self.queue = JobQueue(database, self.id, heartbeat_s=self.settings.queue.heartbeat, stalled_s=self.settings.queue.stalled)
        self.registry = EngineRegistry(database, self.id)
        self.profile_store = ProfileStore(database)
        self.models = Models(lambda: self.settings, paths.models, on_event=self._model_event)
        self.work = WorkFolders(paths.work)
        self.fetcher = Fetcher(lambda: self.settings, database, self.journal, paths.data / "partial")
        self.stages = {name: self._stage(name) for name in STAGES}
        self.voices = VoiceExtractor(
            self.models.voice_encoder,
            self._voice_batcher(),
            VoiceCache(database, lambda: self.settings.voice.cache),
            self.journal,
        )
        self.texts = self._text_batcher()
        self.landing = Completion(self)
        self.control = RunControl(self)
        self._flights: dict[str, Flight] = {}
        self.queue_idle = threading.Event()
        self._room = threading.Condition()
        self._threads = itertools.count(1)

    # -- parts ------------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings in force now."""
        return self.live.current

    def _stage(self, name: str) -> Stage:
        # "segment" is pure CPU of milliseconds: its gate only keeps the figures, and is as wide as the engine
        capacity = getattr(self.settings.workers, name, None) or self.settings.in_flight
        return Stage(name, capacity, on_span=self._on_span, on_retire=_free_slot)

    def _voice_batcher(self) -> Batcher[Any, Any]:
        from gainstage.engine.voices.extract import voice_batcher

        return voice_batcher(self.models.voice_encoder, lambda: self.settings.voice.batch_seconds, on_batch=self.journal.batch)

    def _text_batcher(self) -> Batcher[str, np.ndarray]:
        return Batcher(
            "texts",
            lambda texts: list(self.models.text_encoder().encode(texts)),
            cost=lambda _: 1.0,
            budget=self.settings.embed.batch,
            linger_s=self.settings.embed.linger,
            sort=len,
            padded=len,
            unit="texts",
            is_oom=is_out_of_memory,
            on_batch=self.journal.batch,
        )

    def profiles(self) -> Sequence[Profile]:
        """Everybody enrolled, made by the voice model in use, primary first."""
        return self.profile_store.load(self.models.voice_encoder().id, primary=self.settings.identify.primary)

    # -- run --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Take and fly recordings until stopped. Raises :class:`Misconfigured` when a model cannot be used: nothing was
        taken then, and what is queued stays so.
        """
        swept = self.work.sweep()
        self.journal.log("info", f"engine {self.id} starts", kind="state", pid=os.getpid(), swept=len(swept.removed))
        for name, why in swept.failed:
            self.journal.log("warning", f"work folder {name} of a dead engine stays: {why}", kind="state")
        with self.control.running():
            self._get_ready()
            try:
                self._take_until_stopped()
            finally:  # also when taking broke: what is in flight goes back into the queue
                for flight in self.flights():
                    flight.end("release", "engine stops")
                if not self.wait_landed():
                    left = ", ".join(f.recording.id for f in self.flights())
                    self.journal.log("warning", f"did not let go in time, queued again by the next engine: {left}", kind="state")

    def close(self) -> None:
        """Give everything back; safe to call twice."""
        self.token.cancel("engine closed")
        self.texts.close()
        self.voices.close()
        self.fetcher.close()
        self.journal.log("info", f"engine {self.id} ends", kind="state")
        self.journal.close()

    def _get_ready(self) -> None:
        """Load and check the models, unless told to leave meanwhile."""
        for role in ROLES if self.with_models else ():
            if self.control.leaving:
                return
            self.models.load([role])
        if self.prepare is not None and not self.control.leaving:
            self.prepare(self)
        self.control.ready()

    def _take_until_stopped(self) -> None:
        while not self.token.cancelled:
            self.wait_for_room()
            if self.token.cancelled or (self.control.leaving and not self._flights):
                return
            if not self.control.may_take(len(self._flights)):
                continue
            try:
                claim = self.queue.take()
                if claim is not None:
                    self.control.busy()
                    self._launch(claim)
                elif self.control.idle(len(self._flights)):
                    return
            except Transient as error:
                self.control.database_away(error)
                self.token.wait(AGAIN_S)

    def wait_for_room(self) -> None:
        """Sleep until something may have changed: a landing, a command, a setting, or a quarter second."""
        with self._room:
            if not self.control.may_take(len(self._flights)):
                self._room.wait(0.25)

    def nudge(self) -> None:
        """Look again now."""
        self.queue_idle.set()
        with self._room:
            self._room.notify_all()

    def wait_landed(self, timeout_s: float = 60.0) -> bool:
        """Wait for every flight to end; True when all have."""
        with self._room:
            return self._room.wait_for(lambda: not self._flights, timeout_s)

    def flights(self) -> list[Flight]:
        with self._room:
            return list(self._flights.values())

    # -- a recording ------------------------------------------------------------------------------------------------

    def _launch(self, claim: Claim) -> None:
        live = self.live.current_with_revision()
        flight = Flight(claim, live.settings, live.revision, self.token.child(), self.stages, attempts=live.settings.retry.attempts)
        id = claim.recording.id
        with self._room:
            if (before := self._flights.get(id)) is not None:  # taken from us while frozen, and now come back to us
                before.end("lost", "taken over by another engine")
                self._room.wait_for(lambda: id not in self._flights, LANDING_S)
            if id not in self._flights:
                self._flights[id] = flight
        if self._flights.get(id) is not flight:
            self.landing.settle(
                flight,
                Transient(
                    "an earlier attempt of this engine has not ended",
                    cause="work folder in use",
                    hint="it is tried again; restart the engine if it stays",
                ),
                "",
            )
            return
        try:
            threading.Thread(target=self._fly, args=(flight,), name=f"recording-{next(self._threads)}", daemon=True).start()
        except RuntimeError as error:  # no thread to be had
            self.landing.settle(flight, OutOfMemory(str(error), cause="no more threads", hint="lower in_flight"), "")
            self._land(flight)

    def _fly(self, flight: Flight) -> None:
        try:
            self.flow(flight, self)
        except Cancelled as error:
            self.landing.broken_off(flight, error)
        except EngineError as error:
            self.landing.settle(flight, error, traceback.format_exc())
        except Exception as error:  # a fault of ours or of a library: recorded with its cause, retried like any other
            self.landing.settle(flight, unforeseen(error), traceback.format_exc())
        else:
            self.landing.stored(flight)
        finally:
            self._land(flight)

    def _land(self, flight: Flight) -> None:
        with self._room:
            self._flights.pop(flight.recording.id, None)
            self._room.notify_all()

    def through_outage(self, call: Callable[[], T], token: CancelToken, patience_s: float = float("inf")) -> T:
        """See :func:`gainstage.engine.store.outage.retry_until`; the outage is shown as the engine's."""
        return retry_until(call, token, patience_s, self.control.database_away)

    # -- records ----------------------------------------------------------------------------------------------------

    def _on_span(self, span: StageSpan) -> None:
        with self._room:
            flight = self._flights.get(span.recording)
        if flight is not None:
            flight.spans.append(span)
        self.journal.span(span)

    def _model_event(self, level: Level, text: str, **data: Any) -> None:
        self.journal.log(level, text, kind="model", **data)

    def note_decisions(self, flight: Flight, cast: Cast, ids: tuple[int, ...]) -> None:
        """Count and show the decisions of a recording; called once they are stored."""
        self.tally.decisions(flight.recording.id, flight.title, cast, ids, self.settings.identify)
        for decision in cast.decisions:
            self.journal.log(
                "info",
                decision.why,
                recording=flight.recording.id,
                stage="identify",
                kind="decision",
                cluster=decision.cluster,
                variance=decision.variance,
                spread=decision.spread,
                split=decision.split,
            )


def _free_slot(slot: Slot) -> None:
    slot.state.clear()
