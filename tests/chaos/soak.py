"""Days in minutes: what an engine holds (memory, threads, files, connections, disk, rows) must not grow with what it has done.

``python -m tests.chaos.soak --minutes 40 --days 7`` (``make soak``) has two parts, which run side by side. An engine works through
simulated recordings while a console watches and changes settings: ``days * RECORDINGS_A_DAY`` of them, and what an engine does by the
clock comes as much more often as the days are longer (:mod:`tests.chaos.hurried`). The first frames that it made are played in a process
and a database of their own until they are one for each second of the days (:mod:`tests.chaos.soak_frames`). How many days each part
amounts to is printed: a machine that is too slow covers fewer. In both, samples of the second quarter are compared with those of the
last. Exit status 1 when something grew, or the days were not covered. The server writes durably, as at work: TMPDIR=/dev/shm keeps a slow
disk out of it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
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
import psycopg
from psycopg.sql import SQL, Identifier

from gainstage.config.paths import Paths
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.queue.events import TRIM_EVERY
from gainstage.engine.runtime.simulated import simulated_recordings
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.terms import Recording
from gainstage.engine.views.commands import Command
from gainstage.engine.views.events import EVENTS_KEPT
from gainstage.engine.views.snapshot import Snapshot
from tests.chaos.kit import EngineProcess, cared_for
from tests.chaos.soak_frames import Played, play

BATCH = 200
SAMPLE_S = 5.0
LAST_S = 60.0
"""Seconds beyond the minutes for the player of frames to end and report."""

AHEAD = 1.2
"""Recordings are offered this many times as fast as the minutes need, so that a pause of the machine can be caught up with."""

STAGES = 0.25
"""Of the usual seconds of a simulated stage: 50 recordings a second at most, where a week in 35 minutes needs 16."""

FRAMES = 60
"""Frames of the engine at work that are played."""

FAILING, FLAKY = 0.01, 0.02
"""Shares of the recordings that fail for good, and once."""

RUNS_BYTES, LOG_BYTES = 4_000_000, 200_000
DAY_S = 86_400.0

RECORDINGS_A_DAY = 4_800
"""Of a quarter of an hour each, at 50 hours of audio per hour: a workstation that is never idle."""

CHANGES_A_DAY = 24
"""Of settings, by an operator or the autopilot."""

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
    changes: int = 0
    played: Played = field(default_factory=Played)
    frames: list[Snapshot] = field(default_factory=list)
    events: int = 0
    middle: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)


def sample(process: psutil.Process, database: Database, home: Path) -> tuple[Sample, dict[str, int]]:
    """What is held now, and the rows of each table that holds no results."""
    with database.connection() as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and backend_type = 'client backend'"
        ).fetchone()
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
    for n, recording in enumerate(simulated_recordings(BATCH, seed=number, scale=STAGES)):
        fault = {"fail": "transcribe"} if n < FAILING * BATCH else {"flaky": "diarize"} if n < (FAILING + FLAKY) * BATCH else {}
        made.append(replace(recording, extra={**recording.extra, **fault}))
    return made


def soak(home: Path, minutes: float, days: float) -> Soaked:
    """A run of ``minutes`` with the work of ``days``, as far as this machine can."""
    soaked = Soaked()
    with EmbeddedPostgres(Paths.of(home).ensure().database) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("create database frames")
        frames_url = server.url.replace("/postgres?", "/frames?")
        with Database.open(server.url, home) as database, Database.open(frames_url, home) as frames_database:
            work(
                soaked,
                home,
                server.url,
                database,
                Playing(soaked, home / "frames", frames_url, frames_database, days),
                minutes,
                days,
            )
    return soaked


class Playing:
    """The part with the frames, in a process of its own."""

    def __init__(self, soaked: Soaked, home: Path, url: str, database: Database, days: float) -> None:
        self.soaked, self.home, self.url, self.database, self.days = soaked, home, url, database, days
        self._spawn = multiprocessing.get_context("spawn")
        self._process: psutil.Process | None = None

    def look(self, minutes: float) -> bool:
        """Begin when there are frames enough, with ``minutes`` to go; a sample; whether it has ended."""
        if self._process is None:
            if len(self.soaked.frames) < FRAMES:
                return False
            self._results, sender = self._spawn.Pipe(duplex=False)
            limits = {"runs_bytes": str(10 * RUNS_BYTES), "log_bytes": str(LOG_BYTES)}
            arguments = (sender, self.home, self.url, self.soaked.frames, self.days, minutes, limits)
            self._child = self._spawn.Process(target=play, args=arguments, daemon=True)
            self._child.start()
            sender.close()
            self._process = psutil.Process(self._child.pid)
        if self._results.poll():
            self.soaked.played = self._results.recv()
            self._child.join(60)
            return True
        held, _ = sample(self._process, self.database, self.home)
        self.soaked.frame_samples.append(held)
        return False


def work(soaked: Soaked, home: Path, url: str, database: Database, playing: Playing, minutes: float, days: float) -> None:
    """The recordings of ``days`` through one engine while a console watches, and its frames beside it, in at most ``minutes``."""
    began, number, wanted = time.monotonic(), 0, round(days * RECORDINGS_A_DAY)
    rate = AHEAD * wanted / (60 * minutes)
    queue, desk = Backlog(database), PostgresDesk(database)
    settings = {"watch__record": "true", "watch__runs_bytes": str(RUNS_BYTES), "watch__log_bytes": str(LOG_BYTES)}
    engine = EngineProcess(home / "engine", url, hurry=days * DAY_S / (60 * minutes), log="logs/engine.log", **settings)
    process = psutil.Process(engine.process.pid)
    with cared_for(engine):
        sampled, played = began, False
        while (passed_s := time.monotonic() - began) < 60 * minutes + LAST_S and (soaked.ended < wanted or not played):
            if engine.process.poll() is not None:
                raise RuntimeError(f"the engine ended:\n{engine.tail()}")
            counts = queue.counts()
            soaked.ended = counts.stored + counts.failed
            if number * BATCH < min(wanted, rate * passed_s) + BATCH and counts.queued < BATCH:
                queue.add(recordings(number))
                number += 1
            frame = desk.snapshot()
            fresh = frame is not None and (not soaked.frames or frame.seq != soaked.frames[-1].seq)
            if len(soaked.frames) < FRAMES and fresh and frame is not None and frame.run.stored:
                soaked.frames.append(frame)
            if soaked.changes < soaked.ended * CHANGES_A_DAY / RECORDINGS_A_DAY:
                soaked.changes += 1
                ack = desk.send(Command("set", {"key": "in_flight", "value": 8 + soaked.changes % 5}, by="soak"))
                if ack.state == "refused":
                    raise RuntimeError(f"a change was refused: {ack.text}")
            if time.monotonic() - sampled >= SAMPLE_S:
                sampled = time.monotonic()
                played = played or playing.look(minutes - passed_s / 60)
                if soaked.ended < wanted:
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
    played = soaked.played
    worked, framed = soaked.ended / RECORDINGS_A_DAY, played.frames / DAY_S
    print(f"\nasked for {days:g} days in at most {args.minutes:g} minutes")
    print(f"{soaked.ended:,} recordings, as many work folders and {soaked.events:,} journal lines: {worked:.1f} days", end=", ")
    print(f"with {soaked.changes} changes of settings")
    print(f"{played.frames:,} frames, {played.events:,} events, {played.run_bytes:,} bytes of recorded runs", end=": ")
    print(f"{framed:.1f} days of one frame a second")
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
