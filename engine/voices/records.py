"""Decisions as JSON records and back, exactly. Compact: profiles are named once, turns are rows of numbers.

A record is what the ``decision.record`` column holds. :func:`recall_record` reads the evidence straight from it, so that
thousands of stored decisions can be decided again without building what nobody looks at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from engine.terms import Decision, ProfileScore, Provenance, TurnEvidence
from engine.voices.evidence import ClusterEvidence, TurnRow
from engine.voices.gallery import Candidate

_PLAIN = tuple(f.name for f in fields(Decision) if f.name not in ("similarities", "scores", "provenance", "evidence"))


def pack(decision: Decision) -> dict[str, Any]:
    """A decision as a JSON object. ``evidence`` rows are [start, end, similarity, refused, scores by ``profiles``]."""
    ranked = sorted(decision.scores, key=lambda s: (not s.primary, s.profile))
    order = [s.profile for s in ranked]
    rows = []
    for turn in decision.evidence:
        by_id = {s.profile: s.score for s in turn.scores}
        rows.append([turn.start, turn.end, turn.similarity, turn.refused, [by_id[i] for i in order] if by_id else []])
    return {
        **{name: getattr(decision, name) for name in _PLAIN},
        "similarities": list(decision.similarities),
        "provenance": decision.provenance.value,
        "profiles": [[s.profile, s.name, s.score, s.threshold, s.primary, s.own] for s in ranked],
        "evidence": rows,
    }


def unpack(record: Mapping[str, Any]) -> Decision:
    """The decision behind :func:`pack`, equal in every field."""
    profiles = [ProfileScore(*p) for p in record["profiles"]]
    evidence = tuple(
        TurnEvidence(
            start,
            end,
            tuple(ProfileScore(p.profile, p.name, s, p.threshold, p.primary, p.own) for p, s in zip(profiles, scores, strict=True))
            if scores
            else (),
            similarity,
            refused,
        )
        for start, end, similarity, refused, scores in record["evidence"]
    )
    return Decision(
        **{name: record[name] for name in _PLAIN},
        similarities=tuple(record["similarities"]),
        scores=tuple(sorted(profiles, key=lambda s: -s.score)),
        provenance=Provenance(record["provenance"]),
        evidence=evidence,
    )


def recall_record(record: Mapping[str, Any]) -> ClusterEvidence:
    """The evidence in a record, the same as :func:`engine.voices.evidence.recall` of its decision."""
    profiles = record["profiles"]
    return ClusterEvidence(
        record["cluster"],
        tuple(TurnRow(row[0], row[1], row[2], row[3], tuple(row[4])) for row in record["evidence"]),
        tuple(record["similarities"]),
        "primary" if record["reference"] == "primary" else "self",
        tuple(Candidate(p[0], p[1], p[4], p[3] if p[5] else None) for p in profiles),
        tuple(p[2] for p in profiles),
        record["massive"],
    )
