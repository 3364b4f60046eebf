"""When an engine looks at the vector indexes: soon after its start, and at the end of a run that has done everything."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from engine_kit import make_engine, queue, running

from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.vector_index import build_in_progress, indexes
from gainstage.engine.store.vectors import tables
from tests.engine.store_kit import TEXT, recording, segments, store
from tests.queue_kit import until


def states(database: Database) -> list[bool]:
    """Whether each index over the passages of the tests' model is valid."""
    with database.connection() as connection:
        table = next(t for t in tables(connection, "embed") if t.model == TEXT)
        return [index.valid for index in indexes(connection, table)]


@pytest.fixture
def talk(database: Database) -> Database:
    """1,200 passages, and two recordings to be done."""
    store(RecordingStore(database), recording(1), segments(1_200))
    queue(database, 2)
    return database


def test_a_run_too_short_for_the_first_look_builds_the_index_at_its_end(talk: Database, tmp_path: Path) -> None:
    engine = make_engine(talk, tmp_path, until_empty=True, store__index_rows=1_000)
    with running(engine):
        until(lambda: engine.run_state.current == "done", 60)
        until(lambda: states(talk) == [True], 60)


def test_what_a_killed_build_left_is_gone_soon_after_the_next_start(
    talk: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gainstage.engine.runtime.housekeeping.INDEX_FIRST_S", 0.0)
    with talk.connection() as connection:
        connection.execute(
            "create index text_vector_1_hnsw_7 on text_vector_1 using hnsw (vector halfvec_cosine_ops) where segment <= 7"
        )
        connection.execute("update pg_index set indisvalid = false where indexrelid = 'text_vector_1_hnsw_7'::regclass")
    with running(make_engine(talk, tmp_path, store__index_rows=10_000)):
        until(lambda: states(talk) == [], 60)


def test_a_stop_ends_the_build_at_the_end_of_a_run(talk: Database, tmp_path: Path) -> None:
    engine = make_engine(talk, tmp_path, until_empty=True, store__index_rows=1_000)
    with talk.own_connection() as reader, talk.own_connection() as connection:
        reader.execute("begin isolation level repeatable read")  # the build waits for it, as it does with every other transaction
        reader.execute("select count(*) from text_vector_1")
        thread = threading.Thread(target=engine.run)
        thread.start()
        until(lambda: build_in_progress(connection), 60)
        engine.threads.publisher._index_at = float("-inf")
        until(lambda: engine.threads.publisher.build(slow=False).database.index_phase, 30)
        engine.run_state.stop("test")
        thread.join(30)
        assert not thread.is_alive()
        assert build_in_progress(connection) is None
        reader.execute("rollback")
    engine.close()
