"""A batcher's calls, records and limits to the figure, by a clock of our own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import pytest

from gainstage.engine.errors import Cancelled, Misconfigured, OutOfMemory, Permanent, Transient
from gainstage.engine.flow import batcher as module
from gainstage.engine.flow.batcher import Batcher, BatchRecord
from gainstage.engine.flow.cancel import CancelToken
from tests.clock_kit import Clock
from tests.unit.test_batcher import FOREVER_S, PATIENCE_S, Submitter, Worker, double, waits_for


def test_a_record_says_what_a_call_was_and_how_long_it_and_its_oldest_item_took() -> None:
    clock, records = Clock(100.0), list[BatchRecord]()

    def run(items: list[int]) -> list[int]:
        clock.now += 3.0
        return double(items)

    with Batcher(
        "voices",
        run,
        cost=float,
        budget=8.0,
        linger_s=0.0,
        unit="seconds",
        padded=float,
        on_batch=records.append,
        clock=clock,
        wall=lambda: 7.0,
    ) as batcher:
        assert batcher.submit([1, 3, 4], token=CancelToken()) == [2, 6, 8]
        seen = batcher.view()
    (record,) = records
    assert (record.batcher, record.items, record.cost, record.budget, record.unit) == ("voices", 3, 8.0, 8.0, "seconds")
    assert (record.why, record.outcome, record.cause, record.start_wall) == ("full", "ok", None, 7.0)
    assert (record.waited_s, record.service_s) == (0.0, 3.0)
    assert record.padding == pytest.approx(1 - 8 / 12)
    assert (seen.batches, seen.items, seen.refused, seen.waiting) == (1, 3, 0, 0)


def test_a_call_without_lengths_has_no_padding_and_one_of_one_length_none_of_it() -> None:
    for padded, padding in ((None, None), (lambda _: 0.0, None), (lambda _: 0.5, 0.0)):
        records: list[BatchRecord] = []
        with Batcher("b", double, cost=float, budget=8.0, linger_s=0.0, padded=padded, on_batch=records.append) as batcher:
            batcher.submit([1, 2], token=CancelToken())
        assert {r.padding for r in records} == {padding}


def test_a_failure_is_recorded_by_its_cause_and_given_to_its_item() -> None:
    records: list[BatchRecord] = []
    errors: dict[int, Exception] = {
        1: Permanent("x", cause="bad window"),
        2: ValueError("odd"),
        3: Misconfigured("y", cause="no model"),
    }

    def run(items: list[int]) -> Sequence[int]:
        raise errors[items[0]]

    with Batcher("b", run, cost=float, budget=1.0, linger_s=0.0, on_batch=records.append) as batcher:
        for item, error in errors.items():
            assert batcher.submit([item], token=CancelToken()) == [error]
        seen = batcher.view()
    assert [(r.outcome, r.cause) for r in records] == [
        ("failed", "bad window"),
        ("failed", "ValueError: odd"),
        ("failed", "no model"),
    ]
    assert (seen.refused, seen.items, seen.batches) == (3, 0, 0)


def test_a_setup_that_is_wrong_or_ends_is_told_to_all_of_a_call_at_once() -> None:
    for error in (Misconfigured("y", cause="no model"), Cancelled("the end")):
        calls = []

        def run(items: list[int], error: Exception = error, calls: list[int] = calls) -> Sequence[int]:
            calls.append(len(items))
            raise error

        with Batcher("b", run, cost=lambda _: 1.0, budget=4.0, linger_s=0.0) as batcher:
            assert batcher.submit([1, 2, 3, 4], token=CancelToken()) == [error] * 4
        assert calls == [4]


def test_halves_begin_with_the_larger_and_come_in_order_and_are_tries() -> None:
    records: list[BatchRecord] = []

    def run(items: list[int]) -> list[int]:
        if len(items) > 1:
            raise ValueError("too many")
        return double(items)

    calls: list[list[int]] = []

    def noted(items: list[int]) -> list[int]:
        calls.append(list(items))
        return run(items)

    with Batcher("b", noted, cost=lambda _: 1.0, budget=5.0, linger_s=0.0, on_batch=records.append) as batcher:
        assert batcher.submit([1, 2, 3, 4, 5], token=CancelToken()) == [2, 4, 6, 8, 10]
        seen = batcher.view()
    assert calls == [[1, 2, 3, 4, 5], [1, 2, 3], [1, 2], [1], [2], [3], [4, 5], [4], [5]]
    assert [r.why for r in records] == ["full", *["retry"] * 8]
    assert (seen.items, seen.refused) == (5, 0)


def test_a_single_item_that_does_not_fit_is_told_its_size() -> None:
    freed = []

    def run(items: list[float]) -> list[float]:
        raise MemoryError("CUDA out of memory")

    with Batcher("voices", run, cost=float, budget=9.0, linger_s=0.0, unit="seconds", on_oom=lambda: freed.append(1)) as batcher:
        (error,) = batcher.submit([2.5], token=CancelToken())
    assert isinstance(error, OutOfMemory)
    assert error.message == "voices: one item of 2.5 seconds does not fit into memory: CUDA out of memory"
    assert (error.cause, error.hint) == ("out of memory", "Free memory of the device, or run fewer workers.")
    assert freed == [1]


def test_what_counts_as_out_of_memory_may_be_said_by_the_owner() -> None:
    for is_oom, outcome in ((None, "failed"), (lambda _: True, "out of memory"), (lambda _: False, "failed")):
        records: list[BatchRecord] = []

        def run(items: list[int]) -> list[int]:
            raise ValueError("alloc")

        with Batcher("b", run, cost=float, budget=1.0, linger_s=0.0, is_oom=is_oom, on_batch=records.append) as batcher:
            batcher.submit([1], token=CancelToken())
        assert [r.outcome for r in records] == [outcome]


@pytest.mark.parametrize("runners", [1, 2])
def test_threads_have_the_name_of_their_batcher_and_their_number_among_several(runners: int) -> None:
    names = {"voices-batcher"} if runners == 1 else {"voices-batcher-1", "voices-batcher-2"}
    with Batcher("voices", double, cost=float, budget=1.0, linger_s=0.0, runners=runners):
        ours = {t.name: t.daemon for t in threading.enumerate() if t.name.startswith("voices-batcher")}
        assert ours == dict.fromkeys(names, True)
    assert not any(t.name.startswith("voices-batcher") for t in threading.enumerate())


def test_constants_of_waiting() -> None:
    assert (module.HELD_POLL_S, module.CLOSE_S) == (0.1, 60.0)


def test_while_held_no_call_begins() -> None:
    held = threading.Event()
    held.set()
    asked = threading.Semaphore(0)

    def is_held() -> bool:
        asked.release()
        return held.is_set()

    with Batcher("b", double, cost=float, budget=1.0, linger_s=0.0, held=is_held) as batcher:
        one = Submitter(batcher, [1])
        waits_for(batcher, 1)
        for _ in range(3):
            assert asked.acquire(timeout=PATIENCE_S)
        assert batcher.view().batches == 0
        held.clear()
        assert one.done().results == [2]


def noted() -> tuple[Callable[[], AbstractContextManager[None]], threading.Event, threading.Event]:
    """What a submitter waits in, and events of its beginning and its end."""
    entered, left = threading.Event(), threading.Event()

    @contextmanager
    def waiting() -> Iterator[None]:
        entered.set()
        yield
        left.set()

    return waiting, entered, left


def test_who_waits_for_a_batch_to_fill_does_so_until_a_call_begins() -> None:
    worker, (waiting, entered, left) = Worker(), noted()

    with Batcher("b", worker, cost=float, budget=2.0, linger_s=FOREVER_S) as batcher:
        one = threading.Thread(target=lambda: batcher.submit([1], token=CancelToken(), waiting=waiting), daemon=True)
        one.start()
        assert entered.wait(PATIENCE_S)
        waits_for(batcher, 1)
        assert not left.is_set()
        two = Submitter(batcher, [1])
        assert worker.begun.acquire(timeout=PATIENCE_S)
        assert left.wait(PATIENCE_S)
        worker.go.set()
        one.join(PATIENCE_S)
        assert two.done().results == [2]


def test_who_comes_while_a_call_is_under_way_waits_for_its_turn_at_the_model() -> None:
    worker, (waiting, _, left) = Worker(), noted()

    with Batcher("b", worker, cost=float, budget=1.0, linger_s=FOREVER_S) as batcher:
        first = Submitter(batcher, [1])
        assert worker.begun.acquire(timeout=PATIENCE_S)
        late = threading.Thread(target=lambda: batcher.submit([0], token=CancelToken(), waiting=waiting), daemon=True)
        late.start()
        assert left.wait(PATIENCE_S)
        worker.go.set()
        first.done()
        batcher.resize(linger_s=0.0)
        late.join(PATIENCE_S)
        assert not late.is_alive()


def test_a_higher_priority_goes_before_what_waits() -> None:
    worker = Worker()
    with Batcher("b", worker, cost=float, budget=1.0, linger_s=0.0) as batcher:
        first = Submitter(batcher, [1])
        assert worker.begun.acquire(timeout=PATIENCE_S)
        low = Submitter(batcher, [2])
        waits_for(batcher, 1)
        high = threading.Thread(target=lambda: batcher.submit([3], token=CancelToken(), priority=1), daemon=True)
        high.start()
        waits_for(batcher, 2)
        worker.go.set()
        first.done()
        low.done()
        high.join(PATIENCE_S)
    assert worker.calls == [[1], [3], [2]]


def test_a_budget_that_is_set_again_as_it_was_does_not_forget_what_did_not_fit() -> None:
    full = [True]

    def run(items: list[int]) -> list[int]:
        if full[0] and len(items) > 2:
            raise MemoryError
        return double(items)

    with Batcher("b", run, cost=lambda _: 1.0, budget=4.0, linger_s=0.0) as batcher:
        batcher.submit([1, 2, 3, 4], token=CancelToken())
        assert batcher.view().budget == 2.0
        batcher.resize(budget=4.0, linger_s=0.0)
        assert batcher.view().budget == 2.0
        batcher.resize(budget=6.0)
        assert batcher.view().budget == 6.0


@pytest.mark.parametrize("linger_s", [-1.0, float("nan")])
def test_a_linger_below_nothing_is_refused(linger_s: float) -> None:
    with pytest.raises(ValueError, match="cannot linger"):
        Batcher("b", double, cost=float, budget=1.0, linger_s=linger_s)
    with Batcher("b", double, cost=float, budget=1.0, linger_s=0.0) as batcher, pytest.raises(ValueError, match="cannot linger"):
        batcher.resize(linger_s=linger_s)


@pytest.mark.parametrize("cost", [-1.0, float("nan")])
def test_an_item_that_costs_less_than_nothing_is_refused(cost: float) -> None:
    with Batcher("b", double, cost=lambda _: cost, budget=1.0, linger_s=0.0, unit="seconds") as batcher:
        with pytest.raises(ValueError, match=r"b: an item cannot cost (-1\.0|nan) seconds"):
            batcher.submit([1], token=CancelToken())
        assert batcher.view().waiting == 0


def test_an_item_may_cost_nothing() -> None:
    with Batcher("b", double, cost=lambda _: 0.0, budget=1.0, linger_s=0.0) as batcher:
        assert batcher.submit([1], token=CancelToken()) == [2]


def test_after_the_end_nothing_is_taken_and_the_first_reason_stands() -> None:
    batcher = Batcher("b", double, cost=float, budget=1.0, linger_s=0.0)
    batcher.close("done for today")
    batcher.close("again")
    with pytest.raises(Cancelled, match="done for today"):
        batcher.submit([1], token=CancelToken())


def test_the_weight_in_calls_is_given_back_when_a_call_ends_and_may_be_changed() -> None:
    worker, looks = Worker(), threading.Semaphore(0)

    def producers() -> int:  # asked whenever a runner looks for a batch, before it goes to sleep
        looks.release()
        return 99

    with Batcher(
        "b", worker, cost=lambda _: 1.0, budget=1.0, linger_s=0.0, weight=float, most_running=2.0, runners=2, producers=producers
    ) as batcher:
        for _ in range(2):
            assert looks.acquire(timeout=PATIENCE_S)
        one = Submitter(batcher, [2, 2])
        assert worker.begun.acquire(timeout=PATIENCE_S)
        for _ in range(2):
            assert looks.acquire(timeout=PATIENCE_S), "one runner takes a batch, the other finds none that may go and sleeps"
        assert worker.calls == [[2]]
        batcher.limit_running(4.0)
        assert worker.begun.acquire(timeout=PATIENCE_S)
        worker.go.set()
        assert one.done().results == [4, 4]
        assert batcher.submit([2, 2, 2], token=CancelToken()) == [4, 4, 4]


def test_what_broke_a_batcher_is_told_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def producers() -> int:
        raise OSError("boom")

    with (
        Batcher("b", double, cost=float, budget=9.0, linger_s=FOREVER_S, producers=producers) as batcher,
        pytest.raises(Transient) as raised,
    ):
        batcher.submit([1], token=CancelToken())
    assert raised.value.message == "the b batcher broke: OSError: boom"
    assert (raised.value.cause, raised.value.hint) == ("batcher broke", "A fault of gainstage; restart the engine.")
