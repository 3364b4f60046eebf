"""What the tests of the store share: recordings, segments and decisions as an engine makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.writing import Stored
from gainstage.engine.terms import (
    Balance,
    Decision,
    ModelId,
    ProfileScore,
    Provenance,
    Recording,
    Segment,
    Status,
    TurnEvidence,
    Vector,
    Word,
)
from gainstage.engine.views.rows import Span

TEXT = ModelId("tests/text", "0123abcd", 16)
VOICE = ModelId("tests/voice", "abcd0123", 8)
MODELS = {"embed": TEXT, "voice": VOICE, "asr": ModelId("tests/asr", "1", 1)}


def set_status(store: RecordingStore, id: str, status: Status, **columns: Any) -> None:
    """Put a recording where a test wants it: its status, and what is given of stage, cause, hint, retryable."""
    given = {"stage": None, "cause": None, "hint": None, "retryable": None} | columns
    with store.db.connection() as connection:
        connection.execute(
            "update recording set status = %s, stage = %s, cause = %s, hint = %s, retryable = %s, changed = now() where id = %s",
            [str(status), *given.values(), id],
        )


def vector(seed: int, dimension: int = TEXT.dimension) -> Vector:
    made = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return made / np.float32(np.linalg.norm(made))


def recording(number: int = 1, **changes: Any) -> Recording:
    made = Recording(
        id=f"rec{number:05d}",
        key=f"youtube:{number}",
        source=f"https://www.youtube.com/watch?v={number}",
        title=f"Recording {number}",
        duration=60.0 + number,
    )
    return replace(made, **changes)


def segment(number: int, text: str = "the rings of Saturn are ice", **changes: Any) -> Segment:
    start = 10.0 * number
    speaker = str(changes.get("speaker", f"Speaker {1 + number % 2}"))
    words = tuple(Word(word, start + n, start + n + 0.75, 0.9, speaker, n == 1) for n, word in enumerate(text.split()))
    made = Segment(
        start=start,
        end=start + 9.25,
        speaker=speaker,
        profile=None,
        confidence=0.5 + number % 7 / 16,
        provenance=Provenance.CLUSTER,
        text=text,
        words=words,
        looped=number % 5 == 4,
        voice=vector(1000 + number, VOICE.dimension),
        vector=vector(number),
    )
    return replace(made, **changes)


def segments(count: int, **changes: Any) -> tuple[Segment, ...]:
    return tuple(segment(n, **changes) for n in range(count))


def decision(cluster: str = "SPEAKER_00", **changes: Any) -> Decision:
    scores = (ProfileScore(1, "Helen", 0.75, 0.62, True), ProfileScore(2, "Ravi", 0.25, 0.82))
    made = Decision(
        cluster=cluster,
        seconds=33.5,
        turns=4,
        similarities=(0.25, 0.5, 0.75),
        reference="primary",
        mean=0.5,
        variance=0.04166666666666666,
        low=0.25,
        high=0.75,
        spread=0.5,
        bimodality=None,
        split=False,
        rule="under limits",
        limits={"identify.range_limit": 0.5},
        revision=7,
        scores=scores,
        margin=0.5,
        speaker="Helen",
        seconds_by_speaker={"Helen": 33.5},
        provenance=Provenance.CLUSTER,
        evidence=(TurnEvidence(0.0, 1.5, scores, 0.75), TurnEvidence(2.0, 2.3, (), None, "too short")),
        why="mean 0.50 reaches 0.62",
    )
    return replace(made, **changes)


SPANS = (Span("fetch", 1000.0, 0.25, 1.5, "ok"), Span("decode", 1001.75, 0.0, 0.5, "ok", note="opus"))


def store(
    target: RecordingStore,
    what: Recording,
    said: Sequence[Segment],
    decisions: Sequence[Decision] = (),
    **changes: Any,
) -> Stored:
    seconds = sum(s.end - s.start for s in said)
    values: dict[str, Any] = {
        "models": MODELS,
        "revision": 7,
        "facts": {"language": "en"},
        "spans": SPANS,
        "fingerprint": f"sha-{what.id}",
        "balance": Balance(seconds, seconds, 0.0),
    }
    return target.store(what, said, decisions, **{**values, **changes})
