"""The queue's limits to the figure: deaths, the age of dead workers, names of hosts, what leaving and recovering leave behind."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gainstage.config.settings import Retry
from gainstage.engine.errors import Elsewhere
from gainstage.engine.queue import counts
from gainstage.engine.queue.jobs import JobQueue, queue_of
from gainstage.engine.store.database import Database
from tests.queue_kit import column, job_queue, jobs, recordings, register


def scalar(db: Database, query: str, *values: object) -> object:
    with db.connection() as connection:
        return connection.execute(query, values).fetchall()[0][0]  # type: ignore[arg-type]


@pytest.mark.parametrize(("deaths", "ended"), [(23, False), (24, True)])
def test_the_25th_engine_that_dies_with_a_recording_is_the_last(database: Database, deaths: int, ended: bool) -> None:
    queue = job_queue(database, stalled_s=0.0)
    queue.add(recordings(1))
    with database.connection() as connection:
        connection.execute("update recording set deaths = %s", [deaths])
    assert queue.take()
    assert queue.recover().ended == (("r0000",) if ended else ())
    assert column(database, "r0000", "status") == ("failed" if ended else "queued")
    assert jobs(database) == (0 if ended else 1), "what has ended leaves no job behind"


def test_a_host_with_the_longest_of_names_has_its_own_line(database: Database, tmp_path: Path) -> None:
    """procrastinate's name of a queue has 128 characters at most."""
    host = "h" * 253
    register(database, "there", tmp_path)
    with database.connection() as connection:
        connection.execute("update engine set host = %s", [host])
    here, there = job_queue(database, "here", host="a"), job_queue(database, "there", host=host)
    here.add(recordings(1))
    claim = here.take()
    assert claim
    assert here.fail(claim, Elsewhere("a file of that host", host=host), "", Retry()).host == host
    assert here.take() is None
    assert there.take()
    assert len(queue_of(host)) == 128


def test_an_engine_takes_what_is_left_to_its_own_host(database: Database, tmp_path: Path) -> None:
    queue = JobQueue(database, "one", heartbeat_s=10.0, stalled_s=30.0)
    assert queue.host == socket.gethostname()
    register(database, "one", tmp_path)
    queue.register()
    queue.add(recordings(1))
    claim = queue.take()
    assert claim
    queue.fail(claim, Elsewhere("a file of that host", host=socket.gethostname()), "", Retry())
    assert queue.take()


def test_an_engine_that_leaves_the_queue_has_no_worker_any_more(database: Database, tmp_path: Path) -> None:
    register(database, "one", tmp_path)
    queue = job_queue(database, "one")
    assert scalar(database, "select worker from engine") == queue.worker == scalar(database, "select id from procrastinate_workers")
    queue.unregister()
    assert scalar(database, "select worker from engine") is None
    assert scalar(database, "select count(*) from procrastinate_workers") == 0
    with pytest.raises(RuntimeError, match="before register"):
        _ = queue.worker
    queue.unregister()  # a second time does nothing


@pytest.mark.parametrize(
    ("stalled_s", "silent_s", "kept"), [(1.0, 500, True), (1.0, 600.5, False), (100.0, 1900, True), (100.0, 2001, False)]
)
def test_workers_are_forgotten_after_ten_minutes_or_twenty_times_the_silence(
    database: Database, stalled_s: float, silent_s: float, kept: bool
) -> None:
    queue, silent = job_queue(database, stalled_s=stalled_s), job_queue(database, "silent")
    with database.connection() as connection:
        connection.execute(
            "update procrastinate_workers set last_heartbeat = now() - make_interval(secs => %s) where id = %s",
            [silent_s, silent.worker],
        )
    queue.recover()
    assert scalar(database, "select count(*) from procrastinate_workers where id = %s", silent.worker) == int(kept)


def test_a_recovery_folds_the_counts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = job_queue(database)
    for n in range(4):
        queue.add(recordings(1, first=n))
    rows = scalar(database, "select count(*) from recording_tally")
    assert isinstance(rows, int)
    assert rows >= 4
    monkeypatch.setattr(counts, "FOLD_ABOVE", 1)
    queue.recover()
    assert scalar(database, "select count(*) from recording_tally") == 1
    assert queue.counts().queued == 4


def test_a_beat_is_a_sign_of_life_of_the_engine_and_names_its_worker(database: Database, tmp_path: Path) -> None:
    register(database, "one", tmp_path)
    queue = job_queue(database, "one")
    with database.connection() as connection:
        connection.execute("update engine set heartbeat = heartbeat - interval '1 hour', worker = null")
    assert queue.beat()
    assert scalar(database, "select worker from engine") == queue.worker
    assert scalar(database, "select heartbeat > now() - interval '1 minute' from engine")
