"""The spans of a recording that voices are extracted from: turns by cluster, long turns in pieces, samples spread over time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gainstage.engine.terms import DiarizationResult, Turn

SHORTEST_VOICE_S = 0.5
"""A turn shorter than this, in seconds, gets no voice."""

LONGEST_TURN_S = 300.0
"""A turn longer than this, in seconds, is judged in pieces."""

PIECE_S = 30.0
"""Longest piece of a long turn, in seconds."""

MASSIVE_S = 90.0
"""A cluster of one turn at least this long, in seconds, is judged in pieces: three, the fewest that give statistics."""

SAMPLES = 10
"""Number of voices that the statistics of a cluster are computed from."""


@dataclass(frozen=True, slots=True)
class ClusterSpans:
    """One cluster of a recording: its pieces (start, end) in seconds, in time order, and whether it is one long turn.

    Pieces of one turn touch exactly; turns never do (see :func:`clusters`).
    """

    cluster: str
    pieces: tuple[tuple[float, float], ...]
    massive: bool


def clusters(turns: Iterable[Turn]) -> tuple[ClusterSpans, ...]:
    """Turns grouped by cluster, clusters by first appearance.

    Touching or overlapping turns of one cluster are joined; a turn over 300 s, and the only turn of a very long cluster, is cut
    into equal pieces of at most 30 s. Turns without length are left out: they hold no speech.
    """
    by_cluster: dict[str, list[tuple[float, float]]] = {}
    for turn in sorted(turns, key=lambda t: (t.start, t.end, t.cluster)):
        if turn.end <= turn.start:
            continue
        spans = by_cluster.setdefault(turn.cluster, [])
        if spans and turn.start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], turn.end))
        else:
            spans.append((turn.start, turn.end))
    result = []
    for cluster, spans in by_cluster.items():
        massive = len(spans) == 1 and spans[0][1] - spans[0][0] >= MASSIVE_S
        pieces = [p for span in spans for p in (_cut(span) if massive or span[1] - span[0] > LONGEST_TURN_S else [span])]
        result.append(ClusterSpans(cluster, tuple(pieces), massive))
    return tuple(sorted(result, key=lambda c: (c.pieces[0][0], c.cluster)))


def _cut(span: tuple[float, float]) -> list[tuple[float, float]]:
    start, end = span
    count = math.ceil((end - start) / PIECE_S)
    marks = [start + (end - start) * i / count for i in range(count)] + [end]
    return list(itertools.pairwise(marks))


def spread(pieces: Sequence[tuple[float, float]], count: int = SAMPLES) -> list[int]:
    """Indexes of at most ``count`` pieces spread over the time from the first to the last, ascending.

    The time is divided into ``count`` equal parts; for each, the unused piece whose middle is nearest to the middle of the part
    is taken.
    """
    if len(pieces) <= count:
        return list(range(len(pieces)))
    middles = [(start + end) / 2 for start, end in pieces]
    first, last = middles[0], middles[-1]
    free = set(range(len(pieces)))
    for k in range(count):
        target = first + (last - first) * (k + 0.5) / count
        free.remove(min(free, key=lambda i: (abs(middles[i] - target), i)))
    return sorted(set(range(len(pieces))) - free)


def overlaps(turns: Iterable[Turn]) -> tuple[tuple[float, float], ...]:
    """Spans (start, end in seconds) where turns of two or more clusters overlap, joined, in time order."""
    result: list[tuple[float, float]] = []
    open_turns: list[Turn] = []
    for turn in sorted(turns, key=lambda t: (t.start, t.end)):
        open_turns = [t for t in open_turns if t.end > turn.start]
        for other in open_turns:
            end = min(other.end, turn.end)
            if other.cluster == turn.cluster or end <= turn.start:
                continue
            if result and turn.start <= result[-1][1]:
                result[-1] = (result[-1][0], max(result[-1][1], end))
            else:
                result.append((turn.start, end))
        open_turns.append(turn)
    return tuple(result)


def merged(diarization: DiarizationResult, groups: Iterable[Collection[str]]) -> DiarizationResult:
    """The diarization with each group of clusters joined, under the group's first label in alphabetical order.

    Only this makes two clusters of a recording the same person.
    """
    return renamed(diarization, {label: min(group) for group in groups for label in group})


def renamed(diarization: DiarizationResult, names: Mapping[str, str]) -> DiarizationResult:
    """The diarization with clusters under other labels; two under one label are one cluster."""

    def joined(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        return tuple(replace(t, cluster=names.get(t.cluster, t.cluster)) for t in turns)

    return replace(diarization, turns=joined(diarization.turns), exclusive=joined(diarization.exclusive))
