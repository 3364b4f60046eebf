"""Histograms: quantiles keep their error bound, windows forget what is older."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.engine.telemetry.meters import RELATIVE_ERROR, Buckets, Recent, RecentWindow, ranked

values = st.one_of(st.just(0.0), st.floats(1e-9, 1e9, exclude_min=True))


def recorded(numbers: list[float]) -> Buckets:
    buckets = Buckets()
    for number in numbers:
        buckets.record(number)
    return buckets


@settings(deadline=None, max_examples=300)
@given(st.lists(values, min_size=1, max_size=200), st.floats(0.0, 1.0))
def test_a_quantile_is_within_its_relative_error(numbers: list[float], q: float) -> None:
    buckets = recorded(numbers)
    exact = sorted(numbers)[int(q * (len(numbers) - 1))]
    assert buckets.count == len(numbers)
    assert buckets.total == pytest.approx(math.fsum(numbers))
    assert buckets.quantile(q) == pytest.approx(exact, rel=RELATIVE_ERROR * (1 + 1e-6), abs=1e-9)


def test_what_cannot_be_a_measurement_is_refused() -> None:
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="cannot record"):
            Buckets().record(bad)
    assert Buckets().quantile(0.5) is None


@settings(deadline=None, max_examples=100)
@given(st.lists(values, max_size=50), st.lists(values, max_size=50))
def test_a_difference_is_what_came_since(before: list[float], after: list[float]) -> None:
    early, both = recorded(before), recorded(before + after)
    since = both - early
    assert since.counts == recorded(after).counts
    assert since.count == len(after)


def test_ranks_follow_the_counts() -> None:
    counts = {1: 5, 8: 4, 64: 1}
    assert [ranked(counts, q) for q in (0.0, 0.5, 0.95, 1.0)] == [1, 1, 8, 64]
    assert ranked({}, 0.5) is None


def test_a_window_forgets_what_is_older() -> None:
    window = RecentWindow(0.0, 0.0, span_s=60.0, step_s=10.0)
    total = 0.0
    for second in range(300):
        total += 1.0
        covered, recent = window.since(float(second), total)
        assert recent == pytest.approx(covered, abs=1.0)
        assert min(second, 60) <= covered <= 70


def test_recent_quantiles_fall_back_on_the_whole_life() -> None:
    recent = Recent(0.0)
    for second in range(100):
        recent.record(1.0)
        recent.read(float(second))
    for second in range(100, 2000, 10):
        assert recent.read(float(second)).count >= 20
    assert recent.read(2000.0).count == 100
    for second in range(2000, 2010):
        recent.record(50.0)
        recent.read(float(second))
    assert recent.read(2010.0).count == 110, "ten values are too few to speak of"
    for second in range(2010, 2100):
        recent.record(50.0)
        recent.read(float(second))
    assert recent.read(2100.0).quantile(0.0) == pytest.approx(50.0, rel=0.021)
