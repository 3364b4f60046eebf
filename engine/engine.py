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

from config.origins import Loaded
from config.paths import Paths
from config.settings import Settings
from engine.clean import clean_text
from engine.control import Control
from engine.desk import Level
from engine.errors import Cancelled, EngineError, LostClaim, Misconfigured, OutOfMemory, Transient
from engine.flight import Flight
from engine.flow.batcher import Batcher
from engine.flow.cancel import CancelToken
from engine.flow.stage import Slot, Stage, StageSpan
from engine.flow.work_folder import WorkFolders
from engine.models.registry import Models, is_out_of_memory
from engine.pipeline import ingest
from engine.queue.engines import EngineRegistry
from engine.queue.jobs import Claim, JobQueue
from engine.queue.live import LiveSettings, read_live
from engine.sources.fetch import Fetcher
from engine.store.database import Database
from engine.store.recordings import RecordingStore
from engine.tally import Tally
from engine.terms import STAGES, Cast
from engine.voices.cache import VoiceCache
from engine.voices.extract import VoiceExtractor
from engine.voices.profiles import Profile, ProfileStore
from engine.watch.journal import Journal, clean_lines

T = TypeVar("T")


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
        self.live = LiveSettings(loaded.settings, loaded.origins)
        with database.connection() as connection:
            self.live.load(*read_live(connection))
        self.tally = Tally()
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
        self.control = Control(self)
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
        from engine.voices.extract import voice_batcher

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
        """Take and fly recordings until stopped. Raises :class:`Misconfigured` when a model cannot be used."""
        self.work.sweep()
        self.journal.log("info", f"engine {self.id} starts", kind="state", pid=os.getpid())
        with self.control.running():
            if self.with_models:
                self.models.load()
            if self.prepare is not None:
                self.prepare(self)
            self.control.ready()
            self._take_until_stopped()

    def close(self) -> None:
        """Give everything back; safe to call twice."""
        self.token.cancel("engine closed")
        self.texts.close()
        self.voices.close()
        self.journal.log("info", f"engine {self.id} ends", kind="state")
        self.journal.close()

    def _take_until_stopped(self) -> None:
        while not self.token.cancelled:
            self.wait_for_room()
            if self.token.cancelled or (self.control.leaving and not self._flights):
                break
            if not self.control.may_take(len(self._flights)):
                continue
            try:
                claim = self.queue.take()
            except Transient as error:
                self.control.database_away(error)
                continue
            if claim is not None:
                self._launch(claim)
            elif self.until_empty and not self._flights and self.control.nothing_left():
                self.control.state("done", reason="queue is empty")
                break
            else:
                self.control.idle()
        for flight in self.flights():
            flight.stop_reason = flight.stop_reason or "release"
            flight.token.cancel("engine stops")
        self.wait_landed()

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
        end = time.monotonic() + timeout_s
        with self._room:
            while self._flights and (left := end - time.monotonic()) > 0:
                self._room.wait(min(left, 1.0))
            return not self._flights

    def flights(self) -> list[Flight]:
        with self._room:
            return list(self._flights.values())

    # -- a recording ------------------------------------------------------------------------------------------------

    def _launch(self, claim: Claim) -> None:
        live = self.live.current_with_revision()
        flight = Flight(claim, live.settings, live.revision, self.token.child(), self.stages, attempts=live.settings.retry.attempts)
        with self._room:
            self._flights[claim.recording.id] = flight
        threading.Thread(target=self._fly, args=(flight,), name=f"recording-{next(self._threads)}", daemon=True).start()

    def _fly(self, flight: Flight) -> None:
        recording = flight.recording
        try:
            self.flow(flight, self)
        except LostClaim as error:
            self.journal.log("warning", f"result dropped: {error.message}", recording=recording.id, kind="failure")
        except Cancelled:
            self._settle(flight, Cancelled(flight.token.reason or "cancelled"), "")
        except EngineError as error:
            self._settle(flight, error, traceback.format_exc())
        except Exception as error:  # a fault of ours or of a library: recorded with its cause, retried like any other
            self._settle(flight, _unforeseen(error), traceback.format_exc())
        else:
            self._keep_store_span(flight)
            self.tally.landed(flight.duration_s or 0.0)
            self.journal.log(
                "info",
                f"stored {flight.segments or 0} segments, {flight.speakers or 0} speakers: {clean_text(flight.title, 80)}",
                recording=recording.id,
                kind="stored",
                stage="store",
            )
        finally:
            with self._room:
                self._flights.pop(recording.id, None)
                self._room.notify_all()

    def _settle(self, flight: Flight, error: EngineError, trace: str) -> None:
        """Tell the queue what became of a claim; waits through an outage, because the answer must not be lost."""
        stage = next((s.stage for s in reversed(flight.spans) if s.outcome != "ok"), None)
        error.at(flight.recording.id, stage or "")
        if flight.stop_reason == "release":
            self.through_outage(lambda: self.queue.release(flight.claim), CancelToken(), patience_s=5.0)
            return
        outcome = self.through_outage(
            lambda: self.queue.fail(flight.claim, error, clean_lines(trace), self.settings.retry, spans=flight.spans),
            CancelToken(),
            patience_s=600.0,
        )
        self.tally.failed(error)
        level: Level = "info" if isinstance(error, Cancelled) else "warning" if outcome.retry else "error"
        self.journal.log(
            level,
            f"{outcome.text}: {error.message}",
            kind="failure",
            stage=error.stage,
            recording=flight.recording.id,
            error=error if trace else None,
            cause=error.cause,
            hint=error.hint,
        )
        if isinstance(error, Misconfigured):
            self.control.pause(by="engine", reason=str(error))

    def _keep_store_span(self, flight: Flight) -> None:
        """The store's own pass ends after its commit, so it is added to the record then."""
        try:
            self.store.add_spans(flight.recording.id, flight.spans[-1:], flight.claim.attempt)
        except Transient as error:  # only a timing: not worth waiting for
            self.journal.log("warning", f"timing not kept: {error.message}", recording=flight.recording.id)

    def through_outage(self, call: Callable[[], T], token: CancelToken, patience_s: float = float("inf")) -> T:
        """Call the database; while it is away wait and call again, so that an outage costs time and nothing else."""
        wait_s, end = 0.25, time.monotonic() + patience_s
        while True:
            try:
                return call()
            except Transient as error:
                if error.cause != Database.AWAY or time.monotonic() > end:
                    raise
                self.control.database_away(error, sleep=False)
                token.wait(wait_s)
                token.check()
                wait_s = min(2.0, 2 * wait_s)

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


def _unforeseen(error: Exception) -> EngineError:
    if is_out_of_memory(error):
        return OutOfMemory(clean_text(str(error), 300), cause="out of memory", hint="lower workers or batches of this stage")
    name = type(error).__name__
    return Transient(
        f"{name}: {clean_text(str(error), 300)}",
        cause=f"unexpected {name}",
        hint="a fault of gainstage or of a library; the traceback is in `gainstage show ID`",
    )
