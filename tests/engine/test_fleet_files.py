"""A file that one machine of a fleet does not have goes back to the queue for those that do."""

from __future__ import annotations

from pathlib import Path

import pytest

from gainstage.config.settings import Fetch, Retry, Settings
from gainstage.engine.errors import Elsewhere, Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.choice import Choice
from gainstage.engine.sources.enqueue import enqueue
from gainstage.engine.sources.fetch import Fetcher, local_file
from gainstage.engine.sources.local import file_recording
from gainstage.engine.store.database import Database
from gainstage.engine.telemetry.journal import Journal
from tests.queue_kit import column, job_queue, recording, register


def test_a_missing_file_fails_alone_and_goes_back_in_a_fleet(database: Database, tmp_path: Path) -> None:
    fetcher = Fetcher(lambda: Settings(), database, Journal(), tmp_path / "partial")
    gone = recording(1, source=str(tmp_path / "talk.wav"))

    def fetch() -> None:
        fetcher.fetch(gone, tmp_path, token=CancelToken(), progress=lambda *_: None)

    register(database, "here", tmp_path / "here")
    with pytest.raises(Permanent, match="no file"):
        fetch()
    register(database, "there", tmp_path / "there")
    with database.connection() as connection:
        connection.execute("update engine set host = 'elsewhere' where id = 'there'")
    with pytest.raises(Transient) as refused:
        fetch()
    assert refused.value.cause == "file not on this host"
    with database.connection() as connection:  # the other machine has left: nobody else could have it
        connection.execute("update engine set ended = now() where id = 'there'")
    with pytest.raises(Permanent):
        fetch()
    fetcher.close()


def on_host(database: Database, engine: str, host: str) -> None:
    with database.connection() as connection:
        connection.execute("update engine set host = %s where id = %s", [host, engine])


def test_it_goes_to_the_host_where_it_was_added_while_an_engine_lives_there(database: Database, tmp_path: Path) -> None:
    fetcher = Fetcher(lambda: Settings(), database, Journal(), tmp_path / "partial")
    gone = recording(1, source=str(tmp_path / "talk.wav"), extra={"host": "b"})
    register(database, "here", tmp_path / "here")
    for engine, host in (("at-b", "b"), ("at-c", "c")):
        register(database, engine, tmp_path / engine)
        on_host(database, engine, host)
    with pytest.raises(Elsewhere, match=r"no file .*talk\.wav on ") as refused:
        fetcher.fetch(gone, tmp_path, token=CancelToken(), progress=lambda *_: None)
    assert refused.value.host == "b"
    fetcher.close()

    on_host(database, "here", "a")
    a, b, c = (job_queue(database, engine, host=host) for engine, host in (("here", "a"), ("at-b", "b"), ("at-c", "c")))
    a.add([gone, recording(2, priority=-1)])
    claim = a.take()
    assert claim is not None
    outcome = a.fail(claim, refused.value, "", Retry())
    assert outcome.text == "left to the engines of b"
    assert (column(database, "r0001", "attempt"), column(database, "r0001", "status")) == (0, "queued")
    other = c.take()
    assert other is not None
    assert other.recording.id == "r0002", "another host takes what comes after it"
    taken = b.take()
    assert taken is not None
    assert (taken.recording.id, taken.attempt) == ("r0001", 1)
    b.release(taken)
    assert a.take() is None
    with database.connection() as connection:
        connection.execute("update engine set ended = now() where id = 'at-b'")
    a.recover()
    again = a.take()
    assert again is not None, "its host has no engine any more: anybody may try"
    assert again.recording.id == "r0001"


def test_a_file_is_added_with_its_host_and_an_address_is_not(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "talk.wav"
    file.write_bytes(b"RIFF")
    queue = job_queue(database, "one")
    enqueue(queue, Choice((file_recording(file), recording(2)), (), 2))
    with database.connection() as connection:
        rows = connection.execute("select source, extra ->> 'host' from recording order by source").fetchall()
    assert rows == [(str(file), queue.host), ("https://example.org/watch?v=2", None)]


def test_a_shared_folder_with_another_path_here(tmp_path: Path) -> None:
    here = tmp_path / "mnt"
    (here / "day 1").mkdir(parents=True)
    (here / "day 1" / "talk.wav").write_bytes(b"RIFF")
    shared = Fetch(shared={"/srv/talks": str(here), "/srv": "/nowhere"}).shared
    assert local_file(recording(1, source="/srv/talks/day 1/talk.wav"), shared) == here / "day 1" / "talk.wav"
    with pytest.raises(Permanent, match="no file"):
        local_file(recording(1, source="/srv/talks-2/day 1/talk.wav"), {"/srv/talks": str(here)})
    own = tmp_path / "talk.wav"
    own.write_bytes(b"RIFF")
    assert local_file(recording(1, source=str(own)), {str(tmp_path): str(here)}) == own, "a path that is here is taken as it is"
