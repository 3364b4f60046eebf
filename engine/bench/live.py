"""Cost of watching and controlling an engine: frames, status, adding, claiming, and the delay from a command to its effect.

``python -m gainstage.engine.bench.live`` prints it. Times depend on the machine, so each is also given as a multiple of a bare
round trip to the same database in the same run; the cost of publishing is CPU time, as a share of one core.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gainstage.config.origins import load
from gainstage.config.paths import Paths
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.engine import Engine
from gainstage.engine.runtime.simulated import simulated_recordings
from gainstage.engine.store.database import Database
from gainstage.engine.views.commands import Command

FRAMES_PER_S = 5

SETTINGS = {"fetch.disk_floor": 0, "watch.record": False, "queue.heartbeat": 1, "in_flight": 24, "workers.transcribe": 8}


def run(recordings: int = 100_000, *, frames: int = 100, commands: int = 40, database_url: str | None = None) -> dict[str, Any]:
    """Measure on ``database_url``, which should be empty, or on an embedded server started for this.

    One engine processes simulated recordings meanwhile, so that frames have their full content.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gainstage-bench-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        database = stack.enter_context(Database.open(database_url, folder / "postgres"))
        add_s = _took(lambda: Backlog(database).add(simulated_recordings(recordings, scale=40.0)))
        engine = Engine(load(environ={}, overrides=SETTINGS), Paths.of(folder / "home"), database, flow=_flow(), models=False)
        with _running(engine):
            bare_s = _median(lambda: _select_1(database), 100)
            desk = PostgresDesk(database)
            status_s = _median(lambda: (desk.engines(), desk.snapshot()), 40)
            publish_s, build_s = _publishing(engine, frames)
            effect_s = _effects(desk, engine, commands)
            engine.run_state.pause("bench")
            claims = sorted(_claims(engine, 60))
    return {
        "recordings": recordings,
        "round_trip_s": bare_s,
        "publish_cpu_s": publish_s,
        "build_cpu_s": build_s,
        "publish_share": publish_s * FRAMES_PER_S,
        "status_s": status_s,
        "add_s": add_s,
        "claim_p50_s": statistics.median(claims),
        "claim_p95_s": claims[int(0.95 * len(claims))],
        "effect_p50_s": statistics.median(effect_s),
        "effect_p95_s": sorted(effect_s)[int(0.95 * len(effect_s))],
    }


def table(result: dict[str, Any]) -> str:
    """The figures of :func:`run` for a terminal."""
    bare = result["round_trip_s"]
    rows = [
        ("bare round trip", bare),
        (f"status, {result['recordings']:,} queued", result["status_s"]),
        ("claim, p50", result["claim_p50_s"]),
        ("claim, p95", result["claim_p95_s"]),
        ("command to effect, p50", result["effect_p50_s"]),
        ("command to effect, p95", result["effect_p95_s"]),
    ]
    lines = [f"{name:<28} {1000 * value:9.2f} ms  {value / bare:7.1f} x a round trip" for name, value in rows]
    lines.append(f"{'adding ' + format(result['recordings'], ',') + ' recordings':<28} {result['add_s']:9.1f} s")
    lines.append(
        f"{'a frame, built and published':<28} {1000 * result['publish_cpu_s']:9.2f} ms of processor "
        f"({1000 * result['build_cpu_s']:.2f} to build): {100 * result['publish_share']:.2f} % of a core at {FRAMES_PER_S} a second"
    )
    return "\n".join(lines)


def _flow() -> Callable[..., None]:
    from gainstage.engine.runtime.simulated import simulated

    return simulated


@contextmanager
def _running(engine: Engine) -> Iterator[None]:
    thread = threading.Thread(target=engine.run, name="engine")
    thread.start()
    try:
        while not len(engine.in_flight) and thread.is_alive():
            time.sleep(0.05)
        yield
    finally:
        engine.run_state.stop("bench")
        thread.join()
        engine.close()


def _publishing(engine: Engine, frames: int) -> tuple[float, float]:
    """CPU seconds of a frame, built and published, and built alone: medians, with one slow frame in five as in normal use."""
    publisher = engine.threads.publisher
    return _cost(publisher.publish, frames), _cost(publisher.build, frames)


def _cost(call: Callable[[bool], object], frames: int) -> float:
    took: dict[bool, list[float]] = {True: [], False: []}
    for n in range(frames):
        slow = n % FRAMES_PER_S == 0
        began = time.thread_time()
        call(slow)
        took[slow].append(time.thread_time() - began)
    return (statistics.median(took[True]) + (FRAMES_PER_S - 1) * statistics.median(took[False])) / FRAMES_PER_S


def _effects(desk: PostgresDesk, engine: Engine, commands: int) -> list[float]:
    """Seconds from sending a change of workers until the gate has the new capacity."""
    took = []
    for n in range(commands):
        wanted = 4 + n % 5
        if engine.context.stages["embed"].capacity == wanted:
            continue
        began = time.perf_counter()
        desk.send(Command("set", {"key": "workers.embed", "value": wanted}, by="bench"))
        while engine.context.stages["embed"].capacity != wanted:
            time.sleep(0.0005)
        took.append(time.perf_counter() - began)
    return took


def _claims(engine: Engine, count: int) -> list[float]:
    took = []
    for _ in range(count):
        began = time.perf_counter()
        claim = engine.context.queue.take()
        took.append(time.perf_counter() - began)
        if claim is None:
            break
        engine.context.queue.release(claim)
    return took


def _select_1(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("select 1").fetchone()


def _median(call: Callable[[], object], times: int) -> float:
    return statistics.median(_took(call) for _ in range(times))


def _took(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(table(run()))
