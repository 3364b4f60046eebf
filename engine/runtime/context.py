"""What all parts of one engine share and none of them owns: settings, stages, batchers, store, queue, journal, models.

No thread and no reference back: the context knows none of the parts that use it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gainstage.config.origins import Loaded
from gainstage.config.paths import Paths
from gainstage.config.settings import Settings
from gainstage.engine.errors import EngineError
from gainstage.engine.flow.batcher import Batcher
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.kept import SUFFIX, KeptResults
from gainstage.engine.flow.stage import Slot, Stage, StageSpan
from gainstage.engine.flow.work_folder import Sweep, WorkFolders, adopt
from gainstage.engine.models.device_calls import DEVICE, free_cached
from gainstage.engine.models.oom import is_out_of_memory
from gainstage.engine.queue.engines import EngineRegistry
from gainstage.engine.queue.jobs import JobQueue
from gainstage.engine.queue.live import LiveSettings, read_live
from gainstage.engine.runtime.faults import Faults
from gainstage.engine.runtime.model_identity import recognise
from gainstage.engine.runtime.models import Models
from gainstage.engine.runtime.run_totals import RunTotals
from gainstage.engine.sources.fetch import Fetcher
from gainstage.engine.speech.recogniser import CALLS, under_way_s
from gainstage.engine.speech.recognition import DecodedWindow, SpeechWindow
from gainstage.engine.stages import STAGES
from gainstage.engine.store.database import Database
from gainstage.engine.store.kept_audio import Keep, kept_file
from gainstage.engine.store.outage import retry_until
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.telemetry.journal import Journal
from gainstage.engine.terms import ModelId, Recording
from gainstage.engine.views.events import Level
from gainstage.engine.voices.cache import VoiceCache
from gainstage.engine.voices.calibrating import Calibrations, key_of
from gainstage.engine.voices.calibration import Calibration
from gainstage.engine.voices.extract import VoiceExtractor, voice_batcher
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.own_voices import missed
from gainstage.engine.voices.profiles import Profile, ProfileStore

if TYPE_CHECKING:
    from gainstage.engine.speech.transcribe import Transcriber

T = TypeVar("T")

WINDOW_LINGER_S = 0.5
"""Longest wait of windows for those of another recording; where no other can come they go at once."""


class EngineContext:
    """The passive parts of one engine, built once. Every member may be used from any thread.

    ``on_span`` gets every pass of a recording through a stage. Raises :class:`gainstage.engine.errors.EngineError` when the
    live settings cannot be read.
    """

    def __init__(
        self,
        loaded: Loaded,
        paths: Paths,
        database: Database,
        *,
        until_empty: bool = False,
        with_models: bool = True,
        title: str = "",
        on_span: Callable[[StageSpan], None] = lambda _: None,
    ) -> None:
        self.loaded = loaded
        self.paths = paths.ensure()
        self.database = database
        self.until_empty = until_empty
        self.with_models = with_models
        self.title = title
        self.id = "-".join(filter(None, (socket.gethostname(), paths.name, str(os.getpid()), os.urandom(2).hex())))
        self.wall = database.clock.now
        self.started_wall = self.wall()
        self.token = CancelToken()
        self.journal = Journal(paths.logs, engine=self.id, wall=self.wall)
        self.faults = Faults(self.journal, self.wall)
        host = socket.gethostname()
        self.live = LiveSettings(loaded.settings, places=(host, f"{host}/{paths.name}") if paths.name else (host,))
        with database.connection() as connection:
            for why in self.live.load(*read_live(connection)):
                self.journal.log("warning", f"live setting {why}", kind="change")
        self.totals = RunTotals(self.wall)
        self.store = RecordingStore(database)
        self.queue = JobQueue(database, self.id, heartbeat_s=self.settings.queue.heartbeat, stalled_s=self.settings.queue.stalled)
        self.registry = EngineRegistry(database, self.id)
        self.profile_store = ProfileStore(database)
        self.calibrations = Calibrations(database)
        self._checked: str | None = None
        self.models = Models(lambda: self.settings, paths.models, on_event=self._model_event)
        self.work = WorkFolders(paths.work)
        self.fetcher = Fetcher(lambda: self.settings, database, self.journal, paths.data / "partial")
        self._on_span = on_span
        self.stages = {name: self._stage(name) for name in STAGES}
        self.voices = VoiceExtractor(
            self.models.voice_encoder,
            voice_batcher(
                self.models.voice_encoder,
                lambda: self.settings.voice.batch_seconds,
                on_batch=self.journal.batch,
                wall=self.wall,
            ),
            VoiceCache(database, lambda: self.settings.voice.cache),
            self.journal,
        )
        self.texts = self._text_batcher()
        self.windows = self._window_batcher()
        self.models.on_loaded = lambda role: self.fit_windows() if role == "asr" else None

    @property
    def settings(self) -> Settings:
        """The settings in force now."""
        return self.live.current

    def fit_windows(self) -> None:
        """Size the calls of the recogniser: ``asr.batch`` windows, on a CPU no more than pay, and few of one recording at once."""
        recogniser: Transcriber | None = self.models.loaded("asr")
        together = None if recogniser is None else recogniser.together
        self.windows.resize(budget=float(min(self.settings.asr.batch, together or self.settings.asr.batch)))
        self.windows.limit_running(None if recogniser is None or not together else under_way_s(recogniser.listening))

    def profiles(self) -> Sequence[Profile]:
        """The profiles made by the voice model in use, primary first."""
        return self.profile_store.load(self.models.voice_encoder().id, primary=self.settings.identify.primary)

    def recognise_models(self, roles: Sequence[str] = ("voice", "embed")) -> None:
        """Register the models in use; what the same weights wrote under another name stays theirs, and the journal says so."""
        for sentence in self.through_outage(lambda: recognise(self.database, self.models, roles), self.token):
            self.journal.log("info", sentence, kind="model")

    def calibration(self, profiles: Sequence[Profile], token: CancelToken) -> Calibration | None:
        """What scores against these profiles mean; None where ``identify.scale`` is cosine, and with too little to fit it to."""
        model = self.models.voice_encoder().id
        if self.settings.identify.scale == "cosine":
            self._report_missed(profiles, model, None)
            return None
        current = self.through_outage(lambda: self.calibrations.current(profiles, model, lambda: self.voices, token), token)
        self._report_missed(profiles, model, current)
        return current

    def _report_missed(self, profiles: Sequence[Profile], model: ModelId, calibration: Calibration | None) -> None:
        """Report people who would not be known again by their own voices, once for each set of profiles."""
        key = key_of(profiles)
        if self._checked == key:
            return
        self._checked = key
        for person in missed(profiles, model, Limits.from_settings(self.settings.identify, calibration)):
            hint = "`gainstage voices check` shows the curve; enrol more of this voice, from several recordings."
            self.journal.log("warning", f"{person.text}. {hint}", kind="voices", stage="identify")

    def keeps(self, recording: Recording) -> Keep:
        """How the audio of a recording is kept; a stage that is done again keeps nothing new."""
        return "never" if "redo" in recording.extra else self.settings.store.keep_audio

    def kept_audio(self, recording: Recording) -> Path | None:
        """The audio kept of a recording of which a stage is done again, if there is some."""
        stored = self.store.get(recording.id) if "redo" in recording.extra else None
        return kept_file(self.paths.audio, stored.fingerprint) if stored is not None and stored.fingerprint else None

    def through_outage(
        self,
        call: Callable[[], T],
        token: CancelToken,
        patience_s: float = float("inf"),
        waiting: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> T:
        """See :func:`gainstage.engine.store.outage.retry_until`; the outage is shown as the engine's."""
        return retry_until(call, token, patience_s=patience_s, report=self.faults.database_away, waiting=waiting)

    def sweep_work(self) -> Sweep:
        """Remove what dead engines left in the work folder, but results for recordings that will be tried again."""

        def resumable(ids: Sequence[str]) -> Sequence[str]:
            try:
                return self.queue.resumable(ids)
            except EngineError:  # the database is away: removed by a later sweep
                return ids

        return self.work.sweep(resumable)

    def kept(self, folder: Path, name: str, recording: str, header: Mapping[str, Any]) -> KeptResults:
        """The results of a stage of a recording that earlier attempts kept in its work folder."""

        def report(text: str) -> None:
            self.journal.log("warning", f"{name}: {text}", recording=recording, kind="state")

        path = folder / f"{name}{SUFFIX}"
        if not path.exists():
            adopt(path, self.paths.all_work)
        kept = KeptResults(path, header, report)
        if len(kept):
            self.journal.log(
                "info", f"{name}: goes on with {len(kept)} results of an earlier attempt", recording=recording, kind="state"
            )
        return kept

    def close(self) -> None:
        """Give everything back; safe to call twice."""
        self.token.cancel("engine closed")
        self.windows.close()
        self.texts.close()
        self.voices.close()
        self.fetcher.close()
        self.journal.log("info", f"engine {self.id} ends", kind="state")
        self.journal.close()

    def _stage(self, name: str) -> Stage:
        # "segment" is pure CPU of milliseconds: its gate only keeps the figures, and is as wide as the engine
        capacity = getattr(self.settings.workers, name, None) or self.settings.in_flight
        return Stage(name, capacity, wall=self.wall, on_span=self._keep_span, on_retire=_free_slot)

    def _text_batcher(self) -> Batcher[str, np.ndarray]:
        return Batcher(
            "texts",
            lambda texts: list(self.models.text_encoder().encode(texts)),
            cost=lambda _: 1.0,
            budget=self.settings.embed.batch,
            linger_s=self.settings.embed.linger,
            sort=len,
            padded=len,
            producers=self._text_producers,
            unit="texts",
            is_oom=is_out_of_memory,
            on_oom=free_cached,
            device=DEVICE,
            on_batch=self.journal.batch,
            wall=self.wall,
        )

    def _window_batcher(self) -> Batcher[SpeechWindow, DecodedWindow]:
        """Windows of speech of every recording in flight; those of one language and decoding share a call of the recogniser."""
        return Batcher(
            "windows",
            self._recognise,
            cost=lambda window: window.share,
            budget=self.settings.asr.batch,
            linger_s=WINDOW_LINGER_S,
            key=lambda window: window.decoding,
            producers=lambda: self.stages["transcribe"].busy,
            weight=lambda window: window.seconds,
            unit="windows",
            is_oom=is_out_of_memory,
            on_oom=free_cached,
            device=DEVICE,
            on_batch=self.journal.batch,
            held=lambda: self.stages["transcribe"].held,
            runners=CALLS,
            wall=self.wall,
        )

    def _text_producers(self) -> int:
        """How many recordings could submit texts before a batch is old: those at or before the stage that does, as many as it has
        slots, but for stages that an operator holds, and for those that recognition still lies behind. A recording in two stages
        counts twice, which only makes a batch wait for its age."""
        near = [self.stages[name] for name in STAGES[STAGES.index("transcribe") : STAGES.index("embed") + 1]]
        return min(self.stages["embed"].capacity, sum(0 if stage.held else stage.busy + stage.depth for stage in near))

    def _recognise(self, windows: list[SpeechWindow]) -> list[DecodedWindow]:
        def between() -> None:
            self.stages["transcribe"].wait_while_held(self.token)

        return self.models.transcriber().decode(windows, between=between)

    def _keep_span(self, span: StageSpan) -> None:
        self._on_span(span)
        self.journal.span(span)
        if span.stage == "transcribe":
            self.windows.wake()  # one recording fewer is waited for
        if span.stage == "embed" or span.outcome != "ok":
            self.texts.wake()

    def _model_event(self, level: Level, text: str, **data: Any) -> None:
        self.journal.log(level, text, kind="model", **data)


def _free_slot(slot: Slot) -> None:
    slot.state.clear()
