"""What becomes of recordings in a running engine: bad ones, ended ones, lost ones; with a real queue, store and gates."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.errors import Misconfigured
from gainstage.engine.pipeline import link_twin
from gainstage.engine.queue import changes
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.runtime.simulated import simulated, simulated_recordings, simulated_segments, store
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.engine.terms import Audio
from gainstage.engine.views.commands import Command
from tests.engine.engine_kit import ended, make_engine, queue, running, statuses, told
from tests.queue_kit import column, job_queue, until


def held_by(event: threading.Event, stage: str = "transcribe") -> Callable[[Flight, EngineContext], None]:
    """A flow that stays in a stage until ``event`` is set (or it is cancelled), then does the rest."""

    def flow(flight: Flight, context: EngineContext) -> None:
        with flight.stage(stage):
            while not event.is_set():
                flight.token.wait(0.02)
                flight.token.check()
        simulated(flight, context)

    return flow


def test_bad_recordings_never_stop_the_others(database: Database, tmp_path: Path) -> None:
    good = queue(database, 12)
    broken = queue(database, 3, fail="decode")
    flaky = queue(database, 2, flaky="embed", second=True)

    def flow(flight: Flight, context: EngineContext) -> None:
        if flight.recording.id == good[3].id and flight.claim.attempt == 1:
            raise ZeroDivisionError("a library's fault")
        simulated(flight, context)

    with running(make_engine(database, tmp_path, flow=flow, until_empty=True)) as engine:
        until(lambda: ended(database, 17))
        until(lambda: engine.run_state.current == "done")
    found = statuses(database)
    assert Counter(found.values()) == {"stored": 14, "failed": 3}
    assert {found[r.id] for r in broken} == {"failed"}
    assert column(database, broken[0].id, "cause") == "simulated fault"
    assert column(database, broken[0].id, "stage") == "decode"
    assert column(database, flaky[0].id, "attempt") == column(database, good[3].id, "attempt") == 2
    assert engine.context.totals.recent()[1] == 6


def test_an_id_that_leads_out_of_our_folders_touches_nothing(database: Database, tmp_path: Path) -> None:
    """A database may have other writers: the id of a recording names the files that are dropped when it has ended."""
    home, precious = tmp_path / "home", tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    Path(f"{precious}.part").write_text("beside it")
    ids = ["../../precious", str(precious)]
    Backlog(database).add([replace(r, id=id) for r, id in zip(simulated_recordings(2), ids, strict=True)])
    with running(make_engine(database, home, until_empty=True)):
        until(lambda: ended(database, 2))
    assert {column(database, id, "cause") for id in ids} == {"unsafe id"}
    assert (precious / "thesis.txt").read_text() == "years of work"
    assert Path(f"{precious}.part").exists()


def test_a_setup_that_is_wrong_holds_the_engine_until_it_is_mended(database: Database, tmp_path: Path) -> None:
    """Nothing fails by it, no attempt is counted, and a changed setting makes it go on."""
    recordings = queue(database, 6)
    mended = threading.Event()

    def flow(flight: Flight, context: EngineContext) -> None:
        if not mended.is_set():
            raise Misconfigured("no such model", cause="no model", hint="name another one")
        simulated(flight, context)

    desk = PostgresDesk(database)
    with running(make_engine(database, tmp_path, flow=flow)) as engine:
        until(lambda: engine.run_state.current == "paused")
        until(lambda: set(statuses(database).values()) == {"queued"})
        frame = until(lambda: (f := desk.snapshot()) and f.run.state == "paused" and f)
        assert frame.run.by == "engine"
        assert "no such model" in (frame.run.reason or "")
        mended.set()
        changes.set_value(database, "identify.range_limit", 0.4, "test")
        until(lambda: ended(database, len(recordings)))
        assert engine.run_state.current == "running"
    assert set(statuses(database).values()) == {"stored"}
    assert {column(database, r.id, "attempt") for r in recordings} == {1}


def test_an_outage_in_the_store_step_repeats_no_work(own_postgres: Callable[..., EmbeddedPostgres], tmp_path: Path) -> None:
    server = own_postgres().start()
    started, go_on = threading.Event(), threading.Event()
    worked: Counter[str] = Counter()

    def flow(flight: Flight, context: EngineContext) -> None:
        with context.work.open(flight.recording.id), flight.stage("transcribe"):
            worked[flight.recording.id] += 1
            if len(worked) == 4:
                started.set()
            go_on.wait(60)
        store(flight, context, simulated_segments(flight.recording))

    with Database.open(server.url, tmp_path / "unused") as database:
        recordings = queue(database, 4)
        with running(make_engine(database, tmp_path, flow=flow, queue__stalled=120, workers__transcribe=4)) as engine:
            started.wait(60)
            for pid in server_pids(server):
                os.kill(pid, signal.SIGQUIT)
            until(lambda: not server_pids(server))
            go_on.set()
            until(lambda: engine.context.faults.away_since is not None)
            server.revive()
            until(lambda: told(engine, "database back"), 120)
            until(lambda: ended(database, 4), 120)
        assert set(statuses(database).values()) == {"stored"}
    assert worked == dict.fromkeys((r.id for r in recordings), 1)
    server.stop()


def server_pids(server: EmbeddedPostgres) -> list[int]:
    """The postmaster, while it lives."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        words = process.info["cmdline"] or ()
        if words and "postgres" in words[0] and any(str(server.folder) in w for w in words) and process.info["status"] != "zombie":
            found.append(process.info["pid"])
    return found


def test_a_cancelled_recording_ends_at_once_and_alone(database: Database, tmp_path: Path) -> None:
    never = threading.Event()
    recordings = queue(database, 3)
    desk = PostgresDesk(database)
    with running(make_engine(database, tmp_path, flow=held_by(never), workers__transcribe=2)):
        until(lambda: list(statuses(database).values()).count("running") == 3)
        ack = desk.send(Command("cancel", {"ids": [recordings[0].id, recordings[2].id]}, by="test"))  # one serves, one waits
        until(lambda: desk.ack(ack.id).state == "done")
        until(lambda: list(statuses(database).values()).count("cancelled") == 2)
        assert statuses(database)[recordings[1].id] == "running"
    assert statuses(database)[recordings[1].id] == "queued"


def test_a_wish_to_cancel_that_came_before_the_flight_is_fulfilled(database: Database, tmp_path: Path) -> None:
    recordings = queue(database, 1)
    with running(make_engine(database, tmp_path, flow=held_by(threading.Event()))):
        until(lambda: statuses(database)[recordings[0].id] == "running")
        with database.connection() as connection:  # as cancel() leaves it, without the command that went unheard
            connection.execute("update recording set wish = 'cancelled'")
        until(lambda: statuses(database)[recordings[0].id] == "cancelled")


def test_stopping_now_puts_what_is_in_flight_back_uncounted(database: Database, tmp_path: Path) -> None:
    recordings = queue(database, 5)
    with running(make_engine(database, tmp_path, flow=held_by(threading.Event()), in_flight=3)):
        until(lambda: list(statuses(database).values()).count("running") == 3)
    assert set(statuses(database).values()) == {"queued"}
    assert {column(database, r.id, "attempt") for r in recordings} == {0}
    assert {column(database, r.id, "cause") for r in recordings} == {None}


def test_a_taker_that_breaks_leaves_nothing_cancelled(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue(database, 4)
    engine = make_engine(database, tmp_path, flow=held_by(threading.Event()), in_flight=3)

    def broken() -> None:
        with running(engine):
            until(lambda: list(statuses(database).values()).count("running") == 3)
            monkeypatch.setattr(engine.run_state, "may_take", lambda: 1 // 0)
            until(lambda: engine.run_state.current == "stopped")

    with pytest.raises(ZeroDivisionError):
        broken()
    assert set(statuses(database).values()) == {"queued"}
    assert "ZeroDivisionError" in (engine.run_state.reason or "")


def test_the_same_audio_under_two_addresses_is_stored_once_and_linked(database: Database, tmp_path: Path) -> None:
    recordings = queue(database, 2)

    def flow(flight: Flight, context: EngineContext) -> None:
        import hashlib

        fingerprint = hashlib.sha256(recordings[0].id.encode()).hexdigest()  # as the simulated store keeps it
        if not link_twin(flight, context, Audio(tmp_path / "none", 16_000, fingerprint)):
            simulated(flight, context)

    with running(make_engine(database, tmp_path, flow=flow, in_flight=1)) as engine:
        until(lambda: ended(database, 2))
        until(lambda: told(engine, "same audio as"))
        assert engine.context.totals.recent()[0] == 1
    assert statuses(database) == {recordings[0].id: "stored", recordings[1].id: "skipped"}
    assert column(database, recordings[1].id, "duplicate_of") == recordings[0].id


def test_a_claim_whose_answer_was_lost_is_given_back(database: Database, tmp_path: Path) -> None:
    engine = make_engine(database, tmp_path)
    with running(engine):
        until(lambda: "empty" in (engine.run_state.reason or ""))
        engine.run_state.pause("test")
        recordings = queue(database, 1)
        assert engine.context.queue.take() is not None  # claimed in the database; the engine has heard nothing of it
        until(lambda: statuses(database)[recordings[0].id] == "queued")
        engine.run_state.resume("test")
        until(lambda: ended(database, 1))
    assert column(database, recordings[0].id, "attempt") == 1


def test_a_recording_taken_over_by_another_engine_is_let_go(database: Database, tmp_path: Path) -> None:
    recordings = queue(database, 1)
    engine = make_engine(database, tmp_path, flow=held_by(threading.Event()), in_flight=1)
    with running(engine):
        until(lambda: len(engine.in_flight))
        other = job_queue(database, "another")
        with database.transaction() as connection:  # what a recovery and a new claim by others leave behind
            connection.execute("update procrastinate_jobs set worker_id = %s, attempts = attempts + 1", [other.worker])
            connection.execute("update recording set engine = 'another'")
        until(lambda: not len(engine.in_flight))
        assert told(engine, "result dropped")
    assert statuses(database)[recordings[0].id] == "running"


def test_a_changed_priority_counts_at_the_gates(database: Database, tmp_path: Path) -> None:
    order: list[str] = []

    def flow(flight: Flight, context: EngineContext) -> None:
        with flight.stage("decode"):
            order.append(flight.recording.id)
        with flight.stage("embed"):
            order.append(flight.recording.id)

    recordings = queue(database, 4)
    desk = PostgresDesk(database)
    engine = make_engine(database, tmp_path, flow=flow, workers__decode=1, workers__embed=1)
    engine.context.stages["decode"].pause()
    engine.context.stages["embed"].pause()
    with running(engine):
        until(lambda: engine.context.stages["decode"].depth == 4)
        last = recordings[-1].id
        ack = desk.send(Command("priority", {"ids": [last], "to_front": True}, by="test"))
        until(lambda: desk.ack(ack.id).state == "done")
        engine.context.stages["decode"].resume()
        until(lambda: engine.context.stages["embed"].depth == 4)
        engine.context.stages["embed"].resume()
        until(lambda: len(order) >= 8)
        engine.run_state.pause("test")
    assert order[0] == order[4] == last


def test_an_engine_that_stays_says_that_it_is_done_and_goes_on_when_more_comes(database: Database, tmp_path: Path) -> None:
    desk = PostgresDesk(database)
    queue(database, 3)
    with running(make_engine(database, tmp_path)) as engine:
        until(lambda: ended(database, 3))
        until(lambda: (f := desk.snapshot()) and f.verdict.health == "done" and f.run.reason == "the queue is empty")
        assert desk.engines()[0].alive
        Backlog(database).add(simulated_recordings(2, seed=9))
        until(lambda: ended(database, 5))
        assert engine.run_state.current == "running"


def test_an_engine_until_empty_waits_for_retries(database: Database, tmp_path: Path) -> None:
    queue(database, 1, flaky="decode")
    with running(make_engine(database, tmp_path, until_empty=True, retry__backoff=1.5)) as engine:
        until(lambda: "wait for their next try" in (engine.run_state.reason or ""))
        until(lambda: engine.run_state.current == "done")
    assert set(statuses(database).values()) == {"stored"}
