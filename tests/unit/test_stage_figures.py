"""The figures of a stage are integrals over time, and they add up."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.engine.errors import Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.stage import Stage
from gainstage.engine.flow.utilisation import BUSY, LIVE, SPAN_S, Utilisation
from tests.clock_kit import Clock

PATIENCE_S = 60.0


def passed(stage: Stage, clock: Clock, service_s: float, audio_s: float | None = None) -> None:
    with stage.enter("rec", token=CancelToken(), audio_s=audio_s):
        clock.now += service_s


@settings(deadline=None, max_examples=150)
@given(
    steps=st.lists(st.tuples(st.floats(0.0, 90.0), st.integers(0, 4)), min_size=1, max_size=40),
    tail=st.floats(0.0, 5.0),
    window=st.integers(1, SPAN_S),
)
def test_a_window_holds_exactly_what_happened_in_it(steps: list[tuple[float, int]], tail: float, window: int) -> None:
    utilisation = Utilisation(0.0)
    now, history = 0.0, [(0.0, 0)]
    for dt, busy in steps:
        now += dt
        utilisation.advance(now)
        utilisation.set_rates((4, busy, 4 - busy, 0, 0))
        history.append((now, busy))
    now += tail
    utilisation.advance(now)
    history.append((now, 0))
    length, sums = utilisation.window(window)
    begin = now - length
    exact = sum(busy * max(0.0, end - max(start, begin)) for (start, busy), (end, _) in pairwise(history))
    assert sums[BUSY] == pytest.approx(exact, abs=1e-6)
    assert length <= window + 1e-9
    assert length >= min(window, now) - 1.0 - 1e-9
    assert sums[LIVE] == pytest.approx(4 * (length - max(0.0, steps[0][0] - begin)), abs=1e-6)


def test_a_long_quiet_time_is_accounted_for() -> None:
    utilisation = Utilisation(0.0)
    utilisation.set_rates((2, 1, 1, 0, 0))
    utilisation.advance(5000.25)
    assert utilisation.window(60)[0] == pytest.approx(59.25)
    assert utilisation.window(60)[1][BUSY] == pytest.approx(59.25)
    assert utilisation.trend() == (0.5,) * 60


def test_busy_and_starved_shares_split_the_capacity() -> None:
    clock = Clock()
    stage = Stage("asr", 2, clock=clock)
    passed(stage, clock, 15.0)
    clock.now += 5.0
    figures = stage.figures(60)
    assert figures.window_s == pytest.approx(20.0)
    assert figures.capacity_s == pytest.approx(40.0)
    assert figures.busy_share == pytest.approx(15 / 40)
    assert figures.starved_share == pytest.approx(25 / 40)
    assert figures.blocked_share == 0.0
    assert figures.per_minute == pytest.approx(3.0)
    assert stage.view().trend == (0.5, 0.5, 0.5, 0.0)


def test_a_wait_at_the_next_gate_blocks_the_stage_before() -> None:
    clock = Clock()
    decode, asr = Stage("decode", 2, clock=clock), Stage("asr", 1, clock=clock)
    inside = threading.Event()
    with decode.enter("a", token=CancelToken()):  # shares are measured from the first work on
        pass

    def wait_behind() -> None:
        with asr.enter("b", token=CancelToken(), after=decode):
            inside.set()

    with asr.enter("a", token=CancelToken(), after=decode):
        clock.now += 10.0
        waiter = threading.Thread(target=wait_behind, daemon=True)
        waiter.start()
        pause = threading.Event()
        while not (asr.depth and decode._gate.blocked):
            pause.wait(0.001)
        clock.now += 10.0
    assert inside.wait(PATIENCE_S)
    waiter.join(PATIENCE_S)
    clock.now += 10.0
    figures = decode.figures(60)
    assert figures.blocked_s == pytest.approx(10.0)
    assert figures.starved_s == pytest.approx(50.0)
    assert decode.view().blocked_share == pytest.approx(1 / 6)


def test_paused_time_is_neither_starved_nor_wait() -> None:
    clock = Clock()
    stage = Stage("asr", 1, clock=clock)
    clock.now += 5.0
    stage.pause()
    clock.now += 30.0
    stage.resume()
    clock.now += 5.0
    figures = stage.figures(60)
    assert figures.paused_s == pytest.approx(30.0)
    assert figures.starved_s == pytest.approx(10.0)


def test_a_view_says_nothing_it_does_not_know() -> None:
    stage = Stage("asr", 3, clock=Clock())
    view = stage.view()
    assert view.busy_share is None
    assert view.per_minute is None
    assert view.wait_p50_s is None
    assert view.service_p95_s is None
    assert view.rtfx is None
    assert view.oldest_wait_s is None
    assert view.trend == ()
    assert [(s.index, s.recording, s.state) for s in view.slots] == [(0, None, "idle"), (1, None, "idle"), (2, None, "idle")]


def test_a_view_is_fully_filled() -> None:
    clock = Clock()
    stage = Stage("asr", 1, clock=clock)
    stage.note = "batch 16"
    for service_s in (10.0, 20.0, 30.0, 40.0):
        passed(stage, clock, service_s, audio_s=600.0)
    with pytest.raises(Permanent), stage.enter("bad", token=CancelToken()):
        raise Permanent("no audio", cause="no audio stream")
    with stage.enter("now", token=CancelToken()):
        clock.now += 7.0
        view = stage.view()
    assert (view.done, view.failed, view.busy, view.depth) == (4, 1, 1, 0)
    assert view.rtfx == pytest.approx(24.0)
    assert view.service_p50_s == pytest.approx(20.0, rel=0.021)
    assert view.service_p95_s == pytest.approx(30.0, rel=0.021)
    assert view.wait_p50_s == 0.0
    assert view.last_error == "no audio stream"
    assert view.note == "batch 16"
    assert view.busy_share == 1.0
    assert view.slots[0].recording == "now"
    assert view.slots[0].for_s == pytest.approx(7.0)


def test_quantiles_are_those_of_the_last_ten_minutes_once_they_hold_enough() -> None:
    clock = Clock()
    stage = Stage("asr", 1, clock=clock)
    for _ in range(30):
        passed(stage, clock, 20.0)
        stage.view()
    assert stage.view().service_p50_s == pytest.approx(20.0, rel=0.021)
    for _ in range(700):
        passed(stage, clock, 1.0)
        stage.view()
    assert stage.view().service_p95_s == pytest.approx(1.0, rel=0.021)
    assert stage.totals().service_p95_s == pytest.approx(1.0, rel=0.021)
    clock.now += 3600.0
    stage.view()
    passed(stage, clock, 20.0)
    assert stage.view().service_p50_s == pytest.approx(1.0, rel=0.021), "too few recent passes to speak of"


def test_oldest_wait_and_presence_leave_pauses_out() -> None:
    clock = Clock()
    stage = Stage("asr", 1, clock=clock)
    stage.pause()
    token = CancelToken()
    errors: list[Exception] = []

    def wait() -> None:
        try:
            with stage.enter("waiting", token=token, audio_s=3.0):
                pytest.fail("must not be served")
        except Exception as error:
            errors.append(error)

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    pause = threading.Event()
    while not stage.depth:
        pause.wait(0.001)
    clock.now += 60.0
    assert stage.view().oldest_wait_s == 0.0
    token.cancel("done")
    waiter.join(PATIENCE_S)
    assert len(errors) == 1


def test_shares_begin_with_the_first_work_and_anew_after_an_idle_time() -> None:
    clock = Clock()
    stage = Stage("asr", 1, clock=clock)
    clock.now += 55.0
    assert stage.view().busy_share is None  # nothing came yet: not 0
    with stage.enter("a", token=CancelToken()):
        clock.now += 2.0
        assert stage.view().busy_share is None  # two seconds say nothing
        clock.now += 6.0
        assert stage.view().busy_share == 1.0  # though it was free for most of the minute
    clock.now += 2.0
    assert stage.view().busy_share == pytest.approx(0.8)
    clock.now += 600.0
    stage.begin_measuring()
    assert stage.view().busy_share is None
    with stage.enter("b", token=CancelToken()):
        clock.now += 5.0
        assert stage.view().busy_share == 1.0


def test_passes_per_minute_count_the_time_with_work_and_what_ended_as_it_began() -> None:
    """Seen in the demo: fetch had done five recordings in a moment and showed 0.0 a minute; and it went on falling after the end."""
    clock = Clock()
    stage = Stage("fetch", 1, clock=clock)
    clock.now += 30.0
    for name in "abcde":
        with stage.enter(name, token=CancelToken()):
            pass
    stage.begin_measuring()
    clock.now += 3.0
    assert stage.view().per_minute is None, "three seconds say nothing"
    clock.now += 26.0
    assert stage.view().per_minute == pytest.approx(10.0)
    stage.hold_shares(True)
    clock.now += 600.0
    assert stage.view().per_minute == pytest.approx(10.0), "an idle time is no slow time"
    stage.begin_measuring()
    stage.hold_shares(False)
    with stage.enter("f", token=CancelToken()):
        clock.now += 11.0
    assert stage.view().per_minute == pytest.approx(5.0)
    clock.now += 120.0
    assert stage.view().per_minute == 0.0, "there is work, and nothing comes out"


def test_passes_per_minute_are_known_with_a_first_pass_or_four_seconds_of_work() -> None:
    clock = Clock()
    stage = Stage("fetch", 1, clock=clock)
    clock.now += 59.0
    assert stage.view().per_minute is None, "no pass, and nothing is measured yet"
    passed(stage, clock, 1.0)
    assert stage.view().per_minute == pytest.approx(1.0), "a pass outside a run"
    idle = Stage("fetch", 1, clock=clock)
    idle.begin_measuring()
    clock.now += 3.9
    assert idle.view().per_minute is None
    idle = Stage("fetch", 1, clock=clock)
    idle.begin_measuring()
    clock.now += 4.0
    assert idle.view().per_minute == 0.0, "four seconds of work, and nothing came out"
