"""Calls that share a device's memory: beside each other, and alone when one did not fit beside the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from gainstage.engine.errors import OutOfMemory
from gainstage.engine.flow.batcher import Batcher, BatchRecord
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.device_calls import DeviceCalls

PATIENCE_S = 20.0


class Memory:
    """Of a card: a call takes some for as long as it runs, or is refused."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.lock = threading.Lock()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        with self.lock:
            if size > self.left:
                raise OutOfMemory("CUDA out of memory")
            self.left -= size
        try:
            yield
        finally:
            with self.lock:
                self.left += size


def test_calls_run_beside_each_other() -> None:
    device, all_there = DeviceCalls(), threading.Barrier(3)

    def call() -> None:
        with device.beside():
            all_there.wait(PATIENCE_S)

    with ThreadPoolExecutor(3) as pool:
        for job in [pool.submit(call) for _ in range(3)]:
            job.result()


def test_a_call_that_is_to_be_alone_waits_for_those_under_way_and_keeps_the_others_waiting() -> None:
    device, ended = DeviceCalls(), threading.Event()
    running: list[str] = []
    seen: list[tuple[str, ...]] = []
    first_runs = threading.Event()

    def call(name: str, how: Callable[[], object], until: threading.Event | None = None) -> None:
        with how():  # type: ignore[attr-defined]
            running.append(name)
            first_runs.set()
            seen.append(tuple(running))
            if until is not None:
                assert until.wait(PATIENCE_S)
            running.remove(name)

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(call, "first", device.beside, ended)]
        assert first_runs.wait(PATIENCE_S)
        jobs += [pool.submit(call, name, device.alone) for name in ("alone", "alone too")]
        while device._waiting < 2:
            assert not jobs[1].done()
        jobs.append(pool.submit(call, "late", device.beside))
        ended.set()
        for job in jobs:
            job.result(PATIENCE_S)
    assert sorted(seen) == [("alone",), ("alone too",), ("first",), ("late",)], "each was by itself"
    assert seen[-1] == ("late",), "whoever waits to be alone goes first"


def test_a_call_within_a_call_belongs_to_it() -> None:
    device = DeviceCalls()
    with device.alone(), device.beside(), device.beside():
        pass
    with device.beside(), pytest.raises(RuntimeError, match="within a call"), device.alone():
        pass
    with device.alone():
        pass


def test_a_call_that_fails_leaves_the_device_to_the_others() -> None:
    device = DeviceCalls()
    for how in (device.beside, device.alone, device.beside, device.alone):
        with pytest.raises(ValueError, match="broken"), how():
            raise ValueError("broken")


@pytest.mark.parametrize("shared", [True, False])
def test_items_that_fit_only_one_after_the_other_are_all_done(shared: bool) -> None:
    """Two models on one card, each with a single item of six tenths of its memory."""
    memory, device = Memory(10), DeviceCalls() if shared else None
    first_runs, second_failed = threading.Event(), threading.Event()
    records: list[BatchRecord] = []

    def first(items: list[int]) -> list[int]:
        with memory.taken(6):
            first_runs.set()
            assert second_failed.wait(PATIENCE_S)
            return items

    def second(items: list[int]) -> list[int]:
        assert first_runs.wait(PATIENCE_S)
        with memory.taken(6):
            return items

    one = Batcher("one", first, cost=float, budget=1.0, linger_s=0.0, device=device)
    two = Batcher(
        "two",
        second,
        cost=float,
        budget=1.0,
        linger_s=0.0,
        device=device,
        on_oom=second_failed.set,
        on_batch=records.append,
    )
    with one, two, ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(b.submit, [1], token=CancelToken()) for b in (one, two)]
        results = [job.result(PATIENCE_S) for job in jobs]
    assert results[0] == [1]
    if shared:
        assert results[1] == [1]
        assert [r.outcome for r in records] == ["out of memory", "ok"]
    else:
        assert isinstance(results[1][0], OutOfMemory)


def test_an_item_that_does_not_fit_even_alone_is_refused_and_its_company_is_not() -> None:
    memory, records = Memory(10), list[BatchRecord]()

    def run(items: list[int]) -> list[int]:
        with memory.taken(sum(items)):
            return items

    with Batcher(
        "b", run, cost=float, budget=40.0, linger_s=0.0, device=DeviceCalls(), on_batch=records.append, sort=float
    ) as batcher:
        results = batcher.submit([3, 3, 11, 3], token=CancelToken())
    assert [r for r in results if not isinstance(r, Exception)] == [3, 3, 3]
    assert isinstance(results[2], OutOfMemory)
    assert [r.items for r in records if r.outcome == "out of memory"] == [4, 2, 1, 1]
