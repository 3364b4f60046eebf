"""An engine that was killed is seen as dead at once; one that had finished is never called lost; no folder's code gets in."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from engine_kit import statuses

from gainstage.config.paths import Paths
from gainstage.engine.runtime.demo import demo_recordings
from gainstage.engine.store.database import Database
from tests.chaos.kit import wait_for
from tests.cli_kit import command, data_of, engine_ended, environment, gainstage, last_words
from tests.tui.pty_kit import Terminal

LEASE_S = 600
"""Longer than any command of these tests may take."""


def test_a_run_right_after_kill_9_starts_an_engine_and_a_finished_one_is_stopped(home: Path) -> None:
    source = demo_recordings()[0].source
    place = ("--home", home)
    how = ("--profile", "demo", "--set", f"queue.stalled={LEASE_S}", "--set", "fetch.disk_floor=0")
    gainstage("add", source, *place, *how)
    engine = subprocess.Popen(
        command("engine", *place, *how),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with engine_ended(home):
        try:
            with Database.open(None, Paths.of(home).database) as database:
                wait_for(lambda: set(statuses(database).values()) == {"running"}, "the recording to run", 120)
        finally:
            engine.send_signal(signal.SIGKILL)
            engine.wait()
        assert gainstage("status", *place, status=1).stdout.startswith("no engine runs")
        result = data_of("run", source, *place, *how, "--headless", status=None)
        assert [r["status"] for r in result["recordings"]] == ["stored"], last_words(home)
        states = [e["state"] for e in data_of("status", *place, status=1)["engines"]]
        assert sorted(states) == ["died", "done"]
        with Terminal(command("console", *place), environment()) as console:
            console.until("STOPPED")
            console.until("done: 1 stored")
            console.type("q")
            assert console.ended() == 0
            assert "LOST" not in console.output
