"""Apply other limits to stored recordings: labels are rewritten, and this can be undone. Text, words and vectors do not change."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.relabelled_turns import Renamed, renamed_turns
from gainstage.engine.store.writing import SegmentLabel
from gainstage.engine.terms import Cast, Decision, Provenance, Segment, SpeakerTurn
from gainstage.engine.text.segments import balance
from gainstage.engine.views.rows import WhatIf
from gainstage.engine.voices.evidence import restore_evidence
from gainstage.engine.voices.labelling import decide
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.replay import checked_changes, difference, read, replay

FIXED = frozenset({Provenance.MANUAL, Provenance.CORRECTED})
"""Labels that rest on what a person said: other limits do not change them."""

MIXED_S = 0.5
"""A passage in which two people speak at least this many seconds each under the new labels is counted as mixed."""


@dataclass(frozen=True, slots=True)
class Relabelled:
    """What was rewritten. ``mixed`` counts passages that were cut under the old labels and now hold two people: they are labelled
    with the one who speaks longer, and `run --force` cuts them again without extracting a voice."""

    difference: WhatIf
    recordings: tuple[str, ...]
    segments: int
    mixed: int


def apply(store: RecordingStore, changes: Mapping[str, Any], revision: int, last: int = 500) -> Relabelled:
    """Rewrite the labels of each recording that the changed limits affect, in one transaction each, marked with ``revision``.

    :func:`undo` reverts it. Labels set by hand do not change. Raises :class:`Permanent` for a setting that is not a limit.
    """
    began = time.perf_counter()
    tried = checked_changes(changes)
    replayed = replay(store.db, read(store.db, last), tried)
    affected = [r.stored.recording for r in replayed.changed]
    segments = mixed = 0
    for recording in affected:
        changed, both = _rewrite(store, recording, tried, revision)
        segments += changed
        mixed += both
    return Relabelled(difference(replayed, tried, began), tuple(affected), segments, mixed)


def undo(store: RecordingStore, revision: int) -> tuple[str, ...]:
    """Revert what :func:`apply` wrote under ``revision``; returns the recordings that were changed back."""
    with store.db.connection() as connection:
        rows = connection.execute(
            "select recording from label_history h where revision = %s and correction is null and id = (select max(id) from label_history"
            " where recording = h.recording) order by id",
            [revision],
        ).fetchall()
    return tuple(str(id) for (id,) in rows if store.undo_relabel(id))


def _rewrite(store: RecordingStore, recording: str, changes: Mapping[str, float], revision: int) -> tuple[int, int]:
    decisions = [d.decision for d in store.decisions(recording=recording)]
    evidence = [restore_evidence(d) for d in decisions]
    limits = Limits.from_record(decisions[0].limits)
    before, after = decide(evidence, limits, decisions[0].revision), decide(evidence, limits.changed(changes), revision)
    labels, mixed = relabelled(store.segments(recording), before, after)
    turns = turns_after(store, recording, after)
    changed = store.relabel(recording, labels, revision, decisions=_in_order(decisions, after), balance=balance(after), turns=turns)
    return changed, mixed


def turns_after(store: RecordingStore, recording: str, after: Cast) -> list[list[Any]] | None:
    """The named turns of a recording under a new cast; those set by hand, or that follow from one, stay. None where none are kept."""
    stored = store.get(recording)
    turns = stored.facts.get("turns") if stored is not None else None
    if not turns:
        return None
    rows = [[round(t.start, 3), round(t.end, 3), t.cluster, t.speaker, str(t.provenance), t.confidence] for t in after.turns]
    fixed = [t for t in turns if len(t) > 5 and t[4] in FIXED]
    return renamed_turns(rows, [Renamed(start, end, None, name, how, sure) for start, end, _, name, how, sure in fixed])


def _in_order(stored: Sequence[Decision], after: Cast) -> list[Decision]:
    """The new decisions in the order of the stored ones."""
    by_cluster = {d.cluster: d for d in after.decisions}
    return [by_cluster[d.cluster] for d in stored]


def relabelled(segments: Sequence[Segment], before: Cast, after: Cast) -> tuple[list[SegmentLabel], int]:
    """New labels for the segments whose speaker differs between two casts, and how many of these now hold two people. Pure.

    A segment is labelled with the person whose turns cover most of it. A segment with the same name in both casts, or labelled by
    hand or after a correction, is left out.
    """
    labels, mixed = [], 0
    for ordinal, segment in enumerate(segments):
        old, new = _Shares.of(segment, before.turns), _Shares.of(segment, after.turns)
        mixed += new.people > max(1, old.people)
        if new.turns and new.speaker != old.speaker and segment.provenance not in FIXED:
            longest = max(new.turns, key=lambda t: _overlap(segment, t))
            labels.append(
                SegmentLabel(ordinal, longest.speaker, longest.profile, _confidence(segment, new.turns), longest.provenance)
            )
    return labels, mixed


@dataclass(frozen=True, slots=True)
class _Shares:
    """Who speaks in a segment by a cast: the one who speaks longest, their turns, and how many people speak long enough to
    count."""

    speaker: str | None
    turns: tuple[SpeakerTurn, ...]
    people: int

    @classmethod
    def of(cls, segment: Segment, turns: Sequence[SpeakerTurn]) -> _Shares:
        by_speaker: dict[str, list[SpeakerTurn]] = {}
        at = bisect_right(turns, segment.start, key=lambda t: t.end)  # exclusive turns: ends are sorted like starts
        while at < len(turns) and turns[at].start < segment.end:
            by_speaker.setdefault(turns[at].speaker, []).append(turns[at])
            at += 1
        seconds = {name: sum(_overlap(segment, t) for t in of) for name, of in by_speaker.items()}
        if not seconds:
            return cls(None, (), 0)
        speaker = max(seconds, key=lambda name: (seconds[name], name))
        return cls(speaker, tuple(by_speaker[speaker]), sum(s >= MIXED_S for s in seconds.values()))


def _overlap(segment: Segment, turn: SpeakerTurn) -> float:
    return min(segment.end, turn.end) - max(segment.start, turn.start)


def _confidence(segment: Segment, turns: Sequence[SpeakerTurn]) -> float | None:
    """Mean of the turns' confidences, weighted by seconds; None when none has one."""
    known = [(t.confidence, max(0.0, _overlap(segment, t))) for t in turns if t.confidence is not None]
    total = sum(seconds for _, seconds in known)
    return sum(c * seconds for c, seconds in known) / total if total > 0 else None
