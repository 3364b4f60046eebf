"""GPUs through the real NVML binding, on a stand-in for the driver's library built from C."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[1] / "data" / "nvml_stub.c"

PRELUDE = """
import json, os, sys, threading
from dataclasses import asdict
from pathlib import Path
from gainstage.engine.telemetry import devices
from gainstage.engine.telemetry.devices import Devices, Lost

state = Path(os.environ["NVML_STUB"])

def driver(*lines):
    fresh = state.with_suffix(".new")
    fresh.write_text("\\n".join(lines) + "\\n")
    fresh.replace(state)

def until(condition):
    pause = threading.Event()
    for _ in range(60_000):
        if condition():
            return
        pause.wait(0.001)
    raise SystemExit("it never happened")

def tell(**what):
    print(json.dumps(what))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ``libnvidia-ml.so.1`` of our own."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    target = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(target), str(SOURCE)], check=True)
    return folder


def run(script: str, folder: Path, tmp_path: Path) -> dict[str, Any]:
    """What the script told, run in a process that loads the library from ``folder``."""
    environment = os.environ | {"LD_LIBRARY_PATH": str(folder), "NVML_STUB": str(tmp_path / "driver")}
    (tmp_path / "driver").write_text("gpus 1\n")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    told: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        told |= json.loads(line)
    return told


def test_every_reading_of_two_gpus(library: Path, tmp_path: Path) -> None:
    told = run(
        """
driver("gpus 2", f"pid {os.getpid()}", "reasons 69")
reader = Devices()
views, note = reader.take()
driver("gpus 2", "energy 1500000", "used 1024")
later, _ = reader.take()
tell(views=[asdict(v) for v in views], note=note, later=[asdict(v) for v in later])
""",
        library,
        tmp_path,
    )
    first, second = told["views"]
    assert told["note"] is None
    assert (first["index"], first["name"], first["uuid"], first["driver"]) == (0, "Stub GPU 0", "GPU-stub-0", "570.00.stub")
    assert first["sm"] == 0.61
    assert second["sm"] == 0.62
    assert first["memory_used"] == 35840 << 20
    assert first["memory_total"] == 80 << 30
    assert (first["temperature"], first["slowdown_at"], first["shutdown_at"]) == (67, 87, 92)
    assert (first["power_w"], first["power_limit_w"]) == (pytest.approx(412.345), 700)
    assert (first["clock_sm_mhz"], first["clock_sm_max_mhz"], first["clock_memory_mhz"]) == (1980, 1980, 2619)
    assert (first["pcie_rx"], first["pcie_tx"]) == (1_200_000 * 1024, 300_000 * 1024)
    assert first["throttle"] == ["power cap", "thermal slowdown (hardware)"]  # the idle bit is none
    assert first["ecc_errors"] == 0
    assert first["memory_ours"] == 30 << 30
    ours, other = first["processes"]
    assert (ours["ours"], ours["memory"]) == (True, 30 << 30)
    assert (other["ours"], other["memory"], other["name"]) == (False, None, "pid 4194000")
    assert second["processes"] == []
    assert second["memory_ours"] is None
    assert (first["energy_j"], told["later"][0]["energy_j"]) == (0.0, 500.0)
    assert told["later"][0]["memory_peak"] == 35840 << 20
    assert told["later"][0]["memory_used"] == 1024 << 20


def test_what_a_card_does_not_support_is_unknown(library: Path, tmp_path: Path) -> None:
    told = run(
        """
hidden = ["utilization", "memory", "temperature", "threshold", "power", "clock", "pcie", "energy", "events", "throttle", "ecc",
          "processes", "uuid", "name"]
driver("gpus 1", *(f"hide {name}" for name in hidden))
bare, note = Devices().take()
driver("gpus 1", "hide events", "reasons 128")
older, _ = Devices().take()
tell(bare=asdict(bare[0]), note=note, older=older[0].throttle)
""",
        library,
        tmp_path,
    )
    assert told["note"] is None
    known = {k: v for k, v in told["bare"].items() if v not in (None, [], [None])}
    assert known == {"index": 0, "name": "GPU 0", "driver": "570.00.stub", "sm_measured": False}
    assert told["older"] == ["power brake"]  # the older name of the same call


def test_a_lost_driver_is_a_state_and_comes_back(library: Path, tmp_path: Path) -> None:
    told = run(
        """
reader = Devices(0.002, first_retry_s=0.002, last_retry_s=0.01)
reader.start()
until(lambda: reader.read()[0])
driver("gpus 1", "driver 0")
until(lambda: reader.read()[1])
gone, note = reader.read()
tell(gone=asdict(gone[0]), note=note)
driver("gpus 1", "sm 33")
until(lambda: reader.read()[1] is None)
tell(back=reader.read()[0][0].sm)
driver("gpus 1", "lost 0")
until(lambda: reader.read()[1])
tell(lost=reader.read()[1], alive=reader._thread.is_alive())
driver("gpus 1", "sm 44")
until(lambda: reader.read()[1] is None)
tell(again=reader.read()[0][0].sm)
reader.stop()
tell(ended=not reader._thread.is_alive())
""",
        library,
        tmp_path,
    )
    assert told["gone"]["name"] == "Stub GPU 0"  # the block stays on the screen
    assert told["gone"]["memory_total"] == 80 << 30
    assert told["gone"]["sm"] is None
    assert told["gone"]["memory_used"] is None
    assert "driver is not loaded" in told["note"]
    assert told["back"] == 0.33
    assert "GPU 0 is lost" in told["lost"]
    assert told["alive"]
    assert told["again"] == 0.44
    assert told["ended"]


def test_one_lost_gpu_leaves_the_other_readable(library: Path, tmp_path: Path) -> None:
    told = run(
        """
reader = Devices(0.002, first_retry_s=0.002, last_retry_s=0.01)
driver("gpus 2")
reader.start()
until(lambda: len(reader.read()[0]) == 2)
driver("gpus 2", "lost 1")
until(lambda: reader.read()[1])
views, note = reader.read()
tell(note=note, views=[asdict(v) for v in views])
driver("gpus 2")
until(lambda: reader.read()[1] is None)
tell(back=reader.read()[0][1].sm)
reader.stop()
""",
        library,
        tmp_path,
    )
    well, lost = told["views"]
    assert told["note"] == "GPU 1 is lost"
    assert well["sm"] == 0.61
    assert (lost["index"], lost["name"], lost["sm"]) == (1, "Stub GPU 1", None)
    assert told["back"] == 0.62


def test_a_machine_without_the_library_says_so(tmp_path: Path) -> None:
    told = run(
        """
reader = Devices(0.002, first_retry_s=60.0)
reader.start()
until(lambda: "found" in (reader.read()[1] or ""))
tell(views=len(reader.read()[0]), note=reader.read()[1])
reader.stop()
""",
        tmp_path / "empty",
        tmp_path,
    )
    if told["views"] == 0:  # a machine with a real driver has nothing to say here
        assert "libnvidia-ml.so.1 not found" in told["note"]


def gpm_calls(tmp_path: Path) -> list[str]:
    file = tmp_path / "driver.gpm"
    return file.read_text().split() if file.exists() else []


def test_a_card_with_gpm_metrics_shows_its_sms_and_only_while_looked_at(library: Path, tmp_path: Path) -> None:
    told = run(
        """
looked_at = [False]
driver("gpus 2", "gpm 1", "sm 97", "hide gpm_dram_never")
reader = Devices(wanted=lambda: looked_at[0])
idle = [asdict(reader.take()[0][0]) for _ in range(3)][-1]
unsampled = state.with_name("driver.gpm").exists()
looked_at[0] = True
first = asdict(reader.take()[0][0])
driver("gpus 2", "gpm 1", "sm 97", "gpm_sm 58", "gpm_occupancy 33")
second = asdict(reader.take()[0][0])
driver("gpus 2", "gpm 1", "hide gpm_dram")
third = asdict(reader.take()[0][1])
looked_at[0] = False
again = asdict(reader.take()[0][0])
looked_at[0] = True
reader.take()
reader._close()
tell(idle=idle, unsampled=unsampled, first=first, second=second, third=third, again=again)
""",
        library,
        tmp_path,
    )
    assert (told["idle"]["sm"], told["idle"]["sm_measured"], told["idle"]["busy"]) == (None, True, 0.97)
    assert told["unsampled"] is False
    assert told["first"]["sm"] is None, "a share needs two samples"
    assert (told["second"]["sm"], told["second"]["occupancy"], told["second"]["memory_bandwidth"]) == (0.58, 0.33, 0.47)
    assert told["second"]["busy"] == 0.97
    assert (told["third"]["sm"], told["third"]["memory_bandwidth"]) == (0.34, None)
    assert told["again"]["sm"] is None
    calls = gpm_calls(tmp_path)
    assert calls.count("alloc") == calls.count("free") == calls.count("get"), "nothing is left behind"


@pytest.mark.parametrize("card", ["gpm 0", "hide gpm_query", "gpm 1\ngpm_refused 1", "gpm 1\nhide gpm"])
def test_a_card_without_them_is_called_busy(library: Path, tmp_path: Path, card: str) -> None:
    told = run(
        f"""
driver("gpus 1", "sm 61", *{card.splitlines()!r})
reader = Devices()
views = [reader.take()[0][0] for _ in range(3)]
tell(sm=views[-1].sm, name=views[-1].use_name, measured=views[-1].sm_measured, occupancy=views[-1].occupancy)
reader._close()
""",
        library,
        tmp_path,
    )
    assert told == {"sm": 0.61, "name": "busy", "measured": False, "occupancy": None}
    calls = gpm_calls(tmp_path)
    assert calls.count("alloc") == calls.count("free")


def test_a_driver_that_goes_and_comes_takes_the_samples_along(library: Path, tmp_path: Path) -> None:
    told = run(
        """
driver("gpus 1", "gpm 1")
reader = Devices()
reader.take(), reader.take()
driver("driver 0")
try:
    reader.take()
except Lost as lost:
    tell(lost=str(lost))
driver("gpus 1", "gpm 1")
tell(first=reader.take()[0][0].sm, second=reader.take()[0][0].sm)
""",
        library,
        tmp_path,
    )
    assert "driver" in told["lost"]
    assert (told["first"], told["second"]) == (None, 0.34), "a sample of before is not compared with one of after"
