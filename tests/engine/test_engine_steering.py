"""What acts on a running engine from outside: disk, changed settings and their effects, faults in its own threads, its start."""

from __future__ import annotations

import threading
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gainstage.config.origins import load
from gainstage.config.paths import Paths
from gainstage.engine.advisor import forecast
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.desk.replay import ReplayDesk
from gainstage.engine.errors import Cancelled, Misconfigured, Postponed, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.pipeline import ingest
from gainstage.engine.queue import changes
from gainstage.engine.queue.rows import Link
from gainstage.engine.runtime.engine import Engine
from gainstage.engine.store.database import Database
from gainstage.engine.store.outage import retry_until
from gainstage.engine.store.trouble import AWAY
from gainstage.engine.views.commands import Command
from tests.engine.engine_kit import SETTINGS, ended, make_engine, queue, running, statuses, told
from tests.queue_kit import until


def test_a_full_disk_holds_the_intake_and_room_lets_it_go_on(database: Database, tmp_path: Path) -> None:
    queue(database, 3)
    desk = PostgresDesk(database)
    with running(make_engine(database, tmp_path, fetch__disk_floor=2**50)) as engine:
        until(lambda: engine.run_state.current == "paused")
        frame = until(lambda: (f := desk.snapshot()) and f.run.state == "paused" and f)
        assert frame.run.by == "engine"
        assert "the floor is" in (frame.run.reason or "")
        assert set(statuses(database).values()) == {"queued"}
        changes.set_value(database, "fetch.disk_floor", 0, "test")  # as good as a disk that was emptied
        until(lambda: ended(database, 3))
        assert engine.run_state.current == "running"


def test_a_run_in_which_everything_failed_is_shown_to_its_end(database: Database, tmp_path: Path) -> None:
    desk = PostgresDesk(database)
    queue(database, 4, fail="decode")
    with running(make_engine(database, tmp_path)):
        until(lambda: ended(database, 4))
        frame = until(lambda: (f := desk.snapshot()) and f.run.failed == 4 and f.verdict.health == "done" and f)
        assert frame.verdict.forecast.left_s == 0.0
        until(lambda: (f := desk.snapshot()) and f.seq > frame.seq)


def test_a_verdict_that_breaks_does_not_take_the_figures_with_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = PostgresDesk(database)
    with running(make_engine(database, tmp_path)) as engine:
        until(lambda: (f := desk.snapshot()) and f.verdict.health == "healthy")
        with monkeypatch.context() as broken:
            broken.setattr(forecast, "eta", lambda *_: 1 // 0)
            frame = until(lambda: (f := desk.snapshot()) and f.verdict.health == "degraded" and f)
            assert frame.verdict.reason == "no verdict, a fault of gainstage: ZeroDivisionError"
            until(lambda: (f := desk.snapshot()) and f.seq > frame.seq + 1)
            assert told(engine, "verdict: ZeroDivisionError")
        until(lambda: (f := desk.snapshot()) and f.verdict.health == "healthy")


def test_a_pause_of_an_operator_outlasts_what_held_the_engine(database: Database, tmp_path: Path) -> None:
    with running(make_engine(database, tmp_path, fetch__disk_floor=2**50)) as engine:
        until(lambda: engine.run_state.current == "paused")
        engine.run_state.pause("Ada")
        changes.set_value(database, "fetch.disk_floor", 0, "test")
        until(lambda: engine.context.settings.fetch.disk_floor == 0)
        queue(database, 1)
        assert engine.run_state.by == "Ada"
        assert not engine.run_state.may_take()
        assert engine.run_state.resume("Ada")
        until(lambda: ended(database, 1))


def test_an_engine_on_its_way_out_never_turns_back(database: Database, tmp_path: Path) -> None:
    engine = make_engine(database, tmp_path)
    with running(engine):
        engine.run_state.drain("test")
        assert engine.run_state.pause("late") is False
        assert engine.run_state.resume("late") is False
        engine.run_state.hold("disk", "late")
        until(lambda: engine.run_state.current == "stopped")
    assert engine.run_state.by == "test"


def test_draining_lets_paused_stages_finish(database: Database, tmp_path: Path) -> None:
    queue(database, 2)
    engine = make_engine(database, tmp_path)
    engine.context.stages["transcribe"].pause()
    with running(engine):
        until(lambda: engine.context.stages["transcribe"].depth == 2)
        engine.run_state.drain("test")
        until(lambda: engine.run_state.current == "stopped")
    assert set(statuses(database).values()) == {"stored"}


def test_settings_changed_before_the_start_hold_from_the_start(database: Database, tmp_path: Path) -> None:
    for key, value in {"workers.transcribe": 7, "queue.heartbeat": 1.5, "queue.stalled": 44}.items():
        changes.set_value(database, key, value, "test")
    engine = make_engine(database, tmp_path)
    assert engine.context.stages["transcribe"].capacity == 7
    assert (engine.context.queue.heartbeat_s, engine.context.queue.stalled_s) == (1.5, 44)
    with running(engine), database.connection() as connection:
        assert connection.execute("select lease_s from engine").fetchall() == [(44,)]


def test_a_change_is_predicted_at_once_and_measured_later(database: Database, tmp_path: Path) -> None:
    queue(database, 400, scale=1.0)
    engine = make_engine(database, tmp_path, workers__transcribe=1, in_flight=6)
    engine.threads.change_effects.window_s, engine.threads.change_effects.settle_s, engine.threads.change_effects.least_s = (
        5.0,
        0.5,
        2.0,
    )
    desk = PostgresDesk(database)
    with running(engine):
        until(lambda: len(engine.threads.publisher.history) > 3 and engine.threads.publisher.history[-1].run.stored >= 8)
        before = desk.predict({"workers.transcribe": 4, "asr.batch": 1})
        assert "audio/h" in before["workers.transcribe"].text
        assert before["asr.batch"].text == "no model for this setting"
        changes.set_value(database, "workers.transcribe", 4, "test")
        row = until(lambda: (c := desk.changes()[0]).predicted and c)
        assert "audio/h" in (row.predicted or "")
        row = until(lambda: (c := desk.changes()[0]).effect_text and c)
        assert row.before is not None
        assert row.after is not None
        assert row.before.audio_hours_per_hour
        assert row.after.audio_hours_per_hour
        assert row.after.service_p50_s is not None
        assert "audio/h" in (row.effect_text or "")
    assert desk.predict({"workers.transcribe": 2})["workers.transcribe"].gain is None, "an engine that has ended predicts nothing"


def test_a_change_with_nothing_to_measure_says_so(database: Database, tmp_path: Path) -> None:
    engine = make_engine(database, tmp_path)
    engine.threads.change_effects.window_s, engine.threads.change_effects.settle_s = 0.2, 0.1
    with running(engine):
        changes.set_value(database, "workers.store", 4, "test")
        row = until(lambda: (c := changes.history(database)[0]).effect_text and c)
    assert row.effect_text == "not enough data"
    assert row.before is None


def test_a_fault_in_an_owned_thread_is_told_and_survived(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(database, tmp_path)
    published, beaten = engine.context.registry.publish, engine.context.queue.beat
    broken = threading.Event()
    broken.set()

    def publish(frame: object) -> bool:
        if broken.is_set():
            raise ZeroDivisionError("figures")
        return published(frame)  # type: ignore[arg-type]

    def beat(connection: Link | None = None) -> bool:
        if broken.is_set():
            raise KeyError("heartbeat")
        return beaten(connection)

    monkeypatch.setattr(engine.context.registry, "publish", publish)
    monkeypatch.setattr(engine.context.queue, "beat", beat)
    with running(engine):
        until(lambda: told(engine, "figures: ZeroDivisionError") and told(engine, "heartbeat: KeyError"))
        broken.clear()
        desk = PostgresDesk(database)
        until(lambda: desk.snapshot() is not None)
        queue(database, 1)
        until(lambda: ended(database, 1))


def test_work_that_fills_the_pool_does_not_make_an_engine_look_dead(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "NESTED_FROM", 0)

    def beats() -> tuple[bool, Any]:
        with psycopg.connect(database_url) as outside:
            found = outside.execute(
                "select exists (select from gainstage.engine_alive), last_heartbeat from gainstage.procrastinate_workers"
            ).fetchone()
            assert found is not None
            return found

    with running(make_engine(database, tmp_path, queue__stalled=2)), ExitStack() as commits:
        for _ in range(database.pool_size):  # as many slow commits as there are connections
            commits.enter_context(database.transaction())
        _, first = beats()
        until(lambda: (beats()[1] - first).total_seconds() > 4)  # twice what the others wait for
        assert beats()[0]


def test_a_live_value_of_another_version_is_told_by_the_engine(database: Database, tmp_path: Path) -> None:
    with database.connection() as connection:
        connection.execute("insert into setting (key, value, revision, by) values ('gone.key', '1', 1, 'x')")
    engine = make_engine(database, tmp_path)
    assert told(engine, "live setting gone.key is left out: unknown setting")
    engine.close()


def test_a_journal_that_cannot_be_written_is_told_and_so_is_its_return(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "journal.jsonl").mkdir()  # where the file should be
    with running(make_engine(database, tmp_path)) as engine:
        until(lambda: told(engine, "journal's file cannot be written"))
        (folder / "journal.jsonl").rmdir()
        until(lambda: told(engine, "journal's file is written again"))


def test_a_stage_that_waits_for_two_models_waits_for_both(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, loaded = make_engine(database, tmp_path), threading.Event()
    monkeypatch.setattr(engine.context.models, "reload", lambda role: loaded.wait(60) if role == "diarization" else None)
    diarize = engine.context.stages["diarize"]
    with running(engine):
        engine.threads.reloads.start("diarization")
        engine.threads.reloads.start("voice")
        until(lambda: told(engine, "voice model reloaded"))
        assert diarize.paused
        assert not engine.context.stages["identify"].paused
        loaded.set()
        until(lambda: not diarize.paused)


def test_a_recorded_run_holds_frames_settings_changes_and_events(database: Database, tmp_path: Path) -> None:
    queue(database, 4)
    with running(make_engine(database, tmp_path, watch__record=True, in_flight=5)) as engine:
        until(lambda: engine.threads.publisher.frames > 1)
        changes.set_value(database, "workers.embed", 6, "Ada")
        until(lambda: ended(database, 4) and engine.context.live.revision == 1)
        seen = engine.threads.publisher.frames
        until(lambda: engine.threads.publisher.frames > seen + 1)
    (path,) = Paths.of(tmp_path).runs.glob("*.gsr")
    desk = ReplayDesk(path)
    desk.seek(desk.end_wall)
    frame = desk.snapshot()
    assert frame is not None
    assert frame.run.stored == 4
    assert {row.key: row.value for row in desk.settings()}["in_flight"] == 5
    assert {row.key: row.value for row in desk.settings()}["workers.embed"] == 6
    (change,) = desk.changes()
    assert (change.by, change.key, change.new) == ("Ada", "workers.embed", 6)
    assert sum(event.kind == "stored" for event in desk.events(0, 5000).items) == 4
    desk.close()


def test_prometheus_serves_the_engine_and_a_taken_port_does_not_stop_it(database: Database, tmp_path: Path) -> None:
    port = _free_port()
    with running(make_engine(database, tmp_path / "one", watch__prometheus_port=port)) as one:
        until(lambda: one.threads.publisher.history)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert b'gainstage_state{state="running"} 1.0' in answer.read()
        with running(make_engine(database, tmp_path / "two", watch__prometheus_port=port)) as two:
            until(lambda: told(two, "prometheus endpoint"))
            until(lambda: two.threads.publisher.frames > 0)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_model_that_cannot_be_used_ends_the_start_with_the_reason_and_takes_nothing(database: Database, tmp_path: Path) -> None:
    queue(database, 2)
    loaded = load(environ={}, overrides=SETTINGS | {"asr.model": str(tmp_path / "nothing-here"), "watch.record": False})
    engine = Engine(loaded, Paths.of(tmp_path / "home"), database, flow=ingest)
    try:
        with pytest.raises(Misconfigured, match="nothing-here"):
            engine.run()
    finally:
        engine.close()
    assert set(statuses(database).values()) == {"queued"}
    (row,) = PostgresDesk(database).engines()
    assert row.state == "stopped"
    assert "nothing-here" in (engine.run_state.reason or "")


def test_an_unknown_command_and_a_bad_one_are_refused_with_words(database: Database, tmp_path: Path) -> None:
    desk = PostgresDesk(database)
    with running(make_engine(database, tmp_path)):
        for name, args in (("reload", {"role": "none"}), ("pause_stage", {"stage": "none"})):
            ack = desk.send(Command(name, args, by="test"))  # type: ignore[arg-type]
            given = until(lambda ack=ack: (a := desk.ack(ack.id)).state != "pending" and a)
            assert given.state == "refused"
            assert "none" in given.text


class TestOutage:
    def test_calls_go_on_until_they_go_through(self) -> None:
        tries: list[Transient] = []

        def call() -> str:
            if len(tries) < 2:
                raise Transient("gone", cause=AWAY)
            return "there"

        assert retry_until(call, CancelToken(), patience_s=60.0, report=tries.append) == "there"
        assert retry_until(call, CancelToken(), ending_s=5.0, report=tries.append) == "there"
        assert len(tries) == 2

    def test_a_recording_that_is_to_wait_its_turn_is_no_outage(self) -> None:
        told: list[Transient] = []

        def call() -> str:
            raise Postponed("same audio as another in flight", cause="same audio in flight", after_s=30.0)

        with pytest.raises(Postponed):
            retry_until(call, CancelToken(), patience_s=60.0, report=told.append)
        assert told == []

    def test_impatience_and_the_end_of_the_engine_end_the_waiting(self) -> None:
        def call() -> str:
            raise Transient("gone", cause=AWAY)

        with pytest.raises(Transient):
            retry_until(call, CancelToken(), patience_s=0.0)
        ended = CancelToken()
        ended.cancel("engine ends")
        with pytest.raises(Cancelled):
            retry_until(call, ended)
        tries: list[Transient] = []
        with pytest.raises(Transient):
            retry_until(call, ended, busy_s=float("inf"), ending_s=0.4, report=tries.append)
        assert len(tries) > 1  # what is to be written down is tried for a while after the end
