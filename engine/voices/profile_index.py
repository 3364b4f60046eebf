"""The enrolled profiles as a matrix that voices are scored against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.errors import Misconfigured
from gainstage.engine.terms import ModelId, Vector
from gainstage.engine.voices.vectors import DECIMALS, checked, mean_voice, same_model

MOST_EXEMPLARS = 64
BEST_EXEMPLARS = 3
DENIED_WEIGHT = 4.0
"""A voice nearer to one that is not this person's loses this many times the difference, so that .1 nearer is decisive."""

SMALLEST_COHORT = 20
"""Number of other profiles needed before scores are normalised."""


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """An enrolled person. ``centroid`` (d,) and ``exemplars`` (k, d), k <= 64 and maybe 0, are unit vectors of ``model``.

    ``threshold`` is the profile's own, a cosine set by hand; ``suggested`` is the one its enrolment suggested. Build it with :func:`profile`, which checks the vectors.
    """

    id: int
    name: str
    model: ModelId
    centroid: Vector
    exemplars: NDArray[np.float32]
    threshold: float | None = None
    primary: bool = False
    version: int = 1
    suggested: float | None = None
    confirmed: NDArray[np.float32] | None = None  # (k, d) unit voices that somebody said are this person's
    denied: NDArray[np.float32] | None = None  # (k, d) unit voices that somebody said are not

    @property
    def voices(self) -> NDArray[np.float32]:
        """The vectors that voices are scored against, (k, d): the exemplars, or the centroid when there are none."""
        return self.exemplars if len(self.exemplars) else self.centroid[None]


def profile(
    id: int,
    name: str,
    model: ModelId,
    exemplars: NDArray[np.float32] | None = None,
    centroid: Vector | None = None,
    *,
    threshold: float | None = None,
    primary: bool = False,
    version: int = 1,
    suggested: float | None = None,
) -> Profile:
    """A profile with checked vectors; without ``centroid`` it is the mean of the exemplars.

    Raises :class:`gainstage.engine.voices.vectors.BadVoice` or ``ForeignVoice`` for vectors that cannot be used.
    """
    what = f"profile {name}"
    rows = np.zeros((0, model.dimension), np.float32)
    if exemplars is not None and len(exemplars):
        rows = np.atleast_2d(checked(exemplars, model.dimension, what=what))
    middle = mean_voice(rows) if centroid is None and len(rows) else checked([] if centroid is None else centroid, what=what)
    return Profile(id, name, model, checked(middle, model.dimension, what=what), rows, threshold, primary, version, suggested)


def on_cosines(profiles: Sequence[Profile]) -> list[Profile]:
    """The profiles as the cosine scale judges them: one without a threshold of its own takes the suggested one. The primary speaker
    has a setting."""
    return [replace(p, threshold=p.suggested) if p.threshold is None and not p.primary else p for p in profiles]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A profile as stored with a decision: enough to decide again without its vectors."""

    id: int
    name: str
    primary: bool
    threshold: float | None  # its own threshold; None uses the setting


class ProfileIndex:
    """Profiles stacked into one matrix. Raises :class:`ForeignVoice` when a model other than ``model`` made one of them."""

    def __init__(self, profiles: Sequence[Profile], model: ModelId) -> None:
        for p in profiles:
            same_model(p.model, model, what=f"profile {p.name}")
        if sum(p.primary for p in profiles) > 1:
            names = ", ".join(p.name for p in profiles if p.primary)
            raise Misconfigured(
                f"more than one primary profile: {names}", cause="two primary profiles", hint="Set identify.primary."
            )
        self.model = model
        self.profiles = tuple(sorted(profiles, key=lambda p: (not p.primary, p.id)))
        self.candidates = tuple(Candidate(p.id, p.name, p.primary, p.threshold) for p in self.profiles)
        self.primary = 0 if self.profiles and self.profiles[0].primary else None
        """Column of the primary profile, None without one."""
        rows = [p.voices for p in self.profiles]
        self._ends = np.cumsum([len(r) for r in rows]).tolist()
        self._rows = np.concatenate(rows).astype(np.float64) if rows else np.zeros((0, model.dimension))
        self._cohort = self._levels() if len(self.profiles) > SMALLEST_COHORT else None

    @property
    def normalised(self) -> bool:
        """Whether there are enough other profiles to normalise scores."""
        return self._cohort is not None

    def similarities(self, voices: NDArray[np.float32]) -> NDArray[np.float64]:
        """Cosine of (n, d) voices to the p profiles as (n, p), rounded: the mean over the 3 best exemplars, or the centroid's.

        A voice that somebody confirmed counts alone where it is nearer than everybody else; one that somebody denied lowers the score
        where it is nearer than the person.

        Raises :class:`BadVoice` or :class:`ForeignVoice` for vectors that are not voices of this model.
        """
        units = checked(voices, self.model.dimension)
        cosines = np.clip(units.astype(np.float64) @ self._rows.T, -1.0, 1.0)
        scores = np.empty((len(units), len(self.profiles)))
        start = 0
        for column, end in enumerate(self._ends):
            block = cosines[:, start:end]
            if end - start > BEST_EXEMPLARS:
                block = np.partition(block, -BEST_EXEMPLARS, axis=1)[:, -BEST_EXEMPLARS:]
            scores[:, column] = block.mean(axis=1)
            start = end
        if any(p.confirmed is not None or p.denied is not None for p in self.profiles):
            scores = _corrected(units.astype(np.float64), scores, self.profiles)
        return np.round(scores, DECIMALS)

    def scores(self, similarities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Similarities (n, p) as scores: normalised against the cohort of other profiles when there is one, else unchanged.

        The score of a voice that is similar to everybody (noise, a telephone) is lowered, and so are scores against a profile that
        everybody is similar to: half the excess of each over the library's usual level between different people is subtracted. Only
        the level is shifted, not the scale, so that thresholds keep their meaning: the spread of 20 voices is too uncertain to
        divide by.
        """
        if self._cohort is None:
            return similarities
        profile_level, usual = self._cohort
        others = similarities.shape[1] - 1
        voice_level = (similarities.sum(axis=1, keepdims=True) - similarities) / others
        shifted = similarities - ((voice_level - usual) + (profile_level - usual)) / 2
        normalised: NDArray[np.float64] = np.round(np.clip(shifted, -1.0, 1.0), DECIMALS)
        return normalised

    def _levels(self) -> tuple[NDArray[np.float64], float]:
        """Mean similarity of the other profiles' centroids to each profile (p,), and the mean of these."""
        table = self.similarities(np.stack([p.centroid for p in self.profiles]))
        np.fill_diagonal(table, 0.0)
        level: NDArray[np.float64] = table.sum(axis=0) / (len(table) - 1)
        return level, float(level.mean())


def _corrected(voices: NDArray[np.float64], scores: NDArray[np.float64], people: Sequence[Profile]) -> NDArray[np.float64]:
    """Similarities (n, p) of (n, d) voices with what people said of them.

    Voices that were confirmed or denied are means of much speech, exemplars are short windows: a contest between them is decided
    at the level of means, with each profile's centroid for its own voice.
    """
    reach = voices @ np.stack([p.centroid for p in people]).T.astype(np.float64)
    confirmed = {k: _nearest(voices, p.confirmed) for k, p in enumerate(people) if p.confirmed is not None and len(p.confirmed)}
    for k, near in confirmed.items():
        reach[:, k] = np.maximum(reach[:, k], near)
    corrected = scores.copy()
    for k, near in confirmed.items():
        ahead = near >= np.delete(reach, k, axis=1).max(axis=1, initial=-1.0)
        corrected[:, k] = np.where(ahead, np.maximum(corrected[:, k], near), corrected[:, k])
    for k, p in enumerate(people):
        if p.denied is not None and len(p.denied):
            corrected[:, k] -= DENIED_WEIGHT * np.maximum(0.0, _nearest(voices, p.denied) - reach[:, k])
    return np.clip(corrected, -1.0, 1.0)


def _nearest(voices: NDArray[np.float64], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """The largest cosine of each of (n, d) voices to (k, d) rows."""
    nearest: NDArray[np.float64] = (voices @ rows.T.astype(np.float64)).max(axis=1)
    return nearest
