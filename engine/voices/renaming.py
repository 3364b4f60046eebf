"""Rename a person, or change the profile id, everywhere that stored results say who spoke.

The labels of segments are not enough: decisions are replayed and label changes can be undone, and either would bring the old
name back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow

from gainstage.engine.store.codec import decision_of, document
from gainstage.engine.terms import Decision, ProfileScore


@dataclass(frozen=True, slots=True)
class ProfileName:
    """A profile as stored results name it."""

    id: int
    name: str


def follow(connection: Connection[TupleRow], old: ProfileName, new: ProfileName) -> int:
    """Replace ``old`` by ``new`` in everything stored; returns how many segments were changed."""
    changed = connection.execute(
        "update segment set speaker = %s, profile = %s where profile = %s and (speaker, profile) is distinct from (%s, %s)",
        [new.name, new.id, old.id, new.name, new.id],
    ).rowcount
    compared = "@> jsonb_build_array(jsonb_build_object('profile', %(id)s::int))"
    rows = connection.execute(f"select id, record from decision where record -> 'scores' {compared}", {"id": old.id}).fetchall()
    records = [(id, decision_under(decision_of(record), old, new)) for id, record in rows]
    earlier = connection.execute(
        "select id, labels, decisions, turns from label_history h where exists"
        f" (select 1 from jsonb_array_elements(h.decisions) as d (record) where d.record -> 'scores' {compared})"
        " or exists (select 1 from jsonb_array_elements(h.labels) as l (label) where l.label ->> 2 = %(id)s::text)",
        {"id": old.id},
    ).fetchall()
    with connection.cursor() as cursor:
        cursor.executemany(
            "update decision set record = %s, speaker = %s where id = %s", [(document(d), d.speaker, id) for id, d in records]
        )
        cursor.executemany(
            "update label_history set labels = %s, decisions = %s, turns = %s where id = %s",
            [
                (
                    document(labels_under(labels, old, new)),
                    None if decisions is None else document([decision_under(decision_of(d), old, new) for d in decisions]),
                    None if turns is None else document(facts_under({"turns": turns}, old.name, new.name)["turns"]),
                    id,
                )
                for id, labels, decisions, turns in earlier
            ],
        )
        for column, profile in (("speaker", "profile"), ("was", "was_profile")):
            cursor.execute(f"update correction set {column} = %s, {profile} = %s where {profile} = %s", [new.name, new.id, old.id])
        touched = cursor.execute(
            "select id, facts from recording where facts -> 'turns' @> jsonb_build_array(jsonb_build_array(%(name)s::text))"
            f" and id in (select recording from decision where record -> 'scores' {compared}"
            " union select recording from segment where profile = %(id)s)",
            {"name": old.name, "id": new.id},
        ).fetchall()
        cursor.executemany(
            "update recording set facts = %s where id = %s",
            [(document(facts_under(facts, old.name, new.name)), id) for id, facts in touched],
        )
    return changed


def decision_under(decision: Decision, old: ProfileName, new: ProfileName) -> Decision:
    """A decision with ``old`` replaced by ``new``; when both were compared, one stays, with the higher score. Pure."""
    scores = tuple(sorted(_scores(decision.scores, old, new), key=lambda s: -s.score))
    seconds: dict[str, float] = {}
    for speaker, spoken in decision.seconds_by_speaker.items():
        key = new.name if speaker == old.name else speaker
        seconds[key] = seconds.get(key, 0.0) + spoken
    margin = decision.margin
    if len(scores) < len(decision.scores):
        margin = round(scores[0].score - scores[1].score, 6) if len(scores) > 1 else None
    return replace(
        decision,
        scores=scores,
        margin=margin,
        speaker=new.name if decision.speaker == old.name else decision.speaker,
        seconds_by_speaker=seconds,
        evidence=tuple(replace(t, scores=_scores(t.scores, old, new)) for t in decision.evidence),
        why=name_in(decision.why, old.name, new.name),
    )


def _scores(scores: Sequence[ProfileScore], old: ProfileName, new: ProfileName) -> tuple[ProfileScore, ...]:
    there = next((s for s in scores if s.profile == new.id), None)
    moving = next((s for s in scores if s.profile == old.id), None)
    if moving is None:
        return tuple(scores)
    if there is None or old.id == new.id:
        made = replace(moving, profile=new.id, name=new.name)
        return tuple(made if s is moving else s for s in scores)
    both = replace(there, name=new.name, score=max(there.score, moving.score), primary=there.primary or moving.primary)
    return tuple(both if s is there else s for s in scores if s is not moving)


def labels_under(labels: Sequence[Sequence[Any]], old: ProfileName, new: ProfileName) -> list[list[Any]]:
    """Stored labels (number, speaker, profile, confidence, provenance) with ``old`` replaced by ``new``. Pure."""
    return [[n, new.name, new.id, *rest] if who == old.id else [n, name, who, *rest] for n, name, who, *rest in labels]


def facts_under(facts: Mapping[str, Any], name: str, new: str) -> dict[str, Any]:
    """A recording's facts with a name replaced in its named turns. Pure."""
    turns = facts.get("turns")
    if not isinstance(turns, list):
        return dict(facts)
    return {**facts, "turns": [[new if cell == name else cell for cell in turn] for turn in turns]}


def name_in(text: str, name: str, new: str) -> str:
    """``text`` with a whole name replaced: "Al" does not match in "Also"."""
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", lambda _: new, text)
