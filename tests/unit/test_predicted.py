"""What a change should do, said for every setting: by the simulation, by stored decisions, or that there is no model."""

from __future__ import annotations

from typing import Any

import pytest

from gainstage.engine.advisor.forecast import expect
from gainstage.engine.advisor.predicted import NO_MODEL, NOT_MEASURED, decisions_text, predicted
from gainstage.engine.desk.merged import merge
from gainstage.engine.views.rows import WhatIf
from gainstage.engine.views.snapshot import Snapshot
from tests.frames_kit import busy_frame


@pytest.fixture(scope="module")
def busy() -> Snapshot:
    return busy_frame()


def no_decisions(limits: dict[str, Any]) -> str | None:
    raise AssertionError(f"nothing was asked of decisions: {limits}")


def test_what_is_staged_has_the_answer_that_advice_has(busy: Snapshot) -> None:
    told = predicted(busy, 24, {"workers.transcribe": 3}, no_decisions)["workers.transcribe"]
    advised = expect(busy, 24, {"workers.transcribe": 3})
    assert advised is not None
    assert told.text == advised.text
    assert told.gain == round(advised.gain, 4)


def test_slots_changed_together_have_one_answer_and_others_say_that_they_have_none(busy: Snapshot) -> None:
    told = predicted(busy, 24, {"workers.transcribe": 3, "workers.diarize": 2, "asr.batch": 4}, no_decisions)
    assert told["workers.transcribe"] == told["workers.diarize"]
    assert told["workers.transcribe"].gain is not None
    assert (told["asr.batch"].text, told["asr.batch"].gain) == (NO_MODEL, None)


def test_without_an_engine_at_work_nothing_is_predicted(busy: Snapshot) -> None:
    assert predicted(None, 24, {"in_flight": 8}, no_decisions)["in_flight"].text == NOT_MEASURED


def test_values_of_a_fleet_are_those_of_each_engine(busy: Snapshot) -> None:
    """The stages of two engines hold twice the slots: 2 -> 3 of each is no step from 4 down to 3."""
    alone = predicted(busy, 24, {"workers.transcribe": 3}, no_decisions)["workers.transcribe"]
    both = predicted(merge([busy, busy]), 24, {"workers.transcribe": 3}, no_decisions, engines=2)["workers.transcribe"]
    assert alone.gain is not None
    assert both.gain == pytest.approx(alone.gain, abs=0.1)


def test_limits_are_predicted_from_stored_decisions(busy: Snapshot) -> None:
    asked: list[dict[str, Any]] = []

    def decided(limits: dict[str, Any]) -> str | None:
        asked.append(limits)
        return decisions_text(WhatIf(limits, 50, 5, 9, (), 31.0, 3, 0.01))

    told = predicted(busy, 24, {"identify.range_limit": 0.4, "in_flight": 30}, decided)
    assert asked == [{"identify.range_limit": 0.4}]
    assert told["identify.range_limit"].text == "split 10% → 18% of 50 stored clusters, 31 s of speech get another name"
    assert "audio/h" in told["in_flight"].text
    unknown = predicted(busy, 24, {"identify.primary": "Ada"}, lambda limits: None)
    assert unknown["identify.primary"].text == NO_MODEL


@pytest.mark.parametrize(
    ("moved", "says"), [(0.49, "no name changes"), (0.5, "0 s of speech get another name"), (1.4, "1 s of speech get another name")]
)
def test_less_than_half_a_second_of_speech_is_none(moved: float, says: str) -> None:
    assert decisions_text(WhatIf({}, 50, 5, 9, (), moved, 3, 0.01)).endswith(says)


def test_without_stored_decisions_a_limit_cannot_be_predicted() -> None:
    assert decisions_text(WhatIf({}, 0, 0, 0, (), 0.0, 0, 0.0)) == "cannot be predicted yet: no decision is stored"
