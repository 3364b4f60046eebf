"""Backup and restore: a round trip that loses nothing, refused where it would, and whole or not at all."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_kit import ended, make_engine, queue, running

from gainstage.config.paths import Paths
from gainstage.engine.store.database import Database
from tests.cli_kit import data_of, gainstage
from tests.conftest import new_home
from tests.queue_kit import until

COUNTS = "select (select count(*) from recording), (select count(*) from segment), (select md5(string_agg(text, '' order by id)) from segment)"


@pytest.fixture(scope="module")
def filled() -> Iterator[Path]:
    """A home whose embedded database holds recordings."""
    with new_home() as home:
        with Database.open(None, Paths.of(home).database) as database, running(make_engine(database, home)):
            queue(database, 12, scale=0.02)
            until(lambda: ended(database, 12))
        yield home


def contents(home: Path) -> tuple[object, ...]:
    with Database.open(None, Paths.of(home).database) as database, database.connection() as connection:
        row = connection.execute(COUNTS).fetchone()
    assert row is not None
    return tuple(row)


def test_what_is_backed_up_comes_back_in_another_home_and_replaces_only_when_told(filled: Path, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "talks.gsb"
    before = contents(filled)
    done = data_of("backup", file, "--home", filled)
    assert (done["recordings"], done["size"]) == (12, file.stat().st_size)
    assert file.stat().st_mode & 0o077 == 0
    assert "is there already" in gainstage("backup", file, "--home", filled, status=1).stderr
    assert data_of("restore", file, "--home", home)["recordings"] == 12
    assert contents(home) == before
    assert "holds recordings" in gainstage("restore", file, "--home", home, status=1).stderr
    assert "12 recordings" in gainstage("restore", file, "--home", home, "--yes").stdout
    assert contents(home) == before
    assert {r["status"] for r in data_of("recordings", "--home", home)["rows"]} == {"stored"}


def test_nothing_that_lies_beside_a_backup_is_written_to(filled: Path, tmp_path: Path) -> None:
    """In a folder of many users others can make files and links first; what a killed backup left is removed."""
    folder, precious = tmp_path / "backups", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("mine")
    file = folder / "talks.gsb"
    planted = folder / ".talks.gsb.part"
    planted.symlink_to(precious)
    left, at_work, other = (folder / name for name in (".talks.gsb.0a1b.part", ".talks.gsb.2c3d.part", ".other.gsb.part"))
    for path in (left, at_work, other):
        path.write_text("part of a backup")
    with at_work.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        gainstage("backup", file, "--home", filled)
    assert precious.read_text() == "mine"
    assert planted.is_symlink()
    assert {path.name for path in folder.iterdir()} == {file.name, planted.name, at_work.name, other.name}
    assert file.stat().st_mode & 0o077 == 0


def test_a_file_that_is_no_whole_backup_changes_nothing(filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "talks.gsb"
    gainstage("backup", file, "--home", filled)
    before = contents(filled)
    cut = tmp_path / "cut.gsb"
    cut.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    other = tmp_path / "other.gsb"
    other.write_text(json.dumps({"no": "backup"}))
    for bad in (cut, other, tmp_path / "nowhere.gsb"):
        refused = gainstage("restore", bad, "--home", filled, "--yes", status=1).stderr
        assert "Traceback" not in refused
        assert contents(filled) == before


def test_a_restore_under_a_running_engine_is_refused_and_a_backup_is_not(filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "talks.gsb"
    with Database.open(None, Paths.of(filled).database) as database, running(make_engine(database, filled)):
        gainstage("backup", file, "--home", filled)
        assert "an engine runs" in gainstage("restore", file, "--home", filled, "--yes", status=1).stderr
    with Database.open(None, Paths.of(filled).database):  # a console
        assert "another gainstage uses" in gainstage("restore", file, "--home", filled, "--yes", status=1).stderr


def test_a_home_with_a_server_of_its_own_is_sent_to_that_servers_tools(home: Path, tmp_path: Path) -> None:
    environ = {"GAINSTAGE_STORE__DATABASE": "postgresql://db.example/x"}
    assert "pg_dump" in gainstage("backup", tmp_path / "x", "--home", home, status=1, environ=environ).stderr
