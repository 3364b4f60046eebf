"""What other limits would have decided: stored decisions are judged again by the same pure functions, without a model.

There are two passes. The first judges every recording at cluster level; the turns are then read only of recordings with another
result. Recordings that took the fast path were not diarized, so limits do not change them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gainstage.config.settings import SPECS
from gainstage.engine.advisor.predicted import decisions_text
from gainstage.engine.errors import Permanent
from gainstage.engine.store.database import Database
from gainstage.engine.views.rows import WhatIf, WhatIfDiff
from gainstage.engine.voices.analysis import Ruling, TurnLabel, judge
from gainstage.engine.voices.evidence import ClusterEvidence, TurnRow, reference_of
from gainstage.engine.voices.labelling import seconds_by_speaker
from gainstage.engine.voices.limits import PREFIX, Limits
from gainstage.engine.voices.profile_index import Candidate

FAST_PATH = "fast path"
NOTICED_S = 0.05
"""A smaller change, in seconds of speech, is treated as rounding."""

PER_TURN = ("split_threshold", "other_threshold", "margin", "smooth_below", "probability", "turn_probability")
"""Limits that change the labels of turns in a cluster that is split under both sets of limits."""


@dataclass(frozen=True, slots=True)
class StoredDecisions:
    """The stored decisions of one recording: the evidence of its clusters, and the result under ``limits``."""

    recording: str
    limits: Limits
    clusters: tuple[ClusterEvidence, ...]
    concluded: tuple[tuple[bool, str | None], ...]  # whether split, and the person a whole cluster was assigned to
    rows: tuple[int, ...]  # row ids of the decision table
    title: str = ""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A recording judged under its own limits and under the changed ones."""

    stored: StoredDecisions
    before: tuple[Ruling, ...]
    after: tuple[Ruling, ...]

    @property
    def moved(self) -> dict[str, float]:
        """Seconds whose speaker changes, by cluster; clusters without a change are left out."""
        result = {}
        for old, new in zip(self.before, self.after, strict=True):
            seconds = seconds_moved(old, new)
            if seconds > NOTICED_S or old.split != new.split:
                result[old.evidence.cluster] = seconds
        return result


@dataclass(frozen=True, slots=True)
class Replay:
    """``clusters`` were judged, with the numbers split before and after; ``changed`` are the recordings with another result."""

    clusters: int
    split_before: int
    split_after: int
    changed: tuple[Replayed, ...]


def checked_changes(changes: Mapping[str, Any]) -> dict[str, float]:
    """The limits to try, by key. Raises :class:`Permanent` for a setting that is not a limit, and for an invalid value."""
    known = Limits().record()
    result = {}
    for key, value in changes.items():
        if key not in known or key.startswith(f"{PREFIX}fast_path"):
            names = ", ".join(k for k in known if not k.startswith(f"{PREFIX}fast_path"))
            raise Permanent(f"{key} cannot be tried over stored decisions", cause="not a limit", hint=f"These can: {names}.")
        try:
            result[key] = float(value)
        except (TypeError, ValueError):
            raise Permanent(f"{key} needs a number, not {value!r}", cause="not a number", hint="Write it as 0.3.") from None
        low, high = SPECS[key].low or 0.0, SPECS[key].high or math.inf
        if not low <= result[key] <= high:
            raise Permanent(
                f"{key} lies between {low:g} and {high:g}, not at {result[key]:g}",
                cause="limit out of range",
                hint="`gainstage config schema` shows the range of each.",
            )
    return result


def what_if(database: Database, changes: Mapping[str, Any], last: int = 500) -> WhatIf:
    """The difference that other limits make to the recordings of the ``last`` decisions; nothing is changed.

    ``changes`` are limits by setting key; every other limit keeps the value the decision was made with.
    """
    began = time.perf_counter()
    tried = checked_changes(changes)
    return difference(replay(database, read(database, last), tried), tried, began)


def decided(database: Database, limits: Mapping[str, Any]) -> str | None:
    """What ``limits`` would have made of the latest decisions, in words; None where one of them is no limit that can be tried."""
    try:
        return decisions_text(what_if(database, limits))
    except Permanent:
        return None


def difference(replayed: Replay, changes: Mapping[str, float], began: float) -> WhatIf:
    """The replay in the form that the desk shows; ``began`` is a time of ``time.perf_counter``, in seconds."""
    flips = []
    for r in replayed.changed:
        moved = r.moved
        for old, new in zip(r.before, r.after, strict=True):
            cluster = old.evidence.cluster
            if cluster in moved:
                words = (described(old), described(new))
                flips.append(WhatIfDiff(r.stored.recording, r.stored.title, cluster, *words, round(moved[cluster], 3)))
    return WhatIf(
        changes=dict(changes),
        clusters=replayed.clusters,
        split_before=replayed.split_before,
        split_after=replayed.split_after,
        flips=tuple(sorted(flips, key=lambda f: (-f.seconds, f.recording, f.cluster))),
        seconds_moved=round(sum(f.seconds for f in flips), 3),
        recordings=len({f.recording for f in flips}),
        took_s=time.perf_counter() - began,
    )


def described(ruling: Ruling) -> str:
    """A cluster's result in words."""
    if not ruling.split:
        return next(iter(seconds_by_speaker(ruling)))
    shares = sorted(seconds_by_speaker(ruling).items(), key=lambda x: -x[1])
    return "split: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in shares)


def seconds_moved(before: Ruling, after: Ruling) -> float:
    """Seconds of a cluster whose person changes; other names for unknown speakers do not count."""
    if before.label is not None and after.label is not None:
        return 0.0 if _person(before, before.label) == _person(after, after.label) else before.evidence.seconds
    turns = max(before.evidence.turns, after.evidence.turns, key=len)
    return float(
        sum(
            t.end - t.start for i, t in enumerate(turns) if _person(before, before.label_of(i)) != _person(after, after.label_of(i))
        )
    )


def _person(ruling: Ruling, label: TurnLabel) -> int | None:
    return None if label.who is None else ruling.evidence.candidates[label.who].id


def replay(database: Database, recordings: Sequence[StoredDecisions], changes: Mapping[str, float]) -> Replay:
    """Judge the recordings again, with ``changes`` applied to the limits each was judged by."""
    before = after = 0
    doubtful: list[StoredDecisions] = []
    for h in recordings:
        limits = h.limits.changed(changes)
        rulings = judge(h.clusters, limits)
        before += sum(split for split, _ in h.concluded)
        after += sum(r.split for r in rulings)
        if _differs(h, rulings, limits):
            doubtful.append(h)
    complete = with_turns(database, doubtful, changes)
    differing = [Replayed(h, judge(h.clusters, h.limits), judge(h.clusters, h.limits.changed(changes))) for h in complete]
    return Replay(sum(len(h.clusters) for h in recordings), before, after, tuple(r for r in differing if r.moved))


def _differs(stored: StoredDecisions, rulings: Sequence[Ruling], limits: Limits) -> bool:
    """Whether the result may differ from the stored one."""
    per_turn = any(getattr(stored.limits, name) != getattr(limits, name) for name in PER_TURN)
    for (split, speaker), ruling in zip(stored.concluded, rulings, strict=True):
        if split != ruling.split or (split and per_turn):
            return True
        person = ruling.accepted
        if not split and speaker != (person.name if person else None):
            return True
    return False


# -- reading --------------------------------------------------------------------------------------------------------


def read(database: Database, last: int) -> tuple[StoredDecisions, ...]:
    """The recordings of the ``last`` decisions, newest first, each with all its clusters but without their turns."""
    query = (
        "with newest as (select recording, max(id) as at from (select recording, id from decision where rule <> %(rule)s"
        " order by wall desc, id desc limit %(last)s) as found group by recording)"
        " select d.id, d.recording, d.split, d.speaker,"
        " (d.record - case when d.id = first_value(d.id) over (partition by d.recording order by d.ordinal) then %(first)s::text[]"
        " else %(other)s::text[] end)::text"
        " from newest n join decision d on d.recording = n.recording where d.rule <> %(rule)s order by n.at desc, d.ordinal"
    )
    with database.connection() as connection:
        names = {"first": list(_NOT_READ), "other": [*_NOT_READ, "limits"]}
        rows = connection.execute(query, {"rule": FAST_PATH, "last": max(0, last), **names}).fetchall()
    parts: dict[str, tuple[dict[str, float], list[ClusterEvidence], list[tuple[bool, str | None]], list[int]]] = {}
    for number, recording, split, speaker, text in rows:
        record = json.loads(text)
        _, clusters, concluded, numbers = parts.setdefault(recording, (record.get("limits", {}), [], [], []))
        clusters.append(_evidence(record, float(len(clusters))))  # stored by first appearance: the index replaces the time
        concluded.append((split, speaker))
        numbers.append(number)
    return tuple(
        StoredDecisions(id, Limits.from_record(limits), tuple(clusters), tuple(concluded), tuple(numbers))
        for id, (limits, clusters, concluded, numbers) in parts.items()
    )


_NOT_READ = (
    *("evidence", "why", "mean", "variance", "low", "high", "spread", "bimodality", "margin", "rule", "split", "speaker"),
    *("seconds_by_speaker", "provenance", "turns", "revision"),
)


def _evidence(record: Mapping[str, Any], start: float) -> ClusterEvidence:
    """A decision's evidence at cluster level: :func:`gainstage.engine.voices.evidence.restore_evidence` without the turns."""
    ranked = sorted(record["scores"], key=lambda s: (not s["primary"], s["profile"]))
    return ClusterEvidence(
        cluster=record["cluster"],
        seconds=record["seconds"],
        start=start,
        similarities=tuple(record["similarities"]),
        reference=reference_of(record["reference"]),
        candidates=tuple(
            Candidate(s["profile"], s["name"], s["primary"], s["threshold"] if s.get("own") else None) for s in ranked
        ),
        scores=tuple(s["score"] for s in ranked),
        massive=record["massive"],
        turns=(),
        sample_s=tuple(record.get("sample_s", ())),
    )


def with_turns(database: Database, recordings: Sequence[StoredDecisions], changes: Mapping[str, float]) -> list[StoredDecisions]:
    """The recordings with title, times, and the turns of each cluster that is split under its own limits or with ``changes``."""
    if not recordings:
        return []
    needed, all_rows = set(), [n for h in recordings for n in h.rows]
    for h in recordings:
        for limits in (h.limits, h.limits.changed(changes)):
            split = {r.evidence.cluster for r in judge(h.clusters, limits) if r.split}
            needed |= {n for n, c in zip(h.rows, h.clusters, strict=True) if c.cluster in split}
    with database.connection() as connection:
        rows = connection.execute(
            "select d.id, r.title, d.record #>> '{evidence,0,start}',"
            " case when d.id = any(%s) then (d.record -> 'evidence')::text end"
            " from decision d join recording r on r.id = d.recording where d.id = any(%s)",
            [list(needed), all_rows],
        ).fetchall()
    details = {number: (title, float(start or 0.0), text) for number, title, start, text in rows}
    return [_completed(h, details) for h in recordings if all(n in details for n in h.rows)]


def _completed(stored: StoredDecisions, details: Mapping[int, tuple[str, float, str | None]]) -> StoredDecisions:
    clusters = []
    for number, cluster in zip(stored.rows, stored.clusters, strict=True):
        _, start, text = details[number]
        turns = _rows(cluster, json.loads(text)) if text else ()
        clusters.append(replace(cluster, start=start, turns=turns))
    return replace(stored, clusters=tuple(clusters), title=details[stored.rows[0]][0])


def _rows(cluster: ClusterEvidence, turns: Iterable[Mapping[str, Any]]) -> tuple[TurnRow, ...]:
    order = [c.id for c in cluster.candidates]
    rows = []
    for t in turns:
        by_id = {s["profile"]: s["score"] for s in t["scores"]}
        scores = tuple(by_id[i] for i in order) if by_id else ()
        rows.append(TurnRow(t["start"], t["end"], t["similarity"], t["refused"], scores, t.get("follows", False)))
    return tuple(rows)
