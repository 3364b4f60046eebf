"""Commands to a running engine, which only takes its time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.simulated import simulated_recordings
from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.tui.cli import main
from tests.chaos.kit import wait_for
from tests.cli_kit import command, environment, gainstage, said, told
from tests.conftest import fresh_database, new_home


@contextmanager
def simulated_engine(home: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """An engine in the foreground, on stages that only take their time."""
    with (home / "out.log").open("wb") as log:
        process = subprocess.Popen(
            command("engine", "--simulated", "--home", home, "--database", url, "--set", "fetch.disk_floor=0"),
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment(),
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture(scope="module")
def served(shared_postgres: EmbeddedPostgres, database_template: str) -> Iterator[tuple[str, Path]]:
    """(database, home) served by a simulated engine with nothing to do."""
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database(shared_postgres, database_template))
        home = stack.enter_context(new_home())
        stack.enter_context(simulated_engine(home, url))
        wait_for(lambda: "running" in _states(url), "the engine to run")
        yield url, home


def _states(url: str) -> list[str]:
    """The states of the engines that live."""
    out = StringIO()
    with redirect_stdout(out):
        alive = main(["status", "--json", "--database", url]) == 0
    return [e["state"] for e in json.loads(out.getvalue())["engines"]] if alive else []


def _revision(url: str) -> int:
    snapshot = told("status", "--database", url)["snapshot"]
    return int(snapshot["revision"]) if snapshot else 0


def test_status_and_watch(served: tuple[str, Path]) -> None:
    url, _ = served
    status = told("status", "--database", url)
    assert set(status) == {"engines", "snapshot", "queue", "last_ended"}
    assert [e["state"] for e in status["engines"]] == ["running"]
    assert "STAGE" in said("status", "--database", url)
    frames = [json.loads(line) for line in said("watch", "--count", 2, "--every", 0.1, "--database", url).splitlines()]
    assert [f["run"]["state"] for f in frames] == ["running", "running"]
    assert frames[0]["seq"] < frames[1]["seq"]


def test_set_and_undo_print_the_acknowledgement(served: tuple[str, Path]) -> None:
    url, _ = served
    made = told("set", "workers.transcribe", 4, "--database", url)
    assert set(made) == {"key", "old", "new", "revision", "effect", "applied_after_s"}
    assert (made["key"], made["old"], made["new"], made["effect"]) == ("workers.transcribe", 2, 4, "now")
    assert made["applied_after_s"] < 10
    wait_for(lambda: _revision(url) == made["revision"], "the revision in the next snapshot")
    undone = told("undo", "--database", url)
    assert (undone["old"], undone["new"], undone["revision"]) == (4, 2, made["revision"] + 1)
    assert "allowed 1 to 16" in said("set", "workers.transcribe", 400, "--database", url, status=1)
    history = told("settings", "--history", "--database", url)
    assert {(c["key"], c["state"]) for c in history} >= {("workers.transcribe", "applied")}


def test_pause_and_resume(served: tuple[str, Path]) -> None:
    url, _ = served

    assert told("pause", "--database", url)["state"] == "done"
    wait_for(lambda: _states(url) == ["paused"], "the pause")
    assert told("resume", "--database", url)["state"] == "done"
    wait_for(lambda: _states(url) == ["running"], "the end of the pause")
    assert told("pause", "transcribe", "--database", url)["state"] == "done"
    assert told("resume", "transcribe", "--database", url)["state"] == "done"
    assert told("pause", "brewing", "--database", url, status=1)["state"] == "refused"


def test_ctrl_c_leaves_the_engine_at_work(served: tuple[str, Path], tmp_path: Path) -> None:
    """Without a terminal to ask at, leaving means detaching."""
    url, home = served
    said("pause", "--database", url)
    talk = tmp_path / "talk.wav"
    talk.write_bytes(b"never opened")
    process = subprocess.Popen(
        command("run", talk, "--headless", "--home", home, "--database", url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(COLUMNS="200"),
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        assert "paused by cli" in process.stderr.readline(), "it follows; before that, the same signal ends the command"
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "detached: the engine goes on" in err
    assert "Traceback" not in err
    assert _states(url) == ["paused"]
    id = told("recordings", "--database", url)["rows"][0]["id"]
    assert told("skip", id, "--database", url)["state"] == "done"
    said("resume", "--database", url)


def test_stop_drains_and_a_second_engine_of_the_home_is_refused(database: Database, database_url: str, home: Path) -> None:
    with simulated_engine(home, database_url) as process:
        wait_for(lambda: _states(database_url) == ["running"], "the engine to run")
        assert "serves" in gainstage("engine", "--simulated", "--home", home, "--database", database_url, status=3).stderr
        Backlog(database).add(simulated_recordings(3))
        assert "done" in said("stop", "--database", database_url)
        assert process.wait(60) == 0
    assert told("recordings", "--status", "running", "--database", database_url)["matched"] == 0
