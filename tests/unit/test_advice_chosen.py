"""Which of several rules' advice is given, and when two are given together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gainstage.engine.advisor import forecast
from gainstage.engine.advisor.advice import Case, advice, expected, pair
from gainstage.engine.advisor.bottleneck import BUSY
from gainstage.engine.views.snapshot import Advice, Forecast, Snapshot
from tests.advice_kit import case, gpu, run, stage
from tests.frames_kit import GIB, busy_frame


@pytest.fixture(scope="module")
def busy() -> Snapshot:
    return busy_frame()


def as_it_is(advised: Advice, of: Case) -> Advice | None:
    return advised


def test_the_first_rule_that_is_worth_it_is_given_while_the_engine_runs(busy: Snapshot) -> None:
    both = case(gpu(busy, throttle=None), of="transcribe")
    both = replace(both, history=[run(both.now, throttled_10m=5)])
    first = advice(both, as_it_is)
    assert first is not None
    assert first.id == "more-transcribe"
    second = advice(both, lambda advised, of: None if advised.id.startswith("more-") else advised)
    assert second is not None
    assert second.id == "fewer-fetch"
    assert advice(both, lambda advised, of: None) is None
    for state in ("paused", "draining", "done"):
        assert advice(replace(both, history=[run(both.now, state=state)]), as_it_is) is None


@pytest.mark.parametrize(("high", "given"), [(None, True), (30.0, True), (29.9, False), (0.0, False)])
def test_in_the_last_half_minute_nothing_is_advised(busy: Snapshot, high: float | None, given: bool) -> None:
    left = None if high is None else Forecast(high / 2, high / 3, high)
    assert (advice(case(busy), as_it_is, left=left) is not None) is given


def test_what_advice_should_bring_is_forecast(busy: Snapshot) -> None:
    found = advice(case(busy))
    then = forecast.expect(busy, 24, {"workers.transcribe": 4})
    assert found is not None
    assert then is not None
    assert found.expected == then.text
    assert expected(Advice("x", "look", key=None), case(busy)) == Advice("x", "look")
    assert expected(Advice("x", "look", key="asr.engine", new="fast"), case(busy)) == Advice(
        "x", "look", key="asr.engine", new="fast"
    )
    unknown = Advice("x", "less", key="asr.batch", old=8, new=4)
    assert expected(unknown, case(busy)) == unknown, "no model for this setting"


def with_gain(monkeypatch: pytest.MonkeyPatch, *gains: float) -> list[Any]:
    """Let the forecast promise these gains, one after the other; what it was asked."""
    asked: list[Any] = []
    left = list(gains)

    def promise(frame: Snapshot, in_flight: int, changes: Any, seed: int = 0) -> forecast.Expected:
        asked.append((in_flight, dict(changes)))
        return forecast.Expected(100.0, 100.0 * (1 + left.pop(0)), 600.0, None)

    monkeypatch.setattr(forecast, "expect", promise)
    return asked


MORE = Advice("more-transcribe", "workers.transcribe 2 → 3", "workers.transcribe", 2, 3)


@pytest.mark.parametrize(("gain", "given"), [(0.0625, True), (0.03125, False)])
def test_more_slots_must_bring_a_twentieth(busy: Snapshot, monkeypatch: pytest.MonkeyPatch, gain: float, given: bool) -> None:
    asked = with_gain(monkeypatch, gain)
    quiet = stage(busy, "transcribe", busy_share=0.1)
    assert (expected(MORE, case(quiet)) is not None) is given
    assert asked == [(24, {"workers.transcribe": 3})]
    with_gain(monkeypatch, -0.5)
    fewer = replace(MORE, id="fewer-transcribe")
    assert expected(fewer, case(quiet)) is not None, "less is advised for another reason"


def test_two_full_stages_are_advised_together_the_fuller_first(busy: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    full = stage(stage(busy, "diarize", busy_share=0.95), "decode", busy_share=BUSY)
    asked = with_gain(monkeypatch, 0.01, 0.2)
    found = pair(MORE, case(full))
    assert found is not None
    assert (found.id, found.also) == ("more-transcribe-decode", (("workers.decode", 2, 3),))
    assert found.text == "workers.transcribe 2 → 3 and workers.decode 2 → 3: both are full, one alone brings little"
    assert found.expected.startswith("+20% audio/h")
    assert asked == [
        (24, {"workers.transcribe": 3, "workers.diarize": 4}), (24, {"workers.transcribe": 3, "workers.decode": 3}),
    ]  # fmt: skip


def test_slots_that_bring_little_alone_are_advised_with_those_of_another_full_stage(
    busy: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gain(monkeypatch, 0.01, 0.2)
    found = expected(MORE, case(stage(busy, "decode", busy_share=1.0)))
    assert found is not None
    assert (found.id, found.also) == ("more-transcribe-decode", (("workers.decode", 2, 3),))


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        (lambda f: stage(f, "decode", busy_share=BUSY - 0.001), {}),
        (lambda f: stage(f, "decode", busy_share=None), {}),
        (lambda f: stage(f, "decode", paused=True), {}),
        (lambda f: stage(stage(f, "decode", busy_share=0.1), "store", busy_share=1.0), {}),
        (lambda f: stage(stage(f, "decode", busy_share=0.1), "segment", busy_share=1.0), {}),
        (lambda f: gpu(stage(stage(f, "decode", busy_share=0.1), "diarize", busy_share=1.0), memory_used=62 * GIB), {}),
    ],
)
def test_a_stage_that_is_not_full_or_cannot_grow_is_no_second_one(
    busy: Snapshot, monkeypatch: pytest.MonkeyPatch, change: Any, settings: dict[str, Any]
) -> None:
    """A slot on the GPU takes 6 GiB: 62 and two more reach 92.5 % of 80."""
    full = stage(busy, "decode", busy_share=1.0)
    with_gain(monkeypatch, 0.2)
    assert pair(MORE, case(full, watch__memory_limit=92.5)) is not None
    with_gain(monkeypatch, 0.2)
    assert pair(MORE, case(change(full), watch__memory_limit=92.5, **settings)) is None


def test_a_fuller_stage_that_cannot_grow_hides_no_other(busy: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = stage(busy, "decode", busy_share=0.95)
    for other, used in (("store", 20), ("segment", 20), ("diarize", 62)):
        with_gain(monkeypatch, 0.2)
        full = gpu(stage(decode, other, busy_share=1.0), memory_used=used * GIB)
        found = pair(MORE, case(full, watch__memory_limit=92.5))
        assert found is not None, other
        assert found.id == "more-transcribe-decode", other


def test_on_the_gpu_two_slots_more_must_fit_and_both_must_be_worth_it(busy: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    full = gpu(stage(busy, "diarize", busy_share=1.0), memory_used=61 * GIB)
    with_gain(monkeypatch, 0.0625)
    assert pair(MORE, case(full, watch__memory_limit=92.5)) is not None
    with_gain(monkeypatch, 0.2)
    assert pair(MORE, case(gpu(full, memory_used=None), watch__memory_limit=92.5)) is not None
    with_gain(monkeypatch, 0.03)
    assert pair(MORE, case(full, watch__memory_limit=92.5)) is None
