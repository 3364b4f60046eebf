"""A whole engine in the test's process, on simulated recordings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gainstage.config.origins import load
from gainstage.config.paths import Paths
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.engine import Engine
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.runtime.simulated import simulated, simulated_recordings
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Recording
from tests.queue_kit import until

SETTINGS = {
    "queue.heartbeat": 0.5,
    "queue.stalled": 20,
    "fetch.disk_floor": 0,
    "watch.record": False,
    "retry.backoff": 0.05,
    "in_flight": 8,
}

Flow = Callable[[Flight, EngineContext], None]


def make_engine(
    database: Database, home: Path, *, flow: Flow = simulated, until_empty: bool = False, member: str = "", **settings: Any
) -> Engine:
    """An engine that does not run yet; ``member`` is its name among several of the home. Settings are given with ``__`` for the dot."""
    given = SETTINGS | {key.replace("__", "."): value for key, value in settings.items()}
    loaded = load(environ={}, overrides=given)
    paths = Paths.of(home).member(member) if member else Paths.of(home)
    return Engine(loaded, paths, database, flow=flow, models=False, until_empty=until_empty)


@contextmanager
def running(engine: Engine) -> Iterator[Engine]:
    """Run it on a thread for the block; stopped at the end. An exception of its run is raised here."""
    broken: list[BaseException] = []

    def run() -> None:
        try:
            engine.run()
        except BaseException as error:  # raised again below, in the test's own thread
            broken.append(error)

    thread = threading.Thread(target=run, name="engine-under-test")
    thread.start()
    try:
        until(lambda: broken or engine.run_state.current != "starting")
        yield engine
    finally:
        engine.run_state.stop("test")
        thread.join(60)
        engine.close()
    assert not thread.is_alive()
    if broken:
        raise broken[0]


def queue(database: Database, count: int, *, scale: float = 0.3, **extra: Any) -> list[Recording]:
    """Queue simulated recordings whose ``extra`` also holds what is given: ``fail``, ``flaky``, or a flow's own."""
    made = [replace(r, extra={**r.extra, **extra}) for r in simulated_recordings(count, seed=len(extra), scale=scale)]
    Backlog(database).add(made)
    return made


def statuses(database: Database) -> dict[str, str]:
    with database.connection() as connection:
        return {str(id): str(status) for id, status in connection.execute("select id, status from recording")}


def ended(database: Database, count: int) -> bool:
    """Whether ``count`` recordings have been stored, have failed, or ended otherwise."""
    return sum(status not in ("queued", "running") for status in statuses(database).values()) >= count


def told(engine: Engine, text: str) -> bool:
    """Whether the journal has a line with this text."""
    return any(text in event.text for event in engine.context.journal.after(0, 20_000).items)
