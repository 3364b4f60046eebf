"""The clock of a stream against the audio that came: which holes are silence, which are a fault of the clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.engine.speech.pcm import Clock


@pytest.mark.parametrize(
    ("promised", "time", "seconds", "filled"),
    [
        (None, 5.05, 5.0, 0.0),  # jitter
        (None, 9.0, 5.0, 4.0),
        (None, 305.0, 5.0, 0.0),  # nothing but the timestamp speaks for it
        (400.0, 305.0, 5.0, 300.0),  # the written length agrees
        (12.0, 305.0, 5.0, 0.0),  # it does not: a damaged AVI of 12 s
        (3600.0, 905.0, 5.0, 0.0),  # longer than any pause
        (None, 4.5, 5.0, 0.0),  # behind
    ],
)
def test_a_hole_is_filled_where_something_speaks_for_it(promised: float | None, time: float, seconds: float, filled: float) -> None:
    assert Clock(0.0, promised).hole(time, seconds) == pytest.approx(filled)


def test_after_a_jump_times_go_on_from_there() -> None:
    clock = Clock(0.0, None)
    assert clock.hole(1005.0, 5.0) == 0.0
    assert clock.jumps == [(5.0, 1000.0)]
    assert clock.hole(1006.0, 6.0) == 0.0
    assert clock.hole(1009.0, 7.0) == pytest.approx(2.0)
    assert clock.hole(9.0, 9.0) == 0.0, "set back"
    assert clock.jumps[-1] == (9.0, pytest.approx(-1000.0))


@given(st.lists(st.floats(0, 1e6), max_size=60), st.floats(1.0, 100.0))
def test_a_recording_never_grows_beyond_what_its_header_says(times: list[float], promised: float) -> None:
    clock, seconds = Clock(0.0, promised), 0.0
    for time in times:
        seconds += clock.hole(time, seconds) + 0.02
    assert seconds <= max(promised + 2.0, 0.02 * len(times)) + 1.02 * len(times)
