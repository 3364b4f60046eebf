"""Every option of every command that names a path: a FIFO or a device there ends in a sentence, soon."""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.tui.cli import CommandParser, main
from gainstage.tui.commands.registry import COMMANDS, parser_of
from tests.engine.store_kit import recording, segments, store

LINES: dict[str, tuple[str, ...]] = {
    "config file": ("config", "validate", "PATH"),
    "score references": ("score", "PATH", "--recording", "rec00001"),
    "score against": ("score", "truth.stm", "--recording", "rec00001", "--against", "PATH"),
    "score output": ("score", "truth.stm", "--recording", "rec00001", "-o", "PATH"),
    "export output": ("export", "rec00001", "--format", "txt", "-o", "PATH"),
    "play output": ("play", "rec00001", "--clip", "-o", "PATH"),
    "experiment truth": ("experiment", "--set", "asr.beam=2", "--truth", "PATH"),
    "voices files": ("voices", "import", "PATH", "--profile", "demo"),
    "backup file": ("backup", "PATH", "--yes"),
    "restore file": ("restore", "PATH", "--yes"),
}
"""By command and destination; PATH is what is no file."""

ELSEWHERE = {
    "console exports",  # a folder, made when something is exported
    "console replay",  # a terminal is asked for before; tests/unit/test_regular_files.py reads one
    "attach exports",
    "attach replay",
    "run exports",
    "demo exports",
    "report output",  # a pipe and a terminal are written to
}

BY_NAME = {
    "a source": ("add", "PATH"),
    "a profile": ("config", "show", "--profile", "PATH"),
    "cookies": ("add", "http://127.0.0.1:9/a.html", "--set", "fetch.cookies=PATH"),
}
"""Paths that are no options of the type."""


def path_options() -> Iterator[str]:
    for name in COMMANDS:
        waiting = [parser_of(name, CommandParser(prog=name))]
        while waiting:
            parser = waiting.pop()
            for action in parser._actions:
                if isinstance(action, argparse._SubParsersAction):
                    waiting += action.choices.values()
                elif action.type is Path and action.dest != "home":
                    yield f"{name} {action.dest}"


def test_every_option_that_names_a_path_is_tried() -> None:
    assert set(path_options()) <= set(LINES) | ELSEWHERE
    assert set(LINES) <= set(path_options())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["fifo", "device"])
@pytest.mark.parametrize("what", [*LINES, *BY_NAME, "home"])
def test_a_fifo_or_a_device_is_refused_in_a_sentence(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, kind: str
) -> None:
    store(RecordingStore(database), recording(1), segments(2))
    monkeypatch.chdir(tmp_path)
    Path("truth.stm").write_text("rec00001 1 A 0.0 1.0 words\n")
    place = tmp_path / "named.toml"
    if kind == "fifo":
        os.mkfifo(place, 0o600)
    else:
        place.symlink_to("/dev/zero")
    home = place if what == "home" else tmp_path / "home"
    line = ("add", "truth.stm") if what == "home" else (LINES | BY_NAME)[what]
    words = [word.replace("PATH", str(place)) for word in line]
    words += ["--home", str(home)] if words[:2] != ["config", "validate"] else []
    if words[0] not in ("backup", "restore", "config") and what != "home":
        words += ["--database", database_url]
    if what == "backup file":
        (home / "postgres").mkdir(parents=True)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as ended:
            status = int(str(ended.code))
    assert status in (1, 2), f"{words}: {status}\n{out.getvalue()}\n{err.getvalue()}"
    assert "Traceback" not in err.getvalue() + out.getvalue()
    assert len(err.getvalue() + out.getvalue()) > 20
    assert place.is_fifo() if kind == "fifo" else place.is_symlink()
