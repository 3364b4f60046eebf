"""What somebody is called for: each once, at its limit, and over again where it happens again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gainstage.engine.advisor.happenings import Happening, SeenSoFar, done, look, lost
from gainstage.engine.views.snapshot import ScopeView, Snapshot
from tests.frames_kit import busy_frame

FLOOR = 10_000_000_000


@pytest.fixture(scope="module")
def calm() -> Snapshot:
    """An engine at work, no run in sight, room on the disk."""
    frame = busy_frame()
    return replace(frame, host=replace(frame.host, disk_free=2 * FLOOR, disk_full_in_s=None), scopes=())


def at(frame: Snapshot, *frames: Snapshot) -> list[list[Happening]]:
    """What is new in each of some frames, after one before."""
    seen, _ = look(SeenSoFar(), frame, failed_share=0.2, disk_floor=FLOOR)
    news = []
    for one in frames:
        seen, new = look(seen, one, failed_share=0.2, disk_floor=FLOOR)
        news.append(list(new))
    return news


def kinds(frame: Snapshot, *frames: Snapshot) -> list[list[str]]:
    return [[h.kind for h in new] for new in at(frame, *frames)]


def health(frame: Snapshot, name: Any, **what: Any) -> Snapshot:
    return replace(frame, verdict=replace(frame.verdict, health=name, **what))


def disk(frame: Snapshot, free: int | None, full_in_s: float | None = None) -> Snapshot:
    return replace(frame, host=replace(frame.host, disk_free=free, disk_full_in_s=full_in_s))


def with_run(frame: Snapshot, run: int | None = 7, **counts: Any) -> Snapshot:
    names = ("queued", "running", "stored", "failed", "skipped", "cancelled", "retrying")
    numbers = {name: counts.get(name, 0) for name in names}
    scope = ScopeView("run", "Shows", run, 1000.0, counts.get("ended"), **numbers, audio_done_s=0.0, audio_left_s=None, work_s=None)
    return replace(frame, scopes=(scope,))


def test_nothing_is_new_in_a_calm_frame(calm: Snapshot) -> None:
    seen, new = look(SeenSoFar(), calm, failed_share=0.2, disk_floor=FLOOR)
    assert new == ()
    assert seen == SeenSoFar(engine="engine-1")


def test_a_stall_is_reported_once_and_the_next_one_again(calm: Snapshot) -> None:
    stalled = health(calm, "stalled", since_wall=1234.4, reason="diarize let nothing out for 5m00s")
    assert kinds(calm, stalled, stalled, calm, stalled) == [["stalled"], [], [], ["stalled"]]
    (first,), *_ = at(calm, stalled)
    assert first == Happening("stalled:engine-1:1234", "stalled", "gainstage: stalled", "diarize let nothing out for 5m00s", None)
    (undated,), *_ = at(calm, health(calm, "stalled", since_wall=None, reason="x" * 500))
    assert undated.key == f"stalled:engine-1:{calm.wall:.0f}"
    assert len(undated.text) == 400


@pytest.mark.parametrize("state", ["running", "paused", "starting"])
def test_an_engine_that_falls_silent_at_work_is_lost(calm: Snapshot, state: Any) -> None:
    working = replace(calm, run=replace(calm.run, state=state))
    away = health(working, "offline")
    assert kinds(working, away, away, working, away) == [["lost"], [], [], ["lost"]]
    (one,), *_ = at(working, away)
    assert one == lost("engine-1", "gpu-1", "lost", calm.wall)


@pytest.mark.parametrize("state", ["done", "stopped", "draining", "stopping"])
def test_an_engine_that_signed_off_is_not_lost(calm: Snapshot, state: Any) -> None:
    ended = replace(calm, run=replace(calm.run, state=state))
    assert kinds(ended, health(ended, "offline")) == [[]]


def test_an_engine_that_was_never_seen_at_work_is_not_lost(calm: Snapshot) -> None:
    away = health(calm, "offline")
    assert look(SeenSoFar(), away, failed_share=0.2, disk_floor=FLOOR)[1] == ()


def test_the_words_of_a_lost_engine() -> None:
    died = lost("engine-1", "gpu-1", "died", 99.6)
    assert (died.key, died.kind) == ("lost:engine-1:100", "lost")
    assert died.text.startswith("engine engine-1 on gpu-1 died;")
    silent = lost("e" * 300, "h" * 300, "lost", 0.0)
    assert "died" not in silent.text
    assert silent.text.count("e" * 119) == 1
    assert "e" * 120 not in silent.text
    assert "h" * 79 in silent.text
    assert "h" * 80 not in silent.text


@pytest.mark.parametrize(
    ("free", "full_in_s", "low"),
    [
        (FLOOR - 1, None, True), (FLOOR, None, False), (None, None, False), (2 * FLOOR, 3599.0, True), (2 * FLOOR, 3600.0, False),
        (None, 60.0, True),
    ],
)  # fmt: skip
def test_a_disk_is_low_below_its_floor_or_full_within_the_hour(
    calm: Snapshot, free: int | None, full_in_s: float | None, low: bool
) -> None:
    assert kinds(calm, disk(calm, free, full_in_s)) == [["disk"] if low else []]


def test_a_disk_is_low_until_half_as_much_again_is_free(calm: Snapshot) -> None:
    low, nearly, easy = disk(calm, FLOOR - 1), disk(calm, FLOOR * 3 // 2 - 1), disk(calm, FLOOR * 3 // 2)
    assert kinds(calm, low, low, nearly, low) == [["disk"], [], [], []]
    assert kinds(calm, low, easy, low) == [["disk"], [], ["disk"]]


def test_the_words_of_a_full_disk(calm: Snapshot) -> None:
    (by_rate,), *_ = at(calm, replace(disk(calm, 1_234_000_000, 150.0), wall=7199.0))
    assert by_rate.key == "disk:gpu-1:1"
    assert by_rate.text == "1.2 GB free on gpu-1, full in about 2 min at this rate"
    (soon,), *_ = at(calm, disk(calm, 1_000_000_000, 20.0))
    assert soon.text.endswith("full in about 1 min at this rate")
    (unknown,), *_ = at(calm, disk(calm, None, 600.0))
    assert unknown.text == "· free on gpu-1, full in about 10 min at this rate"
    (floor,), *_ = at(calm, disk(calm, 500_000_000))
    assert floor.text == "0.5 GB free on gpu-1"
    named = replace(calm, host=replace(calm.host, name="h" * 100, disk_free=1))
    (long,), *_ = at(calm, named)
    assert "h" * 79 in long.text
    assert "h" * 80 not in long.text


@pytest.mark.parametrize(
    ("stored", "failed", "told"), [(7, 2, False), (7, 3, True), (8, 2, False), (79, 20, True), (80, 20, False), (0, 9, False)]
)
def test_a_run_fails_from_ten_ended_and_above_its_share(calm: Snapshot, stored: int, failed: int, told: bool) -> None:
    frame = with_run(calm, queued=5, stored=stored, failed=failed)
    assert kinds(calm, frame) == [["failed"] if told else []]


def test_the_words_of_a_failing_run(calm: Snapshot) -> None:
    (failing,), *_ = at(calm, with_run(calm, queued=1, stored=1000, failed=3000))
    assert (failing.key, failing.run) == ("failed:7", 7)
    assert failing.text == "3,000 of 4,000 recordings of Shows failed (75%)"


def test_a_run_is_done_once_when_it_was_seen_with_work_left(calm: Snapshot) -> None:
    queued, running = with_run(calm, queued=1, stored=3), with_run(calm, running=1, stored=3)
    both = with_run(calm, queued=1, running=1, stored=3)
    over = with_run(calm, stored=4, skipped=2, ended=1999.7)
    for working in (queued, running, both):
        assert kinds(calm, working, over, over) == [[], ["done"], []]
    assert kinds(calm, over) == [[]], "it was over before"
    (told,) = at(calm, queued, over)[1]
    assert told == done(7, "Shows", 1999.7, stored=4, failed=0, skipped=2)
    assert kinds(calm, queued, over, queued, over) == [[], ["done"], [], ["done"]], "more was added to it"


def test_another_run_beside_an_open_one_leaves_it_open(calm: Snapshot) -> None:
    other = with_run(calm, run=8, queued=2)
    assert kinds(calm, with_run(calm, queued=1), other, with_run(calm, run=8, stored=2), with_run(calm, stored=1)) == [
        [], [], ["done"], ["done"],
    ]  # fmt: skip
    assert kinds(calm, with_run(calm, run=None, queued=1), with_run(calm, run=None, stored=1)) == [[], []]


def test_the_words_of_a_finished_run() -> None:
    over = done(3, "Shows", 99.6, stored=1, failed=2000, skipped=4)
    assert over == Happening("done:3:100", "done", "gainstage: Shows is done", "1 recording stored, 2,000 failed, 4 skipped", 3)
    plain = done(3, "t" * 200, None, stored=2, failed=0, skipped=0)
    assert plain.key == "done:3:0"
    assert plain.text == "2 recordings stored"
    assert "t" * 79 in plain.title
    assert "t" * 80 not in plain.title
