"""What a stored recording was understood by, put together again: words, turns and names, so that one stage can be redone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import (
    SAMPLE_RATE,
    Audio,
    Coverage,
    Decision,
    DiarizationResult,
    Provenance,
    Segment,
    SpeakerTurn,
    Transcript,
    Turn,
)

LINE = "TRACK_"
"""How clusters of recordings with a track for each person are called: their words belong to tracks, not to turns."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A stored recording as the stages made it. ``audio`` knows its length and fingerprint, its samples are not read. ``turns`` are
    named, with a voice where a passage of the same speaker lies under them."""

    audio: Audio
    transcript: Transcript
    diarization: DiarizationResult
    turns: tuple[SpeakerTurn, ...]
    decisions: tuple[Decision, ...]
    segments: tuple[Segment, ...]
    fast_path: bool
    captions: dict[str, Any]  # the fact of the publisher's captions, empty without them


def restored(store: RecordingStore, id: str) -> Restored | None:
    """What is stored of a recording; None where it is too little: nothing stored, no turns kept, or a track for each person."""
    stored = store.get(id)
    if stored is None or stored.fingerprint is None or not stored.facts.get("turns"):
        return None
    facts, segments = stored.facts, store.segments(id, vectors=True)
    rows: Sequence[Sequence[Any]] = facts["turns"]
    diarized: Sequence[Sequence[Any]] = facts.get("diarized") or ()
    if not diarized or any(len(row) < 6 for row in rows) or any(str(row[2]).startswith(LINE) for row in rows):
        return None
    seconds = stored.recording.duration or max(row[1] for row in rows)
    return Restored(
        audio=Audio(Path(os.devnull), round(seconds * SAMPLE_RATE), stored.fingerprint),
        transcript=_transcript(facts, segments),
        diarization=DiarizationResult(
            tuple(Turn(start, end, cluster) for start, end, cluster in diarized),
            tuple(Turn(start, end, cluster) for start, end, cluster, *_ in rows),
            str(facts.get("diarizer") or ""),
        ),
        turns=tuple(_turn(row, segments) for row in rows),
        decisions=tuple(d.decision for d in store.decisions(recording=id)),
        segments=segments,
        fast_path=bool(facts.get("fast_path")),
        captions={"captions": facts["captions"]} if facts.get("captions") else {},
    )


def _transcript(facts: dict[str, Any], segments: Sequence[Segment]) -> Transcript:
    words = sorted((w for s in segments for w in s.words), key=lambda w: (w.start, w.end))
    return Transcript(
        words=tuple(replace(w, speaker=None, overlap=False) for w in words),
        utterances=((0, len(words)),) if words else (),
        language=str(facts.get("language") or ""),
        language_probability=float(facts.get("language_probability") or 0.0),
        average_log_probability=facts.get("average_log_probability"),
        model=str(facts.get("recogniser") or ""),
        interpolated=bool((facts.get("captions") or {}).get("word_times")),
        looped=tuple((start, end) for start, end in facts.get("looped") or ()),
        coverage=_coverage(facts.get("coverage") or {}),
    )


def _coverage(account: dict[str, Any]) -> Coverage:
    known = {name: value for name, value in account.items() if name in Coverage.__dataclass_fields__}
    return Coverage(**{**known, "left": tuple((a, b) for a, b in account.get("left") or ())})


def _turn(row: Sequence[Any], segments: Sequence[Segment]) -> SpeakerTurn:
    start, end, cluster, speaker, provenance, confidence = row[:6]
    under = [s for s in segments if s.speaker == speaker and s.start < end and s.end > start]
    best = max(under, key=lambda s: min(s.end, end) - max(s.start, start), default=None)
    profile = next((s.profile for s in segments if s.speaker == speaker and s.profile is not None), None)
    voice = best.voice if best is not None else None
    return SpeakerTurn(start, end, cluster, speaker, profile, confidence, Provenance(provenance), voice=voice)
