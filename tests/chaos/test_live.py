"""Steering under load: settings, pauses and several engines, on real processes and simulated recordings."""

from __future__ import annotations

import os
import random
import signal
import statistics
import threading
import time
from pathlib import Path

from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.views.commands import Ack, Command
from tests.chaos.kit import (
    EngineProcess,
    Witness,
    assert_all_stored_once,
    cared_for,
    commits,
    log_commits,
    queue_simulated,
    wait_for,
)

LONG = os.environ.get("GAINSTAGE_LONG_CHAOS") == "1"
CHANGES = 100 if LONG else 30
PAUSE_S = 60.0 if LONG else 4.0


def answered(desk: PostgresDesk, ack: Ack) -> Ack:
    held = [ack]

    def ask() -> bool:
        held[0] = desk.ack(held[0].id) if held[0].state == "pending" else held[0]
        return held[0].state != "pending"

    wait_for(ask, "an acknowledgement", 30)
    return held[0]


def test_changing_workers_and_in_flight_all_the_time_loses_nothing_and_acts_at_once(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    log_commits(database_url)
    recordings = queue_simulated(database, 200, scale=2.0)
    draw, took, over = random.Random(2), [], []
    desk = PostgresDesk(database)
    engine = EngineProcess(tmp_path / "home", database_url, workers__transcribe="1")
    with cared_for(engine), Witness(database_url) as witness:
        wait_for(lambda: any(e.alive for e in desk.engines()), "the engine")
        for number in range(CHANGES):
            key, value = (
                ("workers.transcribe", (4, 2, 1)[number // 2 % 3])
                if number % 2 == 0
                else ("in_flight", draw.choice([2, 6, 12, 24]))
            )
            ack = answered(desk, desk.send(Command("set", {"key": key, "value": value}, by="test")))
            assert ack.state == "done", ack
            if ack.applied_after_s is not None:
                took.append(ack.applied_after_s)
            frame = desk.snapshot()
            if frame:
                for stage in frame.stages:
                    retiring = sum(s.state == "retiring" for s in stage.slots)
                    if stage.busy - retiring > stage.capacity:
                        over.append((stage.name, stage.busy, stage.capacity))
        wait_for(lambda: sum(commits(database).values()) == len(recordings), "the last recording", 180)
        engine.ask(signal.SIGTERM)
        assert engine.wait(60) == 0, engine.tail()
    assert over == []
    assert witness.partial == []
    assert_all_stored_once(database, recordings)
    assert len(took) > CHANGES / 2  # a value set to itself is no change and takes no time
    assert statistics.quantiles(took, n=20)[-1] < 1.0, took
    changes = desk.changes()
    assert [c.revision for c in changes] == sorted((c.revision for c in changes), reverse=True)
    desk.close()


def test_a_long_pause_fails_nothing_and_leaves_the_stages_idle(database: Database, database_url: str, tmp_path: Path) -> None:
    log_commits(database_url)
    recordings = queue_simulated(database, 40, scale=3.0)
    desk = PostgresDesk(database)
    engine = EngineProcess(tmp_path / "home", database_url)
    with cared_for(engine):
        wait_for(lambda: sum(commits(database).values()) > 3, "the engine at work")
        for name in ("pause", "pause_stage"):
            ack = answered(desk, desk.send(Command(name, {"stage": "transcribe"} if name == "pause_stage" else {}, by="test")))  # type: ignore[arg-type]
            assert ack.state == "done", ack
        wait_for(lambda: _busy(desk, "transcribe") == 0, "transcribe to be idle")
        before = sum(commits(database).values())
        threading.Event().wait(PAUSE_S)
        assert _busy(desk, "transcribe") == 0
        frame = desk.snapshot()
        assert frame is not None
        assert frame.run.state == "paused"
        assert frame.run.by == "test"
        assert sum(commits(database).values()) <= before + 24  # only what had passed transcribe when it was paused
        for name in ("resume", "resume_stage"):
            answered(desk, desk.send(Command(name, {"stage": "transcribe"} if name == "resume_stage" else {}, by="test")))  # type: ignore[arg-type]
        wait_for(lambda: sum(commits(database).values()) == len(recordings), "the rest", 120)
        frame = desk.snapshot()
        answered(desk, desk.send(Command("drain", {}, by="test")))
        assert engine.wait() == 0
    assert_all_stored_once(database, recordings)
    desk.close()


def _busy(desk: PostgresDesk, name: str) -> int:
    frame = desk.snapshot()
    return next(s.busy for s in frame.stages if s.name == name) if frame else -1


def test_engines_on_one_database_share_the_work(database: Database, database_url: str, tmp_path: Path) -> None:
    """Weak scaling: as many recordings per engine, so that the makespan should stay what it is with one.

    Work is queued when every engine stands ready: starting processes is no part of it.
    """
    count, each = (8, 120) if LONG else (3, 25)
    spans = []
    for engines in (1, count):
        processes = [EngineProcess(tmp_path / f"{engines}-{n}", database_url, in_flight="12") for n in range(engines)]
        with cared_for(*processes):
            wait_for(lambda n=engines: _ready(database) == n, "every engine to stand ready")
            recordings = queue_simulated(database, each * engines, seed=engines, scale=12.0)
            ids = [r.id for r in recordings]
            wait_for(lambda ids=ids: set(ids) <= set(RecordingStore(database).stored_ids()), "all stored", 300)
            for process in processes:
                process.ask(signal.SIGTERM)
            for process in processes:
                assert process.wait() == 0, process.tail()
        spans.append(_makespan(database, ids))
        with database.connection() as connection:
            served = connection.execute("select count(distinct engine) from event where kind = 'stored'").fetchone()
        assert served is not None
        assert served[0] >= engines
    print(f"throughput of {count} engines: {spans[0] / spans[1]:.3f} of linear")
    assert spans[0] / spans[1] > (0.9 if LONG else 0.5)  # two busy cores, shared with whatever runs beside this


def _ready(database: Database) -> int:
    """Engines that wait for work."""
    with database.connection() as connection:
        row = connection.execute("select count(*) from engine where state = 'running' and doing = 'the queue is empty'").fetchone()
    assert row is not None
    return int(row[0])


def _makespan(database: Database, ids: list[str]) -> float:
    with database.connection() as connection:
        row = connection.execute(
            "select extract(epoch from max(stored)) - min((spans->0->>'start_wall')::float8) from recording where id = any(%s)",
            [ids],
        ).fetchone()
    assert row is not None
    return float(row[0])


def test_status_answers_quickly_with_a_long_queue(database: Database, database_url: str, tmp_path: Path) -> None:
    queue_simulated(database, 5000, scale=1.0)
    desk = PostgresDesk(database)
    engine = EngineProcess(tmp_path / "home", database_url)
    with cared_for(engine):
        wait_for(lambda: any(e.alive for e in desk.engines()) and desk.snapshot() is not None, f"the engine: {engine.tail()}")
        took = []
        for _ in range(20):
            began = time.perf_counter()
            desk.engines()
            desk.snapshot()
            took.append(time.perf_counter() - began)
        baseline = []
        for _ in range(20):
            began = time.perf_counter()
            with database.connection() as connection:
                connection.execute("select 1")
            baseline.append(time.perf_counter() - began)
        print(f"status {1000 * statistics.median(took):.1f} ms, one round trip {1000 * statistics.median(baseline):.1f} ms")
        assert statistics.median(took) < max(0.1, 50 * statistics.median(baseline))
    desk.close()
