"""A recording in flight: its claim, its token, where it stands now, and the record of its passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from gainstage.config.settings import Settings
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.stage import Slot, Stage, StageSpan
from gainstage.engine.queue.jobs import Claim
from gainstage.engine.stages import FEEDERS
from gainstage.engine.terms import Recording, RecordingWarning
from gainstage.engine.views.snapshot import FlightView

Fate = Literal["cancel", "release", "lost"]
"""What becomes of the claim of a flight that was ended from outside: given up for an operator, put back into the queue by a
stop, or gone already to another engine."""


@dataclass(slots=True)
class FlightPass:
    """Being at or in one stage. ``slot`` is None while waiting at the gate."""

    stage: str
    since: float
    slot: Slot | None = None
    audio_s: float | None = None


@dataclass(slots=True)
class Flight:
    """One claimed recording on its way. ``settings`` are those of its entry with the options of the recording, so *item* settings stay as they were."""

    claim: Claim
    settings: Settings
    revision: int
    token: CancelToken
    stages: Mapping[str, Stage]
    attempts: int
    entered: float = field(default_factory=time.monotonic)
    spans: list[StageSpan] = field(default_factory=list)
    warnings: list[RecordingWarning] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    title: str = ""
    duration_s: float | None = None
    speakers: int | None = None
    segments: int | None = None
    priority: int = 0  # of its claim, until an operator changes it
    linked: str | None = None  # the recording whose audio this one turned out to be
    fate: Fate | None = None
    _passes: list[FlightPass] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.title = self.title or self.recording.title
        self.duration_s = self.duration_s or self.recording.duration
        self.priority = self.priority or self.recording.priority

    @property
    def recording(self) -> Recording:
        return self.claim.recording

    def end(self, fate: Fate, reason: str) -> None:
        """End the flight from outside; the first fate stays."""
        self.fate = self.fate or fate
        self.token.cancel(reason)

    @contextmanager
    def stage(
        self, name: str, *, token: CancelToken | None = None, after: str | None = None, audio_s: float | None = None
    ) -> Iterator[Slot]:
        """Wait for a slot of a stage, hold it for the block, leave a span.

        ``after`` is the stage the recording comes from, the last of those that feed this one where it is not given.
        """
        feeders = FEEDERS[name]
        before = after or (feeders[-1] if feeders else None)
        here = FlightPass(name, time.monotonic(), None, audio_s)
        with self._lock:
            self._passes.append(here)
        try:
            with self.stages[name].enter(
                self.recording.id,
                token=token or self.token,
                priority=self.priority,
                age=self.entered,
                audio_s=audio_s,
                after=self.stages[before] if before else None,
            ) as slot:
                here.slot, here.since = slot, time.monotonic()
                yield slot
        finally:
            with self._lock:
                self._passes.remove(here)

    def note(self, stage: str, text: str) -> None:
        """A remark shown beside the recording while it is in flight and kept with its span."""
        self.notes[stage] = text

    def view(self) -> FlightView:
        """The row of the in-flight table. Of two stages at once the one that serves it is named, the other is at its side."""
        now = time.monotonic()
        with self._lock:
            passes = list(self._passes)
        passes.sort(key=lambda one: one.slot is None)
        main = passes[0] if passes else None
        side = passes[1] if len(passes) > 1 else None
        slot = main.slot if main else None
        waits_since = slot.waits_since if slot else None  # for others, in its slot
        in_stage = now - (main.since if waits_since is None else waits_since) if main else 0.0
        if slot and waits_since is None:
            in_stage = max(0.0, in_stage - slot.lingered_s)
        progress = slot.progress if slot else None
        rtfx = None
        if slot and progress and self.duration_s and in_stage > 0.5:
            rtfx = progress * self.duration_s / in_stage
        return FlightView(
            id=self.recording.id,
            title=self.title,
            source=self.recording.source,
            duration_s=self.duration_s,
            stage=main.stage if main else "",
            waiting=bool(main and (slot is None or waits_since is not None)),
            progress=progress,
            in_stage_s=in_stage,
            in_engine_s=now - self.entered,
            expected_p95_s=self.stages[main.stage].expected_s(main.audio_s or self.duration_s) if main else None,
            attempt=self.claim.attempt,
            attempts=self.attempts,
            priority=self.priority,
            speakers=self.speakers,
            segments=self.segments,
            rtfx=rtfx,
            note=self.notes.get(main.stage) if main else None,
            slot=slot.index if slot else None,
            side_stage=side.stage if side else None,
            side_progress=side.slot.progress if side and side.slot else None,
        )
