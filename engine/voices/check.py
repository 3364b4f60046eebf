"""How well the profiles separate people: each is scored against its own voices and held-out windows, and against every other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gainstage.engine.terms import ModelId
from gainstage.engine.voices.exemplars import cohesion
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.openset import Suggestion, calibrate, own_scores, suggest
from gainstage.engine.voices.profile_index import Profile, ProfileIndex, on_cosines
from gainstage.engine.voices.profile_store import ProfileStore

LOOSE = 0.3


@dataclass(frozen=True, slots=True)
class ProfileCheck:
    """The check of one profile. Scores are those of its exemplars, each scored against the others."""

    name: str
    exemplars: int
    cohesion: float | None
    own_mean: float | None
    own_low: float | None  # 10th percentile
    held_out: float | None  # mean score of windows held out at enrolment
    threshold: float  # in force
    suggestion: Suggestion
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """The voices of ``other``, scored against the profile ``name``."""

    name: str
    other: str
    cosine: float  # of the centroids
    mean: float
    highest: float
    accepted: int  # how many voices of ``other`` reach the threshold of ``name``
    voices: int


@dataclass(frozen=True, slots=True)
class LibraryCheck:
    """Every profile of one model, every ordered pair of them (most similar first), and the threshold the whole library suggests."""

    model: ModelId
    profiles: tuple[ProfileCheck, ...]
    pairs: tuple[Pair, ...]
    library: Suggestion
    normalised: bool  # whether there are enough people to normalise scores


def check(store: ProfileStore, model: ModelId, limits: Limits, primary: str | None = None) -> LibraryCheck:
    """Score the profiles of ``model`` against their own voices, their held-out windows and each other. Nothing is changed."""
    reports = store.reports()
    held_out = {id: report.get("held_out") for id, report in reports.items()}
    return judged(store.load(model, primary), model, limits, held_out)


def judged(profiles: Sequence[Profile], model: ModelId, limits: Limits, held_out: dict[int, float | None]) -> LibraryCheck:
    """Pure part of :func:`check`; ``held_out`` holds the mean score of the held-out windows by profile id."""
    index = ProfileIndex(on_cosines(profiles), model)
    tables = [index.similarities(p.voices) for p in index.profiles]
    checks, pairs = [], []
    for a, p in enumerate(index.profiles):
        threshold = limits.threshold(p.primary, p.threshold)
        own = own_scores(p.exemplars)
        strange = [float(s) for b, table in enumerate(tables) if b != a for s in table[:, a]]
        for b, o in enumerate(index.profiles):
            if a != b:
                scores = tables[b][:, a]
                accepted = int((scores >= threshold).sum())
                cosine = round(float(p.centroid @ o.centroid), 4)
                mean, highest = round(float(scores.mean()), 4), float(scores.max())
                pairs.append(Pair(p.name, o.name, cosine, mean, highest, accepted, len(scores)))
        alike = cohesion(p.exemplars)
        checks.append(
            ProfileCheck(
                name=p.name,
                exemplars=len(p.exemplars),
                cohesion=None if alike is None else round(alike, 4),
                own_mean=round(float(np.mean(own)), 4) if own else None,
                own_low=round(float(np.percentile(own, 10)), 4) if own else None,
                held_out=held_out.get(p.id),
                threshold=threshold,
                suggestion=suggest(own, strange),
                warnings=tuple(_warnings(p, alike, own, strange, threshold)),
            )
        )
    ranked = tuple(sorted(pairs, key=lambda x: (-x.highest, x.name, x.other)))
    return LibraryCheck(model, tuple(checks), ranked, calibrate(index.profiles), index.normalised)


def _warnings(p: Profile, alike: float | None, own: Sequence[float], strange: Sequence[float], threshold: float) -> list[str]:
    warnings = []
    if not len(p.exemplars):
        warnings.append("no exemplars, only a centroid: enrol again for better scores")
    if alike is not None and alike < LOOSE:
        warnings.append(f"cohesion {alike:.2f}: more than one person, or very different recordings")
    if own and float(np.percentile(own, 10)) < threshold:
        share = sum(s < threshold for s in own) / len(own)
        warnings.append(f"{100 * share:.0f} % of its own voices are below its threshold {threshold:.2f}")
    if passing := sum(s >= threshold for s in strange):
        warnings.append(f"{passing} voices of others reach its threshold {threshold:.2f}")
    return warnings
