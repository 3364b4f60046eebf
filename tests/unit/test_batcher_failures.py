"""What a batcher does with a call that fails: halves after out of memory, only the guilty item, nobody left waiting."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.engine.errors import Cancelled, Misconfigured, OutOfMemory, Permanent, Transient
from gainstage.engine.flow.batcher import Batcher, BatchRecord
from gainstage.engine.flow.cancel import CancelToken
from tests.unit.test_batcher import PATIENCE_S, Submitter, Worker, double


def test_the_same_items_are_tried_in_halves_after_out_of_memory() -> None:
    records: list[BatchRecord] = []
    freed: list[int] = []

    def run(items: list[int]) -> list[int]:
        if sum(items) > 10:
            raise OutOfMemory("CUDA out of memory")
        return double(items)

    with Batcher(
        "b",
        run,
        cost=float,
        budget=40.0,
        linger_s=0.0,
        on_batch=records.append,
        on_oom=lambda: freed.append(1),
        sort=float,
    ) as batcher:
        results = batcher.submit([5, 5, 5, 5, 99, 5, 5], token=CancelToken())
        view = batcher.view()
        assert results[:4] + results[5:] == [10] * 6
        assert isinstance(results[4], OutOfMemory)
        assert results[4].cause == "out of memory"
        assert results[4].__cause__ is None
        assert (view.items, view.refused) == (6, 1)
        assert view.out_of_memory == sum(r.outcome == "out of memory" for r in records) > 1
        assert view.budget == 7.5, "remembered for the next batch"
        before = len(records)
        assert batcher.submit([5] * 8, token=CancelToken()) == [10] * 8
        assert {r.outcome for r in records[before:]} == {"ok"}
        batcher.resize(budget=30.0)
        assert batcher.view().budget == 30.0
    assert len(freed) == view.out_of_memory


def test_nothing_of_a_call_that_ran_out_is_held_while_the_next_one_runs() -> None:
    class Tensor:
        pass

    kept: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []

    def run(items: list[int]) -> list[int]:
        alive.extend(ref() is not None for ref in kept)
        big = Tensor()
        kept.append(weakref.ref(big))
        if len(items) > 1:
            raise MemoryError("no room")
        return double(items)

    gc.disable()
    try:
        with Batcher("b", run, cost=lambda _: 1.0, budget=4.0, linger_s=0.0) as batcher:
            assert batcher.submit([1, 2, 3, 4], token=CancelToken()) == [2, 4, 6, 8]
    finally:
        gc.enable()
    assert len(kept) == 7
    assert not any(alive)


def test_only_the_guilty_item_fails() -> None:
    def run(items: list[int]) -> list[int]:
        if 13 in items:
            raise ValueError("thirteen")
        return double(items)

    with Batcher("b", run, cost=lambda _: 1.0, budget=100.0, linger_s=0.0) as batcher:
        results = batcher.submit(list(range(20)), token=CancelToken())
        view = batcher.view()
    assert results[:13] + results[14:] == double([n for n in range(20) if n != 13])
    assert isinstance(results[13], ValueError)
    assert (view.items, view.refused, view.out_of_memory) == (19, 1, 0)
    assert view.budget == 100.0


def test_a_wrong_setup_is_nobodys_guilt() -> None:
    calls: list[int] = []

    def run(items: list[int]) -> list[int]:
        calls.append(len(items))
        raise Misconfigured("no such model")

    with Batcher("b", run, cost=lambda _: 1.0, budget=100.0, linger_s=0.0) as batcher:
        results = batcher.submit([1, 2, 3], token=CancelToken())
    assert all(isinstance(r, Misconfigured) for r in results)
    assert calls == [3]


def test_a_run_that_forgets_results_is_an_error_and_an_exception_is_a_refusal() -> None:
    def forget(items: list[int]) -> list[int]:
        return double(items)[:1]

    with Batcher("b", forget, cost=lambda _: 1.0, budget=9.0, linger_s=0.0) as batcher:
        assert batcher.submit([1, 2], token=CancelToken()) == [2, 4], "alone each gets its own"
    silent = Permanent("silent")

    def refuse(items: list[int]) -> list[int | Exception]:
        return [silent if n < 0 else n for n in items]

    with Batcher("b", refuse, cost=lambda _: 1.0, budget=9.0, linger_s=0.0) as refusing:
        assert refusing.submit([1, -1, 2], token=CancelToken()) == [1, silent, 2]
        assert refusing.view().refused == 1


def test_what_cannot_be_counted_is_refused_to_the_one_who_submits_it() -> None:
    def cost(item: int) -> float:
        return float("nan") if item else 1.0

    with Batcher("b", double, cost=cost, budget=9.0, linger_s=0.0) as batcher:
        with pytest.raises(ValueError, match="cannot cost"):
            batcher.submit([1], token=CancelToken())
        assert batcher.submit([0], token=CancelToken()) == [0]
        with pytest.raises(ValueError, match="linger"):
            batcher.resize(linger_s=-1.0)


@settings(deadline=None, max_examples=40)
@given(
    submissions=st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=12), min_size=1, max_size=6),
    guilty=st.frozensets(st.integers(1, 30), max_size=3),
    memory=st.integers(5, 200),
    budget=st.integers(1, 120),
    runners=st.integers(1, 2),
    sorts=st.booleans(),
    keys=st.integers(1, 3),
)
def test_no_item_is_lost_or_out_of_order_whatever_fails(
    submissions: list[list[int]], guilty: frozenset[int], memory: int, budget: int, runners: int, sorts: bool, keys: int
) -> None:
    succeeded: list[int] = []
    oversized: list[list[int]] = []
    lock = threading.Lock()

    def run(items: list[int]) -> list[int]:
        with lock:
            if len(items) > 1 and sum(items) > budget:
                oversized.append(items)
        if sum(items) > memory:
            raise RuntimeError("CUDA out of memory")
        if guilty & set(items):
            raise KeyError(min(guilty & set(items)))
        with lock:
            succeeded.extend(items)
        return double(items)

    records: list[BatchRecord] = []
    with Batcher(
        "b",
        run,
        cost=float,
        budget=float(budget),
        linger_s=0.0005,
        key=lambda n: n % keys,
        sort=float if sorts else None,
        runners=runners,
        producers=lambda: len(submissions),
        is_oom=lambda e: "out of memory" in str(e),
        on_batch=records.append,
    ) as batcher:
        submitters = [Submitter(batcher, items) for items in submissions]
        results = [s.done().results for s in submitters]
        view = batcher.view()
    for items, got in zip(submissions, results, strict=True):
        assert got is not None
        for item, result in zip(items, got, strict=True):
            if item > memory:
                assert isinstance(result, OutOfMemory)
            elif item in guilty:
                assert isinstance(result, KeyError)
            else:
                assert result == 2 * item
    everything = [item for items in submissions for item in items]
    assert sorted(succeeded) == sorted(n for n in everything if n <= memory and n not in guilty), "each good item succeeds once"
    assert oversized == []
    assert view.items + view.refused == len(everything)
    assert view.items == sum(r.items for r in records if r.outcome == "ok")
    assert view.waiting == 0


def test_a_call_that_hangs_is_left_behind_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gainstage.engine.flow.batcher.CLOSE_S", 0.01)
    worker = Worker()
    batcher = Batcher("b", worker, cost=lambda _: 1.0, budget=1.0, linger_s=0.0)
    hanging = Submitter(batcher, [1])
    assert worker.begun.acquire(timeout=PATIENCE_S)
    batcher.close("engine stops")
    assert isinstance(hanging.done().error, Cancelled)
    worker.go.set()


def test_a_batcher_that_breaks_tells_everybody_and_is_no_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_value))

    def listener(_record: BatchRecord) -> None:
        raise RuntimeError("listener fault")

    batcher = Batcher("b", double, cost=lambda _: 1.0, budget=1.0, linger_s=0.0, on_batch=listener)
    for _ in range(2):
        with pytest.raises(Transient) as caught:
            batcher.submit([1, 2], token=CancelToken())
        assert caught.value.cause == "batcher broke"
        assert "listener fault" in caught.value.message
    batcher.close()
    assert [str(error) for error in raised] == ["listener fault"]
