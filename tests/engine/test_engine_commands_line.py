"""An engine as a process and the command line that steers it: acknowledgements, frames, logs, signals, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.store.database import Database
from tests.chaos.kit import ENVIRONMENT, EngineProcess, cared_for, queue_simulated, standing, wait_for


def gainstage(home: Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gainstage.tui.cli", *words, "--home", str(home)],
        env={**ENVIRONMENT, "GAINSTAGE_STORE__DATABASE": url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_engine_is_steered_from_the_command_line(database: Database, database_url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    queue_simulated(database, 40, scale=20.0)
    desk = PostgresDesk(database)
    with cared_for(engine := EngineProcess(home, database_url)):
        wait_for(lambda: (f := desk.snapshot()) and f.flights, "the engine at work")
        told = json.loads(gainstage(home, database_url, "set", "workers.transcribe", "3", "--json").stdout)
        assert set(told) == {"key", "old", "new", "revision", "effect", "applied_after_s"}
        assert (told["key"], told["old"], told["new"], told["revision"], told["effect"]) == ("workers.transcribe", 4, 3, 1, "now")
        assert told["applied_after_s"] is not None
        back = json.loads(gainstage(home, database_url, "undo", "--to", "0", "--json").stdout)
        assert (back["key"], back["old"], back["new"], back["revision"]) == ("workers.transcribe", 3, 4, 2)
        frames = gainstage(home, database_url, "watch", "--json", "--count", "2", "--every", "0.2").stdout.splitlines()
        assert [json.loads(line)["pid"] for line in frames] == [engine.process.pid] * 2
        assert "transcribe paused" in gainstage(home, database_url, "pause", "transcribe").stdout
        status = json.loads(gainstage(home, database_url, "status", "--json").stdout)
        assert status["engines"][0]["pid"] == engine.process.pid
        assert {s["name"]: s["paused"] for s in status["snapshot"]["stages"]}["transcribe"]
        stopped = gainstage(home, database_url, "stop", "--now")
        assert stopped.returncode == 0, stopped.stderr
        assert engine.wait() == 0
    assert standing(database).get("running", 0) == 0
    assert gainstage(home, database_url, "status").returncode == 1


def test_a_wrong_setup_ends_the_start_with_one_clear_line(tmp_path: Path) -> None:
    def start(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gainstage.engine.process", "--home", str(tmp_path / "home"), "--simulated", *words]
        return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)

    nowhere = start("--database", "postgresql://nobody@127.0.0.1:1/nothing")
    assert nowhere.returncode == 1  # waited for, as it may be starting, and then reported
    assert "waiting for the database" in nowhere.stderr
    assert "no database answers" in nowhere.stderr
    unknown = start("--set", "workers.transcibe=3")
    assert unknown.returncode == 2
    assert "did you mean workers.transcribe?" in unknown.stderr
    assert "Traceback" not in nowhere.stderr + unknown.stderr


def test_logs_for_machines_are_json_lines(database: Database, database_url: str, tmp_path: Path) -> None:
    queue_simulated(database, 3, scale=0.1)
    command = [
        sys.executable,
        "-m",
        "gainstage.engine.process",
        "--home",
        str(tmp_path / "home"),
        "--simulated",
        "--until-empty",
        "--log-json",
    ]
    ended = subprocess.run(
        [*command, "--set", "fetch.disk_floor=0"],
        env={**ENVIRONMENT, "GAINSTAGE_STORE__DATABASE": database_url, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert sum(event["kind"] == "stored" for event in events) == 3
    assert not (tmp_path / "home" / "engine.pid").exists()
    assert os.listdir(tmp_path / "home" / "runs")
