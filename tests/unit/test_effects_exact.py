"""Measured effects: which recordings count with which frames, and what a limit of identify did, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gainstage.engine.advisor.measured_effects import NOT_ENOUGH, decided, effect, has_work, words
from gainstage.engine.advisor.measured_gain import Finished, measured_gain
from gainstage.engine.views.rows import Figures
from gainstage.engine.views.snapshot import Snapshot
from tests.frames_kit import busy_frame

AT = 10_000.0


@pytest.fixture(scope="module")
def template() -> Snapshot:
    return busy_frame()


def frame(
    template: Snapshot, after: float, *, state: str = "running", paused: bool = False, clusters: tuple[int, int, int] = (0, 0, 0)
) -> Snapshot:
    """A frame so many seconds after the change, with work waiting; a recording and an hour of audio end each ten seconds."""
    run = replace(template.run, state=state, audio_done_s=3600 * after, stored=int(after + 700) // 10)
    stages = tuple(replace(s, paused=paused) for s in template.stages)
    names = dict(zip(("clusters", "split", "unknown"), clusters, strict=True))
    return replace(template, wall=AT + after, run=run, stages=stages, decisions=replace(template.decisions, **names))


BEFORE, AFTER = (-600.0, -400.0, -200.0, 0.0), (30.0, 230.0, 430.0, 630.0)


def history(template: Snapshot) -> list[Snapshot]:
    return [frame(template, after) for after in (*BEFORE, *AFTER)]


def ended(*seconds: float) -> list[Finished]:
    """Recordings of ten minutes that ended so long after the change, each longer served than the one before."""
    return [Finished(AT + after, 600.0, 60.0 + n) for n, after in enumerate(seconds)]


def shifted(finished: list[Finished], by: float) -> list[Finished]:
    return [replace(f, at_s=f.at_s - AT + by) for f in finished]


EARLY = ended(-599.0, -450.0, -401.0, -300.0, -100.0, -1.0)
LATE = ended(31.0, 100.0, 229.0, 300.0, 400.0, 500.0, 629.0)


def test_a_gain_is_measured_from_the_recordings_by_the_clock_of_their_windows(template: Snapshot) -> None:
    told = effect(history(template), AT, "workers.transcribe", finished=[*reversed(LATE), *EARLY])
    expected = measured_gain(shifted(EARLY, 600.0), 600.0, shifted(LATE, -30.0), 600.0)
    assert expected is not None
    assert told.gain == expected
    assert told.text.startswith(f"{expected.text}, p95 ")


def test_each_side_is_a_rate_over_its_own_window(template: Snapshot) -> None:
    """Ten minutes before the change, and 400 s after it."""
    told = effect(history(template)[:-1], AT, "workers.transcribe", finished=[*EARLY, *LATE[:5]])
    expected = measured_gain(shifted(EARLY, 600.0), 600.0, shifted(LATE[:5], -30.0), 400.0)
    assert expected is not None
    assert told.gain == expected


def test_a_recording_that_ended_with_the_last_frame_counts_and_one_with_the_first_does_not(template: Snapshot) -> None:
    edges = ended(-600.0, 0.0, 30.0, 630.0)
    told = effect(history(template), AT, "workers.transcribe", finished=[*EARLY, *LATE, *edges])
    early, late = [*EARLY, replace(edges[1])], [*LATE, replace(edges[3])]
    assert told.gain == measured_gain(shifted(early, 600.0), 600.0, shifted(late, -30.0), 600.0)


@pytest.mark.parametrize("how", [{"state": "paused"}, {"paused": True}])
def test_time_without_work_is_cut_out_and_what_ended_in_it_does_not_count(template: Snapshot, how: dict[str, object]) -> None:
    """From -400 to -200 s the run stands: the clock of that side goes on where work did."""
    frames = history(template)
    frames[1:1] = [frame(template, -500.0), frame(template, -450.0, **how)]  # type: ignore[arg-type]
    told = effect(frames, AT, "workers.transcribe", finished=[*EARLY, *ended(-480.0), *LATE])
    worked = [Finished(1.0, 600.0, 60.0)] + [replace(f, at_s=f.at_s - AT + 400.0 + 100.0) for f in EARLY if f.at_s > AT - 400]
    assert told.gain == measured_gain(worked, 500.0, shifted(LATE, -30.0), 600.0)


def test_five_recordings_on_either_side_are_a_gain_and_fewer_are_the_rate_alone(template: Snapshot) -> None:
    told = effect(history(template), AT, "workers.transcribe", finished=[*EARLY[:5], *LATE[:4]])
    assert told.gain is None
    assert told.text.startswith("+0% audio/h, p95 ")
    assert effect(history(template), AT, "workers.transcribe", finished=[*EARLY[:5], *LATE[:5]]).gain is not None


def test_a_change_of_a_limit_is_judged_by_the_decisions_after_it(template: Snapshot) -> None:
    counts = [
        (100, 10, 50),
        (103, 12, 50),
        (107, 12, 54),
        (110, 12, 55),
        (200, 20, 80),
        (201, 21, 80),
        (210, 22, 80),
        (220, 25, 82),
    ]
    frames = [frame(template, after, clusters=c) for after, c in zip((*BEFORE, *AFTER), counts, strict=True)]
    told = effect(frames, AT, "identify.primary_threshold", finished=[*EARLY, *LATE])
    assert told.text == "split 20% → 25%, unknown 50% → 10% of 10 and 20 clusters"
    assert told.gain is None
    assert told.before is not None
    assert told.after is not None


@pytest.mark.parametrize(("old", "new", "enough"), [(10, 10, True), (9, 10, False), (10, 9, False), (11, 11, True)])
def test_ten_clusters_must_be_decided_on_either_side(template: Snapshot, old: int, new: int, enough: bool) -> None:
    sides = [[frame(template, 0.0, clusters=(7, 0, 0)), frame(template, 9.0, clusters=(7 + n, 0, n))] for n in (old, new)]
    text = (
        f"split 0% → 0%, unknown 100% → 100% of {old} and {new} clusters"
        if enough
        else f"{NOT_ENOUGH}: {old} and {new} clusters decided"
    )
    assert decided(*sides) == text


def test_work_held_back_by_hand_is_no_work_that_waits(template: Snapshot) -> None:
    assert has_work(frame(template, 0.0))
    assert not has_work(frame(template, 0.0, paused=True))


def test_a_gain_with_its_interval_stands_for_the_rate(template: Snapshot) -> None:
    gain = measured_gain(shifted(EARLY, 600.0), 600.0, shifted(LATE, -30.0), 600.0)
    assert gain is not None
    before, after = (
        Figures(audio_hours_per_hour=r, service_p50_s=None, service_p95_s=None, errors=None, gpu_memory=None) for r in (10.0, 20.0)
    )  # type: ignore[arg-type]
    assert words(before, after, template, gain) == gain.text
    assert words(before, after, template) == "+100% audio/h"
