"""The desk over several engines: their frames as one, one alone, and commands to all, to one, to a host."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gainstage.engine.desk import fleet_reader
from gainstage.engine.desk.merged import merge
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.queue import commands
from gainstage.engine.queue.engines import FEW, frames_of_all, look_at_all
from gainstage.engine.store.database import Database
from gainstage.engine.views.commands import Command
from gainstage.engine.views.frame_json import dumps, loads
from tests.queue_kit import frame, job_queue, recordings, register


def engines_of(db: Database, home: Path, *names: str) -> None:
    for name in names:
        register(db, name, home / name).publish(frame(name))


def asked(db: Database, id: int) -> list[str]:
    with db.connection() as connection:
        return [a.engine for a in commands.read_answers(connection, id)]


def test_a_desk_shows_all_engines_or_one(database: Database, tmp_path: Path) -> None:
    desk, one = PostgresDesk(database), frame("one")
    engines_of(database, tmp_path, "one")
    job_queue(database, "one").add(recordings(7))
    alone = desk.snapshot()
    assert alone is not None
    assert alone.engine == "one"
    engines_of(database, tmp_path, "two", "three")
    whole = desk.snapshot()
    assert whole is not None
    assert whole.engine == "3 engines"
    assert [s.capacity for s in whole.stages] == [3 * s.capacity for s in one.stages]
    assert whole.run.queued == 7  # of the database, not three times that
    assert {row.engine for row in desk.fleet() if row.alive} == {"one", "two", "three"}
    desk.narrow("two")
    narrowed = desk.snapshot()
    assert narrowed is not None
    assert (narrowed.engine, narrowed.run.queued) == ("two", 7)
    assert narrowed.stages == frame("two").stages
    desk.narrow(None)
    again = desk.snapshot()
    assert again is not None
    assert again.engine == "3 engines"


def test_an_engine_of_another_make_is_left_out_of_the_whole(database: Database, tmp_path: Path) -> None:
    engines_of(database, tmp_path, "one", "two", "odd")
    with database.connection() as connection:
        connection.execute("update engine_frame set frame = '{\"schema\": 99}' where engine = 'odd'")
    shown = PostgresDesk(database).snapshot()
    assert shown is not None
    assert shown.engine == "2 engines"


def test_few_engines_are_asked_for_quick_frames_and_many_are_not(database: Database, tmp_path: Path) -> None:
    desk = PostgresDesk(database)
    registries = [register(database, f"e{n}", tmp_path / str(n)) for n in range(FEW)]
    for n, registry in enumerate(registries):
        registry.publish(frame(f"e{n}"))
    desk.snapshot()
    assert all(registry.publish(frame(f"e{n}")) for n, registry in enumerate(registries))
    with database.connection() as connection:
        connection.execute("update engine set watched_until = '-infinity'")
    engines_of(database, tmp_path, "more")
    PostgresDesk(database).snapshot()
    assert not any(registry.publish(frame(f"e{n}")) for n, registry in enumerate(registries))


@pytest.mark.parametrize(
    ("engine", "host", "expected"),
    [
        (None, None, ["a-gpu0-1-x", "a-gpu1-2-x", "b-gpu0-3-x"]),
        (None, "a", ["a-gpu0-1-x", "a-gpu1-2-x"]),
        ("gpu1", None, ["a-gpu1-2-x"]),
        ("gpu0", "b", ["b-gpu0-3-x"]),
        ("a-gpu0-1-x", None, ["a-gpu0-1-x"]),
    ],
)
def test_a_command_reaches_those_in_its_scope(
    database: Database, tmp_path: Path, engine: str | None, host: str | None, expected: list[str]
) -> None:
    engines_of(database, tmp_path, "a-gpu0-1-x", "a-gpu1-2-x", "b-gpu0-3-x")
    with database.connection() as connection:
        connection.execute("update engine set host = left(id, 1)")
    ack = PostgresDesk(database).send(Command("pause", engine=engine, host=host))
    assert (ack.state, asked(database, ack.id)) == ("pending", expected)


def test_a_scope_without_engines_is_refused_and_named(database: Database, tmp_path: Path) -> None:
    engines_of(database, tmp_path, "one")
    desk = PostgresDesk(database)
    assert desk.send(Command("drain", host="nowhere")).text == "no engine is running on nowhere"
    assert desk.send(Command("drain", engine="x")).text == "engine x is not running"
    desk.narrow("one")
    assert asked(database, desk.send(Command("pause")).id) == ["one"]


def test_many_frames_are_read_again_a_few_at_a_time_the_oldest_first(database: Database, tmp_path: Path) -> None:
    names = [f"e{n}" for n in range(6)]
    registries = {name: register(database, name, tmp_path / name) for name in names}

    def publish(*which: str) -> None:
        for name in which:
            registries[name].publish(frame(name))

    publish(*names)
    first = look_at_all(database, {}, most=2)
    assert [one.text is not None for one in first] == [True] * 6, "frames that were never read are read at once"
    have = {one.engine: one.at for one in first}
    publish(*reversed(names))
    seen: list[str] = []
    for _ in range(3):
        looked = look_at_all(database, have, most=2)
        assert [one.engine for one in looked] == names
        seen += [one.engine for one in looked if one.text is not None]
        have = {one.engine: one.at for one in looked}
    assert seen == names, "each in its turn, the one read longest ago before the others"
    assert not any(one.text for one in look_at_all(database, have, most=2))


def test_a_history_has_all_engines_of_a_moment_in_one_frame(database: Database, tmp_path: Path) -> None:
    engines_of(database, tmp_path, "one", "two")
    with database.connection() as connection:
        connection.execute("delete from snapshot_history")
        now = time.time()
        for age in (95, 65, 35, 5):
            for name in ("one", "two"):
                shown = replace(frame(name), wall=now - age)
                connection.execute(
                    "insert into snapshot_history (engine, at, frame) values (%s, to_timestamp(%s), %s)",
                    [name, shown.wall, dumps(shown)],
                )
    desk = PostgresDesk(database)
    desk.snapshot()
    history = desk.history(120.0)
    assert [shown.engine for shown in history] == ["2 engines"] * 4
    assert history == tuple(sorted(history, key=lambda f: f.wall))
    assert history[0].stages[0].capacity == 2 * frame("one").stages[0].capacity
    assert len(desk.history(40.0)) == 2
    assert len(frames_of_all(database, 120.0, 4)) <= 3, "many frames are thinned out, not cut off"
    desk.narrow("two")
    assert {shown.engine for shown in desk.history(120.0)} == {"two"}


def test_64_engines_cost_a_console_little(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processor time of reading one frame, so that a busy machine changes nothing."""
    text = dumps(frame("e0"))
    engines_of(database, tmp_path, *(f"e{n}" for n in range(64)))
    desk = PostgresDesk(database)
    desk.snapshot()
    monkeypatch.setattr(fleet_reader, "MANY_EVERY_S", 0.0)
    one = cost(lambda: loads(text))
    with database.own_connection() as connection:

        def look() -> None:
            connection.execute("update engine_frame set at = now()")
            desk.snapshot()

        second = cost(look)
    frames = [replace(frame("e0"), engine=f"e{n}") for n in range(64)]
    assert cost(lambda: merge(frames)) < 32 * one, "64 frames are put together in less than half of what reading them takes"
    assert second < 64 * one, "a second of a console over 64 engines"


def cost(call: Callable[[], object], times: int = 7) -> float:
    """Median seconds of this thread's processor time."""
    took = []
    for _ in range(times):
        began = time.thread_time()
        call()
        took.append(time.thread_time() - began)
    return statistics.median(took)
