"""What the tests of queue, settings, commands and desk share: recordings, an engine's place, frames, and waiting for things."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from gainstage.config.origins import Loaded
from gainstage.config.paths import Paths
from gainstage.config.settings import Settings
from gainstage.engine.desk.scripted.desk import ScriptedDesk
from gainstage.engine.queue.engines import EngineRegistry
from gainstage.engine.queue.jobs import Claim, JobQueue
from gainstage.engine.queue.live import Follower, LiveSettings
from gainstage.engine.store.database import Database
from gainstage.engine.store.writing import CLAIM_OVER
from gainstage.engine.terms import Recording
from gainstage.engine.views.commands import Command
from gainstage.engine.views.snapshot import Snapshot

T = TypeVar("T")


def until(what: Callable[[], T], within_s: float = 60.0) -> T:
    """The first true value of ``what``, asked every few milliseconds; fails after ``within_s``."""
    end = time.monotonic() + within_s
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < end, f"never became true within {within_s:.0f} s"
        time.sleep(0.005)


def recording(number: int, **changes: Any) -> Recording:
    values = {
        "id": f"r{number:04d}",
        "key": f"youtube:{number}",
        "source": f"https://example.org/watch?v={number}",
        "title": f"Recording {number}",
        "duration": 60.0,
    }
    return Recording(**{**values, **changes})


def recordings(count: int, first: int = 0) -> list[Recording]:
    return [recording(n) for n in range(first, first + count)]


def job_queue(db: Database, engine: str = "one", *, stalled_s: float = 30.0, **rest: Any) -> JobQueue:
    """A registered queue."""
    queue = JobQueue(db, engine, heartbeat_s=stalled_s / 3, stalled_s=stalled_s, **rest)
    queue.register()
    return queue


def store(db: Database, queue: JobQueue, claim: Claim) -> None:
    """What the store does with a claim, as short as can be: results and the end of the job in one transaction."""
    with db.transaction() as connection, connection.cursor() as cursor:
        queue.finish_in(cursor, claim)
        cursor.execute(f"update recording set status = 'stored', stored = now(), {CLAIM_OVER} where id = %s", [claim.recording.id])


def column(db: Database, id: str, name: str) -> Any:
    with db.connection() as connection:
        return connection.execute(f"select {name} from recording where id = %s", [id]).fetchall()[0][0]


def jobs(db: Database) -> int:
    with db.connection() as connection:
        return connection.execute("select count(*) from procrastinate_jobs").fetchall()[0][0]


def register(db: Database, engine: str, home: Path, settings: Settings | None = None) -> EngineRegistry:
    """An engine in the table of engines, alive for ``queue.stalled`` seconds after each sign of life."""
    registry = EngineRegistry(db, engine)
    registry.register(Paths.of(home), time.time(), Loaded(settings or Settings()))
    return registry


def frame(engine: str = "one", seconds: float = 90.0) -> Snapshot:
    """A rich frame of the scripted story, as if this engine had made it."""
    from dataclasses import replace

    desk = ScriptedDesk()
    desk.advance(seconds)
    snapshot = desk.snapshot()
    assert snapshot is not None
    return replace(snapshot, engine=engine)


@contextmanager
def following(
    db: Database,
    engine: str,
    live: LiveSettings | None = None,
    on_command: Callable[[Command], Any] | None = None,
    on_settings: Any = None,
    report: Callable[[str, Exception], object] = lambda name, error: None,
    **rest: Any,
) -> Iterator[Follower]:
    """A connected follower for the block."""
    live = live or LiveSettings(Settings())
    follower = Follower(db, engine, live=live, on_command=on_command, on_settings=on_settings, report=report, **rest)
    follower.start()
    try:
        assert follower.connected.wait(60)
        yield follower
    finally:
        follower.stop()
