"""Trials for the calibration of scores: a shipped cohort, the enrolled voices' own windows, corrected turns. Pure.

The cohort is a handful of people whose recordings are part of gainstage. It shows what a model makes of short and of long speech;
the enrolled voices show how alike the people of this library are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.terms import ModelId, Vector
from gainstage.engine.voices.calibration import Trials
from gainstage.engine.voices.profile_index import Profile, ProfileIndex, profile
from gainstage.engine.voices.vectors import mean_voice

WINDOW_S = 3.0
"""Length that the exemplars of a profile are taken to have: that of a window of enrolment."""

LONGER = (2, 4, 8)
"""So many windows are averaged to stand for longer speech."""

MOST_PEOPLE = 64
MOST_WINDOWS = 24
_NEIGHBOURS = 2
"""Windows of enrolment overlap: those so near in order are not scored against each other."""


@dataclass(frozen=True, slots=True)
class CohortPerson:
    """Somebody of the cohort: ``exemplars`` (k, d) of 3 s, and other voices (n, d) of ``seconds`` (n,) each."""

    name: str
    exemplars: NDArray[np.float32]
    voices: NDArray[np.float32]
    seconds: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Corrected:
    """A turn that an operator labelled by hand: its voice (d,), seconds, and the profile; None is nobody enrolled."""

    voice: Vector
    seconds: float
    profile: int | None


def cohort_trials(people: Sequence[CohortPerson], model: ModelId) -> list[Trials]:
    """Every voice of the cohort against everybody in it."""
    if len(people) < 2:
        return []
    index = ProfileIndex([profile(i, p.name, model, p.exemplars) for i, p in enumerate(people)], model)
    parts = []
    for column, person in enumerate(people):
        table = index.similarities(person.voices)
        for other in range(len(people)):
            parts.append(_trials(table[:, other], person.seconds, -1 - other, same=other == column))
    return _evened(parts)


def library_trials(profiles: Sequence[Profile], cohort: Sequence[CohortPerson], model: ModelId) -> list[Trials]:
    """The enrolled voices' windows, each against the rest of its own profile and against every other; the cohort against all.

    A person of the cohort who is enrolled is left out of the latter: one whose exemplars are as alike as those of one person.
    """
    enrolled = [p for p in profiles if len(p.exemplars) > 2 * _NEIGHBOURS + 1]
    step = max(1, -(-len(enrolled) // MOST_PEOPLE))
    chosen = enrolled[::step]
    if not chosen:
        return []
    index = ProfileIndex(profiles, model)
    places = {p.id: k for k, p in enumerate(index.profiles)}
    parts = []
    for person in chosen:
        own, seconds, voices = [], [], []
        for count, voice, alone in own_runs(person.exemplars):
            own.append(alone)
            seconds.append(count * WINDOW_S)
            voices.append(voice)
        length = np.array(seconds)
        parts.append(_trials(np.array(own), length, person.id, same=True))
        table = index.scores(index.similarities(np.stack(voices)))
        for other in index.profiles:
            if other.id != person.id:
                parts.append(_trials(table[:, places[other.id]], length, other.id, same=False))
    usual = float(np.median(np.concatenate([p.scores for p in parts if p.same.all()])))
    for stranger in cohort:
        table = index.scores(index.similarities(stranger.voices))
        alike = index.similarities(stranger.exemplars).mean(axis=0)
        others = [k for k in range(len(index.profiles)) if alike[k] < usual - 0.1]
        kept = others[:: max(1, -(-len(others) // MOST_PEOPLE))]
        parts += [_trials(table[:, k], stranger.seconds, index.profiles[k].id, same=False) for k in kept]
    return _evened(parts)


def corrected_trials(profiles: Sequence[Profile], corrected: Sequence[Corrected], model: ModelId) -> list[Trials]:
    """Turns labelled by hand against everybody enrolled: they come from other recordings than the profiles."""
    if not profiles or not corrected:
        return []
    index = ProfileIndex(profiles, model)
    table = index.scores(index.similarities(np.stack([c.voice for c in corrected])))
    seconds = np.array([c.seconds for c in corrected])
    who = np.array([-1 if c.profile is None else c.profile for c in corrected])
    return _evened([_kinds(table[:, k], seconds, p.id, who == p.id) for k, p in enumerate(index.profiles)])


def _kinds(scores: NDArray[np.float64], seconds: NDArray[np.float64], who: int, same: NDArray[np.bool_]) -> Trials:
    n = len(scores)
    return Trials(scores, seconds, same, np.ones(n), np.ones(n, bool), np.full(n, who, np.int64))


def _trials(scores: NDArray[np.float64], seconds: NDArray[np.float64], who: int, *, same: bool) -> Trials:
    n = len(scores)
    return Trials(scores.astype(np.float64), seconds, np.full(n, same), np.ones(n), np.zeros(n, bool), np.full(n, who, np.int64))


def _evened(parts: Sequence[Trials]) -> list[Trials]:
    """The same trials with half of the weight on those of one person: a source counts by its trials, not by its mixture."""
    same = sum(float(p.same.sum()) for p in parts)
    total = sum(len(p.scores) for p in parts)
    share = same / total if total else 0.0
    if not 0 < share < 1:
        return list(parts)
    return [Trials(p.scores, p.seconds, p.same, np.where(p.same, 1.0, same / (total - same)), p.session, p.who) for p in parts]


def own_runs(exemplars: NDArray[np.float32]) -> Iterator[tuple[int, Vector, float]]:
    """(how many windows, their mean voice (d,), its score against the exemplars far from them in time), spread over a profile."""
    for count, windows, rest in _parts(exemplars):
        voice = mean_voice(windows)
        yield count, voice, _alone(voice, rest)


def _parts(exemplars: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    """(how many, the windows, the exemplars far from them in time) for single windows and runs of them, spread over the profile."""
    n = len(exemplars)
    for count in (1, *LONGER):
        starts = range(0, n - count + 1, max(1, -(-(n - count + 1) // MOST_WINDOWS)))
        for start in starts:
            rest = np.concatenate([exemplars[: max(0, start - _NEIGHBOURS)], exemplars[start + count + _NEIGHBOURS :]])
            if len(rest) >= 3:
                yield count, exemplars[start : start + count], rest


def _alone(voice: Vector, rest: NDArray[np.float32]) -> float:
    cosines = np.sort(rest.astype(np.float64) @ voice.astype(np.float64))
    return float(np.clip(cosines[-3:].mean(), -1.0, 1.0))
