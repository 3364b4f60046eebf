"""Whether people are known again by their own voices: the share of a profile's windows that would not get its name. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gainstage.engine.terms import ModelId
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.posterior import probabilities
from gainstage.engine.voices.profile_index import Profile, ProfileIndex, on_cosines
from gainstage.engine.voices.trials import WINDOW_S, own_runs

NOTED = 0.2
"""A profile that misses more of its own windows than this is reported."""

RUN = 4
"""Windows that are averaged to stand for a cluster."""


@dataclass(frozen=True, slots=True)
class Missed:
    """A profile that is not known again by its own voices. ``windows`` is the share of its windows of 3 s without its name, ``runs``
    that of 12 s of its speech."""

    name: str
    windows: float
    runs: float

    @property
    def text(self) -> str:
        return (
            f"{100 * self.windows:.0f} % of {self.name}'s own windows of {WINDOW_S:.0f} s and {100 * self.runs:.0f} % of"
            f" {RUN * WINDOW_S:.0f} s of the same speech would not be called {self.name}"
        )


def missed(profiles: Sequence[Profile], model: ModelId, limits: Limits) -> tuple[Missed, ...]:
    """Profiles of which more than a fifth of single windows, or of runs, would stay unknown under these limits."""
    index = ProfileIndex(profiles if limits.calibration else on_cosines(profiles), model)
    result = []
    for column, person in enumerate(index.profiles):
        shares = []
        for count in (1, RUN):
            runs = [(voice, alone) for size, voice, alone in own_runs(person.exemplars) if size == count]
            if not runs:
                break
            table = index.similarities(np.stack([voice for voice, _ in runs]))
            table[:, column] = [alone for _, alone in runs]
            rows = index.scores(table).tolist()
            shares.append(sum(not _named(index, row, column, count * WINDOW_S, limits) for row in rows) / len(rows))
        if len(shares) == 2 and max(shares) > NOTED:
            result.append(Missed(person.name, *shares))
    return tuple(result)


def _named(index: ProfileIndex, scores: Sequence[float], column: int, seconds: float, limits: Limits) -> bool:
    person = index.candidates[column]
    if limits.calibration is None or person.threshold is not None:
        return scores[column] >= limits.threshold(person.primary, person.threshold)
    return (probabilities(index.candidates, scores, seconds, limits.calibration)[column] or 0.0) >= limits.probability
