"""Frames of several engines as one: what adds up adds up, what one engine alone says is kept, and who is slow or idle is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gainstage.engine.advisor.advice import cpu_full
from gainstage.engine.advisor.bottleneck import bottleneck
from gainstage.engine.desk.fleet_rows import fleet_rows
from gainstage.engine.desk.fleet_view import FleetView, fleet_verdict, more_engines
from gainstage.engine.desk.merged import merge
from gainstage.engine.desk.scripted.desk import ScriptedDesk
from gainstage.engine.views.frame_json import dumps, loads
from gainstage.engine.views.rows import EngineRow
from gainstage.engine.views.scopes import scoped
from gainstage.engine.views.snapshot import Bottleneck, Forecast, ScopeView, Snapshot


def frame(engine: str, at: float, host: str = "one", **run: object) -> Snapshot:
    """A frame of the scripted story, as an engine of its own."""
    seen = ScriptedDesk(clock=lambda: 0.0, start_at=at).snapshot()
    assert seen is not None
    return replace(seen, engine=engine, wall=1e9, host=replace(seen.host, name=host), run=replace(seen.run, **run))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def three() -> tuple[Snapshot, ...]:
    return tuple(frame(f"e{n}", at, host) for n, (at, host) in enumerate([(100, "one"), (200, "one"), (300, "two")]))


def test_one_frame_stays_as_it_is(three: tuple[Snapshot, ...]) -> None:
    assert merge(three[:1]) is three[0]


def test_slots_flights_and_rates_add_up(three: tuple[Snapshot, ...]) -> None:
    whole = merge(three)
    assert whole.engine == "3 engines"
    assert whole.run.rtfx == pytest.approx(sum(f.run.rtfx or 0 for f in three))
    assert whole.run.audio_done_s == pytest.approx(sum(f.run.audio_done_s for f in three))
    assert whole.run.finished_10m == sum(f.run.finished_10m for f in three)
    assert sorted(f.id for f in whole.flights) == sorted(x.id for f in three for x in f.flights)
    for i, stage in enumerate(whole.stages):
        parts = [f.stages[i] for f in three]
        for name in ("capacity", "busy", "depth", "done", "failed", "retries"):
            assert getattr(stage, name) == sum(getattr(p, name) for p in parts), (stage.name, name)
        assert [s.index for s in stage.slots] == list(range(sum(len(p.slots) for p in parts)))
        known = [p.service_p95_s for p in parts if p.service_p95_s is not None]
        assert stage.service_p95_s is None if not known else min(known) <= (stage.service_p95_s or 0) <= max(known)
    for i, batcher in enumerate(whole.batchers):
        assert batcher.items == sum(f.batchers[i].items for f in three)
        assert sum(batcher.sizes) == sum(sum(f.batchers[i].sizes) for f in three)
    assert whole.decisions.clusters == sum(f.decisions.clusters for f in three)
    assert loads(dumps(whole)) == whole  # a frame like any other: recorded, sent, read


def test_the_limits_of_decisions_are_those_of_an_engine_that_has_decided(three: tuple[Snapshot, ...]) -> None:
    decided = replace(three[1], decisions=replace(three[1].decisions, variance_spreads=6.5, range_spreads=7.5))
    whole = merge([three[0], decided, three[2]]).decisions
    assert (whole.variance_spreads, whole.range_spreads) == (6.5, 7.5)
    assert whole.clusters == sum(f.decisions.clusters for f in three)


def test_an_engine_that_starts_beside_others_does_not_make_the_fleet_start() -> None:
    starting, running = frame("a", 5, state="starting", loading=("asr x",)), frame("b", 200, state="running", loading=())
    both = merge([starting, running])
    assert (both.run.state, both.run.loading) == ("running", ())
    assert "1 of 2 engines starting" in (both.run.reason or "")
    assert merge([starting, starting]).run.loading == ("asr x",)


def test_a_percentile_counts_by_the_passes_behind_it() -> None:
    busy, idle = frame("a", 200), frame("b", 200)
    stages = [replace(f.stages[0], done=n, failed=0, service_p50_s=s) for f, n, s in ((busy, 90, 1.0), (idle, 10, 11.0))]
    whole = merge([replace(f, stages=(s,)) for f, s in zip((busy, idle), stages, strict=True)])
    assert whole.stages[0].service_p50_s == pytest.approx(2.0)


def test_cards_of_several_hosts_are_told_apart_and_shared_ones_are_one(three: tuple[Snapshot, ...]) -> None:
    card = three[0].devices[0]
    same = [replace(f, devices=(replace(card, uuid="GPU-a", memory_ours=m),)) for f, m in zip(three[:2], (2, 3), strict=True)]
    assert [d.memory_ours for d in merge(same).devices] == [5]
    assert merge(same).devices[0].name == card.name
    other = replace(three[2], devices=(replace(card, uuid="GPU-b"),))
    names = [d.name for d in merge([*same, other]).devices]
    assert names == [f"one gpu0 {card.name}", f"two gpu0 {card.name}"]
    assert merge([*same, other]).host.name == "2 hosts"
    assert merge([*same, other]).host.cores == sum(f.host.cores or 0 for f in (same[0], other))


def test_the_state_of_a_fleet() -> None:
    running, paused = frame("a", 200), frame("b", 200, state="paused", by="ann", reason="lunch")
    whole = merge([paused, running])
    assert whole.run.state == "running"
    assert "1 of 2 engines paused" in (whole.run.reason or "")
    both = merge([paused, replace(paused, engine="c")])
    assert (both.run.state, both.run.by, both.run.reason) == ("paused", "ann", "lunch")
    down = replace(running, database=replace(running.database, up=False, down_since_wall=5.0))
    assert merge([running, down]).database.down_since_wall == 5.0


def test_slow_idle_and_different_engines_are_named() -> None:
    quick = [replace(frame(f"q{n}", 200, rtfx=100.0, queued=50, retrying=0), version="1") for n in range(3)]
    slow = replace(frame("snail", 200, rtfx=20.0, queued=50, retrying=0), version="2")
    idle = replace(frame("sloth", 200, rtfx=None, queued=50, retrying=0), version="1", flights=())
    view, frames = FleetView(), [*quick, slow, idle]
    first = view.frame(frames, 24).verdict
    assert "sloth" not in first.reason  # an instant without work says nothing
    later = view.frame([replace(f, wall=f.wall + 11) for f in frames], 24).verdict
    assert later.health == "degraded"
    for word in ("idle: sloth", "slow: snail at 20x, the others 100x", "versions differ: 1 in 4, 2 in 1"):
        assert word in later.reason
    assert any("snail" in line for line in later.why)
    worked = [replace(f, wall=f.wall + 12, flights=quick[0].flights) for f in frames]
    assert "sloth" not in view.frame(worked, 24).verdict.reason


@pytest.mark.parametrize(("engine_cpu", "advised"), [(0.9, "cpu-bound"), (0.3, "cpu-others")])
def test_the_work_of_the_engines_beside_an_engine_is_not_somebody_elses(engine_cpu: float, advised: str) -> None:
    """Seen with three engines on two cores: "something else takes 89 % of the CPU", and it was the other two."""
    alone = frame("e0", 200)
    host = replace(alone.host, cpu=1.0, cores=2, engine_cpu=engine_cpu, postgres_cpu=0.0)
    verdict = replace(alone.verdict, bottleneck=bottleneck([replace(alone, host=host)]), advice=cpu_full(host))
    assert verdict.advice is not None
    assert verdict.advice.id == "cpu-others"
    frames = [replace(alone, engine=name, host=host, verdict=verdict, devices=()) for name in ("e0", "e1")]
    shown = fleet_verdict([merge(frames)], frames, Forecast(None, None, None), None, frozenset())
    assert shown.advice is not None
    assert shown.advice.id == advised


def test_a_run_is_judged_by_all_its_engines() -> None:
    """Reproduced: with two engines "4 of 22 failed", the failures of one, and a time left as if it worked alone."""
    view = ScopeView("run", "talks", 1, 0.0, None, 50, 4, 40, 6, 0, 0, 0, 4e3, 5e3, 60.0)
    alone = Forecast(900.0, 800.0, 1000.0, "one engine")
    views = [replace(view, errors_10m=n, finished_10m=20, health="healthy", reason=f"engine {n}", left=alone) for n in (4, 2)]
    frames = [replace(frame(f"e{n}", 200, queued=50, running=4, audio_left_s=5e3), scopes=(one,)) for n, one in enumerate(views)]
    whole = FleetView().frame(frames, 24)
    (scope,) = whole.scopes
    assert (scope.errors_10m, scope.finished_10m) == (6, 40)
    assert scope.left == whole.verdict.forecast != alone
    assert scope.reason not in ("engine 4", "engine 2")
    shown = scoped(whole, "run")
    assert shown.verdict.forecast == whole.verdict.forecast
    slow = replace(frames[0], scopes=(replace(views[0], queued=500, audio_left_s=5e5),))
    more = FleetView().frame([slow, frames[1]], 24).scopes[0]
    assert more.left is not None
    assert more.left.left_s is not None
    assert whole.verdict.forecast.left_s is not None
    assert more.left.left_s > 2 * whole.verdict.forecast.left_s


def test_an_engine_in_trouble_is_named_though_the_others_are_fine() -> None:
    fine, sick = frame("a", 200), frame("b", 200)
    sick = replace(sick, verdict=replace(sick.verdict, health="stalled", reason="diarize let nothing out"))
    fine = replace(fine, verdict=replace(fine.verdict, health="healthy"))
    assert "b stalled: diarize let nothing out" in FleetView().frame([fine, sick], 24).verdict.reason


def test_what_two_engines_more_would_save() -> None:
    whole = merge([frame("a", 200, queued=3000, audio_left_s=5e6), frame("b", 200, queued=3000, audio_left_s=5e6)])
    whole = replace(whole, verdict=replace(whole.verdict, bottleneck=Bottleneck("transcribe", "stage", "")))
    from gainstage.engine.advisor import forecast

    left = forecast.eta(whole, 48)
    assert left.left_s is not None
    text = more_engines(whole, 2, 24, left)
    assert text is not None
    then, now = text.removeprefix("2 more engines: done in ").split(" instead of ")
    assert now == forecast.span(left.left_s)
    assert then != now
    assert more_engines(whole, 2, 24, Forecast(30.0, 20.0, 40.0)) is None  # nearly done


def test_a_row_for_each_engine(three: tuple[Snapshot, ...]) -> None:
    engines = [EngineRow(f.engine, f.host.name, f.pid, f.run.state, 0.3, "", f.version) for f in three]
    gone = EngineRow("gone", "one", 1, "lost", 99.0, "", "1")
    rows = fleet_rows([*engines, gone], {f.engine: f for f in three} | {"gone": three[0]})
    assert [r.engine for r in rows] == ["e0", "e1", "e2", "gone"]
    assert rows[0].in_flight == len(three[0].flights)
    assert rows[0].card == three[0].devices[0].name
    assert (rows[3].alive, rows[3].in_flight) == (False, None)
