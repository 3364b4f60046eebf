"""Scores as probabilities: logistic calibration of cosines by length of speech, and the spread of one voice. Pure.

A score ``s`` of ``d`` seconds of speech becomes a log-likelihood ratio ``offset + slope s + length x + slope_length s x`` with
``x = log2(d / 3)``: linear logistic regression on trials of the same and of different people, both classes with the same weight
(Brummer and du Preez, 2006). The similarity of one voice to itself has the mean ``own_mean + own_mean_length x`` and the standard
deviation ``exp(log own_sd + own_sd_length x)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

PREFIX = "calibration."
REFERENCE_S = 3.0
SHORTEST_S, LONGEST_S = 0.5, 48.0
"""Lengths outside are treated as the nearest of these."""

OTHER_SESSION = 0.3
"""How far scores of one person fall towards those of others when the recording is another one: with CAM++, windows of 3 s of one man
have a median of .77 within a recording and of .65 across recordings, different people .37."""

_SESSIONS = (0.0, 0.5, 1.0)
"""Shares of ``OTHER_SESSION`` by which the scores of one recording are lowered to stand for others."""

_RIDGE = 1e-4
_STEPS = 60
FEWEST_TRIALS = 20
SMALLEST_SD = 0.01


@dataclass(frozen=True, slots=True)
class Trials:
    """Scores (n,) of ``seconds`` (n,) of speech against a profile; ``same`` (n,) says whether they are one person's, ``weight`` (n,)
    how much each counts. ``session`` (n,) says whether a score of one person comes from another recording than the profile, ``who`` (n,)
    whose profile it is."""

    scores: NDArray[np.float64]
    seconds: NDArray[np.float64]
    same: NDArray[np.bool_]
    weight: NDArray[np.float64]
    session: NDArray[np.bool_]
    who: NDArray[np.int64]


def joined(parts: Sequence[Trials]) -> Trials:
    """Several sets of trials as one."""
    return Trials(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Trials)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a score means with one model and one set of profiles. ``people`` is the number of people enrolled."""

    offset: float
    slope: float
    length: float
    slope_length: float
    own_mean: float
    own_mean_length: float
    own_sd: float
    own_sd_length: float
    people: float

    @classmethod
    def from_record(cls, record: Mapping[str, float]) -> Calibration | None:
        """The calibration stored with a decision; None where the decision was made on cosines."""
        if PREFIX + "slope" not in record:
            return None
        return cls(**{f.name: float(record[PREFIX + f.name]) for f in fields(cls)})

    def record(self) -> dict[str, float]:
        """In the form stored with a decision."""
        return {PREFIX + f.name: getattr(self, f.name) for f in fields(self)}

    def log_ratio(self, score: float, seconds: float) -> float:
        """Natural logarithm of the likelihood ratio of one person against two."""
        x = octaves(seconds)
        return self.offset + self.slope * score + self.length * x + self.slope_length * score * x

    def in_spreads(self, similarity: float, seconds: float) -> float:
        """A similarity as its distance from what one voice has at that length, in standard deviations."""
        x = octaves(seconds)
        mean = self.own_mean + self.own_mean_length * x
        return (similarity - mean) / (self.own_sd * math.exp(self.own_sd_length * x))

    def score_at(self, log_ratio: float, seconds: float) -> float:
        """The score that has this log-likelihood ratio at a length."""
        x = octaves(seconds)
        return (log_ratio - self.offset - self.length * x) / (self.slope + self.slope_length * x)


def octaves(seconds: float) -> float:
    """Length of speech on the scale of the calibration: powers of two of three seconds."""
    return math.log2(min(LONGEST_S, max(SHORTEST_S, seconds)) / REFERENCE_S)


def fit(trials: Trials, people: int, other_session: float = OTHER_SESSION) -> Calibration | None:
    """The calibration that fits the trials; None with fewer than 20 of one person or of different people, and for scores that do not
    tell people apart."""
    if min(int(trials.same.sum()), int((~trials.same).sum())) < FEWEST_TRIALS:
        return None
    x = np.log2(np.clip(trials.seconds, SHORTEST_S, LONGEST_S) / REFERENCE_S)
    mean, mean_length, sd, sd_length = _own(trials, x)
    spread_out = _other_sessions(trials, x, mean, mean_length, other_session)
    offset, slope, length, slope_length = _logistic(spread_out)
    if slope <= 0:
        return None  # a model that finds people less alike to themselves than to others
    return Calibration(offset, slope, length, slope_length, mean, mean_length, sd, sd_length, float(people))


def _own(trials: Trials, x: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Mean of one voice's similarities as a line in ``x``, their standard deviation as an exponential in it."""
    inside = trials.same
    s, at, w = trials.scores[inside], x[inside], trials.weight[inside]
    level = np.column_stack([np.ones_like(at), at])
    mean, mean_length = _least_squares(level, s, w)
    away = s - level @ (mean, mean_length)
    people, place = np.unique(trials.who[inside], return_inverse=True)
    usual = np.bincount(place, away * w, len(people)) / np.bincount(place, w, len(people))  # one person is more alike than another
    gap = np.log(np.maximum(np.abs(away - usual[place]), 1e-4))
    log_sd, sd_length = _least_squares(level, gap, w)
    # of a normal variable, the mean of log |z| is -0.635
    return mean, mean_length, max(SMALLEST_SD, math.exp(log_sd + 0.635)), sd_length


def _least_squares(level: NDArray[np.float64], values: NDArray[np.float64], weight: NDArray[np.float64]) -> tuple[float, float]:
    if np.ptp(level[:, 1]) < 1e-9:
        return float(np.average(values, weights=weight)), 0.0
    root = np.sqrt(weight)
    coefficients, *_ = np.linalg.lstsq(level * root[:, None], values * root, rcond=None)
    return float(coefficients[0]), float(coefficients[1])


def _other_sessions(trials: Trials, x: NDArray[np.float64], mean: float, mean_length: float, other_session: float) -> Trials:
    """The trials with the scores of one recording lowered in steps towards those of different people (see ``OTHER_SESSION``)."""
    others = float(np.average(trials.scores[~trials.same], weights=trials.weight[~trials.same]))
    near = trials.same & ~trials.session
    gap = np.where(near, mean + mean_length * x - others, 0.0)
    parts = [
        Trials(
            trials.scores - share * other_session * gap,
            trials.seconds,
            trials.same,
            trials.weight / len(_SESSIONS),
            trials.session,
            trials.who,
        )
        for share in _SESSIONS
    ]
    return joined(parts)


def _logistic(trials: Trials) -> tuple[float, float, float, float]:
    """Weighted logistic regression by Newton's method, with a ridge on the standardised features; both classes weigh the same.

    A slope that would turn around within the range of lengths is fitted without its interaction with length.
    """
    x = np.log2(np.clip(trials.seconds, SHORTEST_S, LONGEST_S) / REFERENCE_S)
    weight = trials.weight.copy()
    for kind in (trials.same, ~trials.same):
        weight[kind] *= 0.5 / weight[kind].sum()
    middle, scale = float(np.average(trials.scores, weights=weight)), max(1e-6, float(trials.scores.std()))
    z = (trials.scores - middle) / scale
    for columns in ([z, x, z * x], [z, x], [z]):
        level = np.column_stack([np.ones_like(z), *columns])
        coefficients = np.zeros(4)
        coefficients[: level.shape[1]] = _newton(level, trials.same, weight)
        slope, slope_length = coefficients[1] / scale, coefficients[3] / scale
        ends = [slope + slope_length * octaves(d) for d in (SHORTEST_S, LONGEST_S)]
        if min(ends) > 0.2 * slope > 0:
            break
    return (
        float(coefficients[0] - slope * middle),
        float(slope),
        float(coefficients[2] - slope_length * middle),
        float(slope_length),
    )


def _newton(level: NDArray[np.float64], same: NDArray[np.bool_], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    ridge = np.full(level.shape[1], _RIDGE)
    ridge[0] = 1e-9
    coefficients = np.zeros(level.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(level @ coefficients, -40, 40)))
        slope = level.T @ (weight * (p - same)) + ridge * coefficients
        curve = (level * (weight * p * (1 - p))[:, None]).T @ level + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        step *= min(1.0, 4.0 / max(1e-12, float(np.abs(step).max())))
        coefficients -= step
        if float(np.abs(step).max()) < 1e-9:
            break
    return coefficients
