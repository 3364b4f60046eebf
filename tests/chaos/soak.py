"""Days in minutes: what an engine holds (memory, threads, files, connections, disk, rows) must not grow with what it has done.

``python -m tests.chaos.soak --minutes 40 --days 7`` (``make soak``) has two parts. An engine works through simulated recordings while a
console watches: ``days * RECORDINGS_A_DAY`` of them, and what an engine does by the clock comes as much more often as the days are
longer (:mod:`tests.chaos.hurried`). Then the frames that it made are played until they are one for each second of the days
(:mod:`tests.chaos.soak_frames`). How many days each part amounts to is printed: a machine that is too slow covers fewer. In both,
samples of the second quarter are compared with those of the last. Exit status 1 when something grew, or the days were not covered.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import psutil
from psycopg.sql import SQL, Identifier

from gainstage.config.paths import Paths
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.queue.events import TRIM_EVERY
from gainstage.engine.runtime.simulated import simulated_recordings
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.terms import Recording
from gainstage.engine.views.events import EVENTS_KEPT
from gainstage.engine.views.snapshot import Snapshot
from tests.chaos.kit import EngineProcess, cared_for
from tests.chaos.soak_frames import play

BATCH = 200
SAMPLE_S = 5.0
WORK_SHARE = 0.6
"""Of the minutes, for the recordings; the rest is for the frames."""

AHEAD = 1.2
"""Recordings are offered this many times as fast as the minutes need, so that a pause of the machine can be caught up with."""

FRAMES = 400
"""Frames of the engine that are kept to be played."""

FAILING, FLAKY = 0.01, 0.02
"""Shares of the recordings that fail for good, and once."""

RUNS_BYTES, LOG_BYTES = 4_000_000, 200_000
DAY_S = 86_400.0

RECORDINGS_A_DAY = 4_800
"""Of a quarter of an hour each, at 50 hours of audio per hour: a workstation that is never idle."""

RESULTS = {"recording", "segment", "decision", "commit_log"}
"""Tables that hold what was found: they grow by design. Those of vectors too."""

BOUNDED = {"event": EVENTS_KEPT + TRIM_EVERY}
"""Tables that are kept up to a number of rows, which a short run does not reach."""

LEAST_DISK = 3 * LOG_BYTES + 20e6
"""Bytes that logs, the journal and work folders may take, beside the recorded runs."""

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
    """A run: the samples of its two parts, what was done, the rows of each table at the middle and end, and frames of the engine."""

    samples: list[Sample] = field(default_factory=list)
    frame_samples: list[Sample] = field(default_factory=list)
    ended: int = 0
    played: int = 0
    frames: list[Snapshot] = field(default_factory=list)
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


def grown(samples: Sequence[Sample], rows: Mapping[str, int], disk: float) -> list[str]:
    """What the last quarter holds more of than it may, in words; ``rows`` are those of each table at the end, ``disk`` the most bytes
    that the home may take beside its database.
    """
    quarter, faults = len(samples) // 4, []
    for name, (factor, more) in ALLOWED.items():
        early = statistics.median(getattr(s, name) for s in samples[quarter : 2 * quarter])
        late = statistics.median(getattr(s, name) for s in samples[-quarter:])
        if late > early * factor + more:
            faults.append(f"{name} grew from {early:,.0f} to {late:,.0f}")
    faults += [f"{name} has {n:,} rows, more than {BOUNDED[name]:,}" for name, n in rows.items() if n > BOUNDED.get(name, n)]
    most = max(s.disk for s in samples)
    if most > disk:
        faults.append(f"the home took {most:,.0f} bytes beside its database")
    return faults


def recordings(number: int) -> list[Recording]:
    """A batch, some of which fail once and some for good."""
    made = []
    for n, recording in enumerate(simulated_recordings(BATCH, seed=number)):
        fault = {"fail": "transcribe"} if n < FAILING * BATCH else {"flaky": "diarize"} if n < (FAILING + FLAKY) * BATCH else {}
        made.append(replace(recording, extra={**recording.extra, **fault}))
    return made


def soak(home: Path, minutes: float, days: float) -> Soaked:
    """A run of ``minutes`` with the work of ``days``, as far as this machine can."""
    soaked = Soaked()
    with EmbeddedPostgres(Paths.of(home).ensure().database) as server, Database.open(server.url, home) as database:
        work(soaked, home, server.url, database, WORK_SHARE * minutes, days)
        for file in (home / "engine" / "runs").glob("*.gsr"):
            file.unlink()
        mine = psutil.Process()

        def look() -> None:
            held, soaked.last = sample(mine, database, home / "frames")
            soaked.frame_samples.append(held)

        limits = {"runs_bytes": str(10 * RUNS_BYTES), "log_bytes": str(LOG_BYTES)}
        soaked.played = play(home / "frames", database, soaked.frames, days, (1 - WORK_SHARE) * minutes, look, **limits)
    return soaked


def work(soaked: Soaked, home: Path, url: str, database: Database, minutes: float, days: float) -> None:
    """The recordings of ``days`` through one engine while a console watches, in at most ``minutes``."""
    began, number, wanted = time.monotonic(), 0, round(days * RECORDINGS_A_DAY)
    rate = AHEAD * wanted / (60 * minutes)
    queue, desk = Backlog(database), PostgresDesk(database)
    settings = {"watch__record": "true", "watch__runs_bytes": str(RUNS_BYTES), "watch__log_bytes": str(LOG_BYTES)}
    engine = EngineProcess(home / "engine", url, hurry=days * DAY_S / (60 * minutes), log="logs/engine.log", **settings)
    process = psutil.Process(engine.process.pid)
    with cared_for(engine):
        sampled = began
        while (passed_s := time.monotonic() - began) < 60 * minutes and soaked.ended < wanted:
            if engine.process.poll() is not None:
                raise RuntimeError(f"the engine ended:\n{engine.tail()}")
            counts = queue.counts()
            soaked.ended = counts.stored + counts.failed
            if number * BATCH < min(wanted, rate * passed_s) + BATCH and counts.queued < BATCH:
                queue.add(recordings(number))
                number += 1
            frame = desk.snapshot()
            if frame is not None and (not soaked.frames or frame.seq != soaked.frames[-1].seq):
                soaked.frames = [*soaked.frames[1 - FRAMES :], frame]
            if time.monotonic() - sampled >= SAMPLE_S:
                sampled = time.monotonic()
                held, soaked.last = sample(process, database, home / "engine")
                soaked.samples.append(held)
                soaked.middle = soaked.middle if soaked.ended > wanted / 2 else soaked.last
            time.sleep(0.5)
    with suppress(OSError, ValueError, IndexError):
        soaked.events = json.loads((home / "engine" / "logs" / "journal.jsonl").read_text().splitlines()[-1])["seq"]


def report(title: str, samples: Sequence[Sample]) -> None:
    print(f"\n{title}: {len(samples)} samples")
    for part in fields(Sample):
        values = [getattr(s, part.name) for s in samples]
        middle = statistics.median(values[len(values) // 4 : len(values) // 2])
        late = statistics.median(values[-(len(values) // 4) :])
        print(f"{part.name:12} second quarter {middle:14,.0f}   last quarter {late:14,.0f}   most {max(values):14,.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=480.0, help="how long at most (default: 480)")
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
    if min(len(soaked.samples), len(soaked.frame_samples)) < 8:
        print("too short to compare: take at least two minutes")
        return 1
    report("recordings", soaked.samples)
    for name, rows in soaked.last.items():
        if rows > soaked.middle.get(name, 0) + 20:
            print(f"rows of {name}: {soaked.middle.get(name, 0):,} at the middle of the recordings, {rows:,} at the end")
    report("frames", soaked.frame_samples)
    worked, framed = soaked.ended / RECORDINGS_A_DAY, soaked.played / DAY_S
    print(f"\nasked for {days:g} days in at most {args.minutes:g} minutes")
    print(f"{soaked.ended:,} recordings, as many work folders and {soaked.events:,} journal lines: {worked:.1f} days")
    print(f"{soaked.played:,} frames: {framed:.1f} days of one a second")
    faults = [f"recordings: {fault}" for fault in grown(soaked.samples, soaked.last, LEAST_DISK + 1.5 * RUNS_BYTES)]
    faults += [f"frames: {fault}" for fault in grown(soaked.frame_samples, {}, LEAST_DISK + 15 * RUNS_BYTES)]
    for fault in faults:
        print(f"GREW: {fault}")
    short = min(worked, framed) < 0.999 * days
    if short:
        print("TOO SHORT: this machine did not get through the days")
    return 1 if faults or short else 0


if __name__ == "__main__":
    sys.exit(main())
