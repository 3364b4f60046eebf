"""The real console in a real terminal on the real engine that runs the demo: watched, tuned, paused, left and found again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from pty_kit import Terminal

from gainstage.config.paths import Paths
from gainstage.engine.process import engine_pid
from gainstage.engine.runtime.demo import demo_recordings
from gainstage.engine.store.embedded import EmbeddedPostgres
from tests.chaos.kit import wait_for
from tests.cli_kit import command, data_of, engine_ended, environment, gainstage

ALL = len(demo_recordings())


def rows(home: Path, query: str) -> list[dict[str, Any]]:
    server = EmbeddedPostgres(home / "postgres").start()
    try:
        with psycopg.connect(server.url, row_factory=dict_row, options="-c search_path=gainstage,public") as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]
    finally:
        server.stop()


def test_an_operator_runs_the_demo_and_turns_its_knobs(home: Path) -> None:
    environ = environment()
    with engine_ended(home):
        with Terminal(command("demo", "--home", home), environ) as console:
            console.until(r"(STARTING|HEALTHY|DONE)")
            console.until(rf"\d/{ALL} recordings")
            say(console, "set workers.transcribe 2")
            console.until(r"transcribe +\d/2")
            say(console, "set identify.range_limit 0.45")
            wait_for_change(home, "identify.range_limit")
            console.type("P")
            console.until("PAUSED")
            console.type("P")
            console.until(r"(HEALTHY|DEGRADED|STARTING|DONE)")
            console.type("q")
            assert console.ended() == 0
            assert "\x1b[?1049l" in console.output, "the terminal is left as it was found"
        pid = engine_pid(Paths.of(home))
        assert pid is not None, "the engine goes on"
        with Terminal(command("attach", "--home", home), environ, columns=80, rows=24) as console:
            console.until(rf"DONE +this run +100% {ALL}/{ALL}", 240)
            console.type("q")
            assert console.ended() == 0
        assert engine_pid(Paths.of(home)) == pid
        gainstage("stop", "--home", home)
        wait_for(lambda: engine_pid(Paths.of(home)) is None, "the engine to end")

    assert {r["status"] for r in data_of("recordings", "--home", home)["rows"]} == {"stored"}
    changes = {r["key"]: r for r in data_of("settings", "--history", "--home", home)}
    for key, old, new in [("workers.transcribe", 1, 2), ("identify.range_limit", 0.5, 0.45)]:
        change = changes[key]
        assert (change["old"], change["new"], change["state"]) == (old, new, "applied")
        assert change["applied_after_s"] is not None
    assert changes["workers.transcribe"]["revision"] < changes["identify.range_limit"]["revision"]
    decisions = data_of("decisions", "--home", home)
    assert all(re.search("range", json.dumps(d["limits"] if "limits" in d else d["decision"]["limits"])) for d in decisions)


def say(console: Terminal, words: str) -> None:
    """Type a command, as a person does: when the line is there."""
    console.type(":")
    console.until(r"goto ID")
    console.type(words + "\r")


def wait_for_change(home: Path, key: str) -> None:
    query = f"select 1 from change join change_answer on change = id where key = '{key}' and not change.refused"
    wait_for(lambda: rows(home, query), f"the acknowledged change of {key}", 120)
