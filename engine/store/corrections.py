"""What people said of labels, and how it is kept when a recording is taken apart again: by its time and its words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from gainstage.engine.store.codec import plain
from gainstage.engine.store.passages import halves
from gainstage.engine.store.relabelled_turns import Renamed, renamed_turns
from gainstage.engine.terms import Provenance, Segment

Kind = Literal["name", "nobody", "split"]

SLACK_S = 3.0
"""Words of a corrected place are searched this many seconds before and after it: another recogniser times them differently."""

FOUND = 0.5
"""Least share of the corrected words that must be found again; with fewer, the times decide."""


class Place(NamedTuple):
    """A corrected stretch of a recording in seconds, and its words."""

    start: float
    end: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Correction:
    """One correction. ``speaker`` is the name from now on, ``was`` the one before; profiles are None for unknown people."""

    id: int
    revision: int
    wall: float
    by: str
    kind: Kind
    recording: str
    places: tuple[Place, ...]
    speaker: str
    profile: int | None
    was: str
    was_profile: int | None
    made_profile: bool
    effect: dict[str, Any]
    undone_wall: float | None = None


_COLUMNS = (
    "id, revision, extract(epoch from wall)::float8, by, kind, recording, places, speaker, profile, was, was_profile, made_profile,"
    " effect, extract(epoch from undone)::float8"
)


def corrections_of(connection: Connection[TupleRow] | Cursor[TupleRow], recording: str) -> tuple[Correction, ...]:
    """The corrections of a recording that stand, oldest first."""
    query = f"select {_COLUMNS} from correction where recording = %s and undone is null order by id"
    return tuple(_correction(row) for row in connection.execute(query, [plain(recording)]).fetchall())


def last_corrections(connection: Connection[TupleRow], limit: int, recording: str | None = None) -> tuple[Correction, ...]:
    """The newest corrections first, undone ones too."""
    query = f"select {_COLUMNS} from correction where %(id)s::text is null or recording = %(id)s order by id desc limit %(limit)s"
    return tuple(_correction(row) for row in connection.execute(query, {"id": recording, "limit": limit}).fetchall())


def _correction(row: TupleRow) -> Correction:
    id, revision, wall, by, kind, recording, places, *rest = row
    return Correction(id, revision, wall, by, kind, recording, tuple(Place(a, b, tuple(w)) for a, b, w in places), *rest)


def kept(
    segments: Sequence[Segment], facts: dict[str, Any], corrections: Sequence[Correction]
) -> tuple[tuple[Segment, ...], dict[str, Any]]:
    """New segments and facts of a recording with its corrections in force. Pure.

    A place is found by its words near its time, else by the time alone; a passage that holds more than the place is cut between
    words. The turns of the facts follow.
    """
    language, passages, changes = str(facts.get("language") or ""), list(segments), []
    for correction in corrections:
        for place in correction.places:
            start, end = located(passages, place)
            if end <= start:
                continue
            passages = _cut(_cut(passages, start, language), end, language)
            if correction.kind != "split":
                passages = [_renamed(s, correction) if start <= (s.start + s.end) / 2 < end else s for s in passages]
                changes.append(Renamed(start, end, None, correction.speaker, str(Provenance.MANUAL), None))
    turns = facts.get("turns")
    if changes and isinstance(turns, list | tuple):
        facts = {**facts, "turns": renamed_turns(turns, changes)}
    return tuple(passages), facts


def _renamed(segment: Segment, correction: Correction) -> Segment:
    return replace(
        segment,
        speaker=correction.speaker,
        profile=correction.profile,
        confidence=None,
        provenance=Provenance.MANUAL,
        words=tuple(replace(w, speaker=correction.speaker) for w in segment.words),
    )


def located(segments: Sequence[Segment], place: Place) -> tuple[float, float]:
    """Start and end of a place in a new transcript, in seconds."""
    near = [w for s in segments for w in s.words if w.start > place.start - SLACK_S and w.end < place.end + SLACK_S]
    new, old = [_bare(w.text) for w in near], [_bare(w) for w in place.words]
    blocks = [b for b in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks() if b.size]
    if old and sum(b.size for b in blocks) >= FOUND * len(old):
        return near[blocks[0].b].start, near[blocks[-1].b + blocks[-1].size - 1].end
    return place.start, place.end


def _bare(word: str) -> str:
    return re.sub(r"\W", "", word).casefold() or word.strip()


def _cut(segments: Sequence[Segment], at: float, language: str) -> list[Segment]:
    """The segments with the one around ``at`` cut there, between the words nearest to it."""
    made: list[Segment] = []
    for s in segments:
        word = cut_word(s, at) if s.start < at < s.end else 0
        made += halves(s, word, language) if word else (s,)
    return made


def cut_word(segment: Segment, at: float) -> int:
    """Index of the first word that starts in the second half of a passage cut at ``at`` seconds; 0 when one half is empty."""
    word = sum((w.start + w.end) / 2 < at for w in segment.words)
    return word if 0 < word < len(segment.words) else 0
