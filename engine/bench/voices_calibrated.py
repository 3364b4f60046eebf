"""How well scores are calibrated: the cost of the likelihood ratios (Cllr) beside the least that their order allows (minCllr).

The least is fitted to the very trials that it is measured on, so that even perfect ratios cost more than it, the more the fewer errors
there are. Each line therefore has the same two figures for drawn ratios that are perfectly calibrated, with the same equal error rate
and as many trials. Speech and enrolment are of one recording here; the engine allows for other recordings
(:data:`gainstage.engine.voices.calibration.OTHER_SESSION`), which costs something where there are none: so it is measured without, too.
Beside it stands the cost after recalibration on the trials of all other voices, which no calibration of unknown people can be asked to beat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from gainstage.engine.evaluation.intervals import figure
from gainstage.engine.evaluation.names import Trial, cllr, min_cllr
from gainstage.engine.terms import ModelId
from gainstage.engine.voices.calibrating import calibrate
from gainstage.engine.voices.calibration import OTHER_SESSION, Calibration, Trials, fit
from gainstage.engine.voices.openset import equal_error
from gainstage.engine.voices.profile_index import Profile, ProfileIndex
from gainstage.engine.voices.trials import CohortPerson

RESAMPLES = 100
DRAWS = 12
_MOST = 20.0

Speech = Mapping[float, Mapping[int, np.ndarray[Any, Any]]]
"""Voices (n, d) by seconds of speech and by profile."""


def measured(people: Sequence[Profile], speech: Speech, cohort: Sequence[CohortPerson], model: ModelId) -> list[dict[str, Any]]:
    """A row for each length of speech; nothing where no calibration can be fitted."""
    fitted, alone = (calibrate(people, cohort, model, other_session=allowed) for allowed in (OTHER_SESSION, 0.0))
    if fitted is None or alone is None:
        return []
    index = ProfileIndex(people, model)
    rows = []
    for seconds, voices in speech.items():
        scored = [index.scores(index.similarities(voices[p.id])) for p in index.profiles]
        same = np.concatenate([table[:, k] for k, table in enumerate(scored)])
        other = np.concatenate([np.delete(table, k, axis=1).ravel() for k, table in enumerate(scored)])
        rate = equal_error(same.tolist(), other.tolist()).rate
        by_voice = [_trials(table, k, seconds, fitted.calibration) for k, table in enumerate(scored)]
        own = [t for k, table in enumerate(scored) for t in _trials(table, k, seconds, alone.calibration)]
        rows.append(
            {
                "seconds": seconds,
                "equal_error": rate,
                "trials": (len(same), len(other)),
                "cllr": asdict(figure(by_voice, lambda rs: cllr([t for r in rs for t in r]), RESAMPLES)),
                "min_cllr": asdict(figure(by_voice, lambda rs: min_cllr([t for r in rs for t in r]), RESAMPLES)),
                "cllr_one_session": cllr(own),
                "cllr_crossed": cllr(crossed(scored, seconds)),
                "perfect": perfect(rate, len(same), len(other)),
            }
        )
    return rows


def crossed(tables: Sequence[np.ndarray[Any, Any]], seconds: float) -> list[Trial]:
    """Every trial under a calibration that was fitted to the trials without its voice: row ``k`` of ``tables`` has the scores
    (n, people) of voice ``k`` against everybody."""
    made = []
    for held, table in enumerate(tables):
        others = [np.delete(one, held, axis=1) for k, one in enumerate(tables) if k != held]
        scores = np.concatenate([one.ravel() for one in others])
        same = np.concatenate([np.arange(one.size) % one.shape[1] == k for k, one in enumerate(others)])
        plain = np.ones(len(scores))
        trials = Trials(scores, seconds * plain, same, plain, np.zeros(len(scores), bool), np.zeros(len(scores), np.int64))
        scale = fit(trials, len(tables), 0.0)
        if scale is not None:
            made += _trials(table, held, seconds, scale)
    return made


def perfect(equal_error_rate: float, same: int, other: int, seed: int = 0) -> tuple[float, float]:
    """(Cllr, minCllr) of perfectly calibrated ratios with this equal error rate, means of :data:`DRAWS` draws: normal with the means
    +-d²/2 and the deviation d, where d is twice the quantile of the rate."""
    from scipy.stats import norm

    rng, d = np.random.default_rng(seed), -2 * float(norm.ppf(min(0.49, max(1e-4, equal_error_rate))))
    costs, least = [], []
    for _ in range(DRAWS):
        ratios = np.concatenate([rng.normal(d * d / 2, d, same), rng.normal(-d * d / 2, d, other)])
        trials = [Trial(_probability(float(ratio)), k < same) for k, ratio in enumerate(ratios)]
        costs.append(cllr(trials) or 0.0)
        least.append(min_cllr(trials) or 0.0)
    return float(np.mean(costs)), float(np.mean(least))


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows as plain text."""
    if not rows:
        return []
    head = f"{'':10s}{'equal error':>12s}{'trials':>14s}{'Cllr':>9s}{'95 %':>18s}{'minCllr':>9s}{'one session':>13s}{'crossed':>9s}{'perfect':>18s}"
    made = ["calibrated scores: cost in bits, the least their order allows, cross-validated, and both for perfect scores", "", head]
    for row in rows:
        one = row["cllr"]
        perfect_cost, perfect_least = row["perfect"]
        between = f"{one['low']:.4f} to {one['high']:.4f}"
        made.append(
            f"{row['seconds']:>8.0f} s{100 * row['equal_error']:>10.1f} %{'{} + {}'.format(*row['trials']):>14s}{one['value']:>9.4f}"
            f"{between:>18s}{row['min_cllr']['value']:>9.4f}{row['cllr_one_session']:>13.4f}{row['cllr_crossed']:>9.4f}"
            f"{f'{perfect_cost:.4f} ({perfect_least:.4f})':>18s}"
        )
    return [*made, ""]


def _trials(table: np.ndarray[Any, Any], own: int, seconds: float, scale: Calibration) -> list[Trial]:
    return [Trial(_probability(scale.log_ratio(float(score), seconds)), k == own) for row in table for k, score in enumerate(row)]


def _probability(log_ratio: float) -> float:
    return 1 / (1 + math.exp(-max(-_MOST, min(_MOST, log_ratio))))
