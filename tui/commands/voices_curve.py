"""A calibration as a table: how likely one person is by score and length of speech, and the cosines that its limits come to."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from gainstage.tui.commands.common import table

if TYPE_CHECKING:
    from gainstage.config.settings import Identify
    from gainstage.engine.voices.calibrating import Fitted

LENGTHS_S = (0.5, 1.5, 3.0, 10.0, 30.0)
SCORES = tuple(k / 100 for k in range(10, 100, 10))


def curve(fitted: Fitted, identify: Identify) -> None:
    """Print the probability of one person by score and length, at even odds, and what the limits in force come to."""
    scale = fitted.calibration
    head = ["SCORE", *(f"{seconds:g} s" for seconds in LENGTHS_S)]
    rows = [[f"{score:.2f}", *(_percent(scale.log_ratio(score, d)) for d in LENGTHS_S)] for score in SCORES]
    print("\nhow likely a score is one person, by length of speech, at even odds")
    print(table(head, rows, right=tuple(range(len(head)))))
    needed = _needed(fitted, identify)
    print("a name needs    " + ", ".join(f"{score:.2f} over {d:g} s" for d, score in needed.items()))
    limits = _split_limits(fitted, identify)
    print(f"the fast path   {_fast_path(fitted, identify):.2f} at nine of ten places of 5 s")
    print(f"a cluster splits above range {limits['range']:.2f} or variance {limits['variance']:.3f}, of samples of 3 s")
    sources = ("cohort", "library", "corrected")
    counts = ", ".join(f"{name} {getattr(fitted, name)[0]} and {getattr(fitted, name)[1]}" for name in sources)
    print(f"fitted to trials of one person and of different people: {counts}")
    if identify.scale == "cosine":
        print("not in use: identify.scale is cosine")
    print(
        f"identify.scale = cosine judges by {identify.primary_threshold:g} for the primary, {identify.other_threshold:g} for others,"
        f" range {identify.range_limit:g}, variance {identify.variance_limit:g}"
    )


def as_data(fitted: Fitted, identify: Identify) -> dict[str, Any]:
    """The same for ``--json``."""
    scale = fitted.calibration
    return {
        **dataclasses.asdict(fitted),
        "in_use": identify.scale == "calibrated",
        "curve": [
            {"seconds": d, "score": s, "probability": round(_sigmoid(scale.log_ratio(s, d)), 6)} for d in LENGTHS_S for s in SCORES
        ],
        "name_needs": [{"seconds": d, "score": round(score, 4)} for d, score in _needed(fitted, identify).items()],
        "fast_path_needs": round(_fast_path(fitted, identify), 4),
        "split_above": _split_limits(fitted, identify),
    }


def _needed(fitted: Fitted, identify: Identify) -> dict[float, float]:
    """The score that reaches the probability of a name when nobody else enrolled is alike, by length of speech in seconds."""
    from gainstage.engine.voices.posterior import least_log_ratio

    ratio = least_log_ratio(identify.probability, int(fitted.calibration.people))
    return {d: fitted.calibration.score_at(ratio, d) for d in LENGTHS_S}


def _fast_path(fitted: Fitted, identify: Identify) -> float:
    """The score of a place of 5 s that is as sure as the fast path needs of a primary speaker."""
    from gainstage.engine.voices.posterior import least_log_ratio

    people = int(fitted.calibration.people)
    return fitted.calibration.score_at(least_log_ratio(identify.fast_path_probability, people, primary=True), 5.0)


def _split_limits(fitted: Fitted, identify: Identify) -> dict[str, float]:
    sd = fitted.calibration.own_sd
    return {"range": round(identify.range_spreads * sd, 4), "variance": round(identify.variance_spreads * sd**2, 5)}


def _sigmoid(log_odds: float) -> float:
    return 1 / (1 + math.exp(-max(-40.0, min(40.0, log_odds))))


def _percent(log_odds: float) -> str:
    sure = 100 * _sigmoid(log_odds)
    return f"{sure:.1f}" if 0.05 <= sure <= 99.95 else "<0.1" if sure < 50 else ">99.9"
