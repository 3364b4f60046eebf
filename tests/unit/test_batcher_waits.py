"""Who waits for a batch and for how long, who counts as waiting, and what is left of those who went away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import pytest

from gainstage.engine.errors import Cancelled, Permanent, Transient
from gainstage.engine.flow.adaptive_budget import GROWTH, PATIENCE
from gainstage.engine.flow.batcher import Batcher, BatchRecord
from gainstage.engine.flow.cancel import CancelToken
from tests.clock_kit import Clock
from tests.unit.test_batcher import FOREVER_S, PATIENCE_S, Submitter, Worker, double, waits_for


class Noted(threading.Condition):
    """A condition that notes for how long it is waited for."""

    def __init__(self, lock: threading.Lock | None = None) -> None:
        super().__init__(lock)
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return super().wait(timeout)


def until(holds: Callable[[], bool]) -> None:
    pause, end = threading.Event(), time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        pause.wait(0.001)


def test_a_runner_sleeps_for_as_long_as_the_oldest_item_may_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(100.0)
    with monkeypatch.context() as patched:
        patched.setattr(threading, "Condition", Noted)
        batcher = Batcher("b", double, cost=float, budget=9.0, linger_s=FOREVER_S, clock=clock)
    waits: list[float | None] = batcher._changed.waits  # type: ignore[attr-defined]
    with batcher:
        until(lambda: waits == [None])
        one = Submitter(batcher, [1])
        until(lambda: waits[-1] == FOREVER_S)
        clock.now = 100.0 + FOREVER_S - 0.5
        batcher.wake()
        until(lambda: waits[-1] != FOREVER_S)
        assert waits[-1] == 0.5
        clock.now = 100.0 + FOREVER_S
        batcher.wake()
        assert one.done().results == [2]


def has_looked(batcher: Batcher[int, int], looks: list[int]) -> None:
    """Wait until a runner has looked for a batch once more; ``looks`` grows whenever one asks for the producers."""
    before = len(looks)
    batcher.wake()
    until(lambda: len(looks) > before)


def submit(batcher: Batcher[int, int], items: list[int], waiting: Callable[[], AbstractContextManager[object]]) -> threading.Thread:
    thread = threading.Thread(target=lambda: batcher.submit(items, token=CancelToken(), waiting=waiting), daemon=True)
    thread.start()
    return thread


def test_after_a_call_has_ended_nobody_counts_as_served_by_it() -> None:
    """Whoever comes between two calls waits for a batch to fill, and does not sit at the model."""
    entered, go_on = threading.Event(), threading.Event()

    @contextmanager
    def waiting() -> Iterator[None]:
        entered.set()
        assert go_on.wait(PATIENCE_S)
        yield

    with Batcher("b", double, cost=float, budget=2.0, linger_s=FOREVER_S) as batcher:
        assert batcher.submit([2], token=CancelToken()) == [4]
        late = submit(batcher, [1], waiting)
        assert entered.wait(PATIENCE_S)
        (submission,) = batcher._open
        assert not submission.begins.acquire(blocking=False), "no call is under way"
        go_on.set()
        assert batcher.submit([1], token=CancelToken()) == [2]
        late.join(PATIENCE_S)
        assert not late.is_alive()


def test_who_has_its_results_is_none_of_those_who_wait() -> None:
    """Two submit in turn; one has its results but has not gone on yet: the other still waits for its next items."""
    worker, go_on, looks = Worker(), threading.Event(), list[int]()
    worker.go.set()

    @contextmanager
    def held_at_the_end() -> Iterator[None]:
        yield
        assert go_on.wait(PATIENCE_S)

    def producers() -> int:
        looks.append(1 + bool(worker.calls))
        return looks[-1]

    with Batcher("b", worker, cost=float, budget=9.0, linger_s=FOREVER_S, producers=producers) as batcher:
        first = submit(batcher, [1], held_at_the_end)
        until(lambda: batcher.view().batches == 1)
        second = Submitter(batcher, [2])
        waits_for(batcher, 1)
        has_looked(batcher, looks)
        go_on.set()
        first.join(PATIENCE_S)
        assert batcher.submit([3], token=CancelToken()) == [6]
        assert second.done().results == [4]
    assert worker.calls == [[1], [2, 3]]


def test_who_was_cancelled_is_none_of_those_who_wait() -> None:
    worker, looks = Worker(), list[int]()
    worker.go.set()

    def producers() -> int:
        looks.append(2)
        return 2

    with Batcher("b", worker, cost=float, budget=9.0, linger_s=FOREVER_S, producers=producers) as batcher:
        gone = Submitter(batcher, [1])
        waits_for(batcher, 1)
        gone.token.cancel("operator asked")
        assert isinstance(gone.done().error, Cancelled)
        second = Submitter(batcher, [2])
        waits_for(batcher, 1)
        has_looked(batcher, looks)
        assert batcher.submit([3], token=CancelToken()) == [6]
        assert second.done().results == [4]
    assert worker.calls == [[2, 3]]


def test_when_somebody_goes_away_those_left_may_be_everybody() -> None:
    there, looks = [3], list[int]()

    def producers() -> int:
        looks.append(there[0])
        return looks[-1]

    with Batcher("b", double, cost=float, budget=9.0, linger_s=FOREVER_S, producers=producers) as batcher:
        left, gone = Submitter(batcher, [1]), Submitter(batcher, [2])
        waits_for(batcher, 2)
        has_looked(batcher, looks)
        there[0] = 1
        gone.token.cancel("operator asked")
        assert left.done().results == [2]
        assert isinstance(gone.done().error, Cancelled)


def test_a_wait_that_breaks_off_takes_its_items_back() -> None:
    @contextmanager
    def broken() -> Iterator[None]:
        raise Permanent("the stage has gone")
        yield

    with Batcher("b", double, cost=float, budget=9.0, linger_s=FOREVER_S) as batcher:
        with pytest.raises(Permanent):
            batcher.submit([1, 2], token=CancelToken(), waiting=broken)
        assert batcher.view().waiting == 0


def test_a_token_that_is_used_again_and_again_does_not_gather_callbacks() -> None:
    removed = []

    class Counting(CancelToken):
        def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
            remove = super().on_cancel(callback)
            return lambda: removed.append(remove())

    token = Counting()
    with Batcher("b", double, cost=float, budget=1.0, linger_s=0.0) as batcher:
        for _ in range(3):
            batcher.submit([1], token=token)
    assert removed == [None] * 3


def test_a_batcher_that_ends_keeps_nothing_in_line() -> None:
    worker = Worker()
    batcher = Batcher("b", worker, cost=float, budget=1.0, linger_s=0.0)
    running = Submitter(batcher, [1])
    assert worker.begun.acquire(timeout=PATIENCE_S)
    waiting = Submitter(batcher, [2])
    waits_for(batcher, 1)
    closer = threading.Thread(target=batcher.close, daemon=True)
    closer.start()
    assert [type(s.done().error) for s in (running, waiting)] == [Cancelled, Cancelled]
    assert batcher.view().waiting == 0
    worker.go.set()
    closer.join(PATIENCE_S)
    assert worker.calls == [[1]]


# -- calls --------------------------------------------------------------------------------------------------------------


def test_of_a_call_that_failed_the_half_of_who_went_away_is_left_out_and_the_other_half_is_tried() -> None:
    calls: list[list[int]] = []
    token = CancelToken()

    def run(items: list[int]) -> Sequence[int]:
        calls.append(items)
        if len(items) > 1:
            token.cancel("operator asked")
            raise ValueError("too many")
        return double(items)

    with Batcher("b", run, cost=float, budget=3.0, linger_s=FOREVER_S) as batcher:
        gone = Submitter(batcher, [1], token)
        waits_for(batcher, 1)
        assert batcher.submit([2], token=CancelToken()) == [4]
        assert isinstance(gone.done().error, Cancelled)
    assert calls == [[1, 2], [2]]


def test_a_batcher_has_one_runner_and_no_limit_by_weight_unless_it_is_given_more() -> None:
    calls: list[list[int]] = []

    def run(items: list[int]) -> list[int]:
        calls.append(items)
        return double(items)

    with Batcher("lonely", run, cost=lambda _: 1.0, budget=2.0, linger_s=0.0, most_running=1.0) as batcher:
        assert [t.name for t in threading.enumerate() if t.name.startswith("lonely")] == ["lonely-batcher"]
        assert batcher.submit([1, 2], token=CancelToken()) == [2, 4]
    assert calls == [[1, 2]], "items without a weight weigh nothing"


def test_a_budget_that_shrank_grows_again_by_calls_that_fit() -> None:
    def run(items: list[int]) -> list[int]:
        if len(items) > 2:
            raise MemoryError
        return double(items)

    with Batcher("b", run, cost=lambda _: 16.0, budget=64.0, linger_s=0.0) as batcher:
        batcher.submit([1, 2, 3, 4], token=CancelToken())
        assert batcher.view().budget == 32.0
        for _ in range(PATIENCE):
            batcher.submit([1, 2], token=CancelToken())
        assert batcher.view().budget == pytest.approx(32.0 * GROWTH)


def test_a_call_that_takes_no_time_is_recorded_so_and_a_long_cause_is_cut() -> None:
    records: list[BatchRecord] = []

    def run(items: list[int]) -> list[int]:
        raise ValueError("x" * 400)

    with Batcher("b", run, cost=float, budget=1.0, linger_s=0.0, clock=Clock(), on_batch=records.append) as batcher:
        batcher.submit([1], token=CancelToken())
    assert [(r.service_s, r.waited_s, len(r.cause or "")) for r in records] == [(0.0, 0.0, 200)]


def test_what_broke_a_batcher_is_cut_to_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def producers() -> int:
        raise OSError("x" * 400)

    with (
        Batcher("b", double, cost=float, budget=9.0, linger_s=FOREVER_S, producers=producers) as batcher,
        pytest.raises(Transient) as raised,
    ):
        batcher.submit([1], token=CancelToken())
    assert len(raised.value.message) == 300


@pytest.mark.parametrize(("patience_s", "left_s"), [(60.0, pytest.approx(60.0, abs=30.0)), (0.0, 0.0)])
def test_the_end_of_a_batcher_waits_for_the_call_under_way(
    monkeypatch: pytest.MonkeyPatch, patience_s: float, left_s: object
) -> None:
    joined: list[float | None] = []
    real = threading.Thread.join

    def join(self: threading.Thread, timeout: float | None = None) -> None:
        if self.name.startswith("ending"):
            joined.append(timeout)
        real(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", join)
    monkeypatch.setattr("gainstage.engine.flow.batcher.CLOSE_S", patience_s)
    with Batcher("ending", double, cost=float, budget=1.0, linger_s=0.0):
        pass
    assert joined == [left_s]
