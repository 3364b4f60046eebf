"""What goes into the next batch, and when: plain rules."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.engine.flow.adaptive_budget import GROWTH, PATIENCE, AdaptiveBudget
from gainstage.engine.flow.pending import PendingItem, PendingItems, Submission


def piled(
    costs: list[float], *, sorts: bool = False, nears: list[float] | None = None, keys: list[str] | None = None
) -> PendingItems[int]:
    pile: PendingItems[int] = PendingItems(sorts=sorts)
    for n, cost in enumerate(costs):
        pile.add(PendingItem(n, n, "owner", cost, nears[n] if nears else 0.0, 0.0, n + 1, float(n)), keys[n] if keys else None)
    return pile


def due(pile: PendingItems[int], now: float, **how: object) -> tuple[object, str] | None:
    rules: dict[str, object] = {"budget": 10.0, "linger_s": 5.0, "max_items": None, "everybody_waits": False, **how}
    return pile.due(now, **rules)  # type: ignore[arg-type]


def test_a_batch_goes_when_full_or_old_or_when_nobody_is_left_to_add() -> None:
    assert due(piled([]), 99.0, everybody_waits=True) is None
    pile = piled([4.0, 4.0])
    assert due(pile, 4.9) is None
    assert due(pile, 5.0) == (None, "age")
    assert due(pile, 1.0, everybody_waits=True) == (None, "everybody waits")
    assert due(pile, 1.0, budget=8.0) == (None, "full")
    assert due(pile, 1.0, max_items=2) == (None, "full")


def test_of_several_groups_the_one_with_the_oldest_item_goes_first() -> None:
    pile = piled([4.0, 6.0, 6.0], keys=["old", "full", "full"])
    assert due(pile, 2.0) == ("full", "full")
    assert due(pile, 6.0) == ("old", "age")


def test_a_batch_takes_the_oldest_in_order_up_to_the_budget() -> None:
    pile = piled([4.0, 4.0, 4.0, 1.0])
    assert [e.item for e in pile.take(None, budget=10.0, max_items=None)] == [0, 1]
    assert len(pile) == 2
    assert [e.item for e in pile.take(None, budget=10.0, max_items=1)] == [2]
    assert [e.item for e in pile.take(None, budget=0.1, max_items=None)] == [3], "what is above any budget goes alone"
    assert len(pile) == 0


def test_a_sorted_batch_is_made_of_the_neighbours_of_the_oldest() -> None:
    pile = piled([1.0] * 7, sorts=True, nears=[50, 10, 52, 90, 48, 11, 70])
    assert [e.near for e in pile.take(None, budget=3.0, max_items=None)] == [48, 50, 52]
    assert [e.near for e in pile.take(None, budget=3.0, max_items=2)] == [10, 11]
    assert [e.near for e in pile.take(None, budget=3.0, max_items=None)] == [70, 90]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 100), st.sampled_from("ab")), min_size=1, max_size=60),
    st.floats(0.5, 40),
    st.one_of(st.none(), st.integers(1, 9)),
    st.booleans(),
)
def test_every_item_goes_once_in_a_batch_of_its_group_within_the_budget(
    items: list[tuple[float, float, str]], budget: float, max_items: int | None, sorts: bool
) -> None:
    pile = piled([c for c, _, _ in items], sorts=sorts, nears=[n for _, n, _ in items], keys=[k for _, _, k in items])
    taken: list[int] = []
    while (found := due(pile, 1e9)) is not None:
        key, _ = found
        oldest = min(set(range(len(items))) - set(taken))
        batch = pile.take(key, budget=budget, max_items=max_items)
        assert oldest in [e.item for e in batch]
        assert {items[e.item][2] for e in batch} == {key}
        assert len(batch) == 1 or sum(e.cost for e in batch) <= budget * (1 + 1e-9)
        assert max_items is None or len(batch) <= max_items
        taken += [e.item for e in batch]
    assert sorted(taken) == list(range(len(items)))
    assert len(pile) == 0


def test_a_withdrawn_owner_leaves_the_others() -> None:
    pile = piled([1.0, 1.0], keys=["x", "y"])
    pile.add(PendingItem(9, 0, "other", 1.0, 0.0, 0.0, 3, 3.0), "x")
    assert pile.withdraw("owner") == 2
    assert [e.item for e in pile.take("x", budget=10.0, max_items=None)] == [9]
    assert pile.oldest_wait_s(5.0) is None


def test_after_out_of_memory_batches_shrink_and_grow_back_in_steps() -> None:
    allowance = AdaptiveBudget(100.0)
    allowance.ran_out(90.0, 12)
    assert allowance.now == 45.0
    allowance.ran_out(3.0, 1)
    assert allowance.now == 45.0, "a single item says nothing about batches"
    for _ in range(1000):
        allowance.fitted(1.0)
    assert allowance.now == 45.0, "small calls prove nothing"
    for _ in range(PATIENCE):
        allowance.fitted(44.0)
    assert allowance.now == pytest.approx(45.0 * GROWTH)
    for _ in range(PATIENCE):
        allowance.fitted(60.0)
    assert allowance.now == 100.0


def test_each_step_too_far_makes_the_next_try_wait_longer() -> None:
    allowance = AdaptiveBudget(64.0)
    allowance.ran_out(64.0, 8)
    tries = []
    for _ in range(3):
        fits = 0
        while allowance.now == 32.0:
            allowance.fitted(32.0)
            fits += 1
        tries.append(fits)
        allowance.ran_out(64.0, 8)
    assert tries == [PATIENCE, 2 * PATIENCE, 4 * PATIENCE]
    allowance.reset(64.0)
    assert allowance.now == 64.0


def fits_to_grow(budget: AdaptiveBudget) -> int:
    """Calls as large as the budget until it grows."""
    now = budget.now
    for fits in range(1, 10_000):
        budget.fitted(now)
        if budget.now > now:
            return fits
    raise AssertionError("it does not grow")


def test_the_patience_doubles_only_after_a_step_too_far_and_ends_at_1024() -> None:
    budget = AdaptiveBudget(64.0)
    for _ in range(100):
        budget.fitted(64.0)  # at the setting there is nothing to try
    budget.ran_out(64.0, 8)
    assert fits_to_grow(budget) == 16
    budget.ran_out(64.0, 8)
    budget.ran_out(64.0, 8)  # nothing was tried since
    assert fits_to_grow(budget) == 32
    patience = []
    for _ in range(7):
        budget.ran_out(64.0, 8)
        patience.append(fits_to_grow(budget))
    assert patience == [64, 128, 256, 512, 1024, 1024, 1024]


def test_a_budget_must_be_above_nothing() -> None:
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            AdaptiveBudget(bad)


def test_a_higher_priority_goes_before_all_that_wait_and_age_still_counts_for_everybody() -> None:
    pile: PendingItems[str] = PendingItems(sorts=False)
    for order, (name, priority) in enumerate([("old", 0), ("urgent", 2), ("next", 0), ("also urgent", 2)], 1):
        pile.add(PendingItem(name, 0, "owner", 1.0, 0.0, 0.0, order, float(order), priority), None)
    assert pile.oldest_wait_s(10.0) == 9.0
    assert due(pile, 6.0) == (None, "age"), "the oldest item has waited five seconds"
    assert [e.item for e in pile.take(None, budget=3.0, max_items=None)] == ["urgent", "also urgent", "old"]
    pile.add(PendingItem("other", 0, "owner", 1.0, 0.0, 0.0, 9, 9.0, 1), "other key")
    assert due(pile, 99.0) == ("other key", "age")


def test_an_item_has_no_rank_and_no_weight_unless_it_is_given_one() -> None:
    item = PendingItem("x", 0, "owner", 1.0, 0.0, 0.0)
    assert (item.rank, item.arrived, item.weight) == ((0, 0), 0.0, 0.0)


def test_of_three_groups_the_last_may_hold_the_first_item() -> None:
    pile: PendingItems[str] = PendingItems(sorts=False)
    for order, key in ((2, "second"), (3, "third"), (1, "first")):
        pile.add(PendingItem(key, 0, "owner", 1.0, 0.0, 0.0, order, 0.0), key)
    assert due(pile, 9.0) == ("first", "age")
    waiting: PendingItems[str] = PendingItems(sorts=False, most_running=1.0)
    held = Submission[str](1)
    held.running = 1.0
    for order, (key, owner) in enumerate([("held", held), ("free", Submission[str](1))], 1):
        waiting.add(PendingItem(key, 0, owner, 1.0, 0.0, 0.0, order, 0.0, weight=1.0), key)
    assert due(waiting, 9.0) == ("free", "age")


def test_a_new_owner_has_all_of_its_limit() -> None:
    pile: PendingItems[str] = PendingItems(sorts=False, most_running=30.0)
    owner = Submission[str](2)
    for n, weight in enumerate([20.0, 10.0]):
        pile.add(PendingItem(f"{n}", n, owner, 1.0, 0.0, 0.0, n + 1, 0.0, weight=weight), None)
    assert [entry.item for entry in pile.take(None, budget=9.0, max_items=None)] == ["0", "1"]


def test_the_end_of_a_wait_ends_the_wait_for_its_begin_too() -> None:
    submission = Submission[str](1)
    assert not submission.begins.acquire(blocking=False)
    submission.close()
    assert submission.begins.acquire(blocking=False)
    assert submission.wake.acquire(blocking=False)
    submission.close()
    assert not submission.begins.acquire(blocking=False)


def test_one_owner_has_only_so_much_in_calls_at_once_but_always_one_item() -> None:
    pile: PendingItems[str] = PendingItems(sorts=False, most_running=30.0)
    one, other = Submission[str](4), Submission[str](1)
    for n, (owner, weight) in enumerate([(one, 28.0), (one, 10.0), (one, 20.0), (one, 40.0), (other, 25.0)]):
        pile.add(PendingItem(f"{n}", n, owner, 1.0, 0.0, 0.0, n + 1, 0.0, weight=weight), None)

    def taken() -> list[str]:
        batch = pile.take(None, budget=9.0, max_items=None) if due(pile, 9.0) else []
        for entry in batch:
            entry.owner.running += entry.weight
        return [entry.item for entry in batch]

    assert taken() == ["0", "4"], "the other owner's item passes those that have to wait"
    assert taken() == []
    assert pile.oldest_wait_s(9.0) is None, "nothing may go, so nothing is waited for"
    one.running = 0.0
    assert taken() == ["1", "2"]
    one.running = 0.0
    assert taken() == ["3"], "an item above the limit goes alone"
    assert len(pile) == 0
