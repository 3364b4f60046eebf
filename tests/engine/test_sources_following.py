"""Followed sources: due once, by one engine, caught up once, whatever was killed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gainstage.config.settings import Settings, changed
from gainstage.engine.errors import Permanent
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.sources import folder_watch, local
from gainstage.engine.sources import following as following_module
from gainstage.engine.sources.folder_watch import FolderWatch
from gainstage.engine.sources.following import Following
from gainstage.engine.sources.selection import interval_s
from gainstage.engine.sources.subscriptions import Subscriptions
from gainstage.engine.store.database import Database
from gainstage.engine.telemetry.journal import Journal
from tests.http_server import Server, running
from tests.queue_kit import register, until
from tests.unit.test_sources_listing import serve_feed

LOCAL = changed(changed(Settings(), "fetch.allow_private", True), "fetch.sleep", 0)
FEED = "https://example.org/feed.xml"
HOUR = 3600.0


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def alive(database: Database, tmp_path: Path) -> Subscriptions:
    """Subscriptions of a database with two living engines, ``one`` and ``two``."""
    for name in ("one", "two"):
        register(database, name, tmp_path / name)
    return Subscriptions(database)


def test_a_followed_source_is_due_at_once_and_then_in_its_rhythm(alive: Subscriptions) -> None:
    alive.follow(FEED, HOUR, now=1000.0)
    claim = alive.due(1000.0, engine="one")
    assert claim is not None
    assert (claim.source, claim.running) == (FEED, "one")
    alive.done(claim, 7, engine="one", now=1200.0)
    (row,) = alive.rows()
    assert (row.next_wall, row.last_wall, row.last_new, row.found, row.running) == (1000.0 + HOUR, 1200.0, 7, 7, None)
    assert alive.due(1000.0 + HOUR - 1, engine="one") is None
    assert alive.due(1000.0 + HOUR, engine="one") is not None


def test_missed_runs_are_caught_up_once(alive: Subscriptions) -> None:
    alive.follow(FEED, HOUR, now=0.0)
    late = 100 * HOUR + 10
    claim = alive.due(late, engine="one")
    assert claim is not None
    alive.done(claim, 0, engine="one", now=late + 5)
    assert alive.due(late + 5, engine="one") is None
    assert alive.rows()[0].next_wall == 101 * HOUR


def test_one_engine_has_it_until_it_dies(alive: Subscriptions, database: Database) -> None:
    alive.follow(FEED, HOUR, now=0.0)
    assert alive.due(1.0, engine="one") is not None
    assert alive.due(2.0, engine="two") is None
    with database.connection() as connection:
        connection.execute("update engine set ended = now() where id = 'one'")
    taken = alive.due(3.0, engine="two")
    assert taken is not None
    first = alive.rows()[0]
    alive.done(first, 99, engine="one", now=4.0)
    assert alive.rows()[0].found == 0, "what the dead one says late counts for nothing"
    alive.done(taken, 1, engine="two", now=5.0)
    assert alive.rows()[0].found == 1


def test_many_engines_claim_each_once(alive: Subscriptions) -> None:
    for n in range(12):
        alive.follow(f"{FEED}?{n}", HOUR, now=0.0)
    claimed: list[str] = []

    def claim(engine: str) -> None:
        while row := alive.due(1.0, engine=engine):
            claimed.append(row.source)
            alive.done(row, 0, engine=engine, now=1.0)

    threads = [threading.Thread(target=claim, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(f"{FEED}?{n}" for n in range(12))


def test_a_failed_run_is_tried_again_sooner_each_time_later(alive: Subscriptions) -> None:
    alive.follow(FEED, 6 * HOUR, now=0.0)
    waits = []
    now = 0.0
    for _ in range(8):
        claim = alive.due(now, engine="one")
        assert claim is not None
        alive.failed(claim, "the server went silent", retry=True, engine="one", now=now)
        waits.append(alive.rows()[0].next_wall - now)
        now = alive.rows()[0].next_wall
    assert waits == [300, 600, 1200, 2400, 4800, 9600, 19200, 6 * HOUR]
    assert alive.rows()[0].last_error == "the server went silent"
    claim = alive.due(now, engine="one")
    assert claim is not None
    alive.failed(claim, "gone", retry=False, engine="one", now=now)
    assert alive.rows()[0].next_wall == now + 6 * HOUR


def test_a_change_during_a_run_is_not_lost(alive: Subscriptions) -> None:
    alive.follow(FEED, HOUR, now=0.0)
    claim = alive.due(10.0, engine="one")
    assert claim is not None
    alive.hurry(claim.id, 15.0)
    alive.done(claim, 0, engine="one", now=20.0)
    assert alive.due(20.0, engine="one") is not None


def test_options_hold_what_postgres_cannot(alive: Subscriptions) -> None:
    alive.follow(FEED, HOUR, {"match": "half\0 a \ud800 title"})
    assert alive.rows()[0].options == {"match": "half a ? title"}


def test_following_again_changes_and_unfollowing_ends(alive: Subscriptions, tmp_path: Path) -> None:
    first = alive.follow(FEED, HOUR, {"limit": 3}, now=0.0)
    again = alive.follow(FEED, 2 * HOUR, {"skip_shorts": True}, priority=4, now=5.0)
    assert (again.id, again.every_s, again.options, again.priority) == (first.id, 2 * HOUR, {"skip_shorts": True}, 4)
    folder = alive.follow(str(tmp_path), HOUR)
    assert folder.folder == tmp_path
    assert alive.unfollow(str(folder.id)).source == str(tmp_path)
    alive.unfollow(FEED)
    assert alive.rows() == ()
    with pytest.raises(Permanent, match="not followed"):
        alive.unfollow(FEED)


@pytest.mark.parametrize(
    ("source", "every_s", "options"),
    [(FEED, 5.0, {}), (FEED, 1e9, {}), (FEED, HOUR, {"match": "("}), ("ftp://e.org/x", HOUR, {}), ("/no/such/folder", HOUR, {})],
)
def test_what_cannot_be_followed_is_refused(alive: Subscriptions, source: str, every_s: float, options: dict[str, object]) -> None:
    with pytest.raises(Permanent):
        alive.follow(source, every_s, options)
    assert alive.rows() == ()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("6h", 21600), ("2d", 172800), ("1w", 604800), ("1.5h", 5400), ("60s", 60)]
)
def test_intervals(text: str, seconds: float) -> None:
    assert interval_s(text) == seconds
    for wrong in ("6", "h", "six hours", "-6h", ""):
        with pytest.raises(Permanent):
            interval_s(wrong)


# -- the engine's thread ----------------------------------------------------------------------------------------------------


@contextmanager
def following(database: Database) -> Iterator[Following]:
    def guarded_step(name: str, step: Callable[[], object]) -> bool:
        step()
        return True

    loop = Following("one", database, lambda: LOCAL, Journal(), guarded_step)
    loop.start()
    try:
        yield loop
    finally:
        loop.stop()


def test_the_engine_lists_what_is_due_and_queues_what_is_new(alive: Subscriptions, database: Database, server: Server) -> None:
    alive.follow(serve_feed(server, pages=2), HOUR, {"limit": 30}, priority=5)
    with following(database):
        until(lambda: alive.rows()[0].last_wall)
        assert alive.rows()[0].last_new == 30
    assert Backlog(database).counts().queued == 30
    with database.connection() as connection:
        assert connection.execute("select distinct priority from recording").fetchall() == [(5,)]
    alive.follow(serve_feed(server, pages=3), HOUR)
    with following(database):
        until(lambda: Backlog(database).counts().queued == 60)


def test_what_was_missed_while_no_engine_ran_is_caught_up_once(alive: Subscriptions, database: Database, server: Server) -> None:
    url = serve_feed(server, pages=2)
    alive.follow(url, HOUR, now=time.time() - 30.5 * HOUR)
    began = time.time()
    with following(database):
        until(lambda: alive.rows()[0].last_wall)
    (row,) = alive.rows()
    assert (row.last_new, row.found) == (40, 40)
    assert server.hits["/feed"] == 3, "seen what it is, then its two pages: once, not thirty times"
    assert began < row.next_wall <= time.time() + HOUR
    assert alive.due(engine="one") is None


def test_a_source_that_fails_says_so_and_stops_no_other(alive: Subscriptions, database: Database, server: Server) -> None:
    alive.follow(server.url + "/nothing", HOUR)
    alive.follow(serve_feed(server, pages=1), HOUR)
    with following(database):
        until(lambda: all(row.last_wall for row in alive.rows()))
    bad, good = alive.rows()
    assert "HTTP 404" in (bad.last_error or "")
    assert (good.last_error, good.last_new) == (None, 20)


def test_a_fault_in_one_source_is_told_and_stops_no_other(alive: Subscriptions, database: Database, server: Server) -> None:
    alive.follow(server.url + "/odd", HOUR)
    with database.connection() as connection:
        connection.execute("update subscription set options = '[1]'")  # as no gainstage writes them
    alive.follow(serve_feed(server, pages=1), HOUR)
    with following(database):
        until(lambda: all(row.last_wall for row in alive.rows()))
    bad, good = alive.rows()
    assert "a fault: AttributeError" in (bad.last_error or "")
    assert bad.next_wall > time.time()
    assert (good.last_error, good.last_new) == (None, 20)


def test_a_new_file_in_a_followed_folder_is_taken(alive: Subscriptions, database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    alive.follow(str(folder), 24 * HOUR)
    with following(database):
        until(lambda: alive.rows()[0].last_wall)
        (folder / "talk.mp3").write_bytes(b"audio")
        until(lambda: Backlog(database).counts().queued == 1)


def test_a_file_that_is_still_being_written_waits_until_it_is_whole(
    alive: Subscriptions, database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "talk.mp3").write_bytes(b"aud")
    alive.follow(str(folder), 24 * HOUR)
    with following(database):
        until(lambda: alive.rows()[0].last_wall)
        assert Backlog(database).counts().queued == 0
        os.utime(folder / "talk.mp3", (1e9, 1e9))
        until(lambda: Backlog(database).counts().queued == 1)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> float:
    """A hundredth of the usual time of rest, so that pauses of 40 s become pauses of 0.4 s and more."""
    for module in (local, folder_watch, following_module):
        monkeypatch.setattr(module, "SETTLED_S", local.SETTLED_S / 100)
    return local.SETTLED_S


PARTS = (b"first ", b"second ", b"third")
WHOLE = b"".join(PARTS)


def sizes(database: Database) -> list[int]:
    """Bytes of every recording."""
    with database.connection() as connection:
        return [row[0] for row in connection.execute("select (extra ->> 'bytes')::int from recording").fetchall()]


def test_a_slow_copy_that_pauses_while_open_is_taken_when_it_is_closed(
    alive: Subscriptions, database: Database, tmp_path: Path, quick: float
) -> None:
    """Pauses 13 times as long as a file rests, as 40 s are."""
    folder = tmp_path / "in"
    folder.mkdir()
    alive.follow(str(folder), 24 * HOUR)
    with following(database):
        until(lambda: alive.rows()[0].last_wall)
        with (folder / "talk.mp3").open("ab") as out:
            if local.has_writer(folder / "talk.mp3") is None:
                pytest.skip("this file system does not say who writes")
            for part in PARTS:
                out.write(part)
                out.flush()
                rested = time.time() + 13 * quick
                until(lambda rested=rested: (alive.rows()[0].last_wall or 0.0) > rested)  # type: ignore[misc]
                assert sizes(database) == [], "it is still open"
        until(lambda: sizes(database) == [len(WHOLE)])
    assert Backlog(database).counts().queued == 1


def test_a_slow_copy_that_closes_the_file_between_its_pauses_is_one_recording(
    alive: Subscriptions, database: Database, tmp_path: Path, quick: float
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    alive.follow(str(folder), 24 * HOUR)
    with following(database):
        until(lambda: alive.rows()[0].last_wall)
        for n in range(1, len(PARTS) + 1):
            (folder / "talk.mp3").write_bytes(b"".join(PARTS[:n]))
            until(lambda n=n: sizes(database) == [len(b"".join(PARTS[:n]))])  # type: ignore[misc]
    assert Backlog(database).counts().queued == 1


def test_a_watch_tells_when_a_folder_has_come_to_rest_and_ends_with_it(tmp_path: Path) -> None:
    told = threading.Event()
    folder = tmp_path / "in"
    folder.mkdir()
    watch = FolderWatch(folder, told.set, quiet_s=0.3)
    try:
        until(told.is_set)  # it stands
        told.clear()
        for n in range(5):
            (folder / f"{n}.mp3").write_bytes(b"x")
        until(told.is_set)
        assert watch.alive
    finally:
        watch.stop()
    assert not watch.alive
