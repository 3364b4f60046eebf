"""Cluster decisions of the scripted story: seeded similarities and the split rule applied to them.

The similarities of a cluster depend only on the seed, the recording and the cluster; the rule is a pure function of them
and of the limits, so that a what-if recomputes exactly the story's decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from gainstage.engine.desk.scripted.cast import GUESTS, HOST, Part
from gainstage.engine.views.snapshot import near_limit


@dataclass(frozen=True, slots=True)
class Cluster:
    """The measurements of one cluster, without a decision."""

    name: str
    turns: int
    seconds: float
    similarities: tuple[float, ...]  # of the sampled turns to the primary profile
    guest: str | None  # the enrolled person it is, when not the host
    shares: tuple[float, ...]  # seconds of speech for each similarity
    massive: bool = False


@dataclass(frozen=True, slots=True)
class Conclusion:
    split: bool
    rule: str
    why: str
    speakers: tuple[tuple[str, float], ...]
    grey: bool  # close to a limit


def statistics(similarities: Sequence[float]) -> tuple[float, float, float, float]:
    """Mean, population variance, lowest and highest."""
    n = len(similarities)
    mean = sum(similarities) / n
    return mean, sum((s - mean) ** 2 for s in similarities) / n, min(similarities), max(similarities)


def _around(random: Random, middle: float, width: float, n: int) -> list[float]:
    return [round(min(0.97, max(-0.05, random.gauss(middle, width))), 3) for _ in range(n)]


def clusters(seed: int, part: Part, *, massive: bool = False, mixed: bool = False) -> tuple[Cluster, ...]:
    """The clusters of one recording. ``massive`` makes it one long turn, ``mixed`` puts two people into the first cluster."""
    random = Random(f"voices {seed} {part.id}")
    speech = part.duration_s * random.uniform(0.86, 0.95)
    count = 1 if part.monologue else part.speakers
    weights = [random.uniform(0.5, 1.5) + (1.2 if i == 0 else 0) for i in range(count)]
    made: list[Cluster] = []
    for i in range(count):
        seconds = round(speech * weights[i] / sum(weights), 1)
        turns = 1 if massive and i == 0 else max(3, round(seconds / random.uniform(9, 24)))
        n = 10 if massive and i == 0 else min(10, turns)
        dice = random.random()
        guest = random.choice(GUESTS)
        if (mixed and i == 0) or (not massive and dice < 0.09 and count > 1):
            low = n // 3
            sims = _around(random, 0.28, 0.05, low) + _around(random, 0.84, 0.04, n - low)
        elif i == 0 and dice < 0.22:
            sims = _around(random, 0.68, 0.13, n)  # a difficult microphone: some values are close to the limits
        elif i == 0:
            sims = _around(random, 0.83, 0.045, n)
        else:
            sims = _around(random, 0.24, 0.07, n)
        random.shuffle(sims)
        cut = [random.uniform(0.5, 1.5) for _ in sims]
        shares = tuple(seconds * c / sum(cut) for c in cut)
        known = guest if i > 0 and random.random() < 0.45 else None
        made.append(Cluster(f"c{i}", turns, seconds, tuple(sims), known, shares, massive and i == 0))
    return tuple(made)


def conclude(cluster: Cluster, limits: Mapping[str, Any], unknown: str) -> Conclusion:
    """Apply the split rule to one cluster. ``unknown`` is the name for a person who is not enrolled ("Speaker 2")."""
    variance_limit, range_limit = float(limits["identify.variance_limit"]), float(limits["identify.range_limit"])
    if cluster.seconds < 3:
        return Conclusion(
            False, "too short", f"{cluster.seconds:.1f} s of speech: less than 3 s", ((unknown, cluster.seconds),), False
        )
    if len(cluster.similarities) < 3:
        return Conclusion(False, "too few", "fewer than 3 voices", ((unknown, cluster.seconds),), False)
    mean, variance, low, high = statistics(cluster.similarities)
    spread = high - low
    grey = near_limit(variance, variance_limit) or near_limit(spread, range_limit)
    other = cluster.guest or unknown
    if variance > variance_limit or spread > range_limit:
        rule = "variance" if variance > variance_limit else "range"
        value, limit = (variance, variance_limit) if rule == "variance" else (spread, range_limit)
        at_least = float(limits["identify.split_threshold"])
        host = sum(s for s, sim in zip(cluster.shares, cluster.similarities, strict=True) if sim >= at_least)
        ours = sum(1 for sim in cluster.similarities if sim >= at_least)
        speakers = tuple((n, round(s, 1)) for n, s in ((HOST, host), (other, cluster.seconds - host)) if s > 0.05)
        why = f"{rule} {value:.3f} > {limit:.3f}: {ours} samples are {HOST}, {len(cluster.similarities) - ours} are not"
        return Conclusion(True, rule, why, speakers, grey)
    need = float(limits["identify.primary_threshold"])
    if mean >= need:
        why = f"variance {variance:.3f} and range {spread:.2f} under the limits; mean {mean:.2f} >= {need:.2f}"
        return Conclusion(False, "under limits", why, ((HOST, cluster.seconds),), grey)
    why = f"variance {variance:.3f} and range {spread:.2f} under the limits; mean {mean:.2f} < {need:.2f}: {other}"
    return Conclusion(False, "under limits", why, ((other, cluster.seconds),), grey)
