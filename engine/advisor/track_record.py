"""How right predictions were: every prediction beside its outcome. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from gainstage.engine.views.rows import ChangeRow

RIGHT = 0.1
"""A prediction is right that is this close to the measured gain, or within the interval of the measurement."""


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """How many predictions of gains came true, of how many that were measured."""

    right: int
    of: int
    median_error: float | None  # of the predicted gain, absolute

    @property
    def text(self) -> str:
        """``advice right in 17 of 20, median error 6 %``; what is missing where nothing was measured yet."""
        if self.median_error is None:
            return "no prediction has been measured yet"
        return f"advice right in {self.right} of {self.of}, median error {self.median_error * 100:.0f} %"


def track_record(changes: Sequence[ChangeRow]) -> TrackRecord:
    """Over the changes whose gain was predicted and finally measured."""
    pairs = [
        (c, c.predicted_gain, c.gain) for c in changes if c.predicted_gain is not None and c.gain is not None and not c.interim
    ]
    errors = [abs(predicted - measured) for _, predicted, measured in pairs]
    right = sum(
        abs(predicted - measured) <= RIGHT
        or (c.gain_low is not None and c.gain_high is not None and c.gain_low <= predicted <= c.gain_high)
        for c, predicted, measured in pairs
    )
    return TrackRecord(right, len(pairs), median(errors) if errors else None)
