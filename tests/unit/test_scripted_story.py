"""The scripted story from its first second to its last: every figure of every frame agrees with the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from math import isfinite
from typing import Any

import pytest

from gainstage.engine.desk.scripted.desk import FRAME_S, STORY, ScriptedDesk
from gainstage.engine.desk.scripted.story import LENGTH_S
from gainstage.engine.stages import STAGES
from gainstage.engine.views.commands import Command
from gainstage.engine.views.events import Event
from gainstage.engine.views.frame_json import dumps, loads
from gainstage.engine.views.snapshot import SCHEMA, Snapshot


class Played:
    """A whole story, a frame each second and every event."""

    def __init__(self, seed: int) -> None:
        desk = ScriptedDesk(seed)
        self.desk = desk
        self.frames: list[Snapshot] = []
        self.events: list[Event] = []
        cursor = 0
        for _ in range(int(LENGTH_S)):
            desk.advance(1.0)
            frame = desk.snapshot()
            assert frame is not None
            self.frames.append(frame)
            page = desk.events(cursor, limit=10_000)
            assert page.dropped == 0
            cursor = page.cursor
            self.events += page.items

    def at(self, mark: str) -> Snapshot:
        return self.frames[round(STORY[mark]) - 1]


@pytest.fixture(scope="module")
def played() -> Played:
    return Played(0)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if is_dataclass(value):
        for f in fields(value):
            yield from leaves(getattr(value, f.name), f"{path}.{f.name}")
    elif isinstance(value, tuple):
        for i, v in enumerate(value):
            yield from leaves(v, f"{path}[{i}]")
    else:
        yield path, value


MAY_BE_NEGATIVE = ("similarities", ".low", ".mean", ".priority")


def test_every_frame_is_consistent(played: Played) -> None:
    total = len(played.desk.world.items)
    seconds = sum(i.part.duration_s for i in played.desk.world.items.values())
    for frame in played.frames:
        run = frame.run
        assert run.queued + run.running + run.stored + run.failed + run.skipped + run.cancelled == total
        assert run.running == len(frame.flights)
        assert run.retrying <= run.queued
        assert run.audio_left_s is not None
        assert run.audio_done_s + run.audio_left_s <= seconds + 1
        shown = [s.name for s in frame.stages]
        assert shown == list(STAGES)
        ids = [f.id for f in frame.flights]
        assert len(set(ids)) == len(ids)
        for stage in frame.stages:
            busy = [s for s in stage.slots if s.recording is not None]
            assert stage.busy == len(busy) <= max(stage.capacity, len(stage.slots))
            assert len(stage.slots) >= stage.capacity
            assert {s.recording for s in busy} <= set(ids)
            waiting = sum(1 for f in frame.flights if f.stage == stage.name and f.waiting)
            assert waiting <= stage.depth
            shares = [s for s in (stage.busy_share, stage.starved_share, stage.blocked_share) if s is not None]
            assert sum(shares) <= 1.002  # each is rounded
            assert (stage.oldest_wait_s is None) == (stage.depth == 0)
        view = frame.decisions
        assert view.clusters == view.kept + view.split
        assert sum(view.variance_histogram) <= min(500, view.clusters)
        assert sum(frame.batchers[0].sizes) == frame.batchers[0].batches
        assert frame.database.segments is not None
        assert (run.last_commit_wall is None) == (run.stored == 0)


def test_no_figure_is_negative_or_undefined(played: Played) -> None:
    for frame in played.frames[::7]:
        for path, value in leaves(frame):
            if isinstance(value, float):
                assert isfinite(value), path
            if isinstance(value, int | float) and not path.endswith(MAY_BE_NEGATIVE) and "similarities" not in path:
                assert value >= 0, path


def test_counters_only_rise_and_frames_are_numbered(played: Played) -> None:
    for before, after in pairwise(played.frames):
        assert after.seq == before.seq + round(1 / FRAME_S)
        assert after.wall > before.wall
        assert after.monotonic > before.monotonic
        assert after.schema == SCHEMA
        assert after.revision >= before.revision
        assert after.run.stored >= before.run.stored
        assert after.decisions.clusters >= before.decisions.clusters
        for old, new in zip(before.stages, after.stages, strict=True):
            assert new.done >= old.done
        for a, b in zip(before.batchers, after.batchers, strict=True):
            assert b.items >= a.items


def test_unknown_is_none_before_anything_was_measured(played: Played) -> None:
    first = played.frames[3]
    for stage in first.stages:
        assert stage.service_p50_s is None
        assert stage.wait_p95_s is None
        assert stage.rtfx is None
        assert stage.per_minute is None
        assert stage.oldest_wait_s is None
    assert first.run.rtfx is None
    assert first.run.last_commit_wall is None
    assert first.batchers[0].items_p50 is None
    assert first.verdict.forecast.left_s is None


def test_every_frame_survives_json(played: Played) -> None:
    for frame in played.frames[::5]:
        assert loads(dumps(frame)) == frame


def test_the_marks_show_what_they_promise(played: Played) -> None:
    at = played.at
    warm = at("warm-up")
    assert warm.run.state == "starting"
    assert warm.run.loading[0].startswith("loading models 2/4")
    assert warm.verdict.health == "starting"
    assert at("bottleneck").verdict.bottleneck.stage == "transcribe"
    advice = at("bottleneck").verdict.advice
    assert advice is not None
    assert advice.key == "workers.transcribe"
    assert at("bottleneck").verdict.health == at("after-change").verdict.health == "healthy"
    before, after = at("bottleneck").run.rtfx, at("throttled").run.rtfx
    assert before is not None
    assert after is not None
    assert after > 1.3 * before
    assert at("oom").batchers[0].out_of_memory >= 1
    assert at("oom").batchers[0].budget < at("bottleneck").batchers[0].budget
    assert at("throttled").run.throttled_10m >= 3
    assert at("throttled").budgets[0].state == "open"
    assert "throttled" in at("throttled").verdict.reason
    assert at("massive").decisions.massive == 1
    assert any(row.massive for row in at("massive").decisions.latest)
    assert any(row.split for row in at("split").decisions.latest)
    outage = at("outage")
    assert not outage.database.up
    assert outage.verdict.health == "failed"
    assert outage.database.latency_p95_s is None
    assert at("drain").run.state == "draining"
    assert at("drain").verdict.health == "draining"
    assert at("done").run.state == "done"
    assert at("done").verdict.health == "done"
    assert at("done").run.queued == at("done").run.running == 0


def test_the_story_runs_to_its_end_with_another_seed() -> None:
    desk = ScriptedDesk(1, start_at=STORY["done"] + 40)
    frame = desk.snapshot()
    assert frame is not None
    assert frame.run.state == "done"
    assert frame.run.stored > 150
    assert frame.run.failed > 0


def test_the_change_of_the_story_is_predicted_and_measured(played: Played) -> None:
    (change,) = played.desk.changes()
    assert (change.key, change.old, change.new, change.state) == ("workers.transcribe", 2, 4, "applied")
    assert change.predicted is not None
    assert change.effect_text is not None
    assert "audio/h" in change.effect_text
    assert change.before is not None
    assert change.after is not None
    assert (change.after.audio_hours_per_hour or 0) > (change.before.audio_hours_per_hour or 0)


def test_the_end_lies_near_the_forecast_made_after_the_change(played: Played) -> None:
    """The storm and the outage to come cost about a minute that no measured speed can know of."""
    told = played.frames[239].verdict.forecast
    end = next(i for i, f in enumerate(played.frames) if f.run.state == "done")
    assert told.left_s == pytest.approx(end - 239, rel=0.3)


def test_the_journal_is_numbered_and_tells_of_every_turn(played: Played) -> None:
    assert [e.seq for e in played.events] == list(range(1, len(played.events) + 1))
    assert [e.wall for e in played.events] == sorted(e.wall for e in played.events)
    kinds = {e.kind for e in played.events}
    assert kinds >= {
        "state",
        "model",
        "stored",
        "skipped",
        "failure",
        "retry",
        "breaker",
        "batch",
        "decision",
        "change",
        "database",
    }
    stored = sum(e.kind == "stored" for e in played.events)
    assert stored == played.frames[-1].run.stored
    assert sum(e.kind == "failure" for e in played.events) == played.frames[-1].run.failed
    assert any(e.traceback and "CUDA out of memory" in e.traceback for e in played.events)


def test_the_same_seed_tells_the_same_story_however_the_clock_is_sliced(played: Played) -> None:
    leaps = ScriptedDesk(0)
    for mark in ("bottleneck", "after-change", "throttled"):
        leaps.to(mark)
        assert leaps.snapshot() == played.at(mark)
    straight = ScriptedDesk(0, start_at=STORY["oom"])
    assert straight.snapshot() == played.at("oom")
    steps = ScriptedDesk(0)
    for _ in range(round(70 / FRAME_S)):  # as a console would watch it
        steps.advance(FRAME_S)
        steps.snapshot()
    assert steps.snapshot() == played.frames[69]


def test_another_seed_tells_another_story(played: Played) -> None:
    other = ScriptedDesk(7, start_at=STORY["bottleneck"]).snapshot()
    assert other is not None
    assert {f.id for f in other.flights}.isdisjoint(f.id for f in played.at("bottleneck").flights)


def test_a_command_changes_the_story(played: Played) -> None:
    """Four transcribe slots from the start: more is done, and the story's operator leaves the setting alone."""
    desk = ScriptedDesk(0, start_at=40.0)
    desk.send(Command("set", {"key": "workers.transcribe", "value": 4}))
    desk.to("bottleneck")
    frame = desk.snapshot()
    assert frame is not None
    told = played.at("bottleneck")
    assert frame.run.stored > 1.3 * told.run.stored
    desk.to("after-change")
    assert [c.by for c in desk.changes()] == ["operator"]
