"""Whatever a frame holds, every figure drawn from it can be had: the verdict, the forecast, the metrics, the texts."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from gainstage.config.settings import SPECS
from gainstage.engine.advisor import forecast
from gainstage.engine.advisor.measured_effects import effect
from gainstage.engine.advisor.verdict import verdict
from gainstage.engine.advisor.verdict_cache import VerdictCache
from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.engine.telemetry.prometheus import SnapshotCollector
from gainstage.engine.views.frame_json import dumps, loads
from gainstage.engine.views.snapshot import Snapshot
from gainstage.tui.commands.control import describe
from gainstage.tui.commands.headless import _picture
from tests.frames_kit import story

SETTINGS: dict[str, Any] = {key: spec.default for key, spec in SPECS.items()}
seeds = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def busy() -> Snapshot:
    frame = ScriptedDesk(start_at=STORY["bottleneck"]).snapshot()
    assert frame is not None
    return frame


@pytest.mark.parametrize("state", ["running", "draining"])
def test_a_run_in_which_everything_failed_has_nothing_left(busy: Snapshot, state: str) -> None:
    run = replace(busy.run, state=state, queued=0, running=0, stored=0, failed=7, skipped=0, cancelled=0, audio_left_s=0.0)
    told = forecast.eta(replace(busy, run=run, flights=()), 24)
    assert (told.left_s, told.low_s, told.high_s, told.basis) == (0.0, 0.0, 0.0, "nothing is left")
    judged = VerdictCache().judge(replace(busy, run=run, flights=()), SETTINGS).verdict
    assert judged.health == ("done" if state == "running" else "draining")


def test_what_is_counted_as_running_but_not_in_flight_here_is_not_forgotten(busy: Snapshot) -> None:
    """Another engine has the last recordings: this one does not know where they stand, and says no time."""
    run = replace(busy.run, queued=0, running=2, stored=40)
    told = forecast.eta(replace(busy, run=run, flights=()), 24)
    assert told.left_s is None
    assert told.basis == "what is left is in flight at another engine"


@settings(max_examples=60)
@given(seeds)
@example(271)  # a frame within a second of the one before it
def test_every_frame_has_a_verdict_and_a_forecast(seed: int) -> None:
    frames = story(Random(seed), 4)
    judge = VerdictCache()
    for n, frame in enumerate(frames):
        told = verdict(frames[: n + 1], SETTINGS)
        assert told.health
        assert told.reason
        left = told.forecast
        assert (left.left_s is None) == (left.low_s is None) == (left.high_s is None)
        if left.left_s is not None and left.low_s is not None and left.high_s is not None:
            assert 0 <= left.low_s <= left.left_s <= left.high_s
        looked_at = judge.judge(frame, SETTINGS, keep=False).verdict.health
        assert loads(dumps(judge.judge(frame, SETTINGS))).verdict.health == looked_at


@settings(max_examples=60)
@given(seeds, st.sampled_from(["workers.transcribe", "workers.fetch", "workers.diarize", "in_flight", "asr.batch"]))
def test_every_frame_can_be_asked_what_a_change_would_do_and_did(seed: int, key: str) -> None:
    frames = story(Random(seed), 5)
    for frame in frames:
        then = forecast.expect(frame, 24, {key: 3})
        assert then is None or then.text
    assert effect(frames, frames[2].wall, key, least_s=0.0, settle_s=0.0).text


@settings(max_examples=60)
@given(seeds)
def test_every_frame_survives_its_journey_and_can_be_scraped_and_printed(seed: int) -> None:
    for frame in story(Random(seed), 3):
        assert loads(dumps(frame)) == frame
        registry = CollectorRegistry(auto_describe=False)
        registry.register(SnapshotCollector(lambda frame=frame: frame))
        assert b"gainstage_up 1.0" in generate_latest(registry)
        describe(frame)
        _picture(frame, 1, 2)
