"""Commands that only read: they make nothing, and say so; every error is an object for a program."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import psycopg
import pytest

from gainstage.engine.store.database import Database
from gainstage.engine.store.embedded import EmbeddedPostgres
from gainstage.tui.commands.common import paths_of
from gainstage.tui.commands.console import attach_command
from tests.cli_kit import gainstage, said
from tests.conftest import administrator, url_of

READING = [
    ("status",), ("top", "--count", "1"), ("logs",), ("watch", "--count", "1"), ("runs",), ("report",), ("recordings",), ("show", "x"),
    ("search", "words"), ("export", "--all", "--format", "srt"), ("decisions",), ("following",), ("voices", "list"), ("settings", "--history"),
    ("autopilot", "status"), ("retry", "--all"), ("pause",), ("stop",), ("undo",), ("redo", "embed", "--all"), ("fleet", "status"),
]  # fmt: skip


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_command_that_reads_makes_no_home(words: tuple[str, ...], tmp_path: Path) -> None:
    home = tmp_path / "home"
    printed = said(*words, "--home", home, status=1)
    assert "nothing has run in" in printed or "no fleet" in printed
    assert not home.exists()


def test_settings_of_a_home_without_a_database_are_those_of_the_files(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert "workers.transcribe" in said("settings", "--home", home)
    assert not home.exists()


def test_a_database_that_is_another_s_stays_as_it_is(shared_postgres: EmbeddedPostgres) -> None:
    name = "test_reading_foreign"
    with administrator(shared_postgres) as connection:
        connection.execute(f"drop database if exists {name}")
        connection.execute(f"create database {name}")
        try:
            url = url_of(shared_postgres, name)
            with psycopg.connect(url, autocommit=True) as foreign:
                foreign.execute("create extension if not exists vector")
            done = gainstage("recordings", "--json", "--database", url, status=1)
            assert json.loads(done.stdout)["error"]["cause"] == "database: empty"
            with psycopg.connect(url) as foreign:
                assert foreign.execute("select to_regnamespace('gainstage')").fetchone() == (None,)
        finally:
            connection.execute(f"drop database if exists {name} with (force)")


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        (("status",), 1, "NoSystem"),
        (("statsu",), 2, "Usage"),
        (("set", "workers.transcibe", "3"), 2, "SettingError"),
        (("set", "in_flight"), 2, "Usage"),
        (("recordings", "--limit", "many"), 2, "Usage"),
        (("report", "--format", "json"), 1, "NoSystem"),
        (("settings", "--profile", "/nowhere.toml"), 2, None),
        (("recordings", "--database", "postgresql://nobody@127.0.0.1:1/none"), 1, None),
        (("score", "/nowhere/truth.stm"), 1, None),
        (("play", "x", "--at", "1:00"), 1, None),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else "",
)
def test_every_error_is_an_object_for_a_program(words: tuple[str, ...], status: int, kind: str | None, tmp_path: Path) -> None:
    as_json = () if "--format" in words else ("--json",)
    home = () if words[0] in ("statsu",) else ("--home", str(tmp_path / "home"))
    done = gainstage(*words, *home, *as_json, status=status)
    error = json.loads(done.stdout)["error"]
    assert error["status"] == status
    assert error["message"]
    assert kind in (None, error["kind"])
    assert "Traceback" not in done.stderr
    assert done.stderr.strip(), "and a line for people"


@pytest.mark.parametrize(
    ("home", "variable", "database", "words"),
    [
        (None, None, None, "gainstage attach"),
        ("talks", None, None, "gainstage attach --home {folder}/talks"),
        (None, "{folder}/my talks", None, "gainstage attach --home '{folder}/my talks'"),
        (None, None, "postgresql://me:hunter2@db/prod", "gainstage attach 'postgresql://…@db/prod'"),
    ],
)
def test_back_with_leads_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str | None, variable: str | None, database: str | None, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GAINSTAGE_HOME", raising=False)
    if variable:
        monkeypatch.setenv("GAINSTAGE_HOME", variable.format(folder=tmp_path))
    args = Namespace(home=Path(home) if home else None, database=database)
    got = attach_command(args, paths_of(args))
    assert "hunter2" not in got
    assert got == words.format(folder=tmp_path)


def test_a_command_that_reads_finds_what_is_there(database: Database, database_url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert json.loads(said("recordings", "--json", "--database", database_url, "--home", home))["rows"] == []
    assert not home.exists()
