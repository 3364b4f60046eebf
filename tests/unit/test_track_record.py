"""How right predictions were, at the limits of what counts as right."""

from __future__ import annotations

from typing import Any

import pytest

from gainstage.engine.advisor.track_record import track_record
from gainstage.engine.views.rows import ChangeRow


def change(
    predicted: float | None, gain: float | None, low: float | None = None, high: float | None = None, **more: Any
) -> ChangeRow:
    return ChangeRow(
        1,
        0.0,
        "ops",
        "workers.transcribe",
        1,
        2,
        "applied",
        predicted_gain=predicted,
        gain=gain,
        gain_low=low,
        gain_high=high,
        **more,
    )


@pytest.mark.parametrize(
    ("predicted", "gain", "low", "high", "right"),
    [
        (0.5, 0.625, None, None, 0), (0.125, 0.0625, None, None, 1), (0.0625, 0.125, None, None, 1), (1.1, 1.0, None, None, 0),
        (0.1, 0.0, None, None, 1), (0.5, 0.25, 0.25, 0.5, 1), (0.25, 0.5, 0.25, 0.75, 1), (0.5, 0.25, 0.25, 0.49, 0),
        (0.25, 0.5, 0.26, 0.75, 0), (0.5, 0.25, None, 0.9, 0), (0.5, 0.25, 0.1, None, 0),
    ],
)  # fmt: skip
def test_a_prediction_is_right_within_a_tenth_or_within_the_interval(
    predicted: float, gain: float, low: float | None, high: float | None, right: int
) -> None:
    """1.1 and 1.0 are a little more than a tenth apart, as floats are."""
    record = track_record([change(predicted, gain, low, high)])
    assert (record.right, record.of) == (right, 1)
    assert record.median_error == pytest.approx(abs(predicted - gain))


def test_only_what_was_predicted_and_finally_measured_counts() -> None:
    rows = [change(None, 0.2), change(0.2, None), change(0.2, 0.2, interim=True)]
    assert track_record(rows).text == "no prediction has been measured yet"
    assert track_record(rows).of == 0
    record = track_record([*rows, change(0.0, 0.0), change(0.5, 0.0), change(0.06, 0.0)])
    assert record.text == "advice right in 2 of 3, median error 6 %"
