"""What is checked and converted before a recording is stored."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gainstage.engine.errors import Permanent
from gainstage.engine.store.writing import PreparedRecording, decision_row, prepared
from gainstage.engine.terms import Balance, ModelId, Segment
from tests.engine.store_kit import MODELS, decision, recording, segment, vector

INF = float("inf")


def ready(*segments: Segment, models: dict[str, ModelId] | None = None, **facts: Any) -> PreparedRecording:
    return prepared(
        recording(1),
        segments,
        [decision()],
        models=MODELS if models is None else models,
        revision=3,
        facts=facts,
        fingerprint="print",
        balance=Balance(5.0, 3.0, 2.0),
    )


def plain_segment(number: int, **changes: Any) -> Segment:
    return replace(segment(number), **{"voice": None, "vector": None, **changes})


@pytest.mark.parametrize(
    ("start", "end"), [(float("nan"), 1.0), (0.0, float("nan")), (0.0, INF), (-INF, 1.0), (-0.1, 1.0), (2.0, 1.9)]
)
def test_times_that_are_none_or_run_backwards_are_refused(start: float, end: float) -> None:
    with pytest.raises(Permanent) as caught:
        ready(plain_segment(0, start=start, end=end))
    assert caught.value.cause == "segment times"


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.0), (1.5, 1.5), (0.0, 2.5)])
def test_a_segment_may_begin_at_nothing_and_be_of_no_length(start: float, end: float) -> None:
    (row,) = ready(plain_segment(0, start=start, end=end)).segments
    assert row[2:4] == (start, end)


def test_rows_are_numbered_and_counted() -> None:
    result = ready(*(plain_segment(n, speaker=who) for n, who in enumerate(("Helen", "Ravi", "Helen"))), language="portuguese-br")
    assert [row[1] for row in result.segments] == [0, 1, 2]
    assert (result.columns["segments"], result.columns["speakers"], result.columns["revision"]) == (3, 2, 3)
    assert (result.columns["speech_s"], result.columns["labelled_s"], result.columns["unknown_s"]) == (5.0, 3.0, 2.0)
    assert result.language == "portugue"
    assert {row[-1] for row in result.segments} == {"portugue"}
    assert ready().language == ""


def test_a_confidence_is_a_number_or_unknown() -> None:
    assert [ready(plain_segment(0, confidence=value)).segments[0][6] for value in (None, 0.5)] == [None, 0.5]
    with pytest.raises(Permanent) as caught:
        ready(plain_segment(0, confidence=float("nan")))
    assert caught.value.cause == "not a number in a result"


def test_vectors_belong_to_a_model_and_stand_where_their_segments_stand() -> None:
    some = ready(plain_segment(0), plain_segment(1, vector=vector(1)))
    assert [value is None for value in some.vectors["embed"]] == [True, False]
    assert some.vectors["voice"] == (None, None)
    assert ready(plain_segment(0), models={}).vectors == {"embed": (None,), "voice": (None,)}
    with pytest.raises(Permanent) as caught:
        ready(plain_segment(0), plain_segment(1, vector=vector(1)), models={})
    assert caught.value.cause == "vector without a model"


def test_the_numbers_of_a_decision_are_its_own_or_unknown() -> None:
    row = decision_row("rec", 4, decision())
    assert row[:2] == ("rec", 4)
    assert row[8:15] == (33.5, 4, 0.5, 0.04166666666666666, 0.25, 0.75, 0.5)
    unknown = decision(mean=None, variance=None, low=None, high=None, spread=None, speaker=None)
    assert decision_row("rec", 0, unknown)[10:15] == (None,) * 5
    assert decision_row("rec", 0, unknown)[5] is None


def test_a_wish_to_do_it_again_is_done_when_the_recording_is_stored() -> None:
    result = prepared(
        recording(1, extra={"redo": "asr", "note": "kept"}),
        (),
        (),
        models=MODELS,
        revision=3,
        facts={},
        fingerprint="print",
        balance=Balance(0.0, 0.0, 0.0),
    )
    assert json.loads(result.columns["extra"].obj) == {"note": "kept"}
