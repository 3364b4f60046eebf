"""Seven days of frames: what is recorded, judged and written of them must not grow with their number.

An engine makes one frame a second, which no machine can hurry through days. So frames that an engine of the soak has made are played
once more by the engine's own publisher and housekeeping, one for each second of the days, as fast as they go, in a process of its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from gainstage.config.origins import load
from gainstage.config.paths import Paths
from gainstage.engine.queue import engines
from gainstage.engine.runtime import housekeeping
from gainstage.engine.runtime.change_effects import ChangeEffects
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.housekeeping import Housekeeping
from gainstage.engine.runtime.in_flight import InFlight
from gainstage.engine.runtime.run_state import RunStateMachine
from gainstage.engine.runtime.snapshot_publisher import SnapshotPublisher
from gainstage.engine.store.database import Database
from gainstage.engine.views.snapshot import Snapshot

PUBLISHED_EVERY = 10
"""Every tenth frame goes into the database, as those of its history do; the others replace one row."""

JUDGED_EVERY = 10
"""Every tenth frame gets a verdict of its own; it looks back on as many seconds all the same."""

LINE_EVERY = 18
"""Seconds between two lines of the journal that are more than debugging: those of 4,800 recordings a day."""

TRIMMED_EVERY = 60


@dataclass(slots=True)
class Played:
    """What was done: frames judged, recorded and published, events of the journal, bytes of recorded runs."""

    frames: int = 0
    events: int = 0
    run_bytes: int = 0


def play(
    results: Connection, home: Path, url: str, frames: Sequence[Snapshot], days: float, minutes: float, watch: Mapping[str, str]
) -> None:
    """Play ``frames`` over and over into the database at ``url`` until they were as many as ``days`` have seconds, or ``minutes`` are
    over; a :class:`Played` goes into ``results``. ``watch`` are settings of that section.
    """
    with Database.open(url, home) as database:
        results.send(_play(home, database, frames, days, minutes, watch))


def _play(
    home: Path, database: Database, frames: Sequence[Snapshot], days: float, minutes: float, watch: Mapping[str, str]
) -> Played:
    settings = load(environ={}, overrides={f"watch.{name}": value for name, value in watch.items()})
    context = EngineContext(settings, Paths.of(home).ensure(), database, with_models=False)
    history: deque[Snapshot] = deque(maxlen=1_500)
    flights = InFlight()
    publisher = SnapshotPublisher(context, flights, RunStateMachine(context, flights), history, {})
    keeper = Housekeeping(context, flights, ChangeEffects(context, history))
    keeper.writing = publisher.recording
    context.registry.register(context.paths, context.started_wall, settings)
    publisher._start_recording()
    wanted, end, began = round(days * 86_400), time.monotonic() + 60 * minutes, time.time()
    engines.HISTORY_EVERY_S, engines.HISTORY_S = 0.0, 7_200.0 * 60 * minutes / wanted
    housekeeping.TRIM_EVERY_S = 0.0
    played, written = Played(), 0
    try:
        for done in range(1, wanted + 1):
            seen = frames[done % len(frames)]
            frame = replace(seen, engine=context.id, seq=done, wall=began + done, monotonic=float(done))
            history.append(publisher._judged(frame) if done % JUDGED_EVERY == 1 else replace(frame, verdict=history[-1].verdict))
            if done % LINE_EVERY == 0:
                context.journal.log("info", f"stored 5 segments, 2 speakers: talk {done}", recording=f"sim-{done}", kind="stored")
            publisher._record(history[-1])
            size = publisher._recorder.size if publisher._recorder else 0
            played.run_bytes, written = played.run_bytes + max(0, size - written), size
            if done % PUBLISHED_EVERY == 0:
                context.registry.publish(history[-1])
            if done % TRIMMED_EVERY == 0:
                keeper.bound_disk_use()
            played.frames = done
            if time.monotonic() > end:
                break
    finally:
        played.events = context.journal.last
        if publisher._recorder:
            publisher._recorder.close()
        context.close()
    return played
