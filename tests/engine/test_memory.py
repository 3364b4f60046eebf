"""Memory follows what is in flight, not what waits in the queue."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import soundfile
from engine_kit import ended, make_engine, running, statuses

from gainstage.engine.pipeline import decode, fetch
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.runtime.simulated import simulated_segments, store
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Recording
from tests.queue_kit import until

SECONDS, IN_FLIGHT = 180, 3
WHOLE = 4 * 16_000 * SECONDS
"""Bytes of one recording as the models take it: float32."""


def heard_whole(flight: Flight, context: EngineContext) -> None:
    """The real fetch and decode, then the whole recording in memory, as a diarizer has it."""
    with context.work.open(flight.recording.id) as folder:
        media, _ = fetch(flight, context, folder)
        audio = decode(flight, context, media, folder)
        with flight.stage("diarize", after="decode"):
            samples = audio.read()
            assert samples.nbytes == WHOLE
            store(flight, context, simulated_segments(flight.recording))


def peak_of(database: Database, home: Path, talk: Path, count: int) -> int:
    """Most bytes allocated while ``count`` recordings pass, above what there was before."""
    recordings = [Recording(f"{count}-{n}", f"{count}-{n}", str(talk), f"Talk {n}") for n in range(count)]
    Backlog(database).add(recordings)
    before = len(statuses(database)) - count
    engine = make_engine(database, home, flow=heard_whole, in_flight=IN_FLIGHT, workers__diarize=8, workers__decode=8)
    tracemalloc.start()
    try:
        with running(engine):
            tracemalloc.reset_peak()
            until(lambda: ended(database, before + count), 240)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_fifty_in_the_queue_take_no_more_memory_than_three_in_flight(database: Database, home: Path, tmp_path: Path) -> None:
    talk = tmp_path / "talk.flac"
    soundfile.write(talk, np.zeros(SECONDS * 8000, np.int16), 8000)
    three = peak_of(database, home, talk, IN_FLIGHT)
    fifty = peak_of(database, home, talk, 50)
    assert set(statuses(database).values()) == {"stored"}
    assert fifty < IN_FLIGHT * 2 * WHOLE + 30e6, "more than three recordings and their copies"
    assert fifty < three + 2 * WHOLE
