from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from gainstage.config.settings import Settings
from gainstage.engine.flow.locks import FileLock
from gainstage.engine.queue import engines, events
from gainstage.engine.queue.engines import EngineRegistry
from gainstage.engine.store.database import Database
from gainstage.engine.views.events import Event
from tests.queue_kit import column, frame, job_queue, recordings, register, until


def event(text: str, **rest: object) -> Event:
    return Event(**{"seq": 0, "wall": time.time(), "level": "info", "kind": "log", "text": text, **rest})


def test_a_published_frame_comes_back_whole(database: Database, tmp_path: Path) -> None:
    registry = register(database, "one", tmp_path)
    given = frame("one")
    registry.publish(given)
    seen = engines.look(database)
    assert seen
    assert (seen.id, seen.alive, seen.frame) == ("one", True, given)
    row = engines.list_engines(database)[0]
    assert (row.id, row.state, row.alive) == ("one", given.run.state, True)
    assert row.doing.startswith(f"{len(given.flights)} in flight: ")


def test_an_engine_hears_whether_somebody_watches(database: Database, tmp_path: Path) -> None:
    registry = register(database, "one", tmp_path)
    assert not registry.publish(frame())
    engines.look(database, watching=True)
    assert registry.publish(frame())
    assert registry.watched


def test_the_one_with_the_newest_heartbeat_is_looked_at_unless_one_is_named(database: Database, tmp_path: Path) -> None:
    for name in ("a", "b"):
        register(database, name, tmp_path / name).publish(frame(name))
    register(database, "b", tmp_path / "b")
    seen, named, unknown = (engines.look(database, name) for name in (None, "a", "c"))
    assert seen
    assert named
    assert (seen.id, named.id, unknown) == ("b", "a", None)


def test_an_engine_that_fell_silent_is_lost_and_one_that_left_is_stopped(database: Database, tmp_path: Path) -> None:
    quick = Settings.model_validate({"queue": {"stalled": 1}})
    register(database, "silent", tmp_path / "a", quick)
    register(database, "gone", tmp_path / "b").unregister("done")
    with database.connection() as connection:
        connection.execute("update engine set heartbeat = heartbeat - interval '2 seconds' where id = 'silent'")
    assert {row.id: row.state for row in engines.list_engines(database)} == {"silent": "lost", "gone": "done"}
    register(database, "next", tmp_path / "a")
    assert {row.id: row.state for row in engines.list_engines(database)}["silent"] == "died"


def test_a_heartbeat_of_the_queue_is_a_sign_of_life(database: Database, tmp_path: Path) -> None:
    register(database, "one", tmp_path, Settings.model_validate({"queue": {"stalled": 1}}))
    queue = job_queue(database, "one")
    with database.connection() as connection:
        connection.execute("update engine set heartbeat = heartbeat - interval '2 seconds'")
    assert not engines.list_engines(database)[0].alive
    queue.beat()
    assert engines.list_engines(database)[0].alive


def test_one_frame_each_ten_seconds_is_kept(database: Database, tmp_path: Path) -> None:
    registry = register(database, "one", tmp_path)
    for seq in range(3):
        registry.publish(replace(frame(), seq=seq))
    kept = engines.frames(database, "one", 7200)
    assert [f.seq for f in kept] == [0]
    with database.connection() as connection:
        connection.execute("update snapshot_history set at = at - interval '1 hour'")
    EngineRegistry(database, "one").publish(replace(frame(), seq=9))
    assert [f.seq for f in engines.frames(database, "one", 7200)] == [0, 9]
    assert [f.seq for f in engines.frames(database, "one", 60)] == [9]


def test_rows_of_running_recordings_follow_the_frames(database: Database, tmp_path: Path) -> None:
    registry = register(database, "one", tmp_path)
    queue = job_queue(database, "one")
    queue.add(recordings(2))
    claims = [queue.take(), queue.take()]
    shown = frame()
    flights = tuple(
        replace(shown.flights[0], id=claim.recording.id, stage=stage)
        for claim, stage in zip(claims, ("fetch", "decode"), strict=True)
        if claim
    )
    registry.publish(replace(shown, flights=flights))
    assert (column(database, "r0000", "stage"), column(database, "r0001", "stage")) == ("fetch", "decode")

    def moved() -> bool:  # rows follow once a second
        registry.publish(replace(shown, flights=(replace(flights[0], stage="store"),)))
        return bool(column(database, "r0000", "stage") == "store")

    until(moved)


def test_events_are_read_after_a_cursor(database: Database) -> None:
    events.write_events(database, "one", [event(f"line {n}", data={"n": n, "nan": float("nan")}) for n in range(5)])
    first = events.read_events(database, 0, limit=3)
    assert [(e.seq, e.text, e.engine) for e in first.items] == [(1, "line 0", "one"), (2, "line 1", "one"), (3, "line 2", "one")]
    assert first.items[2].data == {"n": 2, "nan": None}
    rest = events.read_events(database, first.cursor)
    assert [e.seq for e in rest.items] == [4, 5]
    assert events.read_events(database, rest.cursor) == replace(rest, items=())


def test_hostile_text_is_stored_as_postgres_takes_it(database: Database) -> None:
    events.write_events(database, "one", [event("a\0b\ud800", traceback="x\0", data={"k\0": "\0"})])
    (read,) = events.read_events(database, 0).items
    assert (read.text, read.traceback, read.data) == ("ab?", "x", {"k": ""})


def test_the_log_is_bounded_and_counts_what_it_dropped(database: Database) -> None:
    for start in range(0, 1500, 100):
        events.write_events(database, "one", [event(f"line {start + n}") for n in range(100)], kept=200)
    late = events.read_events(database, 10, limit=5000)
    assert late.dropped + len(late.items) == 1490
    assert late.items[-1].text == "line 1499"
    assert len(late.items) <= 200 + events.TRIM_EVERY
    assert events.read_events(database, 0, limit=1).dropped == 0


def test_a_reader_misses_nothing_of_many_writers(database: Database) -> None:
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        cursor = 0
        while True:
            last = done.is_set()
            found = events.read_events(database, cursor)
            seen.extend(e.seq for e in found.items)
            cursor = found.cursor
            if last and not found.items:
                return

    reader = threading.Thread(target=read)
    writers = [
        threading.Thread(target=lambda: [events.write_events(database, "x", [event("a"), event("b")]) for _ in range(30)])
        for _ in range(3)
    ]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert seen == list(range(1, 181))


def killed(home: Path) -> subprocess.Popen[bytes]:
    """A process that locked ``home`` as an engine does and was killed; not collected yet by its parent."""
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code, str(home / "engine.lock")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_killed_engine_of_this_host_is_seen_as_dead_at_once_and_only_that(database: Database, tmp_path: Path) -> None:
    for name in ("killed", "living", "elsewhere"):
        (tmp_path / name).mkdir()
    process = killed(tmp_path / "killed")
    lock = FileLock(tmp_path / "living" / "engine.lock")
    try:
        for name in ("killed", "living", "elsewhere"):  # the last home is not to be seen here: its lease decides
            register(database, name, tmp_path / name)
        job_queue(database, "killed")
        with database.connection() as connection:
            connection.execute("update engine set pid = %s where id <> 'living'", [process.pid])
        assert lock.acquire(blocking=False)
        assert engines.end_dead(database) == ()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert engines.end_dead(database) == ("killed",)
        assert {e.id: (e.state, e.alive) for e in engines.list_engines(database)} == {
            "killed": ("died", False),
            "living": ("starting", True),
            "elsewhere": ("starting", True),
        }
    finally:
        lock.release()
        process.kill()
        process.communicate()


def test_what_a_killed_engine_held_is_taken_up_without_waiting_for_its_lease(database: Database, tmp_path: Path) -> None:
    process = killed(tmp_path)
    try:
        register(database, "killed", tmp_path)
        first = job_queue(database, "killed")
        first.add(recordings(1))
        assert first.take()
        with database.connection() as connection:
            connection.execute("update engine set pid = %s", [process.pid])
        process.kill()
        process.wait()
        assert job_queue(database, "other").recover().requeued == ()
        engines.end_dead(database)
        assert job_queue(database, "third").recover().requeued or column(database, "r0000", "status") == "queued"
    finally:
        process.kill()
        process.communicate()


def test_an_engine_that_had_finished_is_never_said_to_have_died(database: Database, tmp_path: Path) -> None:
    register(database, "done", tmp_path).publish(replace(frame("done"), run=replace(frame().run, state="done")))
    register(database, "next", tmp_path)  # it could not sign off: its successor does it
    assert {e.id: e.state for e in engines.list_engines(database)}["done"] == "done"
