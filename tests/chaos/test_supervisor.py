"""Several engines under one supervisor, with kills: nothing is lost, nothing is stored twice, and all can be told to leave."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from gainstage.config.paths import Paths
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.fleet.home import engine_pid, engine_pids
from gainstage.engine.store.database import Database
from gainstage.engine.views.commands import Command
from tests.chaos.kit import (
    ENVIRONMENT,
    EngineProcess,
    Witness,
    assert_all_stored_once,
    cared_for,
    log_commits,
    queue_simulated,
    standing,
    wait_for,
)
from tests.unit.test_devices import library

__all__ = ["library"]  # the fixture: a stand-in for the driver's library

pytestmark = pytest.mark.timeout(300)


def several(home: Path, url: str, count: int, *, until_empty: bool = False, **settings: str) -> EngineProcess:
    return EngineProcess(home, url, until_empty=until_empty, engines__count=str(count), **settings)


def members(engine: EngineProcess) -> frozenset[int]:
    """Process ids of the engines under the supervisor."""
    return engine_pids(Paths.of(engine.home)) - {engine.process.pid}


def all_serve(desk: PostgresDesk, engine: EngineProcess, count: int) -> None:
    wait_for(lambda: sum(e.alive and e.state == "running" for e in desk.engines()) == count, f"{count} engines", 90)
    assert len(members(engine)) == count, engine.tail()


def test_a_killed_engine_is_started_again_and_nothing_is_lost(database: Database, database_url: str, tmp_path: Path) -> None:
    log_commits(database_url)
    recordings = queue_simulated(database, 120, scale=3)
    desk = PostgresDesk(database)
    with Witness(database_url) as witness, cared_for(engine := several(tmp_path, database_url, 3, until_empty=True)):
        all_serve(desk, engine, 3)
        assert engine_pid(Paths.of(tmp_path)) == engine.process.pid
        killed = max(members(engine))
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: "is started again" in engine.log.read_text(errors="replace"), "the engine to be started again", 60)
        assert killed not in members(engine)
        assert engine.wait(200) == 0, engine.tail()
    assert_all_stored_once(database, recordings)
    assert witness.looks
    assert witness.partial == []
    assert "was killed by SIGKILL" in engine.log.read_text()
    said = [e.text for e in desk.events(0, 5000).items]
    assert any("is started again: it was killed by SIGKILL" in text for text in said), (
        said
    )  # on the Logs screen, not in a file alone
    assert engine_pids(Paths.of(tmp_path)) == frozenset()


def test_each_gpu_that_is_asked_for_gets_an_engine_that_sees_it_alone(
    database: Database, database_url: str, tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "driver").write_text("gpus 3\n")
    monkeypatch.setitem(ENVIRONMENT, "LD_LIBRARY_PATH", str(library))
    monkeypatch.setitem(ENVIRONMENT, "NVML_STUB", str(tmp_path / "driver"))
    queue_simulated(database, 20)
    desk = PostgresDesk(database)
    with cared_for(engine := EngineProcess(tmp_path / "home", database_url, engines__gpus="0,2")):
        all_serve(desk, engine, 2)
        shown = {psutil.Process(pid).environ()["CUDA_VISIBLE_DEVICES"] for pid in members(engine)}
        assert shown == {"GPU-stub-0", "GPU-stub-2"}
        wait_for(lambda: desk.snapshot() and all(row.card not in (None, "cpu") for row in desk.fleet()), "frames with cards")
        assert {row.engine.split("-")[-3] for row in desk.fleet()} == {"gpu0", "gpu2"}
        engine.ask(signal.SIGTERM)
        assert engine.wait(60) == 0, engine.tail()


def test_one_signal_drains_every_engine_and_two_stop_them(database: Database, database_url: str, tmp_path: Path) -> None:
    recordings = queue_simulated(database, 200, scale=20)
    desk = PostgresDesk(database)
    with cared_for(engine := several(tmp_path, database_url, 2)):
        all_serve(desk, engine, 2)
        wait_for(lambda: standing(database).get("running", 0) >= 2, "work")
        engine.ask(signal.SIGTERM)
        wait_for(lambda: all(e.state == "draining" for e in desk.engines() if e.alive), "both to drain")
        engine.ask(signal.SIGTERM)
        assert engine.wait(60) == 0, engine.tail()
    counts = standing(database)
    assert "running" not in counts
    assert sum(counts.values()) == len(recordings)


def test_stop_and_status_speak_for_all_of_a_home(database: Database, database_url: str, tmp_path: Path) -> None:
    queue_simulated(database, 40, scale=2)
    desk = PostgresDesk(database)
    with cared_for(engine := several(tmp_path, database_url, 2)):
        all_serve(desk, engine, 2)
        desk.send(Command("drain", {}, by="test"))
        assert engine.wait(120) == 0, engine.tail()
    assert not any(e.alive for e in desk.engines())
    assert "running" not in standing(database)


def test_engines_without_their_supervisor_finish_and_end(database: Database, database_url: str, tmp_path: Path) -> None:
    recordings = queue_simulated(database, 60, scale=3)
    log_commits(database_url)
    desk = PostgresDesk(database)
    with cared_for(engine := several(tmp_path, database_url, 2)):
        all_serve(desk, engine, 2)
        orphans = members(engine)
        engine.kill()
        wait_for(lambda: not any(psutil.pid_exists(pid) for pid in orphans), "the engines to drain", 90)
    with cared_for(again := several(tmp_path, database_url, 2, until_empty=True)):
        assert again.wait(200) == 0, again.tail()
    assert_all_stored_once(database, recordings)


def test_engines_that_cannot_work_end_and_the_supervisor_with_them(database_url: str, tmp_path: Path) -> None:
    with cared_for(engine := EngineProcess(tmp_path, "postgresql://nobody@127.0.0.1:1/x?port=no", engines__count="2")):
        assert engine.wait(120) == 2, engine.tail()
    assert "started again" not in engine.log.read_text()
