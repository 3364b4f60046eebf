"""Named turns after passages were given other names. Pure. A turn is a row [start, end, cluster, speaker, provenance, confidence]."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gainstage.engine.terms import UNKNOWN_PREFIX, Balance

TurnRow = Sequence[Any]

NEAR_S = 0.05
"""A piece of a turn shorter than this, in seconds, stays with the rest of its turn."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """Who speaks from ``start`` to ``end`` seconds. ``was`` limits it to turns of one name; None takes every turn."""

    start: float
    end: float
    was: str | None
    speaker: str
    provenance: str
    confidence: float | None


def renamed_turns(turns: Iterable[TurnRow], changes: Sequence[Renamed]) -> list[list[Any]]:
    """The turns in time order with the changes applied one after the other; a turn that a change covers in part is cut."""
    rows = [list(turn) for turn in turns]
    for change in changes:
        rows = [piece for row in rows for piece in _pieces(row, change)]
    return rows


def _pieces(row: list[Any], change: Renamed) -> list[list[Any]]:
    start, end, cluster, speaker = row[:4]
    low, high = max(start, change.start), min(end, change.end)
    if high <= low or (change.was is not None and speaker != change.was):
        return [row]
    if low - start < NEAR_S:
        low = start
    if end - high < NEAR_S:
        high = end
    if high - low < NEAR_S and (low, high) != (start, end):
        return [row]
    rest = row[4:]
    pieces = [
        [start, low, cluster, speaker, *rest],
        [low, high, cluster, change.speaker, change.provenance, change.confidence],
        [high, end, cluster, speaker, *rest],
    ]
    return [piece for piece in pieces if piece[1] > piece[0]]


def balance_of(turns: Iterable[TurnRow]) -> Balance:
    """The seconds of the turns, and of those with a person's name; turns do not overlap."""
    speech = labelled = 0.0
    for start, end, _, speaker, *_ in turns:
        speech += end - start
        labelled += 0.0 if speaker.startswith(UNKNOWN_PREFIX) else end - start
    return Balance(speech, labelled, speech - labelled)
