from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gainstage.engine.errors import EngineError
from gainstage.engine.queue import commands
from gainstage.engine.queue.commands import Reply
from gainstage.engine.store.database import Database
from gainstage.engine.views.commands import Command
from tests.queue_kit import following, register, until


@pytest.fixture
def two(database: Database, tmp_path: Path) -> Iterator[Database]:
    """A database with two living engines, a and b."""
    register(database, "a", tmp_path / "a")
    register(database, "b", tmp_path / "b")
    return database


def test_every_engine_in_scope_acts_and_answers_once(two: Database) -> None:
    heard: list[tuple[str, Command]] = []
    with (
        following(two, "a", on_command=lambda c: heard.append(("a", c)) or "intake paused"),
        following(two, "b", on_command=lambda c: heard.append(("b", c)) or "intake paused"),
    ):
        ack = commands.send(two, Command("pause", {"why": "lunch"}, by="me"))
        assert ack.state == "pending"
        done = until(lambda: (a := commands.ack(two, ack.id)).state == "done" and a)
    assert done.text == "a: intake paused; b: intake paused"
    assert done.applied_after_s is not None
    assert sorted(name for name, _ in heard) == ["a", "b"]
    assert heard[0][1] == Command("pause", {"why": "lunch"}, None, "me")


def test_a_command_for_one_engine_leaves_the_other_alone(two: Database) -> None:
    heard: list[str] = []
    with (
        following(two, "a", on_command=lambda c: heard.append("a") or "ok"),
        following(two, "b", on_command=lambda c: heard.append("b") or "ok"),
    ):
        ack = commands.send(two, Command("drain", engine="b"))
        until(lambda: commands.ack(two, ack.id).state == "done")
    assert heard == ["b"]


def test_announced_again_it_acts_once(two: Database) -> None:
    heard: list[str] = []
    with following(two, "a", on_command=lambda c: heard.append(c.name) or "ok") as follower:
        ack = commands.send(two, Command("pause", engine="a"))
        until(lambda: commands.ack(two, ack.id).state == "done")
        with two.connection() as connection:
            for _ in range(5):
                connection.execute("select pg_notify('gainstage', 'commands')")
        last = commands.send(two, Command("resume", engine="a"))
        until(lambda: commands.ack(two, last.id).state == "done")
        assert follower.inbox
        assert not commands.take(two, "a", ack.id)
    assert heard == ["pause", "resume"]
    commands.answer(two, "a", ack.id, refused=True, text="changed my mind")
    assert commands.ack(two, ack.id).state == "done"


def test_two_takers_of_one_name_act_once(two: Database) -> None:
    ack = commands.send(two, Command("stop", engine="a"))
    taken: list[bool] = []
    threads = [threading.Thread(target=lambda: taken.append(commands.take(two, "a", ack.id))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False, False, False, True]


def test_a_refusal_says_why(two: Database) -> None:
    def refuse(command: Command) -> str:
        raise EngineError("engine is draining", cause="leaving")

    with following(two, "a", on_command=refuse), following(two, "b", on_command=lambda c: "paused"):
        ack = commands.send(two, Command("pause"))
        done = until(lambda: (a := commands.ack(two, ack.id)).state != "pending" and a)
    assert (done.state, done.text) == ("refused", "a: engine is draining; b: paused")


def test_a_fault_in_a_handler_is_answered_and_the_next_command_is_heard(two: Database) -> None:
    def stumble(command: Command) -> str:
        if command.name == "pause":
            raise KeyError("oops")
        return "resumed"

    with following(two, "a", on_command=stumble):
        first = commands.send(two, Command("pause", engine="a"))
        second = commands.send(two, Command("resume", engine="a"))
        until(lambda: commands.ack(two, second.id).state == "done")
        ack = commands.ack(two, first.id)
    assert ack.state == "refused"
    assert "KeyError" in ack.text


def test_an_answer_that_cannot_be_written_leaves_the_inbox_open(two: Database) -> None:
    def handle(command: Command) -> Reply:
        return Reply(text=7 if command.name == "pause" else "draining")  # type: ignore[arg-type]

    with following(two, "a", on_command=handle):
        commands.send(two, Command("pause", engine="a"))
        drain = commands.send(two, Command("drain", engine="a"))
        until(lambda: commands.ack(two, drain.id).text == "draining")


def test_a_question_is_answered_with_data(two: Database) -> None:
    with following(two, "a", on_command=lambda c: Reply(data={"vector": [len(c.args["text"])]})):
        ack = commands.send(two, Command("embed_query", {"text": "fibre"}, "a"))
        answer = commands.wait(two, ack.id, "a", 60)
    assert answer
    assert answer.data == {"vector": [5]}


def test_an_expired_command_is_void(two: Database) -> None:
    heard: list[str] = []
    ack = commands.send(two, Command("stop", engine="a"), expires_s=0.0)
    with following(two, "a", on_command=lambda c: heard.append(c.name) or "ok"):
        later = commands.send(two, Command("resume", engine="a"))
        until(lambda: commands.ack(two, later.id).state == "done")
    assert heard == ["resume"]
    assert commands.ack(two, ack.id).state == "expired"
    assert commands.ack(two, ack.id).text == "no answer from a"


def test_without_an_engine_a_command_is_refused_and_kept(database: Database) -> None:
    ack = commands.send(database, Command("pause"))
    assert (ack.state, ack.text) == ("refused", "no engine is running")
    assert commands.ack(database, ack.id).state == "refused"
    assert "gpu7 is not running" in commands.send(database, Command("pause", engine="gpu7")).text


def test_an_engine_that_left_is_not_asked(two: Database, tmp_path: Path) -> None:
    register(two, "c", tmp_path / "c").unregister()
    ack = commands.send(two, Command("pause"))
    assert [a.engine for a in commands.answers(two, ack.id)] == ["a", "b"]


def test_what_the_process_before_was_asked_is_refused(two: Database, tmp_path: Path) -> None:
    ack = commands.send(two, Command("stop", engine="a"))
    register(two, "a", tmp_path / "a")
    assert commands.ack(two, ack.id).state == "refused"
    assert commands.ack(two, ack.id).text == "the engine was restarted"


def test_an_unknown_number_is_an_error(database: Database) -> None:
    with pytest.raises(KeyError):
        commands.ack(database, 4711)


def test_old_commands_are_forgotten(two: Database) -> None:
    ack = commands.send(two, Command("pause"))
    with two.connection() as connection:
        assert commands.forget(connection) == 0
        assert commands.forget(connection, older_than_s=-1) == 1
    with pytest.raises(KeyError):
        commands.ack(two, ack.id)
