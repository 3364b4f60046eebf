"""Who is who: a file that grows, an address that changes, an identity of an older version, and nothing seen without a word."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from speech_kit import write_media

from gainstage.config.settings import Settings, changed
from gainstage.engine.errors import Permanent, Postponed
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.queue.backlog import Backlog, Enqueued
from gainstage.engine.sources.choice import Choice
from gainstage.engine.sources.choose import TWICE, choose
from gainstage.engine.sources.duplicates import TwinStored, refuse_twin, yield_to_twin
from gainstage.engine.sources.enqueue import enqueue
from gainstage.engine.sources.feed_entries import former_key
from gainstage.engine.sources.listing import WRITING
from gainstage.engine.sources.local import LONG_REST_S, SETTLED_S, has_writer, is_settled
from gainstage.engine.sources.selection import Selection
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Recording
from tests.http_server import Server, running
from tests.queue_kit import column, job_queue, recordings, register, store

LOCAL = changed(changed(Settings(), "fetch.allow_private", True), "fetch.sleep", 0)
GUID = "241248087-a-long-enough-guid"


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def chosen(database: Database, *sources: object, settled: bool = False, **options: Any) -> Choice:
    found = choose([str(s) for s in sources], LOCAL, database, Selection.of(options), token=CancelToken(), settled=settled)
    assert found.seen == len(found.taken) + len(found.left)
    assert all(left.reason for left in found.left)
    return found


def feed(server: Server, address: str, guid: str = GUID) -> str:
    text = (
        '<?xml version="1.0"?><rss version="2.0"><channel><title>Private</title><item><title>Bonus</title>'
        f'<guid>{guid}</guid><enclosure url="{address}" type="audio/mpeg" length="1"/></item></channel></rss>'
    )
    return server.serve("/private", lambda r: r.answer(200, text.encode(), Content_Type="application/rss+xml"))


def fail(database: Database, id: str, cause: str) -> None:
    """End a queued recording as failed."""
    queue = job_queue(database)
    claim = queue.take()
    assert claim
    assert claim.recording.id == id
    queue.fail(claim, Permanent(cause, cause=cause), "", Settings().retry)


# -- an address that changes ------------------------------------------------------------------------------------------------


def test_a_recording_is_fetched_from_the_address_listed_last(database: Database, server: Server) -> None:
    backlog = Backlog(database)
    url = feed(server, "http://127.0.0.1/old.mp3?token=1")
    (first,) = chosen(database, url).taken
    enqueue(backlog, chosen(database, url))
    feed(server, "http://127.0.0.1/new.mp3?token=2")
    queued = chosen(database, url)
    assert enqueue(backlog, queued) == Enqueued(known=1)
    assert column(database, first.id, "source") == "http://127.0.0.1/new.mp3?token=2"
    fail(database, first.id, "HTTP 404")
    feed(server, "http://127.0.0.1/newer.mp3?token=3")
    again = chosen(database, url)
    assert [r.id for r in again.taken] == [first.id]
    assert enqueue(backlog, again) == Enqueued(requeued=1)
    assert (column(database, first.id, "source"), column(database, first.id, "status")) == (
        "http://127.0.0.1/newer.mp3?token=3",
        "queued",
    )


def test_what_failed_for_another_reason_keeps_its_place_and_takes_the_new_address(database: Database, server: Server) -> None:
    backlog = Backlog(database)
    url = feed(server, "http://127.0.0.1/old.mp3?token=1")
    (first,) = chosen(database, url).taken
    enqueue(backlog, chosen(database, url))
    fail(database, first.id, "no audio stream")
    feed(server, "http://127.0.0.1/new.mp3?token=2")
    choice = chosen(database, url)
    assert choice.reasons == (("failed already: no audio stream", 1),)
    enqueue(backlog, choice)
    assert column(database, first.id, "source") == "http://127.0.0.1/new.mp3?token=2"
    assert backlog.retry([first.id]) == 1


def test_what_is_stored_keeps_its_address(database: Database, server: Server) -> None:
    queue = job_queue(database)
    url = feed(server, "http://127.0.0.1/old.mp3?token=1")
    enqueue(queue, chosen(database, url))
    claim = queue.take()
    assert claim
    store(database, queue, claim)
    feed(server, "http://127.0.0.1/new.mp3?token=2")
    enqueue(queue, chosen(database, url))
    assert column(database, claim.recording.id, "source") == "http://127.0.0.1/old.mp3?token=1"


def test_a_preview_changes_nothing(database: Database, server: Server) -> None:
    url = feed(server, "http://127.0.0.1/old.mp3?token=1")
    (first,) = chosen(database, url).taken
    enqueue(Backlog(database), chosen(database, url))
    feed(server, "http://127.0.0.1/new.mp3?token=2")
    chosen(database, url)
    assert column(database, first.id, "source") == "http://127.0.0.1/old.mp3?token=1"


def test_what_was_taken_before_identities_were_scoped_is_known_by_its_old_one(database: Database, server: Server) -> None:
    url = feed(server, "http://127.0.0.1/a.mp3")
    other = server.url + "/another-show"
    for of, id in ((url, "bonus-old"), (other, "bonus-other")):
        key = former_key(GUID, of) if of == url else "feed:another"
        extra = {"fetch": "http", "feed": of}
        Backlog(database).add([Recording(id=id, key=key, source="http://127.0.0.1/a.mp3", title="Bonus", extra=extra)])
    choice = chosen(database, url)
    assert [(r.id, r.key) for r in choice.taken] == [("bonus-old", former_key(GUID, url))]
    assert choice.new == ()
    with database.connection() as connection:
        connection.execute("update recording set extra = %s where id = 'bonus-old'", [json.dumps({"feed": other})])
    assert [r.id == "bonus-old" for r in chosen(database, url).taken] == [False]


# -- a file that grows ------------------------------------------------------------------------------------------------------


def aged(path: Path, content: bytes, seconds: float = 100.0) -> None:
    """Write a file and close it, as long ago as said."""
    import time

    path.write_bytes(content)
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.parametrize("state", ["queued", "stored", "failed"])
def test_a_file_that_grew_is_the_same_recording(database: Database, tmp_path: Path, state: str) -> None:
    queue = job_queue(database)
    file = tmp_path / "talk.mp3"
    aged(file, b"first part ")
    enqueue(queue, chosen(database, tmp_path, settled=True))
    (first,) = chosen(database, tmp_path, settled=True).taken
    if state == "stored":
        claim = queue.take()
        assert claim
        store(database, queue, claim)
    elif state == "failed":
        claim = queue.take()
        assert claim
        queue.fail(claim, Permanent("broken", cause="broken"), "", Settings().retry)
    aged(file, b"first part and the rest", 90.0)
    choice = chosen(database, tmp_path, settled=True)
    assert [r.id for r in choice.taken] == [first.id]
    added = enqueue(queue, choice)
    assert added.added == 0
    assert added.requeued == (state != "queued")
    assert column(database, first.id, "status") == "queued"
    assert column(database, first.id, "key") == choice.taken[0].key != first.key
    with database.connection() as connection:
        assert connection.execute("select count(*) from recording").fetchone() == (1,)
    assert enqueue(queue, chosen(database, tmp_path, settled=True)) == Enqueued(known=1)


def test_a_file_that_grows_while_its_earlier_part_is_processed_waits(database: Database, tmp_path: Path) -> None:
    queue = job_queue(database)
    register(database, "one", tmp_path / "home")
    folder = tmp_path / "in"
    folder.mkdir()
    aged(folder / "talk.mp3", b"first part ")
    enqueue(queue, chosen(database, folder, settled=True))
    claim = queue.take()
    assert claim
    aged(folder / "talk.mp3", b"first part and the rest", 90.0)
    assert chosen(database, folder, settled=True).reasons == ((WRITING, 1),)
    store(database, queue, claim)
    assert enqueue(queue, chosen(database, folder, settled=True)) == Enqueued(requeued=1)


def test_a_file_with_other_content_under_an_old_name_is_another_recording(database: Database, tmp_path: Path) -> None:
    backlog = Backlog(database)
    aged(tmp_path / "talk.mp3", b"monday's talk")
    enqueue(backlog, chosen(database, tmp_path))
    aged(tmp_path / "talk.mp3", b"tuesday's talk, longer")
    assert enqueue(backlog, chosen(database, tmp_path)) == Enqueued(added=1)


def test_a_file_is_settled_when_nobody_writes_to_it_and_it_rested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "talk.mp3"
    aged(file, b"x", SETTLED_S + 1)
    assert is_settled(file)
    with file.open("ab"):
        if has_writer(file) is None:
            pytest.skip("this file system does not say who writes")
        assert has_writer(file)
        aged_s = 40.0  # a recorder that pauses, with the file open
        os.utime(file, (file.stat().st_mtime - aged_s,) * 2)
        assert not is_settled(file)
    assert is_settled(file)
    aged(file, b"x", 0.0)
    assert not is_settled(file)
    monkeypatch.setattr("gainstage.engine.sources.local.has_writer", lambda _: None)
    aged(file, b"x", 40.0)
    assert not is_settled(file)
    aged(file, b"x", LONG_REST_S + 1)
    assert is_settled(file)


def test_asking_who_writes_disturbs_no_writer(tmp_path: Path) -> None:
    """A writer that opens the file at that very moment must end neither of the two."""
    file = tmp_path / "talk.mp3"
    file.write_bytes(b"x")
    ending = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        while not ending.is_set():
            with file.open("ab") as out:
                out.write(b"x")
            written += 1

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(3000):
        has_writer(file)
    ending.set()
    writer.join()
    assert file.stat().st_size == written + 1


# -- the same audio ---------------------------------------------------------------------------------------------------------

AUDIO = "cd" * 32


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_same_audio_is_found_whichever_is_decoded_first(database: Database, tmp_path: Path, order: tuple[int, int]) -> None:
    register(database, "one", tmp_path)
    queue = job_queue(database, "one")
    queue.add(recordings(2))
    claims = [queue.take(), queue.take()]
    first, second = (claims[n] for n in order)
    assert first
    assert second
    yield_to_twin(database, AUDIO, first.recording.id)
    with pytest.raises(Postponed):
        yield_to_twin(database, AUDIO, second.recording.id)
    with pytest.raises(Postponed):
        yield_to_twin(database, AUDIO, second.recording.id)
    yield_to_twin(database, AUDIO, first.recording.id)


def test_of_many_that_ask_at_once_exactly_one_goes_on(database: Database, tmp_path: Path) -> None:
    register(database, "one", tmp_path)
    queue = job_queue(database, "one")
    queue.add(recordings(6))
    claims = [queue.take() for _ in range(6)]
    went_on: list[str] = []

    def ask(id: str) -> None:
        try:
            yield_to_twin(database, AUDIO, id)
        except Postponed:
            return
        went_on.append(id)

    threads = [threading.Thread(target=ask, args=(claim.recording.id,)) for claim in claims if claim]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(went_on) == 1


def test_a_twin_stored_meanwhile_is_found_inside_the_transaction(database: Database, tmp_path: Path) -> None:
    register(database, "one", tmp_path)
    queue = job_queue(database, "one")
    queue.add(recordings(2))
    first, second = queue.take(), queue.take()
    assert first
    assert second
    yield_to_twin(database, AUDIO, first.recording.id)
    store(database, queue, first)

    def store_second() -> None:
        with database.transaction() as connection, connection.cursor() as cursor:
            queue.finish_in(cursor, second)
            refuse_twin(cursor, AUDIO, second.recording.id)

    with pytest.raises(TwinStored) as caught:
        store_second()
    assert caught.value.twin == first.recording.id
    assert column(database, second.recording.id, "status") == "running"


# -- everything in a folder -------------------------------------------------------------------------------------------------


def tone(path: Path, kind: str, hz: float) -> None:
    """A second of sound in a container, under whatever name."""
    made = write_media(path.with_name(f"made.{kind}"), 0.2 * np.sin(np.arange(16_000) * hz / 16_000).astype(np.float32))
    made.rename(path)


def test_a_folder_gives_every_file_taken_or_left_with_a_reason(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for n, (name, kind) in enumerate(
        [
            ("book.m4b", "m4a"),
            ("call.3gp", "mp4"),
            ("camera.mts", "ts"),
            ("memo.qta", "mov"),
            ("talk.mka", "mkv"),
            ("noending", "wav"),
        ]
    ):
        tone(folder / name, kind, 1000 + 300 * n)
    (folder / "copy.m4b").write_bytes((folder / "book.m4b").read_bytes())
    (folder / "notes.txt").write_text("x")
    (folder / "strange.xyz").write_bytes(b"no medium at all")
    (folder / "cover.jpg").write_bytes(b"\xff\xd8\xff")
    os.mkfifo(folder / "pipe.mp3")
    choice = chosen(database, folder)
    assert [r.title for r in choice.taken] == ["book", "call", "camera", "memo", "noending", "talk"]
    assert {left.title: left.reason for left in choice.left} == {
        "copy": TWICE,
        "cover.jpg": "no audio or video (.jpg)",
        "notes.txt": "no audio or video (.txt)",
        "pipe.mp3": "not a file",
        "strange.xyz": "no audio in it",
    }


@pytest.mark.parametrize("name", ["notes.pdf", "strange.xyz", "page.xml"])
def test_what_is_no_medium_is_refused_before_it_is_queued(database: Database, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"<?xml version='1.0'?><svg/>")
    with pytest.raises(Permanent) as caught:
        chosen(database, tmp_path / name)
    assert caught.value.cause == "no media"


def test_a_fifo_or_a_device_is_refused_at_once(database: Database, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp3")
    os.mkfifo(tmp_path / "list.txt")
    for source in (tmp_path / "pipe.mp3", tmp_path / "list.txt", "/dev/zero", "/dev/null"):
        with pytest.raises(Permanent) as caught:
            chosen(database, source)
        assert caught.value.cause == "not a file"


def test_a_folder_of_nothing_that_is_media_names_what_it_holds(database: Database, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(Permanent, match=r"notes\.txt: no audio or video") as caught:
        chosen(database, tmp_path)
    assert caught.value.cause == "no media"


def test_a_limit_counts_what_it_looked_at(database: Database, tmp_path: Path) -> None:
    for n in range(20):
        (tmp_path / f"{n:02d}.mp3").write_bytes(b"x%d" % n)
    choice = chosen(database, tmp_path, limit=3)
    assert (choice.seen, len(choice.taken)) == (3, 3)
    newest = chosen(database, tmp_path, limit=3, order="newest")
    assert (newest.seen, len(newest.taken), len(newest.left)) == (20, 3, 17)
