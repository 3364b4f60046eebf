"""What an experiment says: the same recordings under two settings in alternation, compared pair by pair. Pure.

A pair is one recording in one repetition, under either side; the test and the interval are those of
:func:`gainstage.engine.evaluation.intervals.repeated`: what five recordings say, however often repeated, is known of five, and a slow
minute slows all that ran in it. Of the whole run, repetitions are compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gainstage.engine.clean import counted
from gainstage.engine.evaluation.intervals import Share, pooled, repeated
from gainstage.engine.stages import STAGES

BASE = "before"
"""The side that everything is compared with."""

SURE_P = 0.05
WHOLE = "whole run"
ELAPSED = "a recording"

MATTERS = 0.01
"""A change is spoken of from this part of a recording's time."""


@dataclass(frozen=True, slots=True)
class MeasuredRecording:
    """One recording in one run. Seconds; ``elapsed_s`` from its first stage to its last, waits included."""

    id: str
    status: str
    audio_s: float
    elapsed_s: float
    stages: Mapping[str, float]
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class SideRun:
    """One side in one repetition. Bytes; ``gpu_peak`` None where no GPU reports it."""

    side: str
    repeat: int
    wall_s: float
    rss_peak: int
    gpu_peak: int | None
    recordings: tuple[MeasuredRecording, ...]

    @property
    def audio_s(self) -> float:
        return sum(m.audio_s for m in self.recordings if m.status == "stored")

    @property
    def failed(self) -> int:
        return sum(m.status != "stored" for m in self.recordings)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> SideRun:
        """From what ``dataclasses.asdict`` made of it."""
        return cls(**{**document, "recordings": tuple(MeasuredRecording(**m) for m in document["recordings"])})


@dataclass(frozen=True, slots=True)
class Change:
    """Seconds per audio second before and after, and the relative change with its 95 % interval; None where there are too few
    ``pairs`` of so many ``recordings`` (0: of whole runs). ``certain``: it is told from noise."""

    what: str
    before: float
    after: float
    pairs: int
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    certain: bool = False
    recordings: int = 0

    @property
    def text(self) -> str:
        """``-18 % (-24 to -12 %)``, and whether it cannot be told from noise."""
        if self.change is None or self.low is None or self.high is None:
            return "too few pairs to compare"
        words = f"{self.change:+.0%} ({self.low:+.0%} to {self.high:+.0%})"
        return words if self.certain else f"{words}, cannot be told from noise"


@dataclass(frozen=True, slots=True)
class Differences:
    """What became different in the results of the recordings that both sides stored, in the first repetition. ``words`` are word
    edits of so many words; ``moved_s`` seconds under another speaker, of ``speech_s``."""

    words: float = 0.0
    of_words: float = 0.0
    moved_s: float = 0.0
    speech_s: float = 0.0
    against_truth: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SideConclusion:
    """One side against the base."""

    side: str
    changes: tuple[Change, ...]
    failed: tuple[int, int]
    rss_peak: tuple[int, int]
    gpu_peak: tuple[int | None, int | None]
    differences: Differences
    verdict: str

    def document(self) -> dict[str, Any]:
        return asdict(self)


def conclude(runs: Sequence[SideRun], side: str, differences: Differences) -> SideConclusion:
    """A side against the base over the repetitions that both have."""
    first, second = _by_repeat(runs, BASE), _by_repeat(runs, side)
    common = sorted(first.keys() & second.keys())
    one, two = [first[k] for k in common], [second[k] for k in common]
    changes = tuple(c for name in (WHOLE, ELAPSED, *STAGES) if (c := _change(name, one, two)) is not None)
    failed = sum(r.failed for r in one), sum(r.failed for r in two)
    return SideConclusion(
        side,
        changes,
        failed,
        (max((r.rss_peak for r in one), default=0), max((r.rss_peak for r in two), default=0)),
        (_most(r.gpu_peak for r in one), _most(r.gpu_peak for r in two)),
        differences,
        _verdict(changes, failed, differences),
    )


def _by_repeat(runs: Sequence[SideRun], side: str) -> dict[int, SideRun]:
    return {run.repeat: run for run in runs if run.side == side}


def _most(values: Any) -> int | None:
    return max((v for v in values if v is not None), default=None)


def _change(what: str, one: Sequence[SideRun], two: Sequence[SideRun]) -> Change | None:
    before, after = _shares(what, one), _shares(what, two)
    names = before.keys() & after.keys()
    before, after = {n: before[n] for n in names}, {n: after[n] for n in names}
    old, new = pooled(list(before.values())), pooled(list(after.values()))
    if old is None or new is None or old <= 0:
        return None
    pairs = repeated(before, after)
    recordings = 0 if what == WHOLE else len({id for id, _ in names})
    if pairs is None:
        return Change(what, old, new, len(names), recordings=recordings)
    return Change(
        what, old, new, len(names), pairs.change, pairs.low, pairs.high, pairs.p, pairs.p <= SURE_P, recordings=recordings
    )


def _shares(what: str, runs: Sequence[SideRun]) -> dict[tuple[str, int], Share]:
    """Seconds of audio seconds by (recording, repetition): of a stage, of a recording from end to end; of a run by its repetition."""
    if what == WHOLE:
        return {(str(r.repeat), 0): Share(r.wall_s, r.audio_s) for r in runs if r.audio_s > 0}
    return {
        (m.id, r.repeat): Share(m.elapsed_s if what == ELAPSED else m.stages[what], m.audio_s)
        for r in runs
        for m in r.recordings
        if m.status == "stored" and m.audio_s > 0 and (what == ELAPSED or what in m.stages)
    }


def _verdict(changes: Sequence[Change], failed: tuple[int, int], differences: Differences) -> str:
    """In words: what of it is told from noise, and what became of the results."""
    if not changes:
        return "nothing was stored on both sides: nothing can be compared"
    least = MATTERS * next((c.before for c in changes if c.what == ELAPSED), 0.0)
    sure = [c for c in changes if c.certain and abs(c.after - c.before) >= least]
    parts = [f"{c.what} takes {c.text}" for c in sure]
    if not sure:
        whole = changes[0]
        parts = [
            f"no difference in time can be told from noise ({whole.what} {whole.text.removesuffix(', cannot be told from noise')})"
        ]
    elif changes[0] not in sure:
        parts.append(f"of the whole run nothing can be told from noise with {counted(changes[0].pairs, 'repetition')}")
    if failed[0] != failed[1]:
        parts.append(f"{failed[1]} failures instead of {failed[0]}")
    if differences.of_words:
        share = differences.words / differences.of_words
        parts.append("the words are the same" if not differences.words else f"{share:.1%} of the words differ")
    if differences.speech_s:
        share = differences.moved_s / differences.speech_s
        parts.append("the speakers are the same" if share < 0.0005 else f"{share:.1%} of the speech has another speaker")
    return "; ".join(parts)


def moved_seconds(first: Sequence[tuple[float, float, str]], second: Sequence[tuple[float, float, str]]) -> tuple[float, float]:
    """(seconds in which not the same people speak, seconds in which anybody does), of two sets of turns (start, end, speaker)."""
    edges = sorted({t for start, end, _ in (*first, *second) for t in (start, end)})
    moved = speech = 0.0
    for start, end in itertools.pairwise(edges):
        middle = (start + end) / 2
        one, two = ({name for a, b, name in turns if a <= middle < b} for turns in (first, second))
        if one or two:
            speech += end - start
            moved += end - start if one != two else 0.0
    return moved, speech
