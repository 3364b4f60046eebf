"""The machine's figures, and when its disk will be full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.engine.desk.scripted.desk import FakeClock
from gainstage.engine.telemetry.host import CHILDREN_S, DISK_LONGEST_S, Family, Host, full_in_s

GIB = 1024**3


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    clock = FakeClock()
    host = Host(tmp_path, work_bytes=lambda: 77, clock=clock)
    first = host.read()
    clock.advance(2.0)
    second = host.read(gpu_note="no GPU here")
    assert first.name == second.name != ""
    assert first.net_rx is None  # a rate needs two readings
    assert second.net_rx is not None
    assert second.net_rx >= 0
    assert second.cpu is not None
    assert 0 <= second.cpu <= 1
    assert second.cores is not None
    assert second.cores >= 1
    assert 0 < (second.memory_used or 0) < (second.memory_total or 0)
    assert 0 < (second.engine_rss or 0) < (second.memory_total or 0)
    assert (second.engine_threads or 0) >= 1
    assert (second.engine_handles or 0) >= 3
    assert 0 < (second.disk_free or 0) < (second.disk_total or 0)
    assert second.disk_full_in_s is None
    assert second.work_bytes == 77
    assert second.gpu_note == "no GPU here"


def test_children_are_searched_for_now_and_then_and_their_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[float] = []
    clock = FakeClock()
    children = psutil.Process.children

    def counted(process: psutil.Process) -> list[psutil.Process]:
        searched.append(clock())
        return children(process)

    monkeypatch.setattr(psutil.Process, "children", counted)
    family = Family(os.getpid, clock)
    assert family.cpu() is None
    code = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"done"
        for _ in range(4):
            clock.advance(CHILDREN_S / 4)
            assert (family.cpu() or 0.0) >= 0.0
        assert len(searched) == 2, "at the first look, and when the children have become old"
        assert child.pid in family._used
        assert family._used[child.pid] >= 0.2
        assert child.stdin is not None
        child.stdin.close()
    clock.advance(CHILDREN_S / 4)
    assert (family.cpu() or 0.0) >= 0.0, "a child that has ended is no fault"


def test_the_processor_history_has_a_point_each_five_seconds(tmp_path: Path) -> None:
    clock = FakeClock()
    host = Host(tmp_path, clock=clock)
    for _ in range(21):
        host.read()
        clock.advance(1.0)
    assert len(host.read().cpu_history) == 5


def test_a_folder_that_is_not_there_has_no_disk(tmp_path: Path) -> None:
    view = Host(tmp_path / "missing").read()
    assert view.disk_free is None
    assert view.disk_full_in_s is None


def test_an_engine_counts_its_own_threads_and_files(tmp_path: Path) -> None:
    host = Host(tmp_path)
    before = host.read().engine_handles or 0
    with open(os.devnull):
        assert (host.read().engine_handles or 0) == before + 1


@pytest.mark.parametrize(
    ("samples", "left"),
    [
        ([], None),
        ([(t, GIB * 10 - t * 2**20) for t in range(0, 600, 5)], None),  # too short
        ([(t, 10 * GIB) for t in range(0, 700, 5)], None),  # not filling
        ([(t, 10 * GIB + t) for t in range(0, 700, 5)], None),  # emptying
        ([(t, GIB * 10 - t * 2**20) for t in range(0, 705, 5)], (GIB * 10 - 700 * 2**20) / 2**20),
        ([(t, 10**15 - t) for t in range(0, 700, 5)], None),  # in thirty million years
        ([(t, max(0, GIB - t * GIB // 50)) for t in range(0, 705, 5)], 0.0),  # full already
    ],
)
def test_the_slope_of_free_space_tells_when_a_disk_is_full(samples: list[tuple[float, int]], left: float | None) -> None:
    assert full_in_s(samples) == (left if left is None else pytest.approx(left, rel=0.01))


@given(st.lists(st.integers(0, 10**13), min_size=121, max_size=181))
def test_a_jumping_disk_never_gives_a_senseless_time(free: list[int]) -> None:
    left = full_in_s([(5.0 * i, f) for i, f in enumerate(free)])
    assert left is None or 0 <= left <= DISK_LONGEST_S
