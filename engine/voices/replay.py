"""What other limits would have decided: stored decisions judged again by the same pure functions, without any model.

Only what a decision rests on at cluster level is read for all of them; the turns are read for clusters that are split, before or
after. Recordings that took the fast path were never diarized, so no limit changes what they are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.desk import WhatIf, WhatIfDiff
from engine.errors import Permanent
from engine.store.database import Database
from engine.voices.analysis import Label, Ruling, judge, split_rule, statistics
from engine.voices.casting import seconds_by_speaker
from engine.voices.evidence import ClusterEvidence, TurnRow
from engine.voices.gallery import Candidate
from engine.voices.limits import PREFIX, Limits

FAST_PATH = "fast path"
NOTICED_S = 0.05
"""Less speech than this changing hands is rounding."""


@dataclass(frozen=True, slots=True)
class Held:
    """One recording's decisions as they are stored: the evidence of its clusters and the limits they were judged by."""

    recording: str
    title: str
    limits: Limits
    clusters: tuple[ClusterEvidence, ...]
    rows: tuple[int, ...]  # of the decision table, one per cluster


@dataclass(frozen=True, slots=True)
class Replayed:
    """A recording judged under its own limits and under others."""

    held: Held
    before: tuple[Ruling, ...]
    after: tuple[Ruling, ...]

    @property
    def moved(self) -> dict[str, float]:
        """Seconds that change hands, by cluster; nothing for clusters that stay as they are."""
        found = {}
        for old, new in zip(self.before, self.after, strict=True):
            seconds = seconds_moved(old, new)
            if seconds > NOTICED_S or old.split != new.split:
                found[old.evidence.cluster] = seconds
        return found


def checked_changes(changes: Mapping[str, Any]) -> dict[str, float]:
    """Limits to try, by key. Raises :class:`Permanent` for a setting no decision rests on, or a value that is no number."""
    known = Limits().record()
    found = {}
    for key, value in changes.items():
        if key not in known or key.startswith(f"{PREFIX}fast_path"):
            names = ", ".join(k for k in known if not k.startswith(f"{PREFIX}fast_path"))
            raise Permanent(f"{key} cannot be tried over stored decisions", cause="not a limit", hint=f"These can: {names}")
        try:
            found[key] = float(value)
        except (TypeError, ValueError):
            raise Permanent(f"{key} needs a number, not {value!r}", cause="not a number") from None
    return found


def what_if(database: Database, changes: Mapping[str, Any], last: int = 500) -> WhatIf:
    """The difference other limits make to the recordings of the ``last`` decisions; changes nothing.

    ``changes`` are limits by setting key; every other limit stays what it was when the decision was made.
    """
    began = time.perf_counter()
    tried = checked_changes(changes)
    held = read(database, last)
    return difference(replay(database, held, tried), tried, began)


def difference(replayed: Sequence[Replayed], changes: Mapping[str, float], began: float) -> WhatIf:
    """The replay in the words of the desk; ``began`` on the clock of ``time.perf_counter``."""
    flips = []
    for r in replayed:
        moved = r.moved
        for old, new in zip(r.before, r.after, strict=True):
            cluster = old.evidence.cluster
            if cluster in moved:
                words = (described(old), described(new))
                flips.append(WhatIfDiff(r.held.recording, r.held.title, cluster, *words, round(moved[cluster], 3)))
    return WhatIf(
        changes=dict(changes),
        clusters=sum(len(r.before) for r in replayed),
        split_before=sum(x.split for r in replayed for x in r.before),
        split_after=sum(x.split for r in replayed for x in r.after),
        flips=tuple(sorted(flips, key=lambda f: (-f.seconds, f.recording, f.cluster))),
        seconds_moved=round(sum(f.seconds for f in flips), 3),
        recordings=len({f.recording for f in flips}),
        took_s=time.perf_counter() - began,
    )


def described(ruling: Ruling) -> str:
    """Who a cluster is, in words."""
    if not ruling.split:
        return next(iter(seconds_by_speaker(ruling)))
    shares = sorted(seconds_by_speaker(ruling).items(), key=lambda x: -x[1])
    return "split: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in shares)


def seconds_moved(before: Ruling, after: Ruling) -> float:
    """Speech of a cluster whose person changes; the name an unknown person is given does not matter."""
    if before.label is not None and after.label is not None:
        return 0.0 if _person(before, before.label) == _person(after, after.label) else before.evidence.seconds
    turns = max(before.evidence.turns, after.evidence.turns, key=len)
    return float(
        sum(
            t.end - t.start for i, t in enumerate(turns) if _person(before, before.label_of(i)) != _person(after, after.label_of(i))
        )
    )


def _person(ruling: Ruling, label: Label) -> int | None:
    return None if label.who is None else ruling.evidence.candidates[label.who].id


# -- reading --------------------------------------------------------------------------------------------------------


def read(database: Database, last: int) -> tuple[Held, ...]:
    """The recordings of the ``last`` decisions, newest first, each with all its clusters and without their turns."""
    query = (
        "with newest as (select recording, max(id) as at from (select recording, id from decision order by wall desc, id desc"
        " limit %s) as found group by recording)"
        " select d.id, d.recording, r.title, (d.record - '{evidence,why}'::text[])::text, d.record #>> '{evidence,0,start}'"
        " from newest n join decision d on d.recording = n.recording join recording r on r.id = d.recording"
        " where d.rule <> %s order by n.at desc, d.ordinal"
    )
    with database.connection() as connection:
        rows = connection.execute(query, [max(0, last), FAST_PATH]).fetchall()
    found: dict[str, tuple[str, dict[str, float], list[ClusterEvidence], list[int]]] = {}
    for number, recording, title, text, start in rows:
        record = json.loads(text)
        entry = found.setdefault(recording, (title, record["limits"], [], []))
        entry[2].append(_evidence(record, float(start or 0.0)))
        entry[3].append(number)
    return tuple(
        Held(id, title, Limits.from_record(limits), tuple(clusters), tuple(numbers))
        for id, (title, limits, clusters, numbers) in found.items()
    )


def _evidence(record: Mapping[str, Any], start: float) -> ClusterEvidence:
    """A decision's evidence at cluster level; the same as :func:`engine.voices.evidence.recall` but for the turns."""
    ranked = sorted(record["scores"], key=lambda s: (not s["primary"], s["profile"]))
    return ClusterEvidence(
        cluster=record["cluster"],
        seconds=record["seconds"],
        start=start,
        similarities=tuple(record["similarities"]),
        reference="primary" if record["reference"] == "primary" else "self",
        candidates=tuple(
            Candidate(s["profile"], s["name"], s["primary"], s["threshold"] if s.get("own") else None) for s in ranked
        ),
        scores=tuple(s["score"] for s in ranked),
        massive=record["massive"],
        turns=(),
    )


def replay(database: Database, held: Sequence[Held], changes: Mapping[str, float]) -> list[Replayed]:
    """Judge the recordings again, under their own limits and with ``changes`` to them."""
    complete = with_turns(database, held, changes)
    return [Replayed(h, judge(h.clusters, h.limits), judge(h.clusters, h.limits.changed(changes))) for h in complete]


def with_turns(database: Database, held: Sequence[Held], changes: Mapping[str, float]) -> list[Held]:
    """The recordings with the turns of every cluster that is split under its own limits or with ``changes``."""
    needed: list[int] = []
    for h in held:
        new = h.limits.changed(changes)
        for number, cluster in zip(h.rows, h.clusters, strict=True):
            stats = statistics(cluster.similarities)
            if split_rule(stats, h.limits)[0] or split_rule(stats, new)[0]:
                needed.append(number)
    turns = _read_turns(database, needed)
    return [
        replace(
            h,
            clusters=tuple(
                replace(c, turns=_rows(c, turns[n])) if n in turns else c for n, c in zip(h.rows, h.clusters, strict=True)
            ),
        )
        for h in held
    ]


def _read_turns(database: Database, numbers: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    if not numbers:
        return {}
    with database.connection() as connection:
        rows = connection.execute(
            "select id, (record -> 'evidence')::text from decision where id = any(%s)", [list(numbers)]
        ).fetchall()
    return {number: json.loads(text) for number, text in rows}


def _rows(cluster: ClusterEvidence, turns: Iterable[Mapping[str, Any]]) -> tuple[TurnRow, ...]:
    order = [c.id for c in cluster.candidates]
    found = []
    for t in turns:
        by_id = {s["profile"]: s["score"] for s in t["scores"]}
        scores = tuple(by_id[i] for i in order) if by_id else ()
        found.append(TurnRow(t["start"], t["end"], t["similarity"], t["refused"], scores, t.get("follows", False)))
    return tuple(found)
