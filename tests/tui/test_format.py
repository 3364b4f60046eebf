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


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [(0, 202, "0%"), (1, 5000, "1%"), (134, 202, "66%"), (201, 202, "99%"), (202, 202, "100%"), (0, 0, fmt.UNKNOWN)],
)
def test_all_is_done_only_when_all_is(done: int, total: int, text: str) -> None:
    assert fmt.done_of(done, total) == text


@pytest.mark.parametrize(
    ("done_s", "left_s", "text"),
    [
        (0.7 * 2.3 * 3600, 0.3 * 2.3 * 3600, "1.6/2.3 h"),
        (7 * 3600, 39 * 3600, "7/46 h"),
        (45.6 * 3600, 0.3 * 3600, "45.6/45.9 h"),
        (46 * 3600, 0.0, "46/46 h"),
        (100.0, 10.0, "1.7/1.8 min"),
        (600.0, None, "10 min"),
    ],
)
def test_hours_done_and_hours_there_are_read_apart(done_s: float, left_s: float | None, text: str) -> None:
    assert fmt.audio(done_s, left_s) == text


def test_no_value_is_written_as_a_python_dictionary_or_list() -> None:
    assert fmt.value({"pause": "ctrl+p", "x": True}) == "pause=ctrl+p, x=on"
    assert fmt.value(["a", 0.5]) == "a, 0.5"
    assert fmt.value({}) == fmt.value(()) == fmt.value(None) == "none"
