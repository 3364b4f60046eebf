"""Settings of one host or one engine: over those of all, undone like any other, secret where the setting is."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gainstage.config.origins import MASK
from gainstage.config.settings import Settings
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.queue import changes
from gainstage.engine.queue.live import LiveSettings, read_live, values_at
from gainstage.engine.store.database import Database
from gainstage.engine.views.commands import Command, DeskError
from tests.engine.engine_kit import make_engine, running
from tests.queue_kit import register, until

HOST = socket.gethostname()


def test_the_narrower_scope_holds() -> None:
    values = {"workers.store": 3, "workers.store@a": 4, "workers.store@a/gpu1": 5, "in_flight@b": 9}
    assert values_at(values, ()) == {"workers.store": 3}
    assert values_at(values, ("a",)) == {"workers.store": 4}
    assert values_at(values, ("a", "a/gpu1")) == {"workers.store": 5}
    assert values_at(values, ("b",)) == {"workers.store": 3, "in_flight": 9}
    live = LiveSettings(Settings(), places=("a",))
    assert live.load(values, 1) == ()
    assert live.current.workers.store == 4


def test_an_engine_takes_what_is_set_for_its_host_and_undo_takes_it_back(database: Database, tmp_path: Path) -> None:
    desk = PostgresDesk(database)
    with running(make_engine(database, tmp_path)) as engine:
        before = engine.context.settings.workers.transcribe
        for key, value in (("workers.transcribe@elsewhere", 9), (f"workers.transcribe@{HOST}", 5)):
            assert desk.send(Command("set", {"key": key, "value": value})).state == "pending"
        until(lambda: engine.context.settings.workers.transcribe == 5)
        rows = {row.key: (row.value, row.origin) for row in desk.settings() if row.key.startswith("workers.transcribe")}
        assert rows["workers.transcribe"][0] == before
        assert rows[f"workers.transcribe@{HOST}"] == (5, "live")
        assert rows["workers.transcribe@elsewhere"] == (9, "live")
        assert desk.send(Command("undo")).text.startswith(f"workers.transcribe@{HOST} 5")
        until(lambda: engine.context.settings.workers.transcribe == before)


def test_a_desk_that_looks_at_one_engine_sets_for_it_alone(database: Database, tmp_path: Path) -> None:
    register_as(database, tmp_path, "a-gpu0-1-x", "a-gpu1-2-x", "b-3-x", "c-4-x", "c-5-x")
    desk = PostgresDesk(database)
    assert desk.send(Command("set", {"key": "workers.transcribe", "value": 3})).new == 3
    desk.narrow("a-gpu1-2-x")
    assert {row.scope for row in desk.settings() if not row.key.startswith("console.")} == {"a/gpu1"}
    ack = desk.send(Command("set", {"key": "workers.transcribe", "value": 5}))
    assert (ack.old, ack.new) == (3, 5), "what held there before is the value for all"
    assert shown(desk, "workers.transcribe") == (5, "live for a/gpu1")
    desk.send(Command("set", {"key": "workers.transcribe@a", "value": 4}))
    assert shown(desk, "workers.transcribe") == (5, "live for a/gpu1"), "the narrower scope holds"
    desk.send(Command("set", {"key": "console.refresh", "value": 4.0}))
    desk.narrow("a-gpu0-1-x")
    assert shown(desk, "workers.transcribe") == (4, "live for a")
    assert shown(desk, "console.refresh") == (4.0, "live"), "a console is no engine's"
    desk.narrow("b-3-x")
    desk.send(Command("set", {"key": "workers.store", "value": 2}))
    desk.narrow(None)
    with database.connection() as connection:
        assert {k: v for k, (v, _) in changes.live_values(connection).items()} == {
            "workers.transcribe": 3,
            "workers.transcribe@a": 4,
            "workers.transcribe@a/gpu1": 5,
            "workers.store@b": 2,
            "console.refresh": 4.0,
        }
    assert {row.scope for row in desk.settings()} == {""}
    desk.narrow("c-4-x")
    with pytest.raises(DeskError, match="c-4-x has no name of its own, and a value for its host reaches 1 more; --host c sets it"):
        desk.send(Command("set", {"key": "workers.store", "value": 2}))
    desk.narrow("gone")
    with pytest.raises(DeskError, match="engine gone is not running"):
        desk.send(Command("set", {"key": "workers.store", "value": 2}))


def register_as(database: Database, home: Path, *names: str) -> None:
    """Engines on the host that their names begin with."""
    for name in names:
        register(database, name, home / name)
        with database.connection() as connection:
            connection.execute("update engine set host = left(id, 1) where id = %s", [name])


def shown(desk: PostgresDesk, key: str) -> tuple[object, str]:
    return next((row.value, row.origin) for row in desk.settings() if row.key == key)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("workers.transcribe@", 2, "stands a host"),
        ("workers.transcribe@a/b/c", 2, "stands a host"),
        ("workers.transcribe@a b", 2, "stands a host"),
        ("workers.nothing@a", 2, "unknown setting"),
        ("workers.transcribe@a", 99, "less than or equal to 16"),
        ("engines.count@a", 2, "read before the database is reached"),
    ],
)
def test_a_scoped_value_is_checked_like_any_other(database: Database, key: str, value: int, why: str) -> None:
    ack = changes.set_value(database, key, value, "test")
    assert ack.state == "refused"
    assert why in ack.text


def test_a_secret_stays_one_in_a_scope(database: Database) -> None:
    ack = changes.set_value(database, "fetch.proxy@a", "http://u:secret@h:1", "test")
    assert (ack.new, ack.state) == (MASK, "done")
    with database.connection() as connection:
        assert read_live(connection)[0]["fetch.proxy@a"] == "http://u:secret@h:1"
        assert changes.live_values(connection)["fetch.proxy@a"][0] == MASK
    assert "secret" not in str(changes.history(database))
