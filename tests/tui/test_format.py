"""Numbers are short, of stable width, and unknown is never 0."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.tui.render import format as fmt

SOME = [fmt.span, fmt.roughly, fmt.runtime, fmt.count, fmt.brief, fmt.rate, fmt.times, fmt.size, fmt.decimal, fmt.percent]


@pytest.mark.parametrize("write", SOME)
def test_unknown_is_a_dot(write: object) -> None:
    assert write(None).startswith(fmt.UNKNOWN)  # type: ignore[operator]
    assert write(math.nan).startswith(fmt.UNKNOWN)  # type: ignore[operator]


@given(st.floats(0, 1e9))
def test_spans_fit_their_column(seconds: float) -> None:
    assert len(fmt.span(seconds)) <= 9
    if seconds < 30 * 86400:
        assert len(fmt.span(seconds)) <= 6


@given(st.floats(0, 9e11))
def test_brief_numbers_fit_five_cells(number: float) -> None:
    assert len(fmt.brief(number)) <= 5


@given(st.integers(0, 2**53))
def test_sizes_fit_six_cells(number: int) -> None:
    assert len(fmt.size(number)) <= 6


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (fmt.span, 0, "0s"), (fmt.span, 0.0041, "4ms"), (fmt.span, 0.34, "0.3s"), (fmt.span, 12.3, "12s"), (fmt.span, 59.6, "1m00s"),
        (fmt.span, 400, "6m40s"), (fmt.span, 8047, "2h14m"), (fmt.span, 400_000, "4d15h"),
        (fmt.roughly, 40, "40s"), (fmt.roughly, 5400, "90m"), (fmt.roughly, 22_200, "6h10"), (fmt.roughly, 778_000, "9d"),
        (fmt.runtime, 482, "8:02"), (fmt.runtime, 8047, "2:14:07"), (fmt.at, 764, "0:12:44"),
        (fmt.brief, 1204, "1,204"), (fmt.brief, 57_880, "57.9k"), (fmt.brief, 412_880, "413k"), (fmt.brief, 1_300_000, "1.3M"),
        (fmt.size, 812 * 1024**3, "812G"), (fmt.size, 37_687_091_200, "35.1G"), (fmt.size, 512, "512B"),
        (fmt.decimal, 0.0641, ".064"), (fmt.decimal, 1.0, "1.000"), (fmt.decimal, -0.25, "-.250"),
        (fmt.times, 41.2, "41×"), (fmt.times, 3.14, "3.1×"), (fmt.percent, 0.614, "61%"), (fmt.rate, 3.14, "3.1"),
    ],
)  # fmt: skip
def test_examples(write: object, value: float, text: str) -> None:
    assert write(value) == text  # type: ignore[operator]


def test_values_are_written_as_they_are_typed() -> None:
    assert [fmt.value(v) for v in (None, True, False, 0.05, 3, "auto")] == ["none", "on", "off", "0.05", "3", "auto"]
    assert fmt.plural(1, "recording") == "1 recording"
    assert fmt.plural(1200, "recording") == "1,200 recordings"
