"""The batcher with real threads: nothing lost, nothing out of order, only the guilty fail."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from gainstage.engine.errors import Cancelled
from gainstage.engine.flow.batcher import Batcher, BatchRecord
from gainstage.engine.flow.cancel import CancelToken

PATIENCE_S = 60.0
FOREVER_S = 1e6


def double(items: list[int]) -> list[int]:
    return [2 * item for item in items]


class Worker:
    """A batcher's run function that can be held, and remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()

    def __call__(self, items: list[int]) -> Sequence[int]:
        self.calls.append(list(items))
        self.begun.release()
        assert self.go.wait(PATIENCE_S)
        return double(items)


class Submitter(threading.Thread):
    def __init__(self, batcher: Batcher[int, int], items: list[int], token: CancelToken | None = None) -> None:
        super().__init__(daemon=True)
        self.batcher, self.items, self.token = batcher, items, token or CancelToken()
        self.results: list[int | Exception] | None = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.results = self.batcher.submit(self.items, token=self.token)
        except Exception as error:
            self.error = error

    def done(self) -> Submitter:
        self.join(PATIENCE_S)
        assert not self.is_alive()
        return self


def waits_for(batcher: Batcher[int, int], n: int) -> None:
    pause = threading.Event()
    while batcher.view().waiting != n:
        pause.wait(0.001)


def test_results_come_back_in_order() -> None:
    with Batcher("b", double, cost=lambda _: 1.0, budget=7.0, linger_s=0.0) as batcher:
        assert batcher.submit(list(range(100)), token=CancelToken()) == double(list(range(100)))
        assert batcher.submit([], token=CancelToken()) == []
        view = batcher.view()
    assert (view.items, view.waiting, view.refused, view.out_of_memory) == (100, 0, 0, 0)
    assert view.items_max == 7
    assert sum(view.sizes) == view.batches


def test_items_of_many_threads_share_a_call_once_everybody_waits() -> None:
    worker = Worker()
    worker.go.set()
    with Batcher("b", worker, cost=lambda _: 1.0, budget=100.0, linger_s=FOREVER_S, producers=lambda: 4) as batcher:
        submitters = [Submitter(batcher, [n, n + 10]) for n in range(4)]
        assert [s.done().results for s in submitters] == [double(s.items) for s in submitters]
    assert [sorted(call) for call in worker.calls] == [sorted(n + k for n in range(4) for k in (0, 10))]


def test_a_full_batch_does_not_linger() -> None:
    with Batcher("b", double, cost=lambda _: 1.0, budget=4.0, linger_s=FOREVER_S) as batcher:
        assert batcher.submit([1, 2, 3, 4], token=CancelToken()) == [2, 4, 6, 8]


def test_a_lingering_batch_goes_when_the_limits_or_the_producers_change() -> None:
    producers = [2]
    with Batcher("b", double, cost=lambda _: 1.0, budget=4.0, linger_s=FOREVER_S, producers=lambda: producers[0]) as batcher:
        submitter = Submitter(batcher, [1, 2])
        waits_for(batcher, 2)
        batcher.resize(budget=2.0)
        assert submitter.done().results == [2, 4]
        submitter = Submitter(batcher, [3])
        waits_for(batcher, 1)
        batcher.resize(linger_s=0.0)
        assert submitter.done().results == [6]
        batcher.resize(linger_s=FOREVER_S)
        submitter = Submitter(batcher, [4])
        waits_for(batcher, 1)
        producers[0] = 1
        batcher.wake()
        assert submitter.done().results == [8]
        assert batcher.view().budget == 2.0


def test_only_items_of_equal_key_share_a_call() -> None:
    calls: list[list[int]] = []

    def run(items: list[int]) -> list[int]:
        calls.append(items)
        return double(items)

    with Batcher("b", run, cost=lambda _: 1.0, budget=50.0, linger_s=0.0, key=lambda n: n % 3) as batcher:
        assert batcher.submit(list(range(30)), token=CancelToken()) == double(list(range(30)))
    assert all(len({n % 3 for n in call}) == 1 for call in calls)
    assert len(calls) == 3


def test_padding_and_fill_are_measured() -> None:
    texts = ["a" * 10, "b" * 40, "c" * 12, "d" * 38]
    with Batcher(
        "texts",
        lambda items: [len(t) for t in items],
        cost=lambda _: 1.0,
        budget=2.0,
        linger_s=0.0,
        sort=len,
        padded=len,
        unit="texts",
    ) as batcher:
        assert batcher.submit(texts, token=CancelToken()) == [10, 40, 12, 38]
        view = batcher.view()
    assert view.fill == 1.0
    assert view.padding_waste == pytest.approx(1 - 100 / (2 * 12 + 2 * 40))
    assert (view.items_p50, view.items_max, view.unit) == (2, 2, "texts")


def test_a_cancelled_submitter_leaves_at_once_and_its_items_are_not_run() -> None:
    worker = Worker()
    with Batcher("b", worker, cost=lambda _: 1.0, budget=1.0, linger_s=0.0) as batcher:
        first = Submitter(batcher, [1, 2])
        assert worker.begun.acquire(timeout=PATIENCE_S)
        second = Submitter(batcher, [3])
        waits_for(batcher, 2)
        first.token.cancel("operator asked")
        assert isinstance(first.done().error, Cancelled)
        waits_for(batcher, 1)
        worker.go.set()
        assert second.done().results == [6]
    assert worker.calls == [[1], [3]]
    token = CancelToken()
    token.cancel("late")
    with pytest.raises(Cancelled, match="late"):
        batcher.submit([1], token=token)


def test_closing_ends_the_threads_and_sends_everybody_home() -> None:
    worker = Worker()
    batcher = Batcher("closing", worker, cost=lambda _: 1.0, budget=1.0, linger_s=0.0, runners=2)
    running = [Submitter(batcher, [n]) for n in (1, 2)]
    for _ in running:
        assert worker.begun.acquire(timeout=PATIENCE_S)
    waiting = Submitter(batcher, [3])
    waits_for(batcher, 1)
    assert {t.name for t in threading.enumerate()} >= {"closing-batcher-1", "closing-batcher-2"}
    closer = threading.Thread(target=batcher.close, args=("engine stops",), daemon=True)
    closer.start()
    assert isinstance(waiting.done().error, Cancelled)
    worker.go.set()
    closer.join(PATIENCE_S)
    assert not closer.is_alive()
    assert not any(t.name.startswith("closing-batcher") for t in threading.enumerate())
    with pytest.raises(Cancelled, match="engine stops"):
        batcher.submit([1], token=CancelToken())
    batcher.close()


# -- waits and wakes ----------------------------------------------------------------------------------------------------


def test_the_wait_of_a_batch_is_that_of_its_oldest_item_until_its_call_begins() -> None:
    clock = [100.0]
    records: list[BatchRecord] = []
    with Batcher(
        "b",
        double,
        cost=lambda _: 1.0,
        budget=4.0,
        linger_s=FOREVER_S,
        clock=lambda: clock[0],
        on_batch=records.append,
    ) as batcher:
        first = Submitter(batcher, [1, 2])
        waits_for(batcher, 2)
        clock[0] = 104.0
        second = Submitter(batcher, [3])
        waits_for(batcher, 3)
        clock[0] = 107.0
        third = Submitter(batcher, [4])
        assert [s.done().results for s in (first, second, third)] == [[2, 4], [6], [8]]
        view = batcher.view()
    assert [(r.waited_s, r.items, r.why) for r in records] == [(7.0, 4, "full")]
    assert view.wait_p50_s == pytest.approx(3.0, rel=0.03)
    assert view.wait_p95_s == pytest.approx(7.0, rel=0.03)


def test_what_is_left_in_line_wakes_the_next_runner() -> None:
    """Two items of one submission are two batches: the second runner takes its one while the first is still in its call."""
    worker = Worker()
    with Batcher("b", worker, cost=lambda _: 1.0, budget=1.0, linger_s=0.0, runners=2) as batcher:
        submitter = Submitter(batcher, [1, 2])
        assert worker.begun.acquire(timeout=PATIENCE_S)
        assert worker.begun.acquire(timeout=PATIENCE_S), "the second runner sleeps beside waiting work"
        worker.go.set()
        assert submitter.done().results == [2, 4]
    assert sorted(worker.calls) == [[1], [2]]


def test_what_one_owner_may_not_have_in_calls_yet_goes_when_its_call_ends() -> None:
    worker = Worker()
    with Batcher(
        "b", worker, cost=lambda _: 1.0, budget=1.0, linger_s=0.0, weight=lambda n: float(n), most_running=30.0, runners=3
    ) as batcher:
        alone = Submitter(batcher, [20, 21, 9])
        worker.begun.acquire(timeout=PATIENCE_S)
        worker.begun.acquire(timeout=PATIENCE_S)
        waits_for(batcher, 1)
        assert sorted(worker.calls) == [[9], [20]], "20 and 9 fit together, 21 has to wait"
        worker.go.set()
        assert alone.done().results == double(alone.items)
        batcher.limit_running(None)
        worker.go.clear()
        free = Submitter(batcher, [40, 41, 42])
        for _ in range(4):  # one of them was left by the first three calls
            assert worker.begun.acquire(timeout=PATIENCE_S)
        worker.go.set()
        assert free.done().results == double(free.items)
