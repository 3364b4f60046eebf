"""What a fleet costs: engines beside each other, claims of many engines on long tables, a console and ``status`` over them.

``python -m gainstage.engine.bench.fleet`` prints it. All engines are real but for their stages, which only take their time; the server
is an embedded one with room for their connections. ``linear_8`` is the rate of eight processes over eight times that of one. Claims are
made (and their recordings stored) by one worker for each engine at the rate of a thousand busy cards, while all engines run; what the
disk and the way to the server take of a claim is measured beside them (:mod:`gainstage.engine.bench.fleet_claims`).
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gainstage.engine.bench.fleet_claims import WORKERS, Claims, ClaimsPart, drive, ms, seconds_of
from gainstage.engine.bench.fleet_engines import TIMES
from gainstage.engine.bench.fleet_model import SIZES, Costs, Load, errors, fit, predicted
from gainstage.engine.bench.fleet_server import ServerWatch, dead_share, number, sizes
from gainstage.engine.bench.long_tables import fill
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.terms import Recording

BESIDE = {"fetch": 0.05, "decode": 0.05, "transcribe": 1.6, "diarize": 0.8, "identify": 0.05, "embed": 0.05, "store": 0.0}
"""Seconds of each stage for the engines beside each other: the processor is not what limits them."""
BESIDE_SETTINGS = ("fetch.disk_floor=0", "watch.record=false", "in_flight=8", "workers.transcribe=4", "workers.diarize=4")

PER_PROCESS = 16
"""Engines of one process."""
HZ = 5.0


def run(
    recordings: int = 1_000_000,
    *,
    minutes: float = 0.5,
    fleets: Sequence[int] = (8, 32, 64),
    beside: int = 8,
    window_s: float = 16.0,
) -> dict[str, Any]:
    """Measure with so many recordings queued and as many stored. ``claim_p95_alone_ms`` is of claims at the same rate while the engines,
    which have machines of their own elsewhere, do not take this one's processor.

    ``minutes``: how long claims are made; ``fleets``: numbers of engines on one server; ``beside``: processes beside each other.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gainstage-bench-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        server = EmbeddedPostgres(folder / "postgres", settings={"max_connections": "500"})
        url = stack.enter_context(server).url
        database = stack.enter_context(Database.open(url, folder, pool_size=WORKERS + 2, application="gainstage-bench"))
        one, several = (_stored_per_s(database, url, folder, count, window_s) for count in (1, beside))
        with database.connection() as connection:
            connection.execute("truncate recording, procrastinate_jobs cascade")
        fill(database, queued=recordings, finished=recordings, times=TIMES)
        watch = ServerWatch(database)
        idle = watch.during(min(5.0, window_s), 0).cores
        alone = drive(database, watch, min(10.0, 30 * minutes), Load(0, 0.0, 0.0, 0.0))
        loads, connections, console, status_s = [], 0.0, 0.0, 0.0
        for count in fleets:
            with engines(folder / f"fleet-{count}", url, count, database):
                loads.append(watch.during(window_s, count))
                if count == max(fleets):
                    connections = _connections(database) / count
                    console = console_share(database, window_s)
                    status_s = statistics.median(seconds_of(lambda: _status(database)) for _ in range(5))
                    before = sizes(database)
                    claims = drive(database, watch, 60 * minutes, loads[-1])
                    grown = {name: round(size / max(1, before[name]) - 1, 3) for name, size in sizes(database).items()}
                    dead = dead_share(database)
        plan = _claim_plan(database)
    costs = fit(claims.load, loads[:-1] or loads, idle)
    return {
        f"linear_{beside}": round(several / (beside * one), 3),
        **claim_figures(claims, alone),
        "console_cpu_share": round(console, 3),
        "status_s": round(status_s, 3),
        "connections_per_engine": round(connections, 2),
        "recordings": recordings,
        "minutes": minutes,
        "grown": grown,
        "dead": dead,
        "claim_rows_read": plan,
        "loads": [asdict(load) for load in loads],
        "costs": asdict(costs),
        "errors": {str(n): round(e, 3) for n, e in errors(costs, loads).items()},
        "parts": [asdict(part) for part in claims.parts],
    }


def claim_figures(claims: Claims, alone: Claims) -> dict[str, float]:
    """Claims a second beside engines, and milliseconds of them, of those ``alone``, and of commits and round trips beside them."""
    return {
        "claims_per_s": round(claims.load.claims, 1),
        "claim_p95_ms": ms(claims.took, 0.95),
        "claim_p50_ms": ms(claims.took, 0.5),
        "claim_p95_alone_ms": ms(alone.took, 0.95),
        "durable_commit_p95_ms": ms(claims.commits, 0.95),
        "durable_commit_p50_ms": ms(claims.commits, 0.5),
        "round_trip_p95_ms": ms(claims.trips, 0.95),
        "round_trip_p50_ms": ms(claims.trips, 0.5),
    }


def table(result: dict[str, Any]) -> str:
    """The figures of :func:`run` for a terminal, and the table of fleets."""
    named = ("loads", "costs", "grown", "dead", "errors", "parts")
    lines = [f"{name:<24} {value}" for name, value in result.items() if name not in named]
    lines += [f"{'grown ' + name:<24} {share:+.1%}" for name, share in result["grown"].items()]
    lines += [f"{'dead rows ' + name:<34} {share:.1%}" for name, share in result["dead"].items()]
    return "\n".join([*lines, "", *parts_table([ClaimsPart(**part) for part in result["parts"]]), *fleets_table(result)])


def parts_table(parts: Sequence[ClaimsPart]) -> list[str]:
    """Lines of a long measurement: what claims took, and how large the tables with their indexes were, part by part."""
    if not parts:
        return []
    names = tuple(parts[-1].dead)
    lines = [
        "minute  claims/s  p50 ms  p95 ms  commit p95  " + "  ".join(f"{name} MB".rjust(26) for name in names) + "   dead rows"
    ]
    for part in parts:
        mib = "  ".join(f"{part.bytes[name] / 1e6:>26.1f}" for name in names)
        dead = " ".join(f"{part.dead[name]:,}" for name in names)
        lines.append(
            f"{part.minute:>6}  {part.claims_per_s:>8}  {part.claim_p50_ms:>6}  {part.claim_p95_ms:>6}  {part.commit_p95_ms:>10}  {mib}   {dead}"
        )
    return [*lines, ""]


def fleets_table(result: dict[str, Any]) -> list[str]:
    """Lines of the model beside what was measured."""
    costs, measured = Costs(**result["costs"]), {load["engines"]: load for load in result["loads"]}
    lines = ["engines  claims/s  frames/s  connections  server cores  measured  WAL MB/s"]
    for n in sorted({*SIZES, *measured}):
        load = predicted(costs, n)
        seen = f"{measured[n]['cores']:.2f}" if n in measured else "-"
        lines.append(
            f"{n:>7}  {load.claims:>8.1f}  {n:>8}  {round(n * result['connections_per_engine']):>11}  {load.cores:>12.2f}"
            f"  {seen:>8}  {load.wal / 1e6:>8.2f}"
        )
    return lines


@contextmanager
def engines(home: Path, url: str, count: int, database: Database) -> Iterator[None]:
    """So many simulated engines, :data:`PER_PROCESS` in a process, at work for the block."""
    environ = {**os.environ, "GAINSTAGE_STORE__DATABASE": url}
    sizes = [min(PER_PROCESS, count - first) for first in range(0, count, PER_PROCESS)]
    module = [sys.executable, "-P", "-m", "gainstage.engine.bench.fleet_engines"]
    home.mkdir(parents=True)
    with (home / "out.log").open("wb") as log:
        processes = [
            subprocess.Popen(
                [*module, str(home / str(n)), str(size)], env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            for n, size in enumerate(sizes)
        ]
    try:
        _until(lambda: _alive(database) == count, processes)
        _until(lambda: number(database, "select count(*) from recording where status = 'running'") >= count, processes)
        yield
    finally:
        _end(processes)


def console_share(database: Database, seconds: float) -> float:
    """Share of a core of whoever asks a desk for frames and events five times a second, as a console's reader does."""
    desk = PostgresDesk(database)
    desk.snapshot()
    cursor = desk.events(0).cursor
    busy, polls, began = 0.0, 0, time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        before = time.thread_time()
        desk.snapshot()
        cursor = desk.events(cursor).cursor
        if polls % 10 == 0:
            desk.engines()
        busy += time.thread_time() - before
        polls += 1
        time.sleep(max(0.0, began + polls / HZ - now))
    return busy / (time.monotonic() - began)


def _status(database: Database) -> None:
    """What ``gainstage status`` asks, by a desk that has seen nothing yet."""
    desk = PostgresDesk(database)
    desk.engines()
    desk.snapshot()


def _stored_per_s(database: Database, url: str, folder: Path, count: int, window_s: float) -> float:
    """Recordings that ``count`` engines under a supervisor store in a second, once every stage is at work."""
    prepared = [
        Recording(
            id=f"beside-{count}-{n}",
            key=f"beside:{count}:{n}",
            source="simulated:",
            title=str(n),
            duration=60.0,
            extra={"simulate": BESIDE},
        )
        for n in range(int(count * (4 * window_s + 80)))
    ]
    Backlog(database).add(prepared)
    home = folder / f"beside-{count}"
    home.mkdir()
    pairs = [f"--set={pair}" for pair in (f"engines.count={count}", *BESIDE_SETTINGS)]
    command = [sys.executable, "-P", "-m", "gainstage.engine.process", "--home", str(home), "--simulated", *pairs]
    environ = {**os.environ, "GAINSTAGE_STORE__DATABASE": url}
    with (home / "out.log").open("wb") as log:
        supervisor = subprocess.Popen(
            command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    stored = "select count(*) from recording where status = 'stored'"
    before = number(database, stored)
    try:
        _until(lambda: _alive(database) == count, [supervisor])
        _until(lambda: number(database, stored) >= before + 8 * count, [supervisor])
        began = time.time()
        time.sleep(window_s)
        with database.connection() as connection:
            rows = connection.execute(
                "select extract(epoch from stored)::float8 from recording where stored > to_timestamp(%s) order by stored", [began]
            ).fetchall()
        return slope([float(at) for (at,) in rows])
    finally:
        _end([supervisor], times=2)
        _until(lambda: _alive(database) == 0, [])


def slope(times: Sequence[float]) -> float:
    """Events a second, by least squares over the count at each: what stands in a window's edges weighs little."""
    middle, centre = statistics.fmean(times), (len(times) - 1) / 2
    spread = sum((at - middle) ** 2 for at in times)
    return sum((at - middle) * (n - centre) for n, at in enumerate(times)) / spread


def _claim_plan(database: Database) -> int:
    """Index entries and rows that the search for the next recording reads."""
    with database.connection() as connection:
        query = (
            "explain (analyze, format json) select id from procrastinate_jobs j where j.status = 'todo' and j.queue_name = any('{ingest}')"
            " and (j.scheduled_at is null or j.scheduled_at <= now()) order by j.priority desc, j.id limit 1"
        )
        (plan,) = connection.execute(query).fetchall()[0]
    node = plan[0]["Plan"]
    rows = 0
    while node:
        rows += int(node["Actual Rows"] * node["Actual Loops"]) + int(node.get("Rows Removed by Filter", 0))
        node = (node.get("Plans") or [None])[0]
    return rows


def _connections(database: Database) -> float:
    """Connections of the engines; those of the bench have another name."""
    return number(database, "select count(*) from pg_stat_activity where starts_with(application_name, 'gainstage ')")


def _alive(database: Database) -> int:
    query = "select count(*) from engine e join engine_alive using (id) where e.state in ('running', 'done')"
    return number(database, query)


def _end(processes: Sequence[subprocess.Popen[bytes]], times: int = 1) -> None:
    for n in range(times):
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        if n + 1 < times:
            time.sleep(1.0)
    for process in processes:
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def _until(condition: Callable[[], bool], processes: Sequence[subprocess.Popen[bytes]], within_s: float = 240.0) -> None:
    """Wait for a condition while the processes live. Raises RuntimeError."""
    end = time.monotonic() + within_s
    while not condition():
        if dead := [p for p in processes if p.poll() is not None]:
            raise RuntimeError(f"a process of the bench ended with status {dead[0].returncode}")
        if time.monotonic() > end:
            raise RuntimeError(f"not within {within_s:.0f} s")
        time.sleep(0.1)


if __name__ == "__main__":
    print(table(run()))
