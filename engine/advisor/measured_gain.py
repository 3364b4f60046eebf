"""By how much a change moved the throughput, with an interval: pure functions over recordings finished before and after it.

A recording counts as the work it is, not as its length: the service seconds that a recording of its length took before the change
(a line fitted to them). A folder of long recordings after short ones is then no effect. The interval is a bootstrap over
recordings: pairs of (time since the one before ended, work of it) are drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DRAWS = 400
LEVEL = 0.8
"""Share of cases in which the interval should hold the true gain."""

LEAST = 5
"""Recordings that must be finished on either side."""

SURE = 0.95
"""Share of draws on one side of zero from which an effect is told from noise."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A recording that was stored: when (seconds since the window began, of a clock that runs only while there is work), how long it
    is, how many service seconds its stages took of it."""

    at_s: float
    audio_s: float
    served_s: float


@dataclass(frozen=True, slots=True)
class Gain:
    """A relative change of throughput (0.1 is +10 %) with the interval that holds it at :data:`LEVEL`."""

    gain: float
    low: float
    high: float
    certain: bool  # it is told from noise

    @property
    def text(self) -> str:
        """``+12% audio/h (+6 to +19%)``, and whether it cannot be told from noise."""
        words = f"{round(self.gain * 100):+d}% audio/h ({round(self.low * 100):+d} to {round(self.high * 100):+d}%)"
        return words if self.certain else f"{words} cannot be told from noise"


def measured_gain(
    before: Sequence[Finished], before_s: float, after: Sequence[Finished], after_s: float, *, seed: int = 0
) -> Gain | None:
    """The change of the rate from ``before_s`` seconds of work with ``before`` finished to ``after_s`` with ``after``.

    None when either side has fewer than :data:`LEAST` recordings or no time.
    """
    if min(len(before), len(after)) < LEAST or min(before_s, after_s) <= 0:
        return None
    import numpy as np  # half of a console's start otherwise, which reads effects and computes none

    base, per_audio = cost_line(before)
    random = np.random.default_rng(seed)
    rates = [_rates(side, seconds, base, per_audio, random) for side, seconds in ((before, before_s), (after, after_s))]
    (first, firsts), (second, seconds) = rates
    if first <= 0:
        return None
    drawn = seconds / np.maximum(firsts, 1e-12) - 1
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    up = float(np.mean(drawn > 0))
    return Gain(float(second / first - 1), float(low), float(high), up >= SURE or up <= 1 - SURE)


def cost_line(finished: Sequence[Finished]) -> tuple[float, float]:
    """(base seconds, seconds per audio second) of service, both not negative, fitted to what was finished."""
    import numpy as np

    audio = np.array([f.audio_s for f in finished])
    served = np.array([f.served_s for f in finished])
    if np.ptp(audio) < 0.2 * max(float(audio.mean()), 1e-9):  # equal lengths say nothing of a part that does not grow with them
        return 0.0, float(served.sum() / audio.sum()) if audio.sum() > 0 else 1.0
    slope, base = np.polyfit(audio, served, 1)
    if base < 0:
        return 0.0, float((audio * served).sum() / (audio * audio).sum())
    if slope < 0:
        return float(served.mean()), 0.0
    return float(base), float(slope)


def _rates(
    finished: Sequence[Finished], seconds: float, base: float, per_audio: float, random: np.random.Generator
) -> tuple[float, NDArray[np.float64]]:
    """Work per second, and the same of :data:`DRAWS` samples drawn anew."""
    import numpy as np

    ordered = sorted(finished, key=lambda f: f.at_s)
    work = np.array([base + per_audio * f.audio_s for f in ordered])
    ends = np.array([f.at_s for f in ordered])
    gaps = np.diff(np.concatenate([[0.0], ends]))
    gaps *= seconds / max(float(gaps.sum()), 1e-9)  # after the last one is part of the time all the same
    picks = random.integers(0, len(work), size=(DRAWS, len(work)))
    return float(work.sum() / seconds), work[picks].sum(axis=1) / np.maximum(gaps[picks].sum(axis=1), 1e-9)
