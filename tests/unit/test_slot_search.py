"""The search for the best slots step by step: the order of what it tries, what it keeps, what it leaves out."""

from __future__ import annotations

import pytest

from gainstage.engine.advisor.slot_search import Bounds, SlotSearch


def two(a: int = 3, b: int = 3, low: int = 1, high: int = 9) -> SlotSearch:
    return SlotSearch({"a": a, "b": b}, {"a": Bounds(low, high), "b": Bounds(low, high)}, frozenset({"a"}))


def tried(search: SlotSearch) -> list[tuple[int, int]]:
    """Everything it would try of itself, all of it taken back."""
    steps = []
    while (step := search.next()) is not None:
        steps.append((step.get("a", 3) - 3, step.get("b", 3) - 3))
        search.note(step, 0.0)
    return steps


def test_without_proposals_it_tries_the_neighbours_cheap_steps_first() -> None:
    assert tried(two()) == [
        (1, 0), (0, 1), (1, 1), (-1, 0), (0, -1), (1, -1), (-1, 1), (2, 0), (0, 2), (-1, -1), (2, 1), (1, 2),
    ]  # fmt: skip


def test_of_three_settings_every_pair_is_tried_and_then_all_three() -> None:
    search = SlotSearch(dict.fromkeys("abc", 1), dict.fromkeys("abc", Bounds(1, 2)))
    steps = []
    while (step := search.next()) is not None:
        steps.append("".join(sorted(step)))
        search.note(step, None)
    assert steps == ["a", "b", "c", "ab", "ac", "bc", "abc"]


def test_proposals_come_first_and_only_what_they_move_is_answered() -> None:
    search = two()
    assert search.next([{"b": 7}, {"a": 5}]) == {"b": 7}
    assert search.next([{"a": 3, "b": 8}]) == {"b": 8}
    search.note({"b": 7}, 0.0)
    assert search.next([{"b": 7}, {"a": 5}]) == {"a": 5}, "the first was tried"
    assert search.next([{"a": 3}]) == {"a": 4}, "where it stands was tried from the start"


@pytest.mark.parametrize(("value", "allowed"), [(0, False), (1, True), (9, True), (10, False)])
def test_the_bounds_may_be_reached(value: int, allowed: bool) -> None:
    assert (two().next([{"b": value}]) == {"b": value}) is allowed


@pytest.mark.parametrize(("gain", "outcome"), [(0.01, "kept"), (0.0099, "taken back"), (None, "taken back"), (-0.5, "taken back")])
def test_a_change_is_kept_from_one_per_cent_on(gain: float | None, outcome: str) -> None:
    search = two()
    assert search.note({"a": 4}, gain) == outcome
    assert search.at == {"a": 4 if outcome == "kept" else 3, "b": 3}


def test_the_step_that_was_kept_is_tried_again_first() -> None:
    search = two()
    search.note({"a": 5, "b": 2}, 0.3)
    assert search.next() == {"a": 7, "b": 1}
    search.note({"a": 7, "b": 1}, 0.0)
    assert search.next() == {"a": 6}, "then the neighbours of where it stands"


def test_what_ran_out_of_memory_and_all_that_hold_as_much_are_left_out() -> None:
    search = two()
    assert search.note({"a": 5, "b": 4}, 0.9, out_of_memory=True) == "out of memory"
    assert search.at == {"a": 3, "b": 3}
    for less in ({"a": 5}, {"a": 6}, {"a": 5, "b": 1}):
        assert search.next([less]) == {"a": 4}, "b holds no memory: fewer of it help nothing"
    assert search.next([{"a": 4, "b": 9}]) == {"a": 4, "b": 9}


def test_of_two_settings_that_hold_memory_less_of_either_may_fit() -> None:
    search = SlotSearch({"a": 3, "b": 3}, {"a": Bounds(1, 9), "b": Bounds(1, 9)}, frozenset({"a", "b"}))
    search.note({"a": 5, "b": 4}, None, out_of_memory=True)
    assert search.next([{"a": 5, "b": 3}]) == {"a": 5}
    assert search.next([{"a": 5, "b": 4}]) == {"a": 4}
    assert search.next([{"a": 6, "b": 5}]) == {"a": 4}
