"""The models on a device that is not the CPU: nothing is left behind there, slots do not disturb each other, and memory runs out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gainstage.engine.models.resolve import DEMO
from tests.cli_kit import PATIENCE_S, data_of, engine_ended, environment, gainstage
from tests.conftest import new_home

ROOT = Path(__file__).parents[2]
COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="the device is compiled: install a C++ compiler")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    made = tmp_path_factory.mktemp("card") / "card.so"
    torch_folder = Path(torch.__file__).parent
    includes = [f"-I{torch_folder / name}" for name in ("include", "include/torch/csrc/api/include")]
    links = [f"-L{torch_folder / 'lib'}", f"-Wl,-rpath,{torch_folder / 'lib'}"]
    source = Path(__file__).with_name("card.cpp")
    command = [str(COMPILER), "-shared", "-fPIC", "-O1", "-std=c++20", "-w", *includes, str(source), "-o", str(made), *links]
    done = subprocess.run([*command, "-lc10", "-ltorch", "-ltorch_cpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return made


def on_card(library: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """What the child found, and all it said."""
    command = [sys.executable, "-m", "tests.card.child", str(library), *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    return json.loads(done.stdout.strip().splitlines()[-1]), done.stdout


@pytest.mark.parametrize("engine", ["stacked", "stock"])
def test_slots_on_a_device_find_the_turns_of_the_cpu(library: Path, engine: str) -> None:
    found, _ = on_card(library, "slots", engine)
    assert found["turns"] > 1
    assert found["same"] == [True] * 6


@pytest.mark.parametrize(("engine", "seconds"), [("stacked", 13), ("once", 60)])
def test_the_drill_of_the_bench_finds_the_same_turns_with_less_memory(library: Path, engine: str, seconds: int) -> None:
    """``once`` computes the frames of a block of 48 s in one pass: more chunks than one must fit into the recording."""
    row, _ = on_card(library, "drill", engine, str(seconds))
    assert row["fine"], row
    assert row["calls_that_did_not_fit"] > 0
    assert row["MB_for_all"] < row["MB_of_one"]


LIMIT_MB = 60
"""The demo's networks take 24 MB; with three slots of the diarizer at work they would like 130 MB."""

Said = dict[str, list[tuple[float, str | None, str]]]


def said_in(home: Path, engine: list[str]) -> Said:
    """Who said what in the bundled recordings by name, taken apart by the given engine."""
    recordings = sorted(path for path in (DEMO / "recordings").iterdir() if path.suffix != ".json")
    gainstage("add", *recordings, "--home", home)
    arguments = ["--home", str(home), "--profile", "demo", "--demo", "--until-empty", "--set=workers.diarize=3"]
    with engine_ended(home):
        done = subprocess.run(
            [*engine, *arguments], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert [row["status"] for row in data_of("recordings", "--home", home)["rows"]] == ["stored"] * len(recordings), done.stdout
    gainstage("export", "--all", "--format", "json", "-o", home / "out", "--home", home)
    found: Said = {}
    for file in (home / "out").glob("*.json"):
        whole = json.loads(file.read_text())
        found[file.stem] = [(round(s["start"], 1), s["speaker"], s["text"]) for s in whole["segments"]]
    assert len(found) == len(recordings)
    return found


def test_where_memory_does_not_suffice_for_all_at_once_the_same_is_stored(library: Path) -> None:
    """Three slots, voices and texts on a card that holds no two of their larger calls: nobody's recording is lost or differs."""
    child = [sys.executable, "-m", "tests.card.child", str(library), "engine", str(LIMIT_MB)]
    with new_home() as one, new_home() as other:
        assert said_in(other, child) == said_in(one, [sys.executable, "-m", "gainstage.engine.process"])
        journal = (other / "logs" / "journal.jsonl").read_text()
    lines = [json.loads(line) for line in journal.splitlines()]
    short = [line for line in lines if "out of memory" in line["text"]]
    assert {"diarize", None} <= {line.get("stage") for line in short}, (
        "the diarizer and the shared batches of voices both ran short"
    )
    assert not [line["text"] for line in lines if line["kind"] == "failure"]
