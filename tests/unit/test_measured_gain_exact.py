"""A measured gain where one figure decides: least counts, lengths that say nothing of a base, the clock of either side."""

from __future__ import annotations

from statistics import fmean

import pytest

from gainstage.engine.advisor.measured_gain import Finished, Gain, cost_line, measured_gain


def even(count: int, each_s: float, audio_s: float = 100.0, served_s: float = 10.0) -> list[Finished]:
    return [Finished(each_s * (n + 1), audio_s, served_s) for n in range(count)]


def test_five_on_either_side_and_some_time_are_needed() -> None:
    five, four = even(5, 10.0), even(4, 10.0)
    assert measured_gain(five, 50.0, five, 50.0) is not None
    assert measured_gain(four, 50.0, five, 50.0) is None
    assert measured_gain(five, 50.0, four, 50.0) is None
    assert measured_gain(five, 0.0, five, 50.0) is None
    assert measured_gain(five, 50.0, five, 0.0) is None
    assert measured_gain(five, 0.5, five, 0.5) is not None


def test_work_without_chance_has_its_gain_without_an_interval() -> None:
    gain = measured_gain(even(8, 10.0), 80.0, even(8, 8.0), 64.0)
    assert gain is not None
    assert (gain.gain, gain.low, gain.high) == (pytest.approx(0.25), pytest.approx(0.25), pytest.approx(0.25))
    assert gain.certain
    assert gain.text == "+25% audio/h (+25 to +25%)"
    slower = measured_gain(even(8, 8.0), 64.0, even(8, 10.0), 80.0)
    assert slower is not None
    assert slower.gain == pytest.approx(-0.2)
    assert slower.certain
    same = measured_gain(even(8, 8.0), 64.0, even(8, 8.0), 64.0)
    assert same is not None
    assert same.gain == 0.0


def test_the_time_after_the_last_one_counts() -> None:
    gain = measured_gain(even(8, 10.0), 80.0, even(8, 10.0), 160.0)
    assert gain is not None
    assert (gain.gain, gain.low, gain.high) == (pytest.approx(-0.5), pytest.approx(-0.5), pytest.approx(-0.5))


def test_a_rate_of_many_in_a_moment_is_a_rate() -> None:
    gain = measured_gain(even(8, 0.01), 0.08, even(8, 10.0), 80.0)
    assert gain is not None
    assert (gain.gain, gain.low, gain.high) == (pytest.approx(-0.999), pytest.approx(-0.999), pytest.approx(-0.999))


def test_the_order_in_which_they_are_given_says_nothing() -> None:
    before, after = even(9, 10.0), [Finished(float(n * n), 100.0, 10.0) for n in range(1, 10)]
    assert measured_gain(before, 90.0, after, 81.0) == measured_gain(before[::-1], 90.0, after[::-1], 81.0)


def test_the_interval_holds_four_fifths_of_the_draws_and_rests_on_its_seed() -> None:
    after = [Finished(float(n * n), 100.0, 10.0) for n in range(1, 31)]
    gain = measured_gain(even(30, 30.0), 900.0, after, 900.0)
    assert gain is not None
    assert gain == measured_gain(even(30, 30.0), 900.0, after, 900.0, seed=0)
    other = measured_gain(even(30, 30.0), 900.0, after, 900.0, seed=1)
    assert other is not None
    assert other.gain == gain.gain
    assert (other.low, other.high) != (gain.low, gain.high)
    assert gain.low < gain.gain < gain.high
    # gaps of 1, 3 .. 59 s: the mean of 30 of them deviates by 17.3 / sqrt(30) = 3.16 of 30 s, and the 10th percentile by 1.28 of that
    several = [g for seed in range(30) if (g := measured_gain(even(30, 30.0), 900.0, after, 900.0, seed=seed)) is not None]
    assert fmean(g.low for g in several) == pytest.approx(1 / (1 + 1.28 * 3.16 / 30) - 1, abs=0.006)
    assert fmean(g.high for g in several) == pytest.approx(1 / (1 - 1.28 * 3.16 / 30) - 1, abs=0.01)
    assert not gain.certain


def test_work_of_no_length_has_no_rate() -> None:
    nothing = even(6, 10.0, audio_s=0.0, served_s=0.0)
    assert measured_gain(nothing, 60.0, nothing, 60.0) is None


def test_the_line_of_the_cost() -> None:
    def line(*pairs: tuple[float, float]) -> tuple[float, float]:
        return cost_line([Finished(0.0, audio, served) for audio, served in pairs])

    assert line((100.0, 14.0), (200.0, 24.0)) == pytest.approx((4.0, 0.1))
    assert line((91.0, 10.0), (109.0, 20.0)) == pytest.approx((0.0, 30 / 200)), "less than a fifth apart: no base can be seen"
    assert line((90.0, 10.0), (110.0, 12.0)) == pytest.approx((1.0, 0.1))
    assert line((100.0, 5.0), (300.0, 25.0)) == pytest.approx((0.0, (500 + 7500) / (10_000 + 90_000))), "no base below nothing"
    assert line((100.0, 30.0), (300.0, 10.0)) == (20.0, 0.0)
    assert line((100.0, 10.0), (300.0, 10.0)) == pytest.approx((10.0, 0.0))
    assert line((100.0, 10.0), (300.0, 30.0)) == pytest.approx((0.0, 0.1))
    assert line((0.0, 3.0), (0.0, 5.0)) == (0.0, 1.0)
    assert line((100.0, 10.5), (200.0, 20.5)) == pytest.approx((0.5, 0.1))
    assert line((0.1, 2.0), (0.2, 3.0)) == pytest.approx((1.0, 10.0)), "fractions of a second are lengths too"
    assert line((0.2, 1.0), (0.2, 3.0)) == pytest.approx((0.0, 10.0))


def test_a_gain_in_words() -> None:
    assert Gain(0.1, 0.05, 0.2, certain=True).text == "+10% audio/h (+5 to +20%)"
    assert Gain(-0.1, -0.2, 0.05, certain=False).text == "-10% audio/h (-20 to +5%) cannot be told from noise"
