"""Two builds on one database: the older engine finishes what it has and leaves, and is refused when it is started again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.store.database import Database
from tests.chaos.kit import (
    ENVIRONMENT,
    QUICK,
    EngineProcess,
    assert_all_stored_once,
    cared_for,
    log_commits,
    queue_simulated,
    wait_for,
)

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def newer_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with one migration more, importable as ``gainstage`` from this folder."""
    copy = tmp_path_factory.mktemp("newer")
    for name in ("config", "engine", "tui"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "demo"))
    (copy / "path").mkdir()
    (copy / "path" / "gainstage").symlink_to(copy)
    (copy / "engine" / "store" / "migrations" / "999_later.sql").write_text("alter table recording add column later int default 1;")
    return copy / "path"


def start(build: Path, home: Path, url: str) -> subprocess.Popen[bytes]:
    """An engine of another build, until the queue is empty."""
    home.mkdir()
    command = [sys.executable, "-m", "gainstage.engine.process", "--home", str(home), "--simulated", "--until-empty"]
    command += [f"--set={key}={value}" for key, value in QUICK.items()]
    with (home / "out.log").open("wb") as log:
        environ = {**ENVIRONMENT, "GAINSTAGE_STORE__DATABASE": url, "PYTHONPATH": str(build)}
        return subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def test_a_fleet_is_upgraded_engine_by_engine(database: Database, database_url: str, tmp_path: Path, newer_build: Path) -> None:
    log_commits(database_url)
    recordings = queue_simulated(database, 150, scale=4)
    desk = PostgresDesk(database)
    with cared_for(older := EngineProcess(tmp_path / "older", database_url)):
        wait_for(lambda: any(e.state == "running" for e in desk.engines() if e.alive), "the older engine", 60)
        newer = start(newer_build, tmp_path / "newer", database_url)
        try:
            assert older.wait(120) == 0, older.tail()
            assert database.newer_steps() == ("999 later",)
            log = (tmp_path / "newer" / "out.log").read_text
            assert newer.wait(200) == 0, log()
        finally:
            newer.kill()
            newer.wait()
    assert_all_stored_once(database, recordings)
    assert any("a newer gainstage has changed the database (999 later)" in e.text for e in desk.events(0, 5000).items)
    with cared_for(again := EngineProcess(tmp_path / "older", database_url)):
        assert again.wait(60) == 2, again.tail()
    assert "Use the gainstage version that wrote this database, or a later one" in again.tail()
