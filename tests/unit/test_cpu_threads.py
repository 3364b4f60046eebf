"""CPU threads are divided by the slots that call PyTorch, again when slots change, and BLAS libraries take no more than their caller."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from gainstage.config.settings import Settings, changed
from gainstage.engine.models import cpu_threads
from gainstage.engine.models.cpu_threads import divide, follow
from gainstage.engine.telemetry import cores


@pytest.fixture
def sixteen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(cores, "budget", lambda: 16)
    monkeypatch.setattr(cpu_threads, "_threads", None)
    monkeypatch.setattr(cpu_threads, "_local", threading.local())
    with threadpool_limits(limits=None):
        yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("slots", "threads"), [(1, 8), (2, 5), (3, 4), (7, 2), (8, 1)])
def test_slots_share_the_cores(sixteen: None, slots: int, threads: int) -> None:
    assert divide(changed(Settings(), "workers.diarize", slots)) == threads
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == threads, "a thread that begins later has its part"


def test_a_thread_that_has_computed_before_follows_a_change_of_slots(sixteen: None) -> None:
    with ThreadPoolExecutor(1) as pool:

        def threads_of_a_call() -> int:
            follow()
            torch.ones(8) @ torch.ones(8)
            return torch.get_num_threads()

        divide(changed(Settings(), "workers.diarize", 1))
        assert pool.submit(threads_of_a_call).result() == 8
        divide(changed(Settings(), "workers.diarize", 7))
        assert pool.submit(threads_of_a_call).result() == 2


def test_no_product_of_numpy_uses_more_than_the_thread_that_asks(sixteen: None) -> None:
    divide(Settings())
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}
    large, end = np.ones((1500, 1500)), threading.Event()
    ticks = os.sysconf("SC_CLK_TCK")

    def busy() -> dict[str, int]:
        """Processor ticks of every thread of this process, also those that Python does not know."""
        found = {}
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            found[thread] = int(fields[11]) + int(fields[12])
        return found

    def work() -> str:
        while not end.is_set():
            large @ large
        return str(threading.get_native_id())

    before = busy()
    with ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(work) for _ in range(2)]
        while sum(busy().values()) - sum(before.values()) < ticks:  # a second of processor time
            end.wait(0.01)
        after = busy()
        end.set()
        ours = {str(threading.get_native_id())} | {worker.result() for worker in workers}
    others = sum(after[thread] - before.get(thread, 0) for thread in after if thread not in ours)
    assert others < 0.2 * ticks, "threads of the library computed beside the two that asked"


def test_a_library_that_is_loaded_late_takes_one_thread_as_well() -> None:
    code = """
from gainstage.config.settings import Settings
from gainstage.engine.models import quiet
from gainstage.engine.models.cpu_threads import divide
with quiet.importing():
    divide(Settings())
    import scipy.linalg
from threadpoolctl import threadpool_info
pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
assert len(pools) >= 2, pools
assert {pool["num_threads"] for pool in pools} == {1}, pools
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_threads_are_divided_while_another_thread_still_imports_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(
        "import threading\nhalf = threading.Event()\ngo = threading.Event()\nhalf.set()\ngo.wait(30)\n"
        "def set_num_threads(count): print('threads', count)\n"
    )
    code = (
        "import sys, threading, time\n"
        "from gainstage.config.settings import Settings\n"
        "from gainstage.engine.models import cpu_threads\n"
        "threading.Thread(target=lambda: __import__('torch')).start()\n"
        "while 'torch' not in sys.modules or not hasattr(sys.modules['torch'], 'go'): time.sleep(0.001)\n"
        "threading.Timer(0.2, sys.modules['torch'].go.set).start()\n"
        "cpu_threads.divide(Settings())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("threads "), done.stderr
