"""Claims of many engines at the rate of a thousand busy cards: how long they take, what of that is the way to the server and its disk,
and what becomes of the tables meanwhile.

A claim is on disk before it is given: its commit waits for the disk as any other does. So beside one claim in ten a bare round trip
and a commit of a few bytes are timed, of the same connections in the same moments: what a claim takes longer is ours.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from gainstage.engine.bench.fleet_model import RATE, Load
from gainstage.engine.bench.fleet_server import ServerWatch, dead_rows, sizes
from gainstage.engine.queue.jobs import JobQueue
from gainstage.engine.store.database import Database
from gainstage.engine.store.writing import CLAIM_OVER

PACE = 1.1 * RATE
WORKERS, HEARTBEAT_S = 64, 10.0
LONG_S = 120.0
"""A measurement of this length on is also told in parts."""
PARTS = 20

STORED = f"update recording set status = 'stored', stored = now(), changed = now(), {CLAIM_OVER} where id = %s"

COMMIT = "select pg_logical_emit_message(true, 'gainstage bench', '')"
"""A commit that writes a few bytes of WAL and waits for them to be on disk."""


@dataclass(frozen=True, slots=True)
class ClaimsPart:
    """A stretch of a long measurement: claims a second, quantiles in ms, bytes and dead rows of the tables at its end."""

    minute: float
    claims_per_s: float
    claim_p50_ms: float
    claim_p95_ms: float
    commit_p95_ms: float
    bytes: dict[str, int]
    dead: dict[str, int]


@dataclass(slots=True)
class Claims:
    """Seconds of every claim, and of the round trips and the commits beside them; ``parts`` of a long measurement."""

    took: list[float] = field(default_factory=list)
    trips: list[float] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)
    parts: list[ClaimsPart] = field(default_factory=list)
    load: Load = field(default_factory=lambda: Load(0, 0.0, 0.0, 0.0))


def drive(database: Database, watch: ServerWatch, seconds: float, beside: Load, pace: float = PACE) -> Claims:
    """Have :data:`WORKERS` claim and store ``pace`` recordings a second together. The load is without that of the engines ``beside``
    them."""
    claims, ending = Claims(), threading.Event()
    queues = [JobQueue(database, f"bench-{n}", heartbeat_s=HEARTBEAT_S, stalled_s=30) for n in range(WORKERS)]
    for queue in queues:
        queue.register()
    with ExitStack() as all_at_once:  # no claim is to wait for a connection to be made
        for _ in queues:
            all_at_once.enter_context(database.connection())

    def worker(queue: JobQueue, number: int, end: float) -> None:
        due = beat = time.monotonic() + number / pace
        while due < end:
            if due - beat > HEARTBEAT_S:
                beat = due
                queue.beat()
            time.sleep(max(0.0, due - time.monotonic()))
            if len(claims.took) % 10 == 0:
                with database.connection() as connection:
                    claims.trips.append(seconds_of(lambda: connection.execute("select 1")))
                    claims.commits.append(seconds_of(lambda: connection.execute(COMMIT)))
            began = time.perf_counter()
            claim = queue.take()
            claims.took.append(time.perf_counter() - began)
            if claim is None:
                return
            with database.transaction() as connection, connection.cursor() as cursor:
                queue.finish_in(cursor, claim)
                cursor.execute(STORED, [claim.recording.id])
            due += WORKERS / pace

    def work() -> None:
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=worker, args=(queue, n, end)) for n, queue in enumerate(queues)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    teller = threading.Thread(target=_tell, args=(database, claims, seconds / PARTS, ending))
    if seconds >= LONG_S:
        teller.start()
    began = time.monotonic()
    whole = watch.during(seconds, 0, work)
    rate = len(claims.took) / (time.monotonic() - began)
    ending.set()
    if seconds >= LONG_S:
        teller.join()
    claims.load = Load(0, rate, max(1e-6, whole.cores - beside.cores), max(0.0, whole.wal - beside.wal))
    return claims


def _tell(database: Database, claims: Claims, every_s: float, ending: threading.Event) -> None:
    """Add a part each ``every_s``."""
    began, counted, timed = time.monotonic(), 0, 0
    while not ending.wait(every_s - (time.monotonic() - began) % every_s):
        took, commits = claims.took[counted:], claims.commits[timed:]
        counted, timed = counted + len(took), timed + len(commits)
        claims.parts.append(
            ClaimsPart(
                round((time.monotonic() - began) / 60, 1),
                round(len(took) / every_s, 1),
                ms(took, 0.5),
                ms(took, 0.95),
                ms(commits, 0.95),
                sizes(database),
                dead_rows(database),
            )
        )


def seconds_of(call: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def ms(times: Sequence[float], share: float) -> float:
    """Milliseconds that ``share`` of the times are below; 0 without any."""
    if not times:
        return 0.0
    return round(1000 * (statistics.median(times) if share == 0.5 else sorted(times)[int(share * len(times))]), 2)
