"""Which engines a machine runs: by its cards as the real NVML binding reports them, and by its cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gainstage.config.defaults import CPUS
from gainstage.config.paths import HomeError, Paths
from gainstage.config.settings import Engines
from gainstage.engine.errors import Misconfigured
from gainstage.engine.fleet.members import members_of, visible
from gainstage.engine.telemetry.cores import budget, cores, threads_of
from tests.unit.test_devices import library

__all__ = ["library"]  # the fixture: a stand-in for the driver's library

ASK = """
import json, sys
from dataclasses import asdict
from gainstage.config.settings import Engines
from gainstage.engine.errors import EngineError
from gainstage.engine.fleet.members import members_of
for gpus, count in json.loads(sys.argv[1]):
    try:
        print(json.dumps([asdict(m) for m in members_of(Engines(gpus=gpus, count=count))]))
    except EngineError as error:
        print(json.dumps(str(error)))
"""


def asked(questions: list[tuple[str, int]], library: Path, tmp_path: Path, *, gpus: int, shown: str | None = None) -> list[object]:
    """What a machine with so many cards answers to each (engines.gpus, engines.count)."""
    (tmp_path / "driver").write_text(f"gpus {gpus}\n" if gpus else "driver 0\n")
    environ = os.environ | {"LD_LIBRARY_PATH": str(library), "NVML_STUB": str(tmp_path / "driver")}
    environ.pop("CUDA_VISIBLE_DEVICES", None)
    environ |= {} if shown is None else {"CUDA_VISIBLE_DEVICES": shown}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ASK, json.dumps(questions)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def placed(answer: object) -> object:
    return [(m["name"], m["gpu"]) for m in answer] if isinstance(answer, list) else answer


def test_an_engine_on_each_card_that_is_asked_for(library: Path, tmp_path: Path) -> None:
    questions = [("all", 1), ("2,0", 1), ("one", 1), ("none", 2), ("all", 2), ("0,7", 1), ("first", 1)]
    every, two, one, none, double, missing, word = asked(questions, library, tmp_path, gpus=3)
    assert placed(every) == [(f"gpu{i}", f"GPU-stub-{i}") for i in range(3)]
    assert placed(two) == [("gpu2", "GPU-stub-2"), ("gpu0", "GPU-stub-0")]
    assert placed(one) == []
    assert placed(none) == [("cpu-0", ""), ("cpu-1", "")]
    assert [name for name, _ in placed(double)] == ["gpu0-0", "gpu0-1", "gpu1-0", "gpu1-1", "gpu2-0", "gpu2-1"]  # type: ignore[attr-defined]
    assert "GPU 7, which is not there" in str(missing)
    assert "GPUs of this machine: 0, 1, 2" in str(missing)
    assert "all, none, one" in str(word)
    assert {m["cpus"] for m in every} == {max(1, cores() // 3)}  # type: ignore[attr-defined]


def test_cards_that_are_hidden_from_the_process_are_not_there(library: Path, tmp_path: Path) -> None:
    hidden, named = asked([("all", 1), ("0", 1)], library, tmp_path, gpus=3, shown="2,1")
    assert placed(hidden) == [("gpu2", "GPU-stub-2"), ("gpu1", "GPU-stub-1")]
    assert "GPU 0, which is not there" in str(named)


def test_a_machine_without_a_driver(library: Path, tmp_path: Path) -> None:
    every, two, named = asked([("all", 1), ("all", 2), ("1", 1)], library, tmp_path, gpus=0)
    assert placed(every) == []
    assert placed(two) == [("cpu-0", None), ("cpu-1", None)]
    assert "no GPU can be read" in str(named)


def test_an_engine_shows_the_card_it_was_given_and_no_other(library: Path, tmp_path: Path) -> None:
    (tmp_path / "driver").write_text("gpus 3\nlost 2\n")
    script = "from gainstage.engine.telemetry.devices import Devices; v, note = Devices().take(); print([d.uuid for d in v], note)"
    environ = {"LD_LIBRARY_PATH": str(library), "NVML_STUB": str(tmp_path / "driver"), "CUDA_VISIBLE_DEVICES": "GPU-stub-1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environ, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "['GPU-stub-1'] None"


def test_what_cuda_shows() -> None:
    cards = ((0, "GPU-aa"), (1, "GPU-ab"), (2, "GPU-b"))
    assert visible(cards, None) == cards
    assert visible(cards, "") == ()
    assert visible(cards, "GPU-b, 0") == ((2, "GPU-b"), (0, "GPU-aa"))
    assert visible(cards, "1,9,0") == ((1, "GPU-ab"),)  # CUDA stops at the first that it does not know
    assert visible(cards, "MIG-x,MIG-y") == ((0, "MIG-x"), (1, "MIG-y"))


def test_the_cores_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CPUS, raising=False)
    assert budget() == cores()
    member = members_of(Engines(gpus="none", count=cores() * 2))[0]
    assert member.cpus == 1
    for name, value in member.environment({"OMP_NUM_THREADS": "7"}).items():
        monkeypatch.setenv(name, value)
    assert (budget(), threads_of(1), threads_of(4)) == (1, 1, 1)
    assert member.environment({}) == {CPUS: "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for wrong in ("", "0", "many", "-1", "99999"):
        monkeypatch.setenv(CPUS, wrong)
        assert budget() == cores()


def test_a_member_has_a_folder_of_its_own_and_shares_the_rest(tmp_path: Path) -> None:
    home = Paths.of(tmp_path)
    one = home.member("gpu0")
    assert (one.database, one.models, one.runs, one.settings_file) == (home.database, home.models, home.runs, home.settings_file)
    mine = {one.work, one.engine_lock, one.engine_log, one.engine_pid}
    assert not mine & {home.work, home.engine_lock, home.engine_log, home.engine_pid}
    assert all(path.is_relative_to(tmp_path / "engines" / "gpu0") for path in mine)
    for wrong in ("", "..", "a/b", "gpu 0"):
        with pytest.raises(HomeError):
            home.member(wrong)
    with pytest.raises(Misconfigured):
        members_of(Engines(gpus="0;1"))
