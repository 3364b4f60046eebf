"""``logs`` and ``top`` as processes: filters, following, several engines, a dead engine's lines, hostile text, signals and pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.engine.queue.events import write_events
from gainstage.engine.store.database import Database
from gainstage.engine.views.events import Event
from gainstage.tui.commands import logs, top
from tests.chaos.kit import EngineProcess, cared_for, queue_simulated, wait_for
from tests.cli_kit import command, environment, gainstage, said

NOW = 1_790_000_000.0


def lines(*texts: str, level: str = "info", wall: float | None = None, **more: str) -> list[Event]:
    return [Event(0, time.time() if wall is None else wall, level, "log", text, **more) for text in texts]  # type: ignore[arg-type]


@pytest.fixture
def written(database: Database) -> Database:
    """The lines of two engines, one of them named."""
    write_events(database, "host-a-1-aa", lines("old one", wall=time.time() - 7200))
    write_events(database, "host-a-1-aa", lines("taken", stage="decode", recording="abc123") + lines("memory low", level="warning"))
    write_events(database, "host-gpu0-2-bb", lines("CUDA out of memory", level="error", stage="diarize", recording="abd456"))
    return database


def texts(url: str, *words: str) -> list[str]:
    return [json.loads(row)["text"] for row in said("logs", "--json", "--database", url, *words).splitlines()]


def test_every_filter_alone_and_together(written: Database, database_url: str) -> None:
    everything = ["old one", "taken", "memory low", "CUDA out of memory"]
    assert texts(database_url) == everything
    assert texts(database_url, "--level", "warning") == everything[2:]
    assert texts(database_url, "--level", "error") == everything[3:]
    assert texts(database_url, "--stage", "decode") == ["taken"]
    assert texts(database_url, "--recording", "ab") == ["taken", "CUDA out of memory"]
    assert texts(database_url, "--recording", "abd") == ["CUDA out of memory"]
    assert texts(database_url, "--engine", "gpu0") == ["CUDA out of memory"]
    assert texts(database_url, "--engine", "host-a-1-aa", "--engine", "gpu0") == everything
    assert texts(database_url, "--engine", "gpu") == []
    assert texts(database_url, "--grep", "MEMORY") == everything[2:]
    assert texts(database_url, "--grep", "^mem|taken") == ["taken", "memory low"]
    assert texts(database_url, "--since", "1h") == everything[1:]
    assert texts(database_url, "--count", "2") == everything[2:]
    assert texts(database_url, "--count", "1", "--grep", "o") == ["CUDA out of memory"]
    assert texts(database_url, "--count", "0", "--level", "warning", "--grep", "low", "--since", "1h") == ["memory low"]


def test_pages_are_joined_and_the_newest_of_many_are_found(database: Database, database_url: str) -> None:
    write_events(database, "e", lines(*(f"line {n}" for n in range(2500))))
    assert texts(database_url, "--count", "0") == [f"line {n}" for n in range(2500)]
    assert texts(database_url, "--count", "3") == ["line 2497", "line 2498", "line 2499"]
    assert texts(database_url, "--grep", "line 1$", "--count", "5") == ["line 1"], "looked for to the oldest"


def test_a_wrong_pattern_or_time_is_said_and_json_has_an_object(written: Database, database_url: str) -> None:
    assert "is no regular expression" in said("logs", "--grep", "(", "--database", database_url, status=1)
    done = gainstage("logs", "--grep", "(", "--json", "--database", database_url, status=1)
    assert json.loads(done.stdout)["error"]["cause"] == "pattern"
    done = gainstage("logs", "--since", "never", "--json", status=2)
    assert "write 10m" in json.loads(done.stdout)["error"]["message"]


def test_text_of_others_reaches_no_terminal_as_it_is(database: Database, database_url: str) -> None:
    hostile = "\x1b]0;owned\x07title\x1b[31m\u202egpj\x9b2J\r\nforged 12:00:00 error"
    with database.transaction() as connection:  # past every door that cleans
        connection.execute(
            "insert into event (seq, engine, wall, level, kind, text, stage, recording, traceback) values (1, %s, %s, 'error', 'log', %s, 'decode', %s, %s)",
            [hostile, time.time(), hostile, hostile, f"Traceback\n  {hostile}"],
        )
        connection.execute("update event_head set seq = 1")
    for words in ((), ("--json",)):
        out = gainstage("logs", "--database", database_url, *words).stdout
        assert not {c for c in out if not c.isprintable()} - {"\n"}
        assert "forged" in out
    assert len(gainstage("logs", "--database", database_url).stdout.splitlines()) == 4, "one line, and those of its traceback"


def test_lines_are_followed_until_interrupted(written: Database, database_url: str) -> None:
    with subprocess.Popen(
        command("logs", "--follow", "--count", "1", "--level", "warning", "--database", database_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            first = process.stdout.readline()
            assert "host-gpu0-2-bb diarize abd456: CUDA out of memory" in first, "several engines: each is named"
            write_events(written, "host-c-3-cc", lines("quiet") + lines("from a third engine", level="warning"))
            assert "from a third engine" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            rest, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, rest, error.strip()) == (130, "", "")


def test_a_reader_that_leaves_ends_following_quietly(written: Database, database_url: str) -> None:
    with subprocess.Popen(
        command("logs", "--follow", "--database", database_url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            wait_for(lambda: write_events(written, "e", lines("more")) or process.poll() is not None, "the end of it")
            assert process.returncode == 0
            assert process.stderr.read() == b""
        finally:
            process.kill()


def test_what_a_dead_engine_said_is_there_and_status_says_how_it_ended(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    queue_simulated(database, 30, scale=20.0)
    with cared_for(engine := EngineProcess(home, database_url)):
        wait_for(lambda: any("starts" in text for text in texts(database_url)), "the first lines")
        line = json.loads(gainstage("top", "--count", "1", "--json", "--database", database_url).stdout)
        assert (line["of"], line["failed"]) == (30, 0)
        assert line["health"] in ("starting", "healthy")
        os.kill(engine.process.pid, signal.SIGKILL)
        engine.wait()
    told = gainstage("logs", "--home", home, "--database", database_url).stdout
    assert "starts" in told
    status = gainstage("status", "--home", home, "--database", database_url, status=1).stdout
    assert "it died without signing off" in status
    assert f"{home}/logs/engine.log" in status
    assert "stored 0" in status
    document = json.loads(gainstage("status", "--home", home, "--database", database_url, "--json", status=1).stdout)
    assert (document["last_ended"]["state"], document["last_ended"]["pid"]) == ("died", engine.process.pid)
    assert document["queue"]["queued"] + document["queue"]["running"] == 30
    assert "offline" in gainstage("top", "--count", "1", "--database", database_url).stdout


def test_the_line_for_a_phone_says_nothing_of_what_a_stopped_engine_used() -> None:
    frame = ScriptedDesk(start_at=STORY["bottleneck"]).snapshot()
    assert frame is not None
    assert "cpu" in top.line(top.figures(frame, NOW))
    verdict, run = replace(frame.verdict, health="offline"), replace(frame.run, state="stopped")
    words = top.line(top.figures(replace(frame, verdict=verdict, run=run), NOW)).split()
    ended = run.queued + run.running + run.stored + run.failed
    assert words[1:] == ["stopped", f"{run.stored}/{ended}", *([f"{run.failed}", "failed"] if run.failed else [])]
    died = top.line(top.figures(replace(frame, verdict=verdict), NOW)).split()
    assert died[1] == "offline"


def test_the_line_for_a_phone_is_cut_in_whole_parts() -> None:
    figures = {
        "wall": NOW, "health": "healthy", "stored": 134, "of": 202, "failed": 2, "rtfx": 21.8, "bottleneck": "transcribe",
        "left_s": 725.0, "low_s": 700.0, "high_s": 760.0, "gpu": 0.61, "cpu": 0.92,
    }  # fmt: skip
    whole = top.line(figures)
    assert whole.endswith(" healthy 134/202 22× transcribe 12m05s left 2 failed gpu 61% cpu 92%")
    for columns in range(10, len(whole) + 1):
        part = top.line(figures, columns)
        assert len(part) <= columns
        assert whole.startswith(part)
    assert top.line({"wall": NOW, "health": "offline", "reason": "no engine has run here yet"}).endswith("has run here yet")


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("2h", 7200), ("1d", 86_400)])
def test_since_takes_ages_and_times(text: str, seconds: float) -> None:
    now = time.time()
    assert logs._since(text)(now) == now - seconds
    assert time.strftime("%Y-%m-%d %H:%M", time.localtime(logs._since("2026-03-01 14:05")(now))) == "2026-03-01 14:05"
    of_the_day = logs._since(time.strftime("%H:%M:%S", time.localtime(now + 90)))(now)
    assert 0 < now - of_the_day <= 86_400, "a time that is still to come was yesterday's"
