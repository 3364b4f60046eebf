"""The measured gain of a change, its interval, and the record of predictions."""

from __future__ import annotations

from random import Random

import pytest

from gainstage.engine.advisor.measured_gain import Finished, cost_line, measured_gain
from gainstage.engine.advisor.slot_search import Bounds, SlotSearch
from gainstage.engine.advisor.track_record import track_record
from gainstage.engine.runtime.change_effects import groups
from gainstage.engine.views.rows import ChangeRow


def finished(random: Random, count: int, rate: float, length_s: float, base_s: float = 4.0) -> tuple[list[Finished], float]:
    """Recordings of about this length, one after the other, at ``rate`` times the speed of their service."""
    at, made = 0.0, []
    for _ in range(count):
        audio = length_s * random.uniform(0.5, 1.5)
        served = base_s + 0.1 * audio
        at += served / rate * random.uniform(0.8, 1.2)
        made.append(Finished(at, audio, served))
    return made, at


def test_a_gain_is_measured_with_its_interval() -> None:
    random = Random(1)
    gain = measured_gain(*finished(random, 80, 2.0, 300), *finished(random, 80, 2.6, 300))
    assert gain is not None
    assert gain.gain == pytest.approx(0.3, abs=0.06)
    assert gain.low < 0.3 < gain.high
    assert gain.certain
    assert gain.text.startswith("+")
    assert "cannot" not in gain.text


def test_long_recordings_after_short_ones_are_no_effect() -> None:
    """By audio per hour it would be +100 % and more: the part that does not grow with length weighs less."""
    random = Random(2)
    short, long = finished(random, 100, 2.0, 40, base_s=12.0), finished(random, 40, 2.0, 900, base_s=12.0)
    assert sum(f.audio_s for f in long[0]) / long[1] > 2 * sum(f.audio_s for f in short[0]) / short[1]
    gain = measured_gain(*short, *long)
    assert gain is not None
    assert abs(gain.gain) < 0.1


def test_no_change_is_told_as_noise_as_often_as_it_should() -> None:
    told = [measured_gain(*finished(Random(n), 30, 2.0, 300), *finished(Random(n + 1000), 30, 2.0, 300)) for n in range(100)]
    assert sum(g is not None and g.low <= 0 <= g.high for g in told) >= 70
    assert "cannot be told from noise" in next(g.text for g in told if g is not None and not g.certain)


def test_few_recordings_are_no_measurement() -> None:
    few, seconds = finished(Random(3), 4, 2.0, 300)
    assert measured_gain(few, seconds, few, seconds) is None


def test_the_cost_of_a_recording_is_a_line_that_never_falls() -> None:
    assert cost_line([Finished(0, 100, 14), Finished(0, 200, 24), Finished(0, 300, 34)]) == pytest.approx((4.0, 0.1))
    assert cost_line([Finished(0, 100, 10), Finished(0, 100, 12)]) == pytest.approx((0.0, 0.11))
    assert cost_line([Finished(0, 100, 30), Finished(0, 300, 10)]) == (20.0, 0.0)


def change(revision: int, wall: float, **what: object) -> ChangeRow:
    return ChangeRow(revision, wall, "ops", "workers.asr", 1, 2, "applied", **what)  # type: ignore[arg-type]


def test_changes_seconds_apart_are_one_group() -> None:
    rows = [change(4, 200.0), change(3, 112.0), change(2, 105.0), change(1, 100.0)]
    assert [[row.revision for row in group] for group in groups(rows)] == [[1, 2, 3], [4]]


def test_every_prediction_is_kept_beside_its_outcome() -> None:
    rows = [
        change(1, 0.0, predicted_gain=0.3, gain=0.28),
        change(2, 0.0, predicted_gain=0.3, gain=0.1, gain_low=0.0, gain_high=0.15),
        change(3, 0.0, predicted_gain=0.3, gain=0.15, gain_low=-0.1, gain_high=0.4),
        change(4, 0.0, predicted_gain=0.3, gain=0.0, interim=True),
        change(5, 0.0, gain=0.0),
    ]
    record = track_record(rows)
    assert (record.right, record.of) == (2, 3)
    assert record.text == "advice right in 2 of 3, median error 15 %"
    assert track_record([]).text == "no prediction has been measured yet"


def test_a_search_keeps_what_brings_something_and_never_meets_a_known_limit_again() -> None:
    search = SlotSearch({"a": 1, "b": 1}, {"a": Bounds(1, 3), "b": Bounds(1, 2)}, frozenset({"a", "b"}))
    assert search.next([{"a": 9}, {"b": 2}]) == {"b": 2}, "a proposal within the bounds comes first"
    assert search.note({"b": 2}, 0.005) == "taken back"
    assert search.next() == {"a": 2}
    assert search.note({"a": 2}, 0.2) == "kept"
    assert search.next() == {"a": 3}, "the step that brought something comes first"
    assert search.note({"a": 3}, None, out_of_memory=True) == "out of memory"
    rest = []
    while (step := search.next()) is not None:
        rest.append({**search.at, **step})
        search.note(step, None)
    assert search.at == {"a": 2, "b": 1}
    assert rest == [{"a": 2, "b": 2}]
    assert not any(values["a"] >= 3 for values in rest)
