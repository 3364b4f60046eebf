"""How right a result is, measured against a true transcript: words by jiwer, turns by pyannote.metrics. No model, no file but the truth.

Every measure is a ratio of counts, and :class:`Quality` keeps the counts, so that several recordings add up to one figure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import jiwer
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from gainstage.engine.evaluation.measures import diarization_parts
from gainstage.engine.terms import UNKNOWN_PREFIX, SpeakerTurn, Turn

WITHIN_S = 0.25
"""A word start this close to the truth (seconds) counts as right."""

_NOT_IN_WORDS = re.compile(r"[^\w']+")


@dataclass(frozen=True, slots=True)
class Spoken:
    """Somebody speaks from start to end (seconds); ``speaker`` is a true name, a given name or a cluster."""

    start: float
    end: float
    speaker: str


@dataclass(frozen=True, slots=True)
class TrueWord:
    """A word as written, punctuation included, when it truly starts (seconds), and who says it."""

    text: str
    start: float
    speaker: str


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of a recording. ``strangers`` are the speakers nobody enrolled: they should stay unknown."""

    title: str
    duration: float
    turns: tuple[Spoken, ...]
    words: tuple[TrueWord, ...]
    strangers: tuple[str, ...] = ()

    @property
    def speakers(self) -> tuple[str, ...]:
        """By first appearance."""
        return tuple(dict.fromkeys(turn.speaker for turn in sorted(self.turns, key=lambda turn: turn.start)))


class RecognisedWord(Protocol):
    """A recognised word; :class:`gainstage.engine.terms.Word` is one."""

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What an engine made of a recording: words, turns with names, and the diarizer's anonymous turns.

    ``diarized`` empty takes the named turns for them; None says nobody diarized (the fast path), so there is no such error.
    """

    words: Sequence[RecognisedWord]
    turns: Sequence[Spoken]
    diarized: Sequence[Spoken] | None = ()


@dataclass(frozen=True, slots=True)
class WordStarts:
    """How far word starts are from the truth: percentiles over the matched words, and the share of *all* true words within
    250 ms. Percentiles are None when no word matched."""

    p50_s: float | None
    p90_s: float | None
    within_250ms: float


@dataclass(frozen=True, slots=True)
class Diarized:
    """The parts of the diarization error in speaker-seconds; ``speech`` counts overlapped time once per speaker."""

    speech: float
    missed: float
    false_alarm: float
    confusion: float

    @property
    def rate(self) -> float:
        """Errors per second of speech; without any speech, 0 when nothing was found and 1 when something was."""
        errors = self.missed + self.false_alarm + self.confusion
        return errors / self.speech if self.speech else float(errors > 0)


_NOT_DIARIZED = Diarized(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Quality:
    """The counts behind the figures of one recording, or of several added up."""

    word_errors: int
    words: int
    start_errors_s: tuple[float, ...]  # of the words that matched
    diarized: Diarized
    named_s: float  # speech with the right name
    speech_s: float

    @property
    def wer(self) -> float:
        return _share(self.word_errors, self.words)

    @property
    def der(self) -> float:
        return self.diarized.rate

    @property
    def speaker_accuracy(self) -> float:
        """1 when there was no speech to name."""
        return self.named_s / self.speech_s if self.speech_s else 1.0

    @property
    def word_start_p90_s(self) -> float | None:
        return _starts(self.start_errors_s, self.words).p90_s

    @property
    def within_250ms(self) -> float:
        return _starts(self.start_errors_s, self.words).within_250ms

    def __add__(self, other: Quality) -> Quality:
        a, b = self.diarized, other.diarized
        return Quality(
            self.word_errors + other.word_errors,
            self.words + other.words,
            self.start_errors_s + other.start_errors_s,
            Diarized(a.speech + b.speech, a.missed + b.missed, a.false_alarm + b.false_alarm, a.confusion + b.confusion),
            self.named_s + other.named_s,
            self.speech_s + other.speech_s,
        )


def load_truth(path: Path) -> Truth:
    """The truth of a recording from its JSON file (shape: see the demo's CARD.md)."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return Truth(
        title=data["title"],
        duration=data["duration"],
        turns=tuple(Spoken(turn["start"], turn["end"], turn["speaker"]) for turn in data["turns"]),
        words=tuple(TrueWord(word["word"], word["start"], word["speaker"]) for word in data["words"]),
        strangers=tuple(data["strangers"]),
    )


def spoken(turns: Iterable[Turn | SpeakerTurn]) -> tuple[Spoken, ...]:
    """Turns of the engine as the measures take them: by name where there is one, else by cluster."""
    return tuple(Spoken(turn.start, turn.end, turn.speaker if isinstance(turn, SpeakerTurn) else turn.cluster) for turn in turns)


def normalised(text: str) -> list[str]:
    """The words of a text for comparison: lower case, no punctuation but apostrophes inside a word."""
    return [word for word in (piece.strip("'") for piece in _NOT_IN_WORDS.split(text.lower().replace("’", "'"))) if word]


def word_error_rate(truth_words: Iterable[str], words: Iterable[str]) -> float:
    """Substitutions, deletions and insertions per true word; against no true words, 1 per word heard."""
    truth, hypothesis = normalised(" ".join(truth_words)), normalised(" ".join(words))
    return _share(_word_errors(truth, hypothesis), len(truth))


def word_start_errors(truth: Iterable[TrueWord], words: Iterable[RecognisedWord]) -> WordStarts:
    """Distance of the starts of the words that match the truth in order."""
    true, hypothesis = _timed(truth), _timed(words)
    return _starts(_start_errors(true, hypothesis), len(true))


def diarization_error(truth_turns: Iterable[Spoken], turns: Iterable[Spoken], collar: float = 0.0) -> Diarized:
    """Missed, false and confused speaker-seconds under the best one-to-one mapping of labels to speakers, overlap included.

    ``collar`` seconds on *either* side of each true boundary are left out (``pyannote.metrics`` names the whole width, twice this).
    """
    parts = diarization_parts(list(truth_turns), list(turns), collar)
    return Diarized(parts["total"], parts["missed detection"], parts["false alarm"], parts["confusion"]) if parts else _NOT_DIARIZED


def diarization_error_rate(truth_turns: Iterable[Spoken], turns: Iterable[Spoken], collar: float = 0.0) -> float:
    """:func:`diarization_error` per second of speech."""
    return diarization_error(truth_turns, turns, collar).rate


def speaker_accuracy(truth_turns: Iterable[Spoken], named_turns: Iterable[Spoken], strangers: Collection[str] = ()) -> float:
    """Share of the speech seconds that carry the right name; seconds of speech with no label at all count as wrong.

    Where several labels are given at once, the second counts by the share of them that are right: where two people talk at
    once, naming either alone is right, naming everybody always is not. ``strangers`` are right under an unknown label
    (``Speaker 1``), one and the same for each of them.
    """
    named, speech = _named_seconds(list(truth_turns), list(named_turns), strangers)
    return named / speech if speech else 1.0


def score(truth: Truth, result: Hypothesis) -> Quality:
    """Every measure of one recording."""
    true, hypothesis = _timed(truth.words), _timed(result.words)
    named, speech = _named_seconds(list(truth.turns), list(result.turns), truth.strangers)
    return Quality(
        word_errors=_word_errors([word for word, _ in true], [word for word, _ in hypothesis]),
        words=len(true),
        start_errors_s=_start_errors(true, hypothesis),
        diarized=_NOT_DIARIZED if result.diarized is None else diarization_error(truth.turns, result.diarized or result.turns),
        named_s=named,
        speech_s=speech,
    )


def _word_errors(truth: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Substitutions, deletions and insertions between normalised words."""
    if not truth or not hypothesis:
        return len(truth) + len(hypothesis)
    aligned = jiwer.process_words(" ".join(truth), " ".join(hypothesis))
    return int(aligned.substitutions + aligned.deletions + aligned.insertions)


def _share(errors: int, of: int) -> float:
    return errors / max(1, of)


def _timed(words: Iterable[TrueWord | RecognisedWord]) -> list[tuple[str, float]]:
    """(normalised word, start) in time order."""
    return [(text, word.start) for word in sorted(words, key=lambda word: word.start) for text in normalised(word.text)]


def _start_errors(truth: list[tuple[str, float]], hypothesis: list[tuple[str, float]]) -> tuple[float, ...]:
    """Distances in seconds of the starts of equal words along a shortest edit path."""
    if not truth or not hypothesis:
        return ()
    aligned = jiwer.process_words(" ".join(word for word, _ in truth), " ".join(word for word, _ in hypothesis))
    return tuple(
        abs(hypothesis[chunk.hyp_start_idx + k][1] - truth[chunk.ref_start_idx + k][1])
        for chunk in aligned.alignments[0]
        if chunk.type == "equal"
        for k in range(chunk.ref_end_idx - chunk.ref_start_idx)
    )


def _starts(errors_s: tuple[float, ...], words: int) -> WordStarts:
    if not errors_s:
        return WordStarts(None, None, float(words == 0))
    p50, p90 = np.percentile(errors_s, (50, 90))
    return WordStarts(float(p50), float(p90), sum(error <= WITHIN_S for error in errors_s) / words)


class _Grid:
    """Time cut at every boundary, so that within one piece nothing changes."""

    def __init__(self, turns: Sequence[Spoken], more_edges: Iterable[float] = ()) -> None:
        edges = np.unique([*(edge for turn in turns for edge in (turn.start, turn.end)), *more_edges])
        self.seconds = np.diff(edges)
        self.middles = edges[:-1] + self.seconds / 2 if len(edges) else np.zeros(0)

    def active(self, turns: Sequence[Spoken]) -> tuple[list[str], NDArray[np.float64]]:
        """The labels, sorted, and (labels, pieces) who speaks when as 0 or 1."""
        labels = sorted({turn.speaker for turn in turns})
        rows = np.zeros((len(labels), len(self.seconds)))
        for turn in turns:
            rows[labels.index(turn.speaker), (self.middles > turn.start) & (self.middles < turn.end)] = 1
        return labels, rows


def _named_seconds(truth: list[Spoken], named: list[Spoken], strangers: Collection[str]) -> tuple[float, float]:
    """(seconds of speech rightly named, seconds of speech)."""
    grid = _Grid([*truth, *named])
    speakers, said = grid.active(truth)
    labels, given = grid.active(named)
    right = {(speakers.index(label), k) for k, label in enumerate(labels) if label in speakers and label not in strangers}
    unnamed = [speakers.index(speaker) for speaker in speakers if speaker in strangers]
    unknown = [k for k, label in enumerate(labels) if label.startswith(UNKNOWN_PREFIX)]
    together = (said[unnamed] * grid.seconds) @ given[unknown].T
    rows, columns = linear_sum_assignment(together, maximize=True)
    right |= {(unnamed[i], unknown[k]) for i, k in zip(rows, columns, strict=True)}
    hits = sum((said[i] * given[k] for i, k in right), np.zeros(len(grid.seconds)))
    return float(grid.seconds @ (hits / np.maximum(1, given.sum(0)))), float(grid.seconds @ (said.sum(0) > 0))
