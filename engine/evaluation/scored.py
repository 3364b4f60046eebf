"""What an engine understood of recordings, scored against references: figures with intervals, two runs compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gainstage.engine.evaluation.intervals import Figure, Paired, Share, figure, paired, paired_by, pooled
from gainstage.engine.evaluation.measures import MEASURES, measured, normaliser
from gainstage.engine.evaluation.names import (
    Prediction,
    Search,
    Trial,
    calibration_error,
    cllr,
    fnir_at_fpir,
    min_cllr,
    min_dcf,
)
from gainstage.engine.evaluation.references import Said, Talk
from gainstage.engine.terms import UNKNOWN_PREFIX, Decision, ProfileScore, Segment, TurnEvidence

NAMES = {
    "fnir_at_fpir_1": "enrolled people not found, where 1 % of strangers get a name",
    "min_dcf": "detection cost at the best limit, prior 0.01",
    "cllr": "cost of the turns' likelihood ratios against every profile, bits",
    "min_cllr": "the same after the best recalibration",
    "calibration_error": "distance of a speaker's confidence and how often it is right",
    "word_calibration_error": "distance of a word's probability and how often it is right",
}
COUNTS = {
    "uncovered_speech_s": "seconds of speech left without words, per recording",
    "inserted_words_per_hour": "words nobody said",
}
HELP = MEASURES | NAMES | COUNTS
_SECONDS_PER_HOUR = 3600.0
_RESAMPLES_OF_TRIALS = 200
_MOST = 20.0


@dataclass(frozen=True, slots=True)
class Scored:
    """One recording against its truth: shares by measure, and the single answers behind the figures of names."""

    name: str
    shares: Mapping[str, Share]
    searches: tuple[Search, ...] = ()
    trials: tuple[Trial, ...] = ()
    names: tuple[Prediction, ...] = ()
    words: tuple[Prediction, ...] = field(default=(), repr=False)


def scored(
    truth: Talk,
    segments: Sequence[Segment],
    facts: Mapping[str, Any],
    decisions: Sequence[Decision] = (),
    *,
    seconds: float | None = None,
    enrolled: Sequence[str] = (),
) -> Scored:
    """A stored recording against its reference. ``facts`` are those kept with it, ``enrolled`` the names of all profiles.

    Names are scored where the reference has names: somebody enrolled appears in it under the profile's name.
    """
    language = str(facts.get("language") or "en")
    turns = [Said(str(t[3]), float(t[0]), float(t[1])) for t in facts.get("turns", ())]
    understood = Talk(truth.name, tuple(Said(s.speaker, w.start, w.end, w.text) for s in segments for w in s.words))
    shares = measured(truth, understood, turns, language)
    coverage = facts.get("coverage")
    if isinstance(coverage, Mapping):
        shares["uncovered_speech_s"] = Share(float(coverage["left_s"]), 1.0)
    words: tuple[Prediction, ...] = ()
    if truth.worded:
        words, inserted = _word_predictions(truth, segments, language)
        if seconds:
            shares["inserted_words_per_hour"] = Share(float(inserted), seconds / _SECONDS_PER_HOUR)
    named = truth.turned and bool({p.speaker for p in truth.turns} & set(enrolled))
    searches, trials = _lookups(truth, facts, decisions, set(enrolled)) if named else ((), ())
    return Scored(truth.name, shares, searches, trials, _name_predictions(truth, facts) if named else (), words)


def figures(recordings: Sequence[Scored]) -> dict[str, Figure]:
    """Every measure over all recordings, with its interval by recording; those that nothing was measured for are left out."""
    result: dict[str, Figure] = {}
    for key in (*MEASURES, *COUNTS):
        shares = [r.shares[key] for r in recordings if key in r.shares]
        if shares:
            result[key] = figure(shares, pooled)
    for key, measure in _OF_TRIALS.items():
        one = figure(list(recordings), measure, _RESAMPLES_OF_TRIALS)
        if one.value is not None:
            result[key] = one
    return result


def compared(first: Sequence[Scored], second: Sequence[Scored]) -> dict[str, Paired]:
    """The second run minus the first, measure by measure, over the recordings both scored."""
    result = {}
    for key in (*MEASURES, *COUNTS):
        one = {r.name: r.shares[key] for r in first if key in r.shares}
        two = {r.name: r.shares[key] for r in second if key in r.shares}
        if (difference := paired(one, two)) is not None:
            result[key] = difference
    before, after = ({r.name: r for r in run} for run in (first, second))
    both = [name for name in before if name in after]
    for key, measure in _OF_TRIALS.items():
        sides = [before[name] for name in both], [after[name] for name in both]
        if (difference := paired_by(*sides, measure, _RESAMPLES_OF_TRIALS)) is not None:
            result[key] = difference
    return result


_OF_TRIALS: dict[str, Callable[[Sequence[Scored]], float | None]] = {
    "fnir_at_fpir_1": lambda rs: fnir_at_fpir([s for r in rs for s in r.searches]),
    "min_dcf": lambda rs: min_dcf([t for r in rs for t in r.trials]),
    "cllr": lambda rs: cllr([t for r in rs for t in r.trials]),
    "min_cllr": lambda rs: min_cllr([t for r in rs for t in r.trials]),
    "calibration_error": lambda rs: calibration_error([c for r in rs for c in r.names]),
    "word_calibration_error": lambda rs: calibration_error([c for r in rs for c in r.words]),
}


def _word_predictions(truth: Talk, segments: Sequence[Segment], language: str) -> tuple[tuple[Prediction, ...], int]:
    """Each recognised word with its probability and whether it is right; how many nobody said."""
    import jiwer

    plain = normaliser(language)
    recognised = [(part, w.probability) for s in segments for w in s.words for part in plain(w.text).split()]
    true = plain(truth.text).split()
    if not recognised or not true:
        return (), len(recognised)
    alignment = jiwer.process_words(" ".join(true), " ".join(word for word, _ in recognised))
    predictions = [
        Prediction(min(1.0, max(0.0, recognised[k][1])), chunk.type == "equal")
        for chunk in alignment.alignments[0]
        for k in range(chunk.hyp_start_idx, chunk.hyp_end_idx)
    ]
    return tuple(predictions), int(alignment.insertions)


def _speaker_of(truth: Talk, spans: Sequence[tuple[float, float]]) -> str | None:
    """Who speaks most of the time of some spans."""
    shares: dict[str, float] = {}
    for part in truth.turns:
        seconds = sum(max(0.0, min(part.end, b) - max(part.start, a)) for a, b in spans)
        if seconds > 0:
            shares[part.speaker] = shares.get(part.speaker, 0.0) + seconds
    return max(shares, key=lambda name: shares[name]) if shares else None


def _lookups(
    truth: Talk, facts: Mapping[str, Any], decisions: Sequence[Decision], enrolled: set[str]
) -> tuple[tuple[Search, ...], tuple[Trial, ...]]:
    """Every cluster with scores, as a search among all profiles, and every turn with a voice, as one trial per profile."""
    searches, trials = [], []
    for decision in decisions:
        spans = [(float(t[0]), float(t[1])) for t in facts.get("turns", ()) if t[2] == decision.cluster]
        speaker = _speaker_of(truth, spans)
        if speaker is None or not decision.scores:
            continue
        best = max(decision.scores, key=lambda s: s.score)
        searches.append(Search(best.score if best.log_ratio is None else best.log_ratio, best.name == speaker, speaker in enrolled))
        trials += [t for turn in decision.evidence for t in _trials(truth, turn)]
    return tuple(searches), tuple(trials)


def _trials(truth: Talk, turn: TurnEvidence) -> list[Trial]:
    """One turn's voice against every profile: calibrated where the decision was, else the cosine taken for a probability."""
    speaker = _speaker_of(truth, [(turn.start, turn.end)]) if turn.scores else None
    if speaker is None:
        return []
    return [Trial(_probability(s), s.name == speaker) for s in turn.scores]


def _probability(score: ProfileScore) -> float:
    if score.log_ratio is None:
        return min(1.0, max(0.0, score.score))
    return 1 / (1 + math.exp(-max(-_MOST, min(_MOST, score.log_ratio))))


def _name_predictions(truth: Talk, facts: Mapping[str, Any]) -> tuple[Prediction, ...]:
    """Each turn with a name and a confidence, and whether the name is right."""
    return tuple(
        Prediction(min(1.0, max(0.0, float(t[5]))), _speaker_of(truth, [(float(t[0]), float(t[1]))]) == t[3])
        for t in facts.get("turns", ())
        if t[5] is not None and not str(t[3]).startswith(UNKNOWN_PREFIX)
    )
