"""The windows of a measured effect to the second, and its words at every limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from gainstage.engine.advisor.measured_effects import NOT_ENOUGH, effect, figures, has_work, words
from gainstage.engine.views.rows import Figures
from gainstage.engine.views.snapshot import Snapshot
from tests.frames_kit import busy_frame

AT = 10_000.0


@pytest.fixture(scope="module")
def template() -> Snapshot:
    return busy_frame()


def frames(template: Snapshot, *points: tuple[float, float], **run: Any) -> list[Snapshot]:
    """Frames at (seconds after the change, audio seconds done); each finishes as many recordings as are asked for."""
    return [
        replace(template, wall=AT + after, run=replace(template.run, audio_done_s=audio, stored=n * 3, **run))
        for n, (after, audio) in enumerate(points)
    ]


def rates(history: Sequence[Snapshot], **how: Any) -> tuple[float | None, float | None]:
    result = effect(history, AT, "workers.transcribe", **how)
    return tuple(side and side.audio_hours_per_hour for side in (result.before, result.after))  # type: ignore[return-value]


BEFORE = ((-600.0, 0.0), (-300.0, 30_000.0), (0.0, 90_000.0))
AFTER = ((30.0, 90_000.0), (330.0, 180_000.0), (630.0, 210_000.0))


def test_the_windows_are_ten_minutes_on_either_side_without_half_a_minute_of_settling(template: Snapshot) -> None:
    assert rates(frames(template, *BEFORE, *AFTER)) == (150.0, 200.0)
    strange = ((-600.5, -1e9), *BEFORE, (0.5, 1e9), (29.5, 1e9), *AFTER, (630.5, 1e9))
    assert rates(frames(template, *strange)) == (150.0, 200.0)


def test_neighbouring_changes_bound_the_windows_themselves_included(template: Snapshot) -> None:
    assert rates(frames(template, *BEFORE, *AFTER), since_wall=AT - 300, until_wall=AT + 330) == (200.0, 300.0)


def test_a_minute_and_three_recordings_are_enough(template: Snapshot) -> None:
    assert figures(frames(template, (0.0, 0.0), (60.0, 600.0)), None) is not None
    assert figures(frames(template, (0.0, 0.0), (59.9, 600.0)), None) is None
    few = frames(template, (0.0, 0.0), (60.0, 600.0))
    assert figures([few[0], replace(few[1], run=replace(few[1].run, stored=2))], None) is None


def test_work_waits_in_the_queue_or_at_a_stage(template: Snapshot) -> None:
    calm = replace(template, run=replace(template.run, queued=0), stages=tuple(replace(s, depth=0) for s in template.stages))
    assert not has_work(calm)
    assert has_work(replace(calm, run=replace(calm.run, queued=1)))
    assert has_work(replace(calm, stages=(*calm.stages[:-1], replace(calm.stages[-1], depth=1))))


def test_figures_are_medians_and_failures_never_below_none(template: Snapshot) -> None:
    history = frames(template, (0.0, 0.0), (60.0, 600.0), (120.0, 1200.0))
    device = template.devices[0]
    for n, (used, p50, failed) in enumerate(((10, 1.0, 5), (30, 2.0006, 9), (20, 9.0, 7))):
        history[n] = replace(
            history[n],
            run=replace(history[n].run, failed=failed),
            devices=(replace(device, memory_used=used), replace(device, memory_used=5), replace(device, memory_used=None)),
            stages=tuple(replace(s, service_p50_s=p50, service_p95_s=3 * p50) for s in history[n].stages),
        )
    measured = figures(history, "transcribe")
    assert measured == Figures(audio_hours_per_hour=10.0, service_p50_s=2.001, service_p95_s=6.002, errors=2, gpu_memory=20)
    fewer = [*history[:2], replace(history[2], run=replace(history[2].run, failed=1))]
    assert (side := figures(fewer, "transcribe")) is not None
    assert side.errors == 0
    without = [replace(frame, devices=(), stages=()) for frame in history]
    assert (side := figures(without, "transcribe")) is not None
    assert (side.service_p50_s, side.service_p95_s, side.gpu_memory) == (None, None, None)


def test_frames_without_work_and_paused_ones_say_nothing_of_service_times(template: Snapshot) -> None:
    history = [
        replace(frame, stages=tuple(replace(s, service_p50_s=2.0) for s in frame.stages))
        for frame in frames(template, (0.0, 0.0), (60.0, 607.6))
    ]
    odd = replace(history[1], stages=tuple(replace(s, depth=0, service_p50_s=99.0) for s in history[1].stages))
    paused = replace(odd, run=replace(odd.run, state="paused"))
    idle = replace(odd, run=replace(odd.run, queued=0))
    measured = figures([*history, paused, paused, paused, idle, idle, idle], "transcribe")
    assert measured is not None
    assert (measured.audio_hours_per_hour, measured.service_p50_s) == (10.13, 2.0)


def test_memory_is_a_share_of_what_the_newest_frame_has(template: Snapshot) -> None:
    device = replace(template.devices[0], memory_used=25)
    history = [
        replace(frame, devices=(replace(device, memory_total=total),))
        for frame, total in zip(frames(template, *BEFORE, *AFTER), (1000, 1000, 1000, 1000, 1000, 50), strict=True)
    ]
    assert "memory 50% (=)" in effect(history, AT, "workers.transcribe").text


def side(rate: float | None = None, p95: float | None = None, memory: int | None = None, errors: int | None = None) -> Figures:
    return Figures(audio_hours_per_hour=rate, service_p50_s=None, service_p95_s=p95, errors=errors, gpu_memory=memory)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (side(), side(), NOT_ENOUGH),
        (side(0.0), side(9.0), NOT_ENOUGH),
        (side(10.0), side(0.0), "-100% audio/h"),
        (side(p95=20.0), side(p95=10.0), "p95 20 → 10s"),
        (side(p95=10.0), side(p95=20.0), "p95 10 → 20s"),
        (side(p95=19.9), side(p95=10.0), "p95 19.9 → 10.0s"),
        (side(p95=100.0), side(p95=97.0), "p95 97s (=)"),
        (side(p95=100.0), side(p95=96.9), "p95 100 → 97s"),
        (side(p95=5.0), side(), NOT_ENOUGH),
        (side(), side(p95=5.0), NOT_ENOUGH),
        (side(memory=50), side(memory=50), "memory 50% (=)"),
        (side(memory=50), side(memory=60), "memory 50 → 60%"),
        (side(memory=50), side(), NOT_ENOUGH),
        (side(errors=0), side(errors=0), NOT_ENOUGH),
        (side(errors=1), side(errors=0), "failed 1 → 0"),
        (side(errors=0), side(errors=1), "failed 0 → 1"),
        (side(errors=1), side(), NOT_ENOUGH),
    ],
)
def test_words_name_what_both_sides_know(template: Snapshot, before: Figures, after: Figures, text: str) -> None:
    device = template.devices[0]
    frame = replace(template, devices=tuple(replace(device, memory_total=total) for total in (50, 100, None)))
    assert words(before, after, frame) == text


def test_without_a_device_no_memory_is_named(template: Snapshot) -> None:
    assert words(side(memory=50), side(memory=60), replace(template, devices=())) == NOT_ENOUGH
