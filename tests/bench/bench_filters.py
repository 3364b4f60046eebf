"""Milliseconds of every filter of the Recordings screen: ``python -m tests.bench.bench_filters [--recordings N]``.

The median of nine pages of each filter and order, by the clock and of the processor (this process and the server's). Exit status 1 when
one takes longer than the goal by the clock, which is what an operator waits: run it on a quiet machine. The processor's time counts
workers of the server beside each other twice.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

from gainstage.config.paths import Paths
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.views.rows import Query
from gainstage.tui.widgets.recordings_table import RecordingsTable
from tests.engine.test_scale import FILTERS
from tests.scale_kit import fill

GOAL_MS = 150.0
TIMES = 9


def worked_s(server: psutil.Process) -> float:
    """Processor time of this process and of the server's, with those that have ended."""
    total = time.process_time()
    for process in (server, *server.children()):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
        total += times.children_user + times.children_system if process == server else 0.0
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=200_000)
    count = parser.parse_args().recordings
    queries = {**FILTERS, "far down": Query(offset=count // 2)}
    queries |= {f"by {sort}": Query(sort=sort, descending=True) for sort in RecordingsTable.SORTS}
    slowest = 0.0
    with tempfile.TemporaryDirectory(prefix="gainstage-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        place = Paths.of(folder).ensure().database
        with EmbeddedPostgres(place) as server, Database.open(server.url, place, pool_size=1) as database:
            with database.own_connection() as connection:
                fill(connection, count, said=False)
            store = RecordingStore(database)
            process = psutil.Process(int((server.place.data / "postmaster.pid").read_text().split()[0]))
            for name, query in queries.items():
                store.rows(query)
                clock, began_s = [], worked_s(process)
                for _ in range(TIMES):
                    began = time.perf_counter()
                    page = store.rows(query)
                    clock.append(1000 * (time.perf_counter() - began))
                worked_ms = 1000 * (worked_s(process) - began_s) / TIMES
                slowest = max(slowest, statistics.median(clock))
                print(
                    f"{name:18} {statistics.median(clock):7.1f} ms   processor {worked_ms:7.1f} ms   {page.matched:,} of {page.total:,}"
                )
        EmbeddedPostgres(place).remove()
    print(f"the slowest takes {slowest:.0f} ms by the clock; the goal is {GOAL_MS:.0f} ms")
    return int(slowest > GOAL_MS)


if __name__ == "__main__":
    sys.exit(main())
