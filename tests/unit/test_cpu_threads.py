"""CPU threads are divided by the slots that call PyTorch, also for the BLAS libraries."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from gainstage.config.settings import Settings, changed
from gainstage.engine.models.cpu_threads import divide
from gainstage.engine.telemetry import cores


@pytest.fixture
def sixteen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(cores, "budget", lambda: 16)
    with threadpool_limits(limits=None):
        yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("slots", "threads"), [(1, 8), (2, 5), (3, 4), (7, 2), (8, 1)])
def test_slots_share_the_cores(sixteen: None, slots: int, threads: int) -> None:
    assert divide(changed(Settings(), "workers.diarize", slots)) == threads
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == threads, "a thread that begins later has its part"
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} <= {threads}
