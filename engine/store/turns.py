"""Who speaks when, as it was stored: the diarizer's turns, overlaps included, under the names people were given. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from gainstage.engine.terms import Segment


class NamedTurn(NamedTuple):
    """A stored turn in seconds, with the name of its speaker."""

    start: float
    end: float
    speaker: str


def named_turns(facts: Mapping[str, Any], segments: Sequence[Segment]) -> tuple[NamedTurn, ...]:
    """The turns of a recording in time order.

    ``facts["diarized"]`` are [start, end, cluster] as heard, overlaps included; ``facts["turns"]`` [start, end, cluster, speaker, ...]
    as named, without overlap. A heard turn takes the name its cluster was given at that time. Where nothing of that kind is stored
    the passages stand for the turns.
    """
    named: dict[str, list[NamedTurn]] = {}
    for start, end, cluster, speaker, *_ in facts.get("turns") or ():
        named.setdefault(cluster, []).append(NamedTurn(start, end, speaker))
    diarized = [turn for turn in facts.get("diarized") or () if turn[2] in named]
    if not diarized:
        whole = [turn for turns in named.values() for turn in turns]
        return tuple(sorted(whole)) or tuple(NamedTurn(s.start, s.end, s.speaker) for s in segments)
    return tuple(sorted(part for start, end, cluster in diarized for part in _parts(start, end, named[cluster])))


def _parts(start: float, end: float, named: Sequence[NamedTurn]) -> list[NamedTurn]:
    """A heard turn under the names its cluster has: each name reaches half-way to the next other one."""
    inside = sorted(turn for turn in named if turn.end > start and turn.start < end)
    if not inside:
        nearest = min(named, key=lambda turn: max(turn.start - end, start - turn.end))
        return [NamedTurn(start, end, nearest.speaker)]
    parts = [NamedTurn(start, end, inside[0].speaker)]
    for before, after in pairwise(inside):
        if after.speaker != parts[-1].speaker:
            border = min(max((before.end + after.start) / 2, parts[-1].start), end)
            parts[-1] = parts[-1]._replace(end=border)
            parts.append(NamedTurn(border, end, after.speaker))
    return [part for part in parts if part.end > part.start]
