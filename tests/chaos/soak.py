"""Days in minutes: what an engine holds (memory, threads, files, connections, disk, rows) must not grow with what it has done.

``python -m tests.chaos.soak --minutes 20 --days 7`` (``make soak``) runs one engine on simulated recordings while a console watches.
Recordings come as fast as ``days * RECORDINGS_A_DAY`` of them need to, and what an engine does by the clock comes as often
(:mod:`tests.chaos.hurried`). How many days each kind of work amounts to is printed: a machine that is too slow covers fewer. Samples of
the second quarter are compared with those of the last. Exit status 1 when something grew.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

import psutil
from psycopg.sql import SQL, Identifier

from gainstage.config.paths import Paths
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.queue.events import KEPT, TRIM_EVERY
from gainstage.engine.runtime.simulated import simulated_recordings
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from tests.chaos.kit import EngineProcess, cared_for

BATCH = 200
SAMPLE_S = 5.0
RUNS_BYTES, LOG_BYTES = 4_000_000, 200_000
DAY_S = 86_400.0

RECORDINGS_A_DAY = 4_800
"""Of a quarter of an hour each, at 50 hours of audio per hour: a workstation that is never idle."""

RESULTS = {"recording", "segment", "decision", "commit_log"}
"""Tables that hold what was found: they grow by design. Those of vectors too."""

BOUNDED = {"event": KEPT + TRIM_EVERY}
"""Tables that are kept up to a number of rows, which a short run does not reach."""

ALLOWED = {
    "memory": (1.15, 30e6),
    "threads": (1.0, 5),
    "files": (1.0, 10),
    "connections": (1.0, 2),
    "rows": (1.2, 3 * BATCH),
    "table_bytes": (1.5, 20e6),
}
"""How much more the last quarter may hold than the second: a factor, and a constant over it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the engine holds at one moment. ``disk`` is that of its home without the database, in bytes; ``rows`` and ``table_bytes``
    are of all tables that do not hold results.
    """

    memory: float
    threads: float
    files: float
    connections: float
    disk: float
    rows: float = 0
    table_bytes: float = 0


@dataclass(slots=True)
class Soaked:
    """A run: its samples, what was done, and the rows of each table at its middle and end."""

    samples: list[Sample] = field(default_factory=list)
    stored: int = 0
    frames: int = 0
    events: int = 0
    middle: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)


def sample(process: psutil.Process, database: Database, home: Path) -> tuple[Sample, dict[str, int]]:
    """What is held now, and the rows of each table that holds no results."""
    with database.connection() as connection:
        row = connection.execute("select count(*) from pg_stat_activity where datname = current_database()").fetchone()
        tables = connection.execute(
            "select relname, pg_total_relation_size(oid) from pg_class where relkind = 'r' and relnamespace = 'gainstage'::regnamespace"
            " and relname <> all(%s) and relname not like '%%\\_vector\\_%%' order by relname",
            [list(RESULTS)],
        ).fetchall()
        rows = {
            name: connection.execute(SQL("select count(*) from {}").format(Identifier(name))).fetchall()[0][0] for name, _ in tables
        }
    disk = 0
    for folder, _, names in os.walk(home):  # work folders come and go meanwhile
        for name in names:
            with suppress(OSError):
                disk += os.lstat(os.path.join(folder, name)).st_size
    with process.oneshot():
        held = (process.memory_info().rss, process.num_threads(), process.num_fds())
    return Sample(
        *held,
        row[0] if row else 0,
        disk,
        sum(n for name, n in rows.items() if name not in BOUNDED),
        sum(size for _, size in tables),
    ), rows


def grown(samples: list[Sample], rows: Mapping[str, int]) -> list[str]:
    """What the last quarter holds more of than it may, in words; ``rows`` are those of each table at the end."""
    quarter, faults = len(samples) // 4, []
    for name, (factor, more) in ALLOWED.items():
        early = statistics.median(getattr(s, name) for s in samples[quarter : 2 * quarter])
        late = statistics.median(getattr(s, name) for s in samples[-quarter:])
        if late > early * factor + more:
            faults.append(f"{name} grew from {early:,.0f} to {late:,.0f}")
    faults += [f"{name} has {n:,} rows, more than {BOUNDED[name]:,}" for name, n in rows.items() if n > BOUNDED.get(name, n)]
    most = max(s.disk for s in samples)
    if most > 1.5 * RUNS_BYTES + 3 * LOG_BYTES + 20e6:
        faults.append(f"the home took {most:,.0f} bytes beside its database")
    return faults


def soak(home: Path, minutes: float, days: float) -> Soaked:
    """A run of ``minutes`` with the work of ``days``, as far as this machine can."""
    began, number, soaked = time.monotonic(), 0, Soaked()
    rate = days * RECORDINGS_A_DAY / (60 * minutes)
    with EmbeddedPostgres(Paths.of(home).ensure().database) as server, Database.open(server.url, home) as database:
        queue, desk = Backlog(database), PostgresDesk(database)
        settings = {"watch__record": "true", "watch__runs_bytes": str(RUNS_BYTES), "watch__log_bytes": str(LOG_BYTES)}
        engine = EngineProcess(home / "engine", server.url, hurry=days * DAY_S / (60 * minutes), **settings)
        process = psutil.Process(engine.process.pid)
        with cared_for(engine):
            sampled = began
            while (passed_s := time.monotonic() - began) < 60 * minutes:
                if engine.process.poll() is not None:
                    raise RuntimeError(f"the engine ended:\n{engine.tail()}")
                if number * BATCH < rate * passed_s + BATCH and queue.counts().queued < BATCH:
                    queue.add(simulated_recordings(BATCH, seed=number))
                    number += 1
                frame = desk.snapshot()
                soaked.frames = frame.seq if frame else 0
                if time.monotonic() - sampled >= SAMPLE_S:
                    sampled = time.monotonic()
                    held, soaked.last = sample(process, database, home / "engine")
                    soaked.samples.append(held)
                    soaked.middle = soaked.middle if passed_s > 30 * minutes else soaked.last
                time.sleep(0.2)
            soaked.stored = queue.counts().stored
        with suppress(OSError, ValueError, IndexError):
            soaked.events = json.loads((home / "engine" / "logs" / "journal.jsonl").read_text().splitlines()[-1])["seq"]
    return soaked


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=480.0, help="how long (default: 480)")
    parser.add_argument("--days", type=float, help="of how many days the work is (default: ten times as long as the run)")
    args = parser.parse_args()
    days = args.days or 10 * args.minutes / 1440
    with tempfile.TemporaryDirectory(prefix="gainstage-soak-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        try:
            soaked = soak(home, args.minutes, days)
        finally:
            EmbeddedPostgres(Paths.of(home).database).remove()
    samples = soaked.samples
    if len(samples) < 8:
        print("too short to compare: take at least a minute")
        return 1
    recordings = soaked.stored / RECORDINGS_A_DAY
    print(f"{args.minutes:g} minutes, {len(samples)} samples; asked for {days:g} days")
    print(f"{soaked.stored:,} recordings, as many work folders and {soaked.events:,} journal lines: {recordings:.1f} days")
    print(f"{soaked.frames:,} frames: {soaked.frames / DAY_S:.1f} days of one a second")
    for part in fields(Sample):
        values = [getattr(s, part.name) for s in samples]
        middle = statistics.median(values[len(values) // 4 : len(values) // 2])
        late = statistics.median(values[-(len(values) // 4) :])
        print(f"{part.name:12} second quarter {middle:14,.0f}   last quarter {late:14,.0f}   most {max(values):14,.0f}")
    for name, rows in soaked.last.items():
        if rows > soaked.middle.get(name, 0) + 20:
            print(f"rows of {name}: {soaked.middle.get(name, 0):,} at the middle, {rows:,} at the end")
    faults = grown(samples, soaked.last)
    for fault in faults:
        print(f"GREW: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
