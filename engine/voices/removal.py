"""Deleting a person: the profile and everything derived from the voice, which is biometric data.

The following is deleted and cannot be restored: every version with its exemplars and centroid; the voices stored with the segments
the person was named in; the cached voices of the audio the profile was made from and of the recordings the person speaks in; the
name on segments, which become an unknown speaker of their recording; the name and the scores in decisions; earlier labels kept
for undoing; corrections that name the person. The text stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier

from gainstage.engine.store.codec import decision_of, document
from gainstage.engine.store.relabelled_turns import balance_of
from gainstage.engine.store.vectors import tables
from gainstage.engine.store.writing import balance_columns, begin
from gainstage.engine.terms import UNKNOWN_PREFIX, Decision
from gainstage.engine.voices.profile_store import ProfileStore
from gainstage.engine.voices.renaming import facts_under, name_in

NOBODY = "a deleted profile"


@dataclass(frozen=True, slots=True)
class Removed:
    """How much was deleted with a profile."""

    name: str
    recordings: int  # recordings whose labels or decisions changed
    segments: int
    voices: int  # stored with segments
    cached: int


def delete(store: ProfileStore, name: str) -> Removed:
    """Delete a profile and everything derived from it; raises :class:`Permanent` when there is no profile of that name.

    One transaction per recording, the profile last: after an interruption, a second call finishes the deletion.
    """
    id = store.find(name)
    with store.database.connection() as connection:
        rows = connection.execute(
            "select recording, bool_or(named) from (select recording, true as named from segment where profile = %(id)s"
            " union all select recording, speaker = %(name)s from decision"
            " where record -> 'scores' @> jsonb_build_array(jsonb_build_object('profile', %(id)s::int))) as found"
            " group by recording",
            {"id": id, "name": name},
        ).fetchall()
    segments = voices = 0
    for recording, _ in rows:
        with store.database.transaction() as connection:
            begin(connection, recording)
            voices += _forget_voices(connection, recording, id)
            segments += _forget_labels(connection, recording, id, name)
    with store.database.transaction() as connection:
        cached = connection.execute(
            "delete from voice_cache where fingerprint in ("
            " select jsonb_array_elements_text(coalesce(provenance -> 'fingerprints', '[]')) from profile_version where profile = %s"
            " union select fingerprint from recording where id = any(%s))",
            [id, [recording for recording, named in rows if named]],
        ).rowcount
        connection.execute("delete from correction where profile = %(id)s or was_profile = %(id)s", {"id": id})
        connection.execute("delete from profile where id = %s", [id])
    return Removed(name, len(rows), segments, voices, cached)


def _forget_voices(connection: Connection[TupleRow], recording: str, profile: int) -> int:
    """Delete the voices stored with the segments that were labelled with the person."""
    count = 0
    for table in tables(connection, "voice"):
        query = SQL("delete from {} where segment in (select id from segment where recording = %s and profile = %s)")
        count += connection.execute(query.format(Identifier(table.name)), [recording, profile]).rowcount
    return count


def _forget_labels(connection: Connection[TupleRow], recording: str, profile: int, name: str) -> int:
    """Label the person's segments as an unknown speaker of the recording; returns how many there were."""
    row = connection.execute("select facts from recording where id = %s for update", [recording]).fetchone()
    facts: dict[str, Any] = row[0] if row else {}
    rows = connection.execute("select id, record from decision where recording = %s order by ordinal", [recording]).fetchall()
    decisions = [(number, decision_of(record)) for number, record in rows]
    names = [n for (n,) in connection.execute("select distinct speaker from segment where recording = %s", [recording])]
    unknown = free_name([*names, *(n for _, d in decisions for n in d.seconds_by_speaker)])
    moved = sum(d.seconds_by_speaker.get(name, 0.0) for _, d in decisions)
    for number, decision in decisions:
        clean = scrubbed(decision, profile, name, unknown)
        connection.execute("update decision set record = %s, speaker = %s where id = %s", [document(clean), clean.speaker, number])
    changed = connection.execute(
        "update segment set speaker = %s, profile = null, confidence = null where recording = %s and profile = %s",
        [unknown, recording, profile],
    ).rowcount
    connection.execute("delete from label_history where recording = %s", [recording])
    clean_facts = facts_under(facts, name, unknown)
    connection.execute(
        "update recording set facts = %s, labelled_s = labelled_s - %s, unknown_s = unknown_s + %s, changed = now() where id = %s",
        [document(clean_facts), moved, moved, recording],
    )
    if clean_facts.get("turns"):
        connection.execute(
            "update recording set speech_s = %(speech_s)s, labelled_s = %(labelled_s)s, unknown_s = %(unknown_s)s where id = %(id)s",
            {"id": recording, **balance_columns(balance_of(clean_facts["turns"]))},
        )
    return changed


def free_name(taken: Sequence[str]) -> str:
    """The next free name for an unknown speaker of a recording."""
    numbers = [int(m[1]) for name in taken if (m := re.fullmatch(rf"{re.escape(UNKNOWN_PREFIX)}(\d+)", name))]
    return f"{UNKNOWN_PREFIX}{max(numbers, default=0) + 1}"


def scrubbed(decision: Decision, profile: int, name: str, unknown: str) -> Decision:
    """The decision without the profile's name and scores; its statistics stay, because they explain a split. Pure."""
    scores = tuple(s for s in decision.scores if s.profile != profile)
    seconds: dict[str, float] = {}
    for speaker, spoken in decision.seconds_by_speaker.items():
        key = unknown if speaker == name else speaker
        seconds[key] = seconds.get(key, 0.0) + spoken
    return replace(
        decision,
        scores=scores,
        margin=round(scores[0].score - scores[1].score, 6) if len(scores) > 1 else None,
        speaker=None if decision.speaker == name else decision.speaker,
        seconds_by_speaker=seconds,
        evidence=tuple(replace(t, scores=tuple(s for s in t.scores if s.profile != profile)) for t in decision.evidence),
        why=name_in(decision.why, name, NOBODY),
    )
