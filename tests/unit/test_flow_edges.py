"""Gates, batches and branches at their edges: who waited longest, what a view counts, which failure is raised."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress

import pytest

from gainstage.engine.errors import Cancelled, Permanent, Transient
from gainstage.engine.flow.adaptive_budget import AdaptiveBudget
from gainstage.engine.flow.batch_stats import BatchStats
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.gate import Gate, Visitor
from gainstage.engine.flow.pending import PendingItem, PendingItems, Submission
from gainstage.engine.flow.run_parallel import run_parallel
from gainstage.engine.views.passes import BatchRecord

PATIENCE_S = 60.0


# -- gates


def waiting(gate: Gate, recording: str, now: float, priority: int = 0) -> Visitor:
    visitor = Visitor(recording, priority)
    assert not gate.arrive(visitor, now)
    return visitor


def test_the_oldest_wait_is_that_of_whoever_came_first_whatever_the_order() -> None:
    gate = Gate(1, 0.0)
    gate.arrive(Visitor("inside"), 0.0)
    assert gate.oldest_wait_s(1.0) is None
    waiting(gate, "early", 1.0)
    waiting(gate, "urgent", 4.0, priority=9)
    assert [v.recording for v in gate.waiters] == ["urgent", "early"]
    assert gate.oldest_wait_s(10.0) == 9.0


def test_a_pause_before_somebody_came_is_no_part_of_their_wait() -> None:
    gate = Gate(1, 0.0)
    inside = Visitor("inside")
    gate.arrive(inside, 0.0)
    gate.pause("operator", 1.0)
    gate.resume("operator", 6.0)
    visitor = waiting(gate, "late", 7.0)
    assert gate.paused_of(visitor, 9.0) == 0.0
    gate.pause("operator", 9.0)
    gate.resume("operator", 11.0)
    assert gate.oldest_wait_s(12.0) == 3.0
    gate.leave(inside, 13.0)
    assert (visitor.waited_s, visitor.paused_s) == (4.0, 2.0)


def test_after_a_resize_the_lowest_free_slot_is_still_given_first() -> None:
    gate = Gate(4, 0.0)
    inside = [Visitor(str(n)) for n in range(4)]
    for visitor in inside:
        gate.arrive(visitor, 0.0)
    for n in (3, 1, 2, 0):
        gate.leave(inside[n], 1.0)
    gate.resize(6, 2.0)
    gate.resize(5, 2.0)
    given = [Visitor(f"next {n}") for n in range(5)]
    for visitor in given:
        gate.arrive(visitor, 3.0)
    assert [v.slot.index for v in given if v.slot] == [0, 1, 2, 3, 4]


def test_free_slots_beside_waiters_are_neither_starved_nor_blocked() -> None:
    """Two slots retire: the free one is held back until they have left."""
    gate = Gate(3, 0.0)
    inside = [Visitor(str(n)) for n in range(3)]
    for visitor in inside:
        gate.arrive(visitor, 0.0)
    gate.resize(1, 1.0)
    waiting(gate, "later", 1.0)
    gate.leave(inside[0], 2.0)
    gate.blocked = 1
    assert gate.rates() == (3, 2, 0, 0, 0)
    assert Gate(3, 0.0).rates() == (3, 0, 3, 0, 0)


# -- batches


def record(items: int, cost: float, budget: float = 10.0, outcome: str = "ok", service_s: float = 1.0) -> BatchRecord:
    return BatchRecord("b", items, cost, budget, "texts", "full", 0.0, service_s, outcome, None, 0.25, 0.0)  # type: ignore[arg-type]


def test_a_view_counts_calls_items_fill_and_sizes() -> None:
    stats = BatchStats(0.0)
    for items in (1, 2, 3, 4, 5, 8, 64, 65, 1000):
        stats.call(record(items, 5.0), items, 8.0)
    stats.call(record(7, 5.0, outcome="failed"), 0, 8.0)
    stats.call(record(7, 5.0, outcome="out of memory"), 0, 8.0)
    view = stats.view("b", "texts", 10.0, 3, 30.0)
    assert (view.batches, view.items, view.out_of_memory, view.waiting) == (9, 1152, 1, 3)
    assert view.sizes == (1, 1, 2, 2, 0, 0, 1, 2)
    assert (view.items_p50, view.items_max) == (5, 1000)
    assert view.fill == pytest.approx(0.5)
    assert view.padding_waste == pytest.approx(0.25)
    assert view.per_second == pytest.approx(1152 / 30)
    assert view.service_p50_s == pytest.approx(1.0, rel=0.03)
    assert view.service_p95_s == pytest.approx(1.0, rel=0.03)


def test_a_call_above_its_budget_fills_it_just_once() -> None:
    stats = BatchStats(0.0)
    stats.call(record(1, 30.0, budget=10.0), 1, 0.0)
    view = stats.view("b", "texts", 10.0, 0, 5.0)
    assert view.fill == 1.0
    assert view.padding_waste is None


def test_nothing_called_yet_is_unknown_and_not_nothing() -> None:
    view = BatchStats(0.0).view("b", "texts", 10.0, 0, 0.5)
    assert (view.fill, view.padding_waste, view.per_second, view.items_max, view.service_p50_s) == (None,) * 5


def pile(*arrived: float, keys: str = "") -> PendingItems[int]:
    made: PendingItems[int] = PendingItems(sorts=False)
    for n, at in enumerate(arrived):
        made.add(PendingItem(n, n, "owner", 1.0, 0.0, 0.0, n + 1, at), keys[n] if keys else None)
    return made


def test_a_submission_may_be_closed_twice() -> None:
    submission: Submission[int] = Submission(2)
    submission.close()
    submission.close()
    assert (submission.open, submission.left, submission.results) == (False, 2, [None, None])
    assert submission.wake.acquire(blocking=False), "who waits for it is woken"


def test_the_oldest_wait_of_several_groups_counts() -> None:
    assert pile().oldest_wait_s(9.0) is None
    assert pile(2.0, 5.0, 7.0, keys="aba").oldest_wait_s(9.0) == 7.0
    assert pile(5.0, 2.0, keys="ab").oldest_wait_s(9.0) == 7.0


def test_of_groups_that_are_due_the_one_with_the_highest_priority_goes_wherever_it_stands() -> None:
    made: PendingItems[int] = PendingItems(sorts=False)
    for order, (key, priority) in enumerate((("plain", 0), ("low", -1), ("urgent", 5)), 1):
        made.add(PendingItem(order, 0, "owner", 1.0, 0.0, 0.0, order, 0.0, priority), key)
    assert made.due(9.0, budget=10.0, linger_s=5.0, max_items=None, everybody_waits=False) == ("urgent", "age")


def test_of_two_neighbours_equally_near_in_size_the_smaller_goes_along() -> None:
    made: PendingItems[str] = PendingItems(sorts=True)
    for order, (name, near) in enumerate((("middle", 2.0), ("larger", 3.0), ("smaller", 1.0)), 1):
        made.add(PendingItem(name, 0, "owner", 1.0, near, 0.0, order, 0.0), None)
    assert [e.item for e in made.take(None, budget=2.0, max_items=None)] == ["smaller", "middle"]
    assert len(made) == 1


def test_a_group_is_full_at_its_budget_and_not_before() -> None:
    limits = {"budget": 3.0, "linger_s": 99.0, "max_items": None, "everybody_waits": False}
    assert pile(1.0, 1.0).due(2.0, **limits) is None  # type: ignore[arg-type]
    assert pile(1.0, 1.0, 1.0).due(2.0, **limits) == (None, "full")  # type: ignore[arg-type]


def test_a_group_that_is_not_due_does_not_hide_one_that_is() -> None:
    """The first group is too young, the second old enough; of two that are due the one with the older item goes."""
    limits = {"budget": 10.0, "linger_s": 5.0, "max_items": None, "everybody_waits": False}
    assert pile(8.0, 3.0, keys="ab").due(9.0, **limits) == ("b", "age")  # type: ignore[arg-type]
    assert pile(3.0, 2.0, keys="ab").due(9.0, **limits) == ("a", "age")  # type: ignore[arg-type]
    assert pile(8.0, 7.0, keys="ab").due(9.0, **limits) is None  # type: ignore[arg-type]


def test_a_single_item_that_does_not_fit_says_nothing_about_batches() -> None:
    budget = AdaptiveBudget(100.0)
    budget.ran_out(80.0, 1)
    assert budget.now == 100.0
    budget.ran_out(80.0, 2)
    assert budget.now == 40.0
    budget.ran_out(100.0, 9)
    assert budget.now == 40.0, "half of more than what is allowed is no news"


def test_a_budget_grows_after_sixteen_calls_of_at_least_half_of_it() -> None:
    budget = AdaptiveBudget(100.0)
    budget.ran_out(80.0, 2)
    for _ in range(50):
        budget.fitted(19.9)
    for _ in range(15):
        budget.fitted(20.0)
    assert budget.now == 40.0
    budget.fitted(20.0)
    assert budget.now == 60.0
    for _ in range(15):
        budget.fitted(60.0)
    assert budget.now == 60.0
    budget.fitted(60.0)
    assert budget.now == 90.0


# -- two branches


def held(event: threading.Event) -> Callable[[CancelToken], str]:
    """A branch that waits until it is cancelled, or for ``event``."""

    def work(token: CancelToken) -> str:
        event.set()
        token.wait(PATIENCE_S)
        token.check()
        return "not cancelled"

    return work


def test_two_branches_give_both_results_and_run_at_once() -> None:
    meet = threading.Barrier(2)
    helpers: dict[str, bool] = {}

    def branch(word: str) -> Callable[[CancelToken], str]:
        def work(_: CancelToken) -> str:
            meet.wait(PATIENCE_S)
            helpers[word] = threading.current_thread().daemon
            return f"{word} on {threading.current_thread().name}"

        return work

    name = threading.current_thread().name
    assert run_parallel(CancelToken(), branch("one"), branch("two")) == (f"one on {name}", f"two on {name}/b")
    assert helpers["two"], "an engine that ends does not wait for the helper of a branch"


@pytest.mark.parametrize("guilty", ["first", "second"])
def test_a_branch_that_fails_ends_the_other_and_is_what_is_raised(guilty: str) -> None:
    running = threading.Event()

    def fail(_: CancelToken) -> str:
        assert running.wait(PATIENCE_S)
        raise Permanent("no audio")

    branches = (fail, held(running)) if guilty == "first" else (held(running), fail)
    with pytest.raises(Permanent, match="no audio"):
        run_parallel(CancelToken(), *branches)


def test_of_two_failures_the_first_is_raised() -> None:
    gone = threading.Event()

    def first(_: CancelToken) -> str:
        try:
            raise Transient("the first")
        finally:
            gone.set()

    def second(token: CancelToken) -> str:
        assert gone.wait(PATIENCE_S)
        token.wait(PATIENCE_S)  # the other's failure has been noted
        raise Permanent("the second")

    with pytest.raises(Transient, match="the first"):
        run_parallel(CancelToken(), first, second)


@pytest.mark.parametrize("guilty", [0, 1])
def test_nothing_of_a_failed_recording_is_held_once_its_failure_is_dealt_with(guilty: int) -> None:
    class Arrays:
        pass

    held: list[weakref.ref[Arrays]] = []

    def fail(_: CancelToken) -> str:
        arrays = Arrays()
        held.append(weakref.ref(arrays))
        raise Permanent("no audio")

    def well(_: CancelToken) -> str:
        return "well"

    gc.disable()
    try:
        branches = (fail, well) if guilty == 0 else (well, fail)
        with suppress(Permanent):
            run_parallel(CancelToken(), *branches)
        assert held[0]() is None
    finally:
        gc.enable()


def test_a_cancelled_recording_cancels_both_branches() -> None:
    token, one, two = CancelToken(), threading.Event(), threading.Event()

    def cancel() -> None:
        assert one.wait(PATIENCE_S)
        assert two.wait(PATIENCE_S)
        token.cancel("operator asked")

    asking = threading.Thread(target=cancel)
    asking.start()
    with pytest.raises(Cancelled, match="operator asked"):
        run_parallel(token, held(one), held(two))
    asking.join()


def test_a_branch_that_is_cancelled_alone_is_not_taken_for_a_success() -> None:
    def stop(_: CancelToken) -> str:
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        run_parallel(CancelToken(), lambda _: "fine", stop)


def test_figures_of_the_last_minutes_leave_out_what_came_before() -> None:
    """Half-filled calls in the first minute, full ones after it: the recent fill is that of the full ones."""
    stats = BatchStats(0.0)
    stats.call(record(1, 5.0), 1, 0.0)
    for minute in range(1, 12):
        stats.view("b", "texts", 10.0, 0, 60.0 * minute)
    stats.call(record(4, 10.0), 4, 0.0)
    view = stats.view("b", "texts", 10.0, 0, 720.0)
    assert view.fill == 1.0
    assert view.items == 5
