"""Days of steady running, compressed: many short recordings through one engine, and nothing of it grows."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import psutil

from gainstage.engine.store.database import Database
from gainstage.engine.store.reach import OWN, POOL, SPARE
from tests.chaos.kit import EngineProcess, cared_for, commits, log_commits, queue_simulated, wait_for, work_left

LONG = os.environ.get("GAINSTAGE_LONG_CHAOS") == "1"
RECORDINGS = 6000 if LONG else 500
"""A day at 50 audio hours per hour and a quarter of an hour each is 4,800."""

LOOKS = 12


def test_a_long_steady_run_grows_by_nothing(database: Database, database_url: str, tmp_path: Path) -> None:
    log_commits(database_url)
    queue_simulated(database, RECORDINGS, scale=0.05)
    engine = EngineProcess(tmp_path / "home", database_url)
    looks: list[tuple[int, int, int, int]] = []
    with cared_for(engine):
        process = psutil.Process(engine.process.pid)
        for look in range(LOOKS):
            # the first look comes after a third of the work: by then caches, pools and allocators are warm
            due = RECORDINGS * (LOOKS // 2 + look) // (LOOKS + LOOKS // 2)
            wait_for(lambda due=due: sum(commits(database).values()) >= due or process.status() == "zombie", f"{due} stored", 900)
            assert engine.process.poll() is None, engine.tail()
            looks.append((process.num_threads(), process.num_fds(), _connections(database), process.memory_info().rss))
        wait_for(lambda: sum(commits(database).values()) == RECORDINGS, "the rest", 300)
        wait_for(lambda: process.num_threads() <= looks[0][0], "the threads of the last recordings to end")
    threads, handles, connections, memory = zip(*looks, strict=True)
    print(f"threads {threads}\nhandles {handles}\nconnections {connections}\nMB {[m >> 20 for m in memory]}")
    half = LOOKS // 2
    # recordings come and go while we look: medians of both halves, within what eight of them hold at once
    assert statistics.median(threads[half:]) <= statistics.median(threads[:half]) + 8
    assert statistics.median(handles[half:]) <= statistics.median(handles[:half]) + 16
    assert max(connections) <= OWN + POOL + SPARE  # the spare one is borrowed while a vector index is built, or one is replaced
    grown = statistics.median(memory[half:]) - statistics.median(memory[:half])
    assert grown < 16 * 2**20 + RECORDINGS * 512, f"{grown / 2**20:.1f} MB"
    wait_for(lambda: work_left(tmp_path / "home") == [], "the work folder of the last recording to go")


def _connections(database: Database) -> int:
    """Connections of the engine: all to this database but the test's own."""
    with database.connection() as connection:  # the only one of the test's own: its pool never needs a second
        row = connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and backend_type = 'client backend'"
        ).fetchone()
    assert row is not None
    return int(row[0]) - 1
