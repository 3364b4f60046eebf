"""The demo, with its real models, killed: after a restart it has stored what an undisturbed run stores."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.demo import demo_recordings
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from tests.chaos.kit import EngineProcess, Witness, cared_for, commits, log_commits, standing, wait_for, work_left

LONG = os.environ.get("GAINSTAGE_LONG_CHAOS") == "1"
KILLS = 6

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not LONG, reason="minutes of real models: GAINSTAGE_LONG_CHAOS=1"),
]


def test_a_demo_killed_again_and_again_stores_what_an_undisturbed_one_does(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    recordings = demo_recordings()
    Backlog(database).add(recordings)
    with cared_for(calm := demo(tmp_path / "calm", database_url)):
        assert calm.wait(600) == 0, calm.tail()
    expected = {r.id: list(said(database, r.id)) for r in recordings}
    Backlog(database).add(recordings, force=True)
    with database.connection() as connection:  # as if it had never been stored, voices and their cache included
        connection.execute("update recording set stored = null where status = 'queued'")
    log_commits(database_url)
    draw, desk = random.Random(4), PostgresDesk(database)
    with Witness(database_url):
        for number in range(KILLS):
            engine = demo(tmp_path / "killed", database_url)
            with cared_for(engine):
                wait_for(lambda e=engine: at_work(desk, e) or e.process.poll() is not None, "work", 300)
                wait_for(after(draw.uniform(0.0, 6.0)), "the moment")
                if engine.process.poll() is None:  # the last ones may find little left to do
                    engine.kill()
            print(f"kill {number + 1}: {standing(database)}", flush=True)
        with cared_for(last := demo(tmp_path / "killed", database_url)):
            assert last.wait(600) == 0, last.tail()
    assert {r.id: list(said(database, r.id)) for r in recordings} == expected
    assert set(commits(database).values()) == {1}
    assert work_left(tmp_path / "killed") == []


def demo(home: Path, url: str) -> EngineProcess:
    """An engine with the demo's models and voices."""
    return EngineProcess(home, url, until_empty=True, simulated=False)


def at_work(desk: PostgresDesk, engine: EngineProcess) -> bool:
    """Whether this very process has recordings in its stages (their rows may still say so of a dead one)."""
    frame = desk.snapshot()
    return frame is not None and frame.pid == engine.process.pid and any(f.stage for f in frame.flights)


def said(database: Database, id: str) -> Iterator[tuple[float, float, str, str]]:
    for segment in RecordingStore(database).segments(id):
        yield round(segment.start, 2), round(segment.end, 2), segment.speaker, segment.text


def after(seconds: float) -> Callable[[], bool]:
    import time

    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end
