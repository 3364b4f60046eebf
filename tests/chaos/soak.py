"""A long run in little time: what an engine holds (memory, threads, files, connections, disk) must not grow with what it has done.

``python -m tests.chaos.soak --minutes 480`` (``make soak``) runs one engine on simulated recordings, ten times as fast as real ones come,
while a console watches. Samples of the second quarter are compared with those of the last. Exit status 1 when something grew.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import psutil

from gainstage.config.paths import Paths
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.simulated import simulated_recordings
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from tests.chaos.kit import EngineProcess, cared_for

BATCH = 200
SAMPLE_S = 5.0
RUNS_BYTES, LOG_BYTES = 4_000_000, 200_000

ALLOWED = {"memory": (1.15, 30e6), "threads": (1.0, 5), "files": (1.0, 10), "connections": (1.0, 2)}
"""How much more the last quarter may hold than the second: a factor, and a constant over it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the engine holds at one moment; ``disk`` is that of its home without the database, in bytes."""

    memory: float
    threads: float
    files: float
    connections: float
    disk: float


def sample(process: psutil.Process, database: Database, home: Path) -> Sample:
    with database.connection() as connection:
        row = connection.execute("select count(*) from pg_stat_activity where datname = current_database()").fetchone()
    disk = 0
    for folder, _, names in os.walk(home):  # work folders come and go meanwhile
        for name in names:
            with suppress(OSError):
                disk += os.lstat(os.path.join(folder, name)).st_size
    with process.oneshot():
        held = (process.memory_info().rss, process.num_threads(), process.num_fds())
    return Sample(*held, row[0] if row else 0, disk)


def grown(samples: list[Sample]) -> list[str]:
    """What the last quarter holds more of than it may, in words."""
    quarter, faults = len(samples) // 4, []
    for name, (factor, more) in ALLOWED.items():
        early = statistics.median(getattr(s, name) for s in samples[quarter : 2 * quarter])
        late = statistics.median(getattr(s, name) for s in samples[-quarter:])
        if late > early * factor + more:
            faults.append(f"{name} grew from {early:,.0f} to {late:,.0f}")
    most = max(s.disk for s in samples)
    if most > 1.5 * RUNS_BYTES + 3 * LOG_BYTES + 20e6:
        faults.append(f"the home took {most:,.0f} bytes beside its database")
    return faults


def soak(home: Path, minutes: float) -> tuple[list[Sample], int]:
    """(samples, recordings stored) of a run of ``minutes``."""
    end, number, samples = time.monotonic() + 60 * minutes, 0, []
    with EmbeddedPostgres(Paths.of(home).ensure().database) as server, Database.open(server.url, home) as database:
        queue, desk = Backlog(database), PostgresDesk(database)
        settings = {"watch.record": "true", "watch.runs_bytes": str(RUNS_BYTES), "watch.log_bytes": str(LOG_BYTES)}
        engine = EngineProcess(home / "engine", server.url, **{k.replace(".", "__"): v for k, v in settings.items()})
        process = psutil.Process(engine.process.pid)
        with cared_for(engine):
            sampled = time.monotonic()
            while time.monotonic() < end:
                if engine.process.poll() is not None:
                    raise RuntimeError(f"the engine ended:\n{engine.tail()}")
                if queue.counts().queued < BATCH:
                    queue.add(simulated_recordings(BATCH, seed=number))
                    number += 1
                desk.snapshot()
                if time.monotonic() - sampled >= SAMPLE_S:
                    sampled = time.monotonic()
                    samples.append(sample(process, database, home / "engine"))
                time.sleep(0.2)
            stored = queue.counts().stored
    return samples, stored


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=480.0, help="how long (default: 480)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gainstage-soak-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        try:
            samples, stored = soak(home, args.minutes)
        finally:
            EmbeddedPostgres(Paths.of(home).database).remove()
    if len(samples) < 8:
        print("too short to compare: take at least a minute")
        return 1
    print(f"{stored:,} recordings in {args.minutes:g} minutes, {len(samples)} samples")
    for field in fields(Sample):
        values = [getattr(s, field.name) for s in samples]
        middle = statistics.median(values[len(values) // 4 : len(values) // 2])
        print(f"{field.name:12} second quarter {middle:14,.0f}   last {values[-1]:14,.0f}   most {max(values):14,.0f}")
    faults = grown(samples)
    for fault in faults:
        print(f"GREW: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
