from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gainstage.config.settings import Settings, value_of
from gainstage.engine.errors import Misconfigured
from gainstage.engine.queue import changes
from gainstage.engine.queue.live import LiveSettings, read_live
from gainstage.engine.store.database import Database
from gainstage.engine.views.rows import Figures
from tests.queue_kit import following, register, until

KEY = "workers.transcribe"


def of(live: LiveSettings, key: str = KEY) -> Any:
    return value_of(live.current, key)


def test_three_engines_see_a_change_and_say_so(database: Database, tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    holders = {name: LiveSettings(Settings()) for name in names}
    with ExitStack() as stack:
        for name in names:
            register(database, name, tmp_path / name)
            stack.enter_context(following(database, name, holders[name]))
        ack = changes.set_value(database, KEY, 5, "me")
        assert (ack.state, ack.revision, ack.old, ack.new, ack.effect) == ("pending", 1, 2, 5, "now")
        done = until(lambda: (a := changes.ack(database, ack.id)).state == "done" and a)
        assert done.applied_after_s is not None
        assert done.applied_after_s >= 0
        assert {(of(live), live.revision) for live in holders.values()} == {(5, 1)}
    row = changes.history(database)[0]
    assert (row.state, row.by, row.key, row.old, row.new, row.revision) == ("applied", "me", KEY, 2, 5, 1)


def test_an_engine_that_starts_later_has_the_live_values_at_once(database: Database) -> None:
    changes.set_value(database, KEY, 7, "me")
    live = LiveSettings(Settings())
    with following(database, "late", live):
        assert of(live) == 7
    early = LiveSettings(Settings())
    with database.connection() as connection:
        early.load(*read_live(connection))
    assert (of(early), early.revision) == (7, 1)


def test_subscribers_hear_what_changed_with_the_settings_before_and_after(database: Database) -> None:
    heard = []
    live = LiveSettings(Settings())
    with following(
        database,
        "one",
        live,
        on_settings=lambda keys, old, new, revision: heard.append((keys, old.in_flight, new.in_flight, revision)),
    ):
        changes.set_value(database, "in_flight", 48, "me")
        until(lambda: live.revision == 1)
    assert heard == [({"in_flight"}, 24, 48, 1)]


def test_a_hundred_changes_end_in_the_last_one(database: Database) -> None:
    live, seen = LiveSettings(Settings()), []
    with following(database, "one", live, on_settings=lambda keys, old, new, revision: seen.append(revision)):
        for n in range(100):
            changes.set_value(database, "in_flight", 1 + n, "me")
        until(lambda: live.revision == 100)
    assert live.current.in_flight == 100
    assert seen == sorted(seen)


def test_an_engine_that_cannot_act_says_why(database: Database, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise Misconfigured("no room for another diarizer")

    register(database, "one", tmp_path)
    with following(database, "one", on_settings=refuse):
        ack = changes.set_value(database, "workers.diarize", 4, "me")
        done = until(lambda: (a := changes.ack(database, ack.id)).state == "done" and a)
    assert done.text == "one: no room for another diarizer"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("workers.transcribe", 99, "allowed 1 to 16"),
        ("workers.transcribe", "many", "workers.transcribe"),
        ("worker.transcribe", 4, "did you mean workers.transcribe?"),
        ("asr.compute", "int3", "one of auto"),
        ("store.database", "postgresql://x", "before the database is reached"),
    ],
)
def test_a_refused_change_is_kept_with_its_reason_and_changes_nothing(database: Database, key: str, value: Any, words: str) -> None:
    changes.set_value(database, "in_flight", 3, "me")
    ack = changes.set_value(database, key, value, "you")
    assert ack.state == "refused"
    assert words in ack.text
    row = changes.history(database)[0]
    assert (row.state, row.by, row.key, row.text, row.revision) == ("refused", "you", key, ack.text, 1)
    assert changes.ack(database, ack.id).state == "refused"
    with database.connection() as connection:
        assert list(changes.live_values(connection)) == ["in_flight"]


def test_text_is_read_as_a_person_typed_it(database: Database) -> None:
    for key, text, value in (("in_flight", "6", 6), ("asr.vad", "off", False), ("diarization.min_speakers", "none", None)):
        assert changes.set_value(database, key, text, "me").new == value


def test_without_an_engine_a_change_is_done_and_says_when_it_holds(database: Database) -> None:
    ack = changes.set_value(database, KEY, 4, "me")
    assert (ack.state, ack.text) == ("done", "no engine is running: it holds from the next start")


def test_setting_the_same_value_again_makes_no_revision(database: Database) -> None:
    first = changes.set_value(database, KEY, 4, "me")
    again = changes.set_value(database, KEY, 4, "me")
    assert (again.state, again.revision) == ("done", first.revision)
    assert len(changes.history(database)) == 1


def test_undo_goes_back_one_change_at_a_time(database: Database) -> None:
    live = LiveSettings(Settings())
    with following(database, "one", live):
        changes.set_value(database, KEY, 4, "me")
        changes.set_value(database, "in_flight", 12, "me")
        changes.set_value(database, KEY, 6, "me")
        for revision, expected in ((4, (4, 12)), (5, (4, 24)), (6, (2, 24))):
            ack = changes.undo(database, "me")
            assert ack.revision == revision
            until(lambda revision=revision: live.revision == revision)
            assert (of(live), live.current.in_flight) == expected
    assert changes.undo(database, "me").state == "refused"
    assert [row.undone_by for row in changes.history(database)] == [None, None, None, 4, 5, 6]


def test_undo_to_a_revision_restores_everything_as_it_was_then(database: Database) -> None:
    live = LiveSettings(Settings())
    with following(database, "one", live):
        changes.set_value(database, KEY, 4, "me")
        changes.set_value(database, "in_flight", 12, "me")
        changes.set_value(database, KEY, 6, "me")
        changes.undo(database, "me")
        changes.set_value(database, "asr.beam", 2, "me")
        ack = changes.undo(database, "me", to_revision=3)
        until(lambda: live.revision == ack.revision)
        assert (of(live), live.current.in_flight, live.current.asr.beam) == (6, 12, 5)
        assert changes.undo(database, "me", to_revision=3).state == "refused"
        ack = changes.undo(database, "me", to_revision=0)
        until(lambda: live.revision == ack.revision)
        assert live.current == Settings()


def test_a_change_measured_later_shows_its_effect(database: Database) -> None:
    ack = changes.set_value(database, KEY, 4, "me")
    assert ack.revision
    changes.predict(database, ack.revision, "+30 % audio/h")
    changes.record_effect(database, ack.revision, Figures(audio_hours_per_hour=3.0), Figures(audio_hours_per_hour=3.9), "+30 %")
    row = changes.history(database)[0]
    assert (row.before, row.after) == (Figures(audio_hours_per_hour=3.0), Figures(audio_hours_per_hour=3.9))
    assert (row.effect_text, row.predicted) == ("+30 %", "+30 % audio/h")


def test_secrets_reach_the_engine_and_never_the_history(database: Database) -> None:
    live = LiveSettings(Settings())
    with following(database, "one", live):
        first = changes.set_value(database, "fetch.proxy", "http://user:hunter2@proxy", "me")
        changes.set_value(database, "fetch.proxy", "http://user:hunter3@proxy", "me")
        until(lambda: live.revision == 2)
        assert live.current.fetch.proxy
        assert live.current.fetch.proxy.get_secret_value() == "http://user:hunter3@proxy"
    assert "hunter" not in f"{first} {changes.history(database)}"
    with database.connection() as connection:
        assert "hunter" not in str(changes.live_values(connection))
    undone = changes.undo(database, "me")
    assert undone.state == "refused"
    assert "secret" in undone.text


def test_values_of_another_version_are_left_out_and_named(database: Database) -> None:
    changes.set_value(database, KEY, 4, "me")
    with database.connection() as connection:
        connection.execute(
            "insert into setting (key, value, revision, by) values ('gone.key', '1', 1, 'x'), ('in_flight', '0', 1, 'x')"
        )
    live = LiveSettings(Settings())
    with database.connection() as connection:
        told = live.load(*read_live(connection))
        assert [line.split(" is left out: ")[0] for line in told] == ["gone.key", "in_flight"]
        assert live.load(*read_live(connection)) == (), "told once"
    with following(database, "one", live):
        assert (of(live), live.current.in_flight) == (4, 24)
        assert changes.set_value(database, "in_flight", 9, "me").revision == 2
        until(lambda: live.current.in_flight == 9)


def test_a_lost_note_costs_no_more_than_a_probe(database: Database) -> None:
    live = LiveSettings(Settings())
    with following(database, "one", live, probe_s=0.05):
        with database.connection() as connection:
            connection.execute("alter table setting disable trigger setting_note")
        changes.set_value(database, "in_flight", 5, "me")
        until(lambda: live.current.in_flight == 5)
