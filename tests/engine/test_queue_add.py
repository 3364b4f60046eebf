from __future__ import annotations

import threading

import pytest

from gainstage.engine.queue.backlog import BATCH, Backlog, Ended, Enqueued
from gainstage.engine.queue.counts import fold_tally
from gainstage.engine.store.database import Database
from tests.queue_kit import column, job_queue, jobs, recording, recordings, store


def test_new_recordings_are_queued_in_the_order_given(database: Database) -> None:
    queue = job_queue(database)
    given = [recording(n) for n in (3, 1, 2)]
    assert queue.add(given) == Enqueued(added=3)
    claims = [queue.take() for _ in given]
    assert [c.recording for c in claims if c] == given


def test_a_recording_comes_out_as_it_went_in(database: Database) -> None:
    queue = job_queue(database)
    odd = recording(1, title='"Ünï\u202e \0 %s', channel="C", published="2026-02-01", extra={"a": [1, None, "\0"]}, priority=3)
    queue.add([odd], priority=2)
    claim = queue.take()
    assert claim is not None
    assert claim.recording == recording(
        1, title='"Ünï\u202e  %s', channel="C", published="2026-02-01", extra={"a": [1, None, ""]}, priority=5
    )


def test_known_recordings_are_left_alone_whatever_became_of_them(database: Database) -> None:
    queue = job_queue(database)
    queue.add(recordings(4))
    first, second = queue.take(), queue.take()
    assert first
    assert second
    store(database, queue, first)
    queue.cancel(["r0003"])
    assert queue.add(recordings(6)) == Enqueued(added=2, known=4)
    assert [column(database, f"r{n:04d}", "status") for n in range(4)] == ["stored", "running", "queued", "cancelled"]
    assert jobs(database) == 4


def test_the_same_key_under_another_id_is_known(database: Database) -> None:
    backlog = Backlog(database)
    assert backlog.add([recording(1), recording(1, id="other"), recording(1)]) == Enqueued(added=1, known=2)
    assert jobs(database) == 1


def test_force_queues_again_what_has_ended_and_nothing_else(database: Database) -> None:
    queue = job_queue(database)
    queue.add(recordings(3))
    stored, running = queue.take(), queue.take()
    assert stored
    assert running
    store(database, queue, stored)
    assert queue.add(recordings(3), force=True) == Enqueued(known=2, requeued=1)
    assert column(database, stored.recording.id, "status") == "queued"
    assert queue.counts().queued == 2
    taken = [queue.take(), queue.take()]
    assert {c.recording.id for c in taken if c} == {"r0000", "r0002"}
    assert queue.take() is None


def test_concurrent_imports_of_the_same_recordings_add_each_once(database: Database) -> None:
    backlog = Backlog(database)
    sums: list[Enqueued] = []

    def add(order: int) -> None:
        sums.append(backlog.add(recordings(300)[::order]))

    threads = [threading.Thread(target=add, args=(order,)) for order in (1, -1, 1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(s.added for s in sums) == 300
    assert sum(s.known for s in sums) == 900
    assert jobs(database) == 300


def test_an_import_larger_than_a_batch_is_complete(database: Database) -> None:
    backlog = Backlog(database)
    total = BATCH + 1200
    assert backlog.add(recordings(total)) == Enqueued(added=total)
    assert backlog.counts().queued == total == jobs(database)


def test_higher_priority_goes_first_then_age(database: Database) -> None:
    queue = job_queue(database)
    queue.add([recording(1), recording(2, priority=5), recording(3), recording(4, priority=5)])
    assert [c.recording.id for c in iter(queue.take, None)] == ["r0002", "r0004", "r0001", "r0003"]


def test_prioritise_moves_queued_recordings(database: Database) -> None:
    queue = job_queue(database)
    queue.add([recording(1, priority=4), recording(2), recording(3), recording(4)])
    assert queue.prioritise(["r0003"], delta=2).queued == 1
    assert queue.prioritise(["r0004"], to_front=True).queued == 1
    assert queue.prioritise(["r0001"], delta=-5).queued == 1
    assert [c.recording.id for c in iter(queue.take, None)] == ["r0004", "r0003", "r0002", "r0001"]
    moved = queue.prioritise(["r0002"], delta=7)
    assert (moved.queued, moved.running) == (0, 1)
    assert column(database, "r0002", "priority") == 7


def test_cancel_and_skip_end_queued_recordings_at_once(database: Database) -> None:
    queue = job_queue(database)
    queue.add(recordings(4))
    assert queue.cancel(["r0000", "unheard of"]) == Ended(1, 0)
    assert queue.skip(["r0001", "r0000"]) == Ended(2, 0)
    assert (column(database, "r0000", "status"), column(database, "r0001", "status")) == ("skipped", "skipped")
    assert [c.recording.id for c in iter(queue.take, None)] == ["r0002", "r0003"]


def test_counts_and_audio_follow_every_change(database: Database) -> None:
    queue = job_queue(database)
    queue.add([*recordings(5), recording(9, duration=None)])
    claim = queue.take()
    assert claim
    store(database, queue, claim)
    queue.take()
    queue.cancel(["r0004"])
    for _ in range(2):
        counts = queue.counts()
        assert (counts.queued, counts.running, counts.stored, counts.cancelled, counts.total) == (3, 1, 1, 1, 6)
        assert (counts.audio_done_s, counts.audio_left_s, counts.unknown) == (60.0, 180.0, 1)
        with database.connection() as connection:
            connection.execute("insert into recording_tally select 'stored', 0, 0, 0 from generate_series(1, 500)")
        assert fold_tally(database) > 490


def test_deleting_recordings_keeps_the_counts_right(database: Database) -> None:
    backlog = Backlog(database)
    backlog.add(recordings(3))
    with database.own_connection() as connection:
        connection.execute("delete from recording where id = 'r0001'")
        assert backlog.counts().queued == 2
        connection.execute("truncate recording cascade")
    assert backlog.counts().total == 0


def test_retry_asks_for_exactly_one_choice(database: Database) -> None:
    with pytest.raises(ValueError, match="which"):
        Backlog(database).retry(["r1"], everything=True)
