"""The figures of a batcher: of the last minutes, exact at their limits, unknown where there is nothing to say."""

from __future__ import annotations

import pytest

from gainstage.engine.flow.batch_stats import BatchStats
from gainstage.engine.views.passes import BatchRecord
from gainstage.engine.views.snapshot import BatcherView


def call(stats: BatchStats, items: int, cost: float = 5.0, cells: float = 8.0, padding: float | None = 0.25) -> None:
    record = BatchRecord("b", items, cost, 10.0, "texts", "full", 0.0, 1.0, "ok", None, padding, 0.0)
    stats.call(record, items, cells)


def view(stats: BatchStats, now: float) -> BatcherView:
    return stats.view("b", "texts", 10.0, 0, now)


def after_minutes(stats: BatchStats, minutes: int) -> None:
    """Read it once a minute, as a snapshot does."""
    for minute in range(1, minutes + 1):
        view(stats, 60.0 * minute)


def test_after_a_quiet_time_fill_and_padding_are_those_of_the_whole_life() -> None:
    stats = BatchStats(0.0)
    call(stats, 4)
    after_minutes(stats, 30)
    shown = view(stats, 1860.0)
    assert (shown.fill, shown.padding_waste) == (0.5, 0.25)


def test_recent_fill_and_padding_leave_out_what_came_before() -> None:
    stats = BatchStats(0.0)
    call(stats, 4, cost=10.0, cells=100.0, padding=0.5)
    after_minutes(stats, 30)
    call(stats, 1, cost=2.5, cells=8.0, padding=0.25)
    shown = view(stats, 1860.0)
    assert (shown.fill, shown.padding_waste) == (0.25, 0.25)


def test_items_per_second_are_those_of_the_last_minute() -> None:
    stats = BatchStats(0.0)
    call(stats, 40)
    for second in range(5, 125, 5):
        view(stats, float(second))
    call(stats, 30)
    assert view(stats, 125.0).per_second == 0.5


def test_items_per_second_are_known_after_a_second() -> None:
    stats = BatchStats(0.0)
    call(stats, 3)
    assert view(stats, 0.99).per_second is None
    assert view(stats, 1.0).per_second == 3.0


def test_an_item_that_did_not_wait_counts_as_no_wait() -> None:
    stats = BatchStats(0.0)
    stats.waited([0.0, -1.0])
    assert (view(stats, 1.0).wait_p50_s, view(stats, 1.0).wait_p95_s) == (0.0, 0.0)


def test_a_call_of_unknown_padding_has_none() -> None:
    stats = BatchStats(0.0)
    call(stats, 4, padding=None)
    assert view(stats, 1.0).padding_waste == 0.0


def test_sizes_are_ranked() -> None:
    stats = BatchStats(0.0)
    for items in range(1, 21):
        call(stats, items)
    shown = view(stats, 1.0)
    assert (shown.items_p50, shown.items_p95, shown.items_max) == (10, 19, 20)


def test_small_budgets_and_calls_have_shares_too() -> None:
    stats = BatchStats(0.0)
    stats.call(BatchRecord("b", 1, 0.25, 0.5, "s", "full", 0.0, 1.0, "ok", None, 0.5, 0.0), 1, 0.5)
    shown = view(stats, 1.0)
    assert (shown.fill, shown.padding_waste) == (pytest.approx(0.5), pytest.approx(0.5))
