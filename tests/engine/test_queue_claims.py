from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from gainstage.config.settings import Retry
from gainstage.engine.errors import (
    Cancelled,
    EngineError,
    LostClaim,
    Misconfigured,
    OutOfMemory,
    Permanent,
    Rejected,
    Throttled,
    Transient,
)
from gainstage.engine.queue import commands
from gainstage.engine.queue.jobs import JobQueue
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Status
from gainstage.engine.views.passes import StageSpan
from tests.queue_kit import column, job_queue, jobs, recordings, register, store

RETRY = Retry(attempts=3, backoff=0)


def test_taking_marks_the_recording_in_the_same_step(database: Database) -> None:
    queue = job_queue(database, "gpu1")
    queue.add(recordings(1))
    claim = queue.take()
    assert claim is not None
    assert (claim.attempt, claim.worker) == (1, queue.worker)
    assert [column(database, "r0000", c) for c in ("status", "engine", "attempt")] == ["running", "gpu1", 1]
    assert queue.take() is None


def test_two_engines_never_hold_the_same_recording(database: Database) -> None:
    queues = [job_queue(database, "one"), job_queue(database, "two")]
    queues[0].add(recordings(20))
    held = [claim.recording.id for _ in range(10) for queue in queues if (claim := queue.take())]
    assert sorted(held) == sorted(set(held)) == [r.id for r in recordings(20)]


def test_stored_and_finished_are_one_thing(database: Database) -> None:
    queue = job_queue(database)
    queue.add(recordings(1))
    claim = queue.take()
    assert claim
    with pytest.raises(RuntimeError, match="disk"), database.transaction() as connection:  # noqa: PT012
        queue.finish_in(connection.cursor(), claim)
        raise RuntimeError("disk full while writing")
    assert (column(database, "r0000", "status"), jobs(database)) == ("running", 1)
    store(database, queue, claim)
    assert (column(database, "r0000", "status"), column(database, "r0000", "job"), jobs(database)) == ("stored", None, 0)


def test_a_replaced_claim_can_do_nothing_any_more(database: Database) -> None:
    frozen, other = job_queue(database, "frozen", stalled_s=0.0), job_queue(database, "other", stalled_s=0.0)
    frozen.add(recordings(1))
    old = frozen.take()
    assert other.recover().requeued == ("r0000",)
    new = other.take()
    assert old
    assert new
    assert new.job == old.job
    for act in (
        lambda: store(database, frozen, old),
        lambda: frozen.fail(old, Permanent("late"), "", RETRY),
        lambda: frozen.release(old),
    ):
        with pytest.raises(LostClaim):
            act()
    assert (column(database, "r0000", "status"), column(database, "r0000", "engine")) == ("running", "other")
    store(database, other, new)
    with pytest.raises(LostClaim):
        store(database, frozen, old)


def test_the_same_engines_older_claim_is_fenced_too(database: Database) -> None:
    queue = job_queue(database, stalled_s=0.0)
    queue.add(recordings(1))
    old = queue.take()
    queue.recover()
    new = queue.take()
    assert old
    assert new
    assert old.worker == new.worker
    with pytest.raises(LostClaim):
        store(database, queue, old)
    store(database, queue, new)


@pytest.mark.parametrize(
    ("error", "status", "attempt"),
    [
        (Permanent("no audio stream", hint="Give it sound."), "failed", 1),
        (Rejected("members only"), "skipped", 1),
        (Cancelled(), "cancelled", 1),
        (Transient("connection reset"), "queued", 1),
        (OutOfMemory("CUDA out of memory"), "queued", 1),
        (Misconfigured("no licence"), "queued", 0),
    ],
)
def test_a_failure_is_kept_with_its_cause(database: Database, error: EngineError, status: str, attempt: int) -> None:
    queue = job_queue(database)
    queue.add(recordings(1))
    claim = queue.take()
    assert claim
    outcome = queue.fail(claim, error.at("r0000", "decode"), "Traceback \0 ...", RETRY)
    assert outcome.status == status
    kept = [column(database, "r0000", c) for c in ("status", "cause", "error", "hint", "traceback", "stage", "attempt", "engine")]
    assert kept == [status, error.cause, error.message, error.hint, "Traceback  ...", "decode", attempt, None]
    assert jobs(database) == (1 if status == "queued" else 0)


def test_attempts_are_counted_up_to_the_limit(database: Database) -> None:
    queue = job_queue(database)
    queue.add(recordings(1))
    seen = []
    while claim := queue.take():
        seen.append((claim.attempt, queue.fail(claim, Transient("timeout"), "", RETRY).status))
    assert seen == [(1, Status.QUEUED), (2, Status.QUEUED), (3, Status.FAILED)]
    assert column(database, "r0000", "retryable") is True


def test_a_retry_waits_for_its_time_and_others_go_before_it(database: Database) -> None:
    queue = job_queue(database)
    queue.add(recordings(2))
    claim = queue.take()
    assert claim
    outcome = queue.fail(claim, Throttled("429", after_s=3600), "", RETRY)
    assert outcome.wait_s is not None
    assert outcome.wait_s >= 3600
    counts = queue.counts()
    assert (counts.queued, counts.retrying) == (2, 1)
    taken = queue.take()
    assert taken
    assert taken.recording.id == "r0001"
    assert queue.take() is None
    assert queue.retry(["r0000"]) == 1  # now, not in an hour
    again = queue.take()
    assert again
    assert (again.recording.id, again.attempt) == ("r0000", 2)


def test_release_gives_back_without_counting(database: Database) -> None:
    queue = job_queue(database)
    queue.add(recordings(2))
    claim = queue.take()
    assert claim
    assert queue.release(claim).retry
    assert [column(database, "r0000", c) for c in ("status", "attempt", "engine", "cause")] == ["queued", 0, None, None]
    again = queue.take()
    assert again
    assert (again.recording.id, again.attempt) == ("r0000", 1)


def test_spans_of_every_attempt_are_kept(database: Database) -> None:
    queue = job_queue(database)
    queue.add(recordings(1))
    for _ in range(2):
        claim = queue.take()
        assert claim
        span = StageSpan("fetch", "r0000", 0, 0.5, 0.0, 2.0, "failed", "timeout", 1000.0)
        queue.fail(claim, Transient("timeout"), "", RETRY, spans=[span])
    assert [(s["stage"], s["attempt"], s["note"]) for s in column(database, "r0000", "spans")] == [
        ("fetch", 1, "timeout"),
        ("fetch", 2, "timeout"),
    ]


def test_retry_by_id_by_cause_and_all(database: Database) -> None:
    queue = job_queue(database)
    queue.add(recordings(4))
    for error in (Permanent("a", cause="no audio"), Permanent("b", cause="no audio"), Permanent("c", cause="too long")):
        claim = queue.take()
        assert claim
        queue.fail(claim, error, "", RETRY)
    queue.cancel(["r0003"])
    assert queue.retry(cause="no audio") == 2
    assert (queue.counts().failed, queue.counts().queued) == (1, 2)
    assert queue.retry(["r0003"]) == 1
    assert queue.retry(everything=True) == 1
    assert queue.counts().queued == 4 == jobs(database)
    claims = [queue.take() for _ in range(4)]
    assert {c.attempt for c in claims if c} == {1}


def test_cancelling_a_running_recording_asks_its_engine_and_holds_whatever_comes(database: Database, tmp_path) -> None:
    register(database, "one", tmp_path)
    queue = job_queue(database, "one")
    queue.add(recordings(3))
    claims = [claim for _ in range(3) if (claim := queue.take())]
    ended = queue.cancel(["r0000", "r0001"])
    assert (ended.done, ended.running) == (0, 2)
    skipped = queue.skip(["r0002"])
    with database.connection() as connection:
        waiting = commands.pending(connection, "one")
    assert [r.id for r in waiting] == [ended.command, skipped.command]
    assert waiting[0].command.args == {"ids": ["r0000", "r0001"]}
    assert queue.fail(claims[0], Transient("timeout"), "", RETRY).status is Status.CANCELLED
    assert queue.release(claims[1]).status is Status.CANCELLED
    assert queue.fail(claims[2], Cancelled(), "", RETRY).status is Status.SKIPPED
    assert jobs(database) == 0


def test_a_cancelled_recording_that_was_stored_first_stays_stored(database: Database) -> None:
    queue = job_queue(database)
    queue.add(recordings(1))
    claim = queue.take()
    assert claim
    queue.cancel(["r0000"])
    store(database, queue, claim)
    assert (column(database, "r0000", "status"), column(database, "r0000", "wish")) == ("stored", None)


# -- waking whoever waits for work --------------------------------------------------------------------------------------


@contextmanager
def listening(url: str) -> Iterator[Callable[[], list[str]]]:
    """What was announced to the engines since the last look."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("listen gainstage")

        def heard() -> list[str]:
            connection.execute("select 1")  # whatever was committed before this is delivered with its answer
            return [note.payload for note in connection.notifies(timeout=0)]

        yield heard


def test_every_recording_that_comes_back_wakes_the_engines(database: Database, database_url: str) -> None:
    queue = job_queue(database, stalled_s=30.0)
    with listening(database_url) as heard:
        queue.add(recordings(4))
        assert heard() == ["queue"]
        for error in (Transient("timeout"), Misconfigured("no licence")):
            claim = queue.take()
            assert claim
            heard()
            queue.fail(claim, error, "", RETRY)
            assert heard() == ["queue"], error
        claim = queue.take()
        assert claim
        heard()
        queue.release(claim)
        assert heard() == ["queue"]
        claim = queue.take()
        assert claim
        queue.unregister()
        heard()
        other = JobQueue(database, "other", heartbeat_s=10, stalled_s=30)
        other.register()
        assert heard() == ["queue"], "what a dead engine held"


def test_what_ends_or_was_nothing_wakes_nobody(database: Database, database_url: str) -> None:
    queue = job_queue(database)
    queue.add(recordings(2))
    with listening(database_url) as heard:
        claim = queue.take()
        assert claim
        queue.fail(claim, Permanent("no audio"), "", RETRY)
        queue.recover()
        assert heard() == []
