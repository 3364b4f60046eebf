"""What a stage counts, to the second, and which slots it hands out when it changes."""

from __future__ import annotations

import threading

import pytest

from gainstage.engine.errors import Cancelled
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.gate import Gate
from gainstage.engine.flow.slot import Slot
from gainstage.engine.flow.stage import Stage, StageSpan
from gainstage.engine.flow.stage_stats import StageStats
from tests.unit.test_stage import PATIENCE_S, Guest, guests, until
from tests.unit.test_stage_figures import Clock, passed


def span(waited_s: float, service_s: float | None, audio_s: float | None = None, outcome: str = "ok") -> StageSpan:
    return StageSpan("asr", "rec", 0, waited_s, 0.0, service_s, outcome, None, 0.0, audio_s)  # type: ignore[arg-type]


def test_totals_are_sums_and_quantiles_of_the_passes() -> None:
    stats = StageStats(Gate(1, 0.0), 0.0)
    for second in range(1, 21):
        stats.count(span(float(second), 10.0 * second, 60.0), retry=False)
    totals = stats.totals()
    assert (totals.done, totals.waited_s, totals.served_s, totals.audio_s) == (20, 210.0, 2100.0, 1200.0)
    quantiles = (totals.wait_p50_s, totals.wait_p95_s, totals.service_p50_s, totals.service_p95_s)
    assert quantiles == (
        pytest.approx(10.0, rel=0.021),
        pytest.approx(19.0, rel=0.021),
        pytest.approx(100.0, rel=0.021),
        pytest.approx(190.0, rel=0.021),
    )


def test_a_pass_without_audio_or_service_adds_none() -> None:
    stats = StageStats(Gate(1, 0.0), 0.0)
    stats.count(span(1.0, 2.0), retry=False)
    stats.count(span(4.0, None, 60.0, "cancelled"), retry=False)
    totals = stats.totals()
    assert (totals.done, totals.cancelled) == (1, 1)
    assert (totals.waited_s, totals.served_s, totals.audio_s) == (5.0, 2.0, 0.0)


def test_shares_are_known_after_four_seconds_of_work_and_look_back_a_minute() -> None:
    clock = Clock()
    stage = Stage("asr", 1, clock=clock)
    with stage.enter("a", token=CancelToken()):
        clock.now += 3.0
        view = stage.view()
        assert (view.busy_share, view.starved_share, view.blocked_share) == (None, None, None)
        clock.now += 1.0
        view = stage.view()
        assert (view.busy_share, view.starved_share, view.blocked_share) == (1.0, 0.0, 0.0)
        clock.now += 96.0
    clock.now += 45.0
    view = stage.view()
    assert (view.busy_share, view.starved_share) == (pytest.approx(0.25), pytest.approx(0.75))
    assert stage.figures().window_s == 60.0


def test_the_speed_of_short_passes_and_the_state_of_a_slot_from_its_first_moment() -> None:
    clock = Clock()
    stage = Stage("asr", 1, clock=clock)
    passed(stage, clock, 0.5, audio_s=5.0)
    view = stage.view()
    assert view.rtfx == 10.0
    assert view.slots[0].for_s == 0.0


def test_measuring_begins_at_the_moment_it_is_asked_for() -> None:
    clock = Clock()
    stage = Stage("asr", 1, clock=clock)
    with stage.enter("a", token=CancelToken()):
        clock.now += 10.0
        stage.begin_measuring()
        clock.now += 2.0
        assert stage.view().busy_share is None
        clock.now += 2.0
        assert stage.view().busy_share == 1.0


def test_idle_slots_are_handed_out_by_a_resize_and_by_a_renewal() -> None:
    retired: list[tuple[int, str]] = []

    def note(slot: Slot) -> None:
        retired.append((slot.index, slot.state["model"]))

    stage = Stage("asr", 3, on_retire=note)
    for slot in stage._gate.slots.values():
        slot.state["model"] = f"copy {slot.index}"
    stage.resize(2)
    assert retired == [(2, "copy 2")]
    stage.renew()
    assert retired == [(2, "copy 2"), (0, "copy 0"), (1, "copy 1")]


def test_who_names_neither_priority_nor_age_has_none() -> None:
    stage, order = Stage("asr", 1), []

    def visit(name: str, how: dict[str, float]) -> None:
        with stage.enter(name, token=CancelToken(), **how):  # type: ignore[arg-type]
            order.append(name)

    with guests(stage, "inside") as (inside,):
        threads = []
        for n, who in enumerate([("half", {"age": 0.5}), ("plain", {}), ("first", {"priority": 1})]):
            threads.append(threading.Thread(target=visit, args=who, daemon=True))
            threads[-1].start()
            until(lambda n=n: stage.depth == n + 1)  # type: ignore[misc]
        inside.leave()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert order == ["first", "plain", "half"]


def test_a_slot_that_was_held_back_for_a_waiter_is_starved_when_the_waiter_gives_up() -> None:
    clock, token = Clock(), CancelToken()
    stage = Stage("asr", 3, clock=clock)
    with guests(stage, "a", "b", "c") as (a, _, _):
        stage.resize(1)

        def wait() -> None:
            with pytest.raises(Cancelled), stage.enter("waiting", token=token):
                pytest.fail("must not be served")

        waiter = threading.Thread(target=wait, daemon=True)
        waiter.start()
        until(lambda: stage.depth == 1)
        a.leave()
        clock.now += 10.0
        assert stage.figures().starved_s == 0.0
        token.cancel("enough")
        waiter.join(PATIENCE_S)
        clock.now += 10.0
        assert stage.figures().starved_s == 10.0


def test_a_wait_that_was_served_leaves_nothing_with_the_token() -> None:
    stage, token = Stage("asr", 1), CancelToken()
    with guests(stage, "a") as (first,):
        second = Guest(stage, "b", token)
        until(lambda: stage.depth == 1)
        first.leave()
        assert second.inside.wait(PATIENCE_S)
        assert token._callbacks == {}
        second.leave()


def test_a_long_cause_is_cut() -> None:
    spans: list[StageSpan] = []
    stage = Stage("asr", 1, on_span=spans.append)
    with pytest.raises(ValueError, match="xxx"), stage.enter("a", token=CancelToken()):
        raise ValueError("x" * 500)
    assert len(spans[0].cause or "") == 200


def test_a_wait_for_an_idle_stage_leaves_nothing_with_the_token() -> None:
    stage, token = Stage("asr", 1), CancelToken()
    stage.wait_idle(token)
    assert token._callbacks == {}
