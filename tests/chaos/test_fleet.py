"""Fleets that are started, resized and ended while a run goes on: nothing is lost, nothing is stored twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gainstage.config.paths import Paths
from gainstage.engine.fleet.home import engine_pid, engine_pids
from gainstage.engine.fleet.launcher import FleetPlan, Launcher, LaunchError, free_names, resize
from gainstage.engine.fleet.launchers import launcher_of
from gainstage.engine.store.database import Database
from tests.chaos.kit import QUICK, Witness, assert_all_stored_once, log_commits, queue_simulated, standing, wait_for

pytestmark = pytest.mark.timeout(300)
ARGUMENTS = ("--simulated", "--until-empty", *(f"--set={key}={value}" for key, value in QUICK.items()))


def plan(launcher: str, url: str | None, **options: str) -> FleetPlan:
    return FleetPlan(launcher, ARGUMENTS, url, options)


@contextmanager
def ended(launcher: Launcher) -> Iterator[None]:
    """Whatever still runs at the end is stopped."""
    try:
        yield
    finally:
        launcher.stop([engine.name for engine in launcher.list()], now=True)
        wait_for(lambda: not launcher.list(), "the fleet to end", 60)


def states(launcher: Launcher) -> list[str]:
    return [engine.state for engine in launcher.list()]


def test_a_local_fleet_is_resized_and_loses_an_engine_in_mid_run(database: Database, database_url: str, tmp_path: Path) -> None:
    log_commits(database_url)
    recordings = queue_simulated(database, 150, scale=3)
    paths = Paths.of(tmp_path).ensure()
    launcher = launcher_of(plan("local", database_url), paths)
    with Witness(database_url) as witness, ended(launcher):
        assert resize(launcher, 2) == (0, 2)
        wait_for(lambda: states(launcher) == ["running"] * 2, "two engines", 60)
        assert resize(launcher, 3) == (2, 3)
        wait_for(lambda: states(launcher) == ["running"] * 3 and standing(database).get("running", 0) > 3, "three engines", 60)
        os.kill(max(engine_pids(paths) - {engine_pid(paths)}), signal.SIGKILL)
        wait_for(lambda: states(launcher) == ["running"] * 3, "the killed engine to come back", 60)
        assert resize(launcher, 1) == (3, 1)
        wait_for(lambda: standing(database) == {"stored": len(recordings)}, "everything stored", 200)
    assert_all_stored_once(database, recordings)
    assert witness.partial == []


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm of one node, of stand-in commands; the folder of its state."""
    tools, state = tmp_path / "bin", tmp_path / "slurm"
    tools.mkdir()
    state.mkdir()
    for name in ("sbatch", "squeue", "scancel"):
        tool = tools / name
        shutil.copy(Path(__file__).parents[1] / "data" / "slurm_stub.py", tool)
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_STUB", str(state))
    return state


def test_a_fleet_on_slurm(database: Database, database_url: str, tmp_path: Path, slurm: Path) -> None:
    log_commits(database_url)
    recordings = queue_simulated(database, 80, scale=2)
    launcher = launcher_of(plan("slurm", database_url, sbatch="--gpus=1 --partition=gpu"), Paths.of(tmp_path / "home").ensure())
    with ended(launcher):
        resize(launcher, 2)
        assert [(e.name, e.where) for e in launcher.list()] == [("slurm-0", "node1"), ("slurm-1", "node1")]
        first = json.loads((slurm / "1.json").read_text())
        assert "--partition=gpu" in first["options"]
        assert database_url not in json.dumps(first)  # other users can read the options of a job
        wait_for(lambda: standing(database).get("running", 0) > 2, "work", 60)
        os.kill(first["pid"], signal.SIGKILL)  # a node is lost
        wait_for(lambda: len(launcher.list()) == 1, "the job to be gone")
        resize(launcher, 2)
        wait_for(lambda: standing(database).get("stored", 0) > 40, "half of it", 100)
        resize(launcher, 1)
        wait_for(lambda: standing(database) == {"stored": len(recordings)}, "everything stored", 200)
    assert_all_stored_once(database, recordings)


def test_what_slurm_refuses_is_one_sentence(tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths.of(tmp_path / "home").ensure()
    with pytest.raises(LaunchError, match=r"sbatch refused: sbatch: error: invalid partition specified: none"):
        launcher_of(plan("slurm", "postgresql://x", sbatch="--partition=none"), paths).start(1)
    (slurm / "down").touch()
    with pytest.raises(LaunchError, match="squeue refused: squeue: error: Unable to contact"):
        launcher_of(plan("slurm", "postgresql://x"), paths).list()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchError, match="belongs to no Slurm cluster"):
        launcher_of(plan("slurm", "postgresql://x"), paths).list()


def test_a_fleet_elsewhere_needs_an_address_and_a_home_a_fleet(tmp_path: Path) -> None:
    paths = Paths.of(tmp_path).ensure()
    with pytest.raises(LaunchError, match="a database they can all reach"):
        launcher_of(plan("slurm", None), paths)
    with pytest.raises(LaunchError, match="this home has no fleet"):
        FleetPlan.load(paths)
    kept = plan("slurm", "postgresql://u:secret@h/d", sbatch="--gpus=1")
    kept.save(paths)
    assert FleetPlan.load(paths) == kept
    assert (paths.data / "fleet.json").stat().st_mode & 0o077 == 0
    (paths.data / "fleet.json").write_text("{")
    with pytest.raises(LaunchError, match="cannot be read"):
        FleetPlan.load(paths)


def test_ray_that_is_not_installed_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LaunchError, match="Ray is not installed") as refused:
        launcher_of(plan("ray", "postgresql://x", address="127.0.0.1:6379"), Paths.of(tmp_path).ensure())
    assert refused.value.hint is not None
    assert "gainstage[ray]" in refused.value.hint


def test_names_fill_the_gaps() -> None:
    assert free_names("ray", 3, ["ray-1", "ray-3"]) == ["ray-0", "ray-2", "ray-4"]
