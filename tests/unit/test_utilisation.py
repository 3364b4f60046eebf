"""Sums over time, exact to the second, for windows of any length and for a trend of five-second steps."""

from __future__ import annotations

import pytest

from gainstage.engine.flow.utilisation import AUDIO, BUSY, FINISHED, LIVE, SERVED, Utilisation


def running(until: float, *, busy: int = 1) -> Utilisation:
    utilisation = Utilisation(0.0)
    utilisation.set_rates((2, busy, 2 - busy, 0, 0))
    utilisation.advance(until)
    return utilisation


@pytest.mark.parametrize(
    ("now", "seconds", "length"),
    [
        (0.4, 60.0, 0.4),
        (0.4, 0.1, 0.4),  # shorter than the second under way
        (10.5, 2.0, 1.5),
        (10.0, 2.0, 2.0),
        (10.5, 60.0, 10.5),
        (700.0, 600.0, 600.0),
        (700.0, 9999.0, 600.0),
        (700.5, 9999.0, 600.5),
    ],
)
def test_a_window_begins_at_a_whole_second_of_the_kept_history(now: float, seconds: float, length: float) -> None:
    window = running(now).window(seconds)
    assert window[0] == pytest.approx(length)
    assert (window[1][LIVE], window[1][BUSY]) == (pytest.approx(2 * length), pytest.approx(length))


@pytest.mark.parametrize("quiet_s", [599.0, 600.0, 601.0, 602.0, 1201.5])
def test_a_quiet_time_of_any_length_is_summed(quiet_s: float) -> None:
    utilisation = running(10.0)
    utilisation.advance(10.0 + quiet_s)
    length, sums = utilisation.window(600)
    assert sums[BUSY] == pytest.approx(length)
    assert length > 599.0


def test_a_step_that_goes_back_in_time_adds_nothing() -> None:
    utilisation = running(10.0)
    utilisation.advance(9.5)
    assert utilisation.window(60)[1][BUSY] == pytest.approx(10.0)


def test_the_trend_has_a_share_for_each_whole_five_seconds() -> None:
    utilisation = running(5.0)
    utilisation.set_rates((2, 2, 0, 0, 0))
    utilisation.advance(10.0)
    assert utilisation.trend() == (0.5, 1.0)
    utilisation.set_rates((0, 0, 0, 0, 0))
    utilisation.advance(14.9)
    assert utilisation.trend() == (0.5, 1.0)
    utilisation.advance(15.0)
    assert utilisation.trend() == (0.5, 1.0, 0.0)


def test_the_trend_shows_the_last_five_minutes() -> None:
    utilisation = Utilisation(0.0)
    for step in range(70):
        utilisation.set_rates((1, step % 2, 1 - step % 2, 0, 0))
        utilisation.advance(5.0 * (step + 1))
    assert utilisation.trend() == (0.0, 1.0) * 30


def test_passes_without_audio_count_and_give_no_speed() -> None:
    utilisation = running(10.0)
    utilisation.finished(None, 3.0)
    utilisation.finished(60.0, 4.0)
    sums = utilisation.window(60)[1]
    assert (sums[FINISHED], sums[AUDIO], sums[SERVED]) == (2, 60.0, 4.0)


def test_a_part_adds_its_service_to_that_of_the_pass_whose_audio_it_belongs_to() -> None:
    utilisation = running(10.0)
    utilisation.finished_part(3.0)
    utilisation.finished(60.0, 4.0)
    sums = utilisation.window(60)[1]
    assert (sums[FINISHED], sums[AUDIO], sums[SERVED]) == (1, 60.0, 7.0)


def test_work_is_measured_from_its_first_moment_and_anew_on_request() -> None:
    utilisation = Utilisation(0.0)
    assert utilisation.worked_s() is None
    utilisation.advance(5.0)
    utilisation.set_rates((2, 0, 2, 0, 0))
    assert utilisation.worked_s() is None
    utilisation.set_rates((2, 1, 1, 0, 0))
    utilisation.advance(8.0)
    utilisation.set_rates((2, 2, 0, 0, 0))
    assert utilisation.worked_s() == 3.0
    utilisation.begin_anew()
    assert utilisation.worked_s() == 0.0
    utilisation.set_rates((2, 0, 2, 0, 0))
    utilisation.begin_anew()
    assert utilisation.worked_s() is None


def test_before_the_first_slot_there_is_nothing() -> None:
    utilisation = Utilisation(0.0)
    utilisation.advance(10.0)
    assert utilisation.window(60)[1] == (0.0,) * 8
    assert utilisation.trend() == (0.0, 0.0)


def test_each_state_of_a_slot_has_its_own_sum() -> None:
    utilisation = Utilisation(0.0)
    utilisation.set_rates((10, 4, 3, 2, 1))
    utilisation.advance(0.5)
    assert utilisation.window(60)[1][:5] == (5.0, 2.0, 1.5, 1.0, 0.5)


def test_the_first_step_of_a_trend_may_hold_a_slot_for_a_moment_only() -> None:
    utilisation = Utilisation(0.0)
    utilisation.advance(4.5)
    utilisation.set_rates((1, 1, 0, 0, 0))
    utilisation.advance(5.0)
    assert utilisation.trend() == (1.0,)


def test_the_oldest_second_that_is_kept_is_that_of_its_own_time() -> None:
    utilisation = running(10.5)
    utilisation.advance(610.5)
    assert utilisation.window(601)[1][BUSY] == pytest.approx(600.5)
