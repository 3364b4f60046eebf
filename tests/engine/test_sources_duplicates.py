from __future__ import annotations

from pathlib import Path

import pytest

from gainstage.config.settings import Settings
from gainstage.engine.errors import Postponed
from gainstage.engine.sources.duplicates import TWIN, yield_to_twin
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import Audio
from tests.queue_kit import column, job_queue, recordings, register, store

AUDIO = "ab" * 32


def test_of_two_in_flight_one_goes_on_and_the_other_is_linked_to_it(database: Database, tmp_path: Path) -> None:
    register(database, "one", tmp_path)
    queue = job_queue(database, "one")
    queue.add(recordings(2))
    first, second = queue.take(), queue.take()
    assert first
    assert second
    yield_to_twin(database, AUDIO, first.recording.id)
    with pytest.raises(Postponed) as caught:
        yield_to_twin(database, AUDIO, second.recording.id)
    outcome = queue.fail(second, caught.value, "", Settings().retry)
    assert (outcome.retry, outcome.counted, column(database, "r0001", "cause")) == (True, False, TWIN)
    store(database, queue, first)
    queue.retry(["r0001"])
    again = queue.take()
    assert again
    assert again.attempt == 1
    yield_to_twin(database, AUDIO, again.recording.id)
    results = RecordingStore(database)
    assert results.twin(AUDIO, again.recording.id) == "r0000"
    results.link(again.recording.id, "r0000", Audio(tmp_path, 16_000, AUDIO), lambda cursor: queue.finish_in(cursor, again))
    assert (column(database, "r0001", "status"), column(database, "r0001", "duplicate_of")) == ("skipped", "r0000")


def test_nobody_waits_for_a_twin_that_failed_or_whose_engine_died(database: Database, tmp_path: Path) -> None:
    register(database, "one", tmp_path / "one")
    register(database, "two", tmp_path / "two")
    one, two = job_queue(database, "one"), job_queue(database, "two")
    one.add(recordings(2))
    first, second = one.take(), two.take()
    assert first
    assert second
    yield_to_twin(database, AUDIO, first.recording.id)
    with pytest.raises(Postponed):
        yield_to_twin(database, AUDIO, second.recording.id)
    with database.connection() as connection:
        connection.execute("update engine set ended = now() where id = 'one'")
    yield_to_twin(database, AUDIO, second.recording.id)
