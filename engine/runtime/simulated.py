"""Simulated recordings: the real engine, queue, gates, database and commits around stages that only take their time.

For benchmarks and failure experiments, where hundreds of recordings must pass in a minute. ``extra["simulate"]`` of a
recording holds the seconds of each stage; its segments follow from its id, so that any two runs store the same.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np

from gainstage.engine.errors import Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.run_parallel import run_parallel
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.terms import Balance, ModelId, Provenance, Recording, Segment, Vector, Word

TIMES = {"fetch": 0.02, "decode": 0.01, "transcribe": 0.08, "diarize": 0.05, "identify": 0.02, "embed": 0.01, "store": 0.0}
"""Default seconds per stage."""

MODELS = {"embed": ModelId("simulated", "1", 64), "voice": ModelId("simulated", "1", 96)}


def simulated_recordings(
    count: int, *, seed: int = 0, times: dict[str, float] | None = None, scale: float = 1.0
) -> list[Recording]:
    """Recordings whose stage times vary by seed around ``times`` (seconds, times ``scale``)."""
    base = {**TIMES, **(times or {})}
    made = []
    for n in range(count):
        draw = random.Random(f"{seed}/{n}")
        spans = {stage: scale * s * draw.uniform(0.5, 1.5) for stage, s in base.items()}
        name = f"sim-{seed}-{n:06}"
        made.append(
            Recording(
                id=name,
                key=f"simulated:{name}",
                source=f"simulated:{name}",
                title=f"Simulated {n}",
                duration=60.0 * draw.uniform(0.5, 3.0),
                extra={"simulate": spans},
            )
        )
    return made


def simulated(flight: Flight, context: EngineContext) -> None:
    """The flow of :func:`gainstage.engine.pipeline.ingest` with waits in the place of work. ``extra["fail"]`` names a fault to show."""
    recording = flight.recording
    times = {**TIMES, **recording.extra.get("simulate", {})}

    def work(stage: str, token: CancelToken, after: str | None = None) -> None:
        with flight.stage(stage, token=token, after=after, audio_s=recording.duration) as slot:
            steps = 4
            for step in range(steps):
                token.wait(times.get(stage, 0.0) / steps)
                token.check()
                slot.progress = (step + 1) / steps
            if recording.extra.get("fail") == stage:
                raise Permanent("simulated fault", cause="simulated fault")
            if recording.extra.get("flaky") == stage and flight.claim.attempt == 1:
                raise Transient("simulated passing fault", cause="simulated passing fault")

    with context.work.open(recording.id) as folder:
        work("fetch", flight.token)
        (folder / "media").write_bytes(recording.id.encode())
        work("decode", flight.token)
        run_parallel(
            flight.token,
            lambda token: work("transcribe", token),
            lambda token: work("diarize", token),
        )
        work("identify", flight.token)
        segments = simulated_segments(recording)
        work("embed", flight.token, "identify")
        store(flight, context, segments)


def store(flight: Flight, context: EngineContext, segments: tuple[Segment, ...]) -> None:
    """The store stage of :func:`simulated`: a real commit under the real fence."""
    recording = flight.recording
    with flight.stage("store"):
        seconds = sum(s.end - s.start for s in segments)
        context.through_outage(
            lambda: context.store.store(
                recording,
                segments,
                (),
                models=MODELS,
                revision=flight.revision,
                facts={"simulated": True},
                spans=flight.spans,
                fingerprint=hashlib.sha256(recording.id.encode()).hexdigest(),
                balance=Balance(seconds, seconds, 0.0),
                warnings=flight.warnings,
                fence=lambda cursor: context.queue.finish_in(cursor, flight.claim),
            ),
            flight.token,
        )
    flight.segments, flight.speakers = len(segments), 2


def simulated_segments(recording: Recording) -> tuple[Segment, ...]:
    """Three to eight segments that follow from the id alone."""
    draw = random.Random(recording.id)
    segments, start = [], 0.0
    for n in range(draw.randint(3, 8)):
        words = [f"word{draw.randint(0, 999)}" for _ in range(draw.randint(4, 12))]
        end = start + 0.4 * len(words)
        speaker = f"Speaker {1 + n % 2}"
        segments.append(
            Segment(
                start,
                end,
                speaker,
                None,
                None,
                Provenance.CLUSTER,
                " ".join(words),
                tuple(Word(w, start + 0.4 * i, start + 0.4 * i + 0.3, 0.9, speaker) for i, w in enumerate(words)),
                voice=_vector(draw, 96),
                vector=_vector(draw, 64),
            )
        )
        start = end + 0.2
    return tuple(segments)


def _vector(draw: random.Random, size: int) -> Vector:
    v = np.array([draw.gauss(0, 1) for _ in range(size)], np.float32)
    return v / np.linalg.norm(v)
