"""What a change did, from the frames before and after it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gainstage.engine.advisor.measured_effects import NOT_ENOUGH, complete, effect, figures, stage_of
from gainstage.engine.views.snapshot import Snapshot
from tests.frames_kit import busy_frame

CHANGED_S = 1000.0


@pytest.fixture(scope="module")
def template() -> Snapshot:
    return busy_frame()


def steady(
    template: Snapshot, start: float, end: float, rate: float, p95: float, *, done_s: float = 0.0, failed: int = 0
) -> list[Snapshot]:
    """A frame each ten seconds of a run at ``rate`` audio seconds per second, a recording stored each five minutes of audio."""
    frames = []
    stages = tuple(replace(s, service_p50_s=p95 / 3, service_p95_s=p95) for s in template.stages)
    t = start
    while t <= end:
        audio = done_s + (t - start) * rate
        run = replace(template.run, audio_done_s=audio, stored=int(audio // 300), failed=failed)
        devices = tuple(replace(d, memory_used=int(rate * 1e8)) for d in template.devices)
        frames.append(replace(template, wall=t, run=run, stages=stages, devices=devices))
        t += 10.0
    return frames


def test_both_sides_are_compared_without_the_settling_time(template: Snapshot) -> None:
    before = steady(template, 0, CHANGED_S, 100, 190)
    rough = steady(template, CHANGED_S + 1, CHANGED_S + 25, 5, 999, done_s=1e5)
    after = steady(template, CHANGED_S + 30, CHANGED_S + 630, 129, 190, done_s=2e5)
    told = effect([*before, *rough, *after], CHANGED_S, "workers.transcribe")
    assert told.before is not None
    assert told.after is not None
    assert told.before.audio_hours_per_hour == pytest.approx(100)
    assert told.after.audio_hours_per_hour == pytest.approx(129)
    assert told.after.service_p95_s == 190
    assert told.text == "+29% audio/h, p95 190s (=), memory 12 → 15%"


def test_slower_and_failing_is_told_as_it_is(template: Snapshot) -> None:
    before = steady(template, 0, CHANGED_S, 100, 9.8)
    after = steady(template, CHANGED_S + 30, CHANGED_S + 630, 80, 12.4, done_s=2e5)
    worse = [*after[:-1], replace(after[-1], run=replace(after[-1].run, failed=3))]
    told = effect([*before, *worse], CHANGED_S, "voice.batch_seconds")
    assert told.text == "-20% audio/h, p95 9.8 → 12.4s, memory 12 → 9%, failed 0 → 3"


@pytest.mark.parametrize("missing", ["before", "after"])
def test_a_side_that_is_too_short_is_not_enough_data(template: Snapshot, missing: str) -> None:
    before = steady(template, 0, CHANGED_S, 100, 190)
    after = steady(template, CHANGED_S + 30, CHANGED_S + 630, 129, 190, done_s=2e5)
    history = [*(before[-4:] if missing == "before" else before), *(after[:4] if missing == "after" else after)]
    told = effect(history, CHANGED_S, "workers.transcribe")
    assert told.text == NOT_ENOUGH
    assert (told.before if missing == "before" else told.after) is None


def test_too_few_finished_recordings_are_not_enough(template: Snapshot) -> None:
    assert figures(steady(template, 0, 300, 2.0, 190), "transcribe") is None
    assert figures(steady(template, 0, 300, 20.0, 190), "transcribe") is not None


def test_a_neighbouring_change_ends_the_window(template: Snapshot) -> None:
    before = steady(template, 0, CHANGED_S, 100, 190)
    after = steady(template, CHANGED_S + 30, CHANGED_S + 330, 129, 190, done_s=2e5)
    other = steady(template, CHANGED_S + 340, CHANGED_S + 630, 500, 190, done_s=4e5)
    told = effect([*before, *after, *other], CHANGED_S, "in_flight", until_wall=CHANGED_S + 335, since_wall=CHANGED_S - 300)
    assert told.after is not None
    assert told.after.audio_hours_per_hour == pytest.approx(129)
    assert told.after.service_p95_s is None  # no stage of its own


def test_paused_time_does_not_count(template: Snapshot) -> None:
    running = steady(template, 0, 300, 100, 190)
    paused = [replace(f, run=replace(f.run, state="paused")) for f in steady(template, 310, 600, 0, 190)]
    found = figures([*running, *paused], "transcribe")
    assert found is not None
    assert found.audio_hours_per_hour == pytest.approx(100)


def test_an_effect_is_final_when_its_window_is_over() -> None:
    assert not complete(0.0, 629.0)
    assert complete(0.0, 630.0)


@pytest.mark.parametrize(
    ("key", "stage"),
    [
        ("workers.fetch", "fetch"),
        ("asr.batch", "transcribe"),
        ("identify.range_limit", "identify"),
        ("voice.batch_seconds", "identify"),
        ("in_flight", None),
        ("console.theme", None),
    ],
)
def test_a_setting_acts_on_a_stage_or_on_the_run(key: str, stage: str | None) -> None:
    assert stage_of(key) == stage


def test_a_queue_that_runs_empty_is_no_effect_of_a_setting(template: Snapshot) -> None:
    """Reproduced on a live engine: one slot more was recorded as -83 % because nothing was left two minutes later."""
    before = steady(template, 0, CHANGED_S, 100, 190)
    after = steady(template, CHANGED_S + 30, CHANGED_S + 150, 107, 190, done_s=2e5)
    end = after[-1]
    empty = replace(end.run, queued=0)
    calm = tuple(replace(s, depth=0, busy=0) for s in end.stages)
    idle = [replace(end, wall=end.wall + 10.0 * n, run=empty, stages=calm) for n in range(1, 48)]
    told = effect([*before, *after, *idle], CHANGED_S, "workers.diarize")
    assert told.after is not None
    assert told.after.audio_hours_per_hour == pytest.approx(107)
    assert told.text.startswith("+7% audio/h")
