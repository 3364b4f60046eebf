"""A pass through a stage by a clock of our own: what is service, what is waiting, and what a hold does, to the second."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from gainstage.engine.errors import Cancelled, Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.slot import Slot
from gainstage.engine.flow.stage import Stage
from gainstage.engine.views.passes import PARTIAL, StageSpan
from tests.clock_kit import Clock

PATIENCE_S = 60.0


class Stepping(CancelToken):
    """A token whose waits take no time: each is noted and ends with a step of the test."""

    def __init__(self, step: Callable[[], object]) -> None:
        super().__init__()
        self.step, self.waits = step, list[float | None]()

    def wait(self, timeout_s: float | None = None) -> bool:
        self.waits.append(timeout_s)
        self.step()
        return self.cancelled


def made(capacity: int = 1) -> tuple[Stage, Clock, list[StageSpan]]:
    clock, spans = Clock(), list[StageSpan]()
    return Stage("transcribe", capacity, clock=clock, wall=lambda: 5.0, on_span=spans.append), clock, spans


def test_a_new_slot_is_idle_and_has_waited_for_nobody() -> None:
    slot = Slot(3, 7.0)
    assert (slot.index, slot.since, slot.recording, slot.progress) == (3, 7.0, None, None)
    assert (slot.lingered_s, slot.waits_since, slot.partial, slot.renew) == (0.0, None, False, False)


def test_a_slot_reports_the_begin_and_the_end_of_a_wait_also_of_one_that_fails() -> None:
    slot, reported = Slot(0, 0.0), list[tuple[Slot, bool, int]]()
    with slot.waiting():
        assert reported == []  # nobody takes account of it
    slot.on_wait = lambda *account: reported.append(account)
    with slot.waiting():
        assert reported == [(slot, False, 1)]
    assert reported == [(slot, False, 1), (slot, False, -1)]
    with pytest.raises(Permanent), slot.waiting(company=True):
        raise Permanent("x")
    assert reported[2:] == [(slot, True, 1), (slot, True, -1)]


def test_what_a_recording_waits_for_others_is_waiting_and_not_service() -> None:
    stage, clock, spans = made()
    with stage.enter("a", token=CancelToken(), audio_s=60.0) as slot:
        clock.now += 2.0
        assert stage.at_work
        with slot.waiting():
            assert (slot.waits_since, stage.at_work) == (1002.0, False)
            clock.now += 3.0
        assert (slot.lingered_s, slot.waits_since, stage.at_work) == (3.0, None, True)
        with slot.waiting(company=True):
            assert not stage.at_work
            clock.now += 4.0
        clock.now += 1.0
    assert not stage.at_work
    (span,) = spans
    assert (span.waited_s, span.service_s, span.outcome, span.cause) == (7.0, 3.0, "ok", None)
    figures = stage.figures(600.0)
    assert (figures.busy_s, figures.starved_s, figures.window_s) == (3.0, 0.0, 10.0)


def test_of_two_slots_one_at_work_is_enough() -> None:
    stage, _, _ = made(2)
    with stage.enter("a", token=CancelToken()) as slot, stage.enter("b", token=CancelToken()), slot.waiting():
        assert stage.at_work


def test_a_wait_for_a_batch_is_load_while_somebody_else_waits_for_the_slot() -> None:
    stage, clock, _ = made()
    token = CancelToken()
    with stage.enter("a", token=CancelToken()) as slot, slot.waiting(company=True):
        waiter = threading.Thread(target=lambda: swallowed(stage, token), daemon=True)
        waiter.start()
        while stage.depth == 0:
            waiter.join(0.001)
        assert stage.at_work
        with slot.waiting():
            assert not stage.at_work  # a host keeps it, whoever waits
        clock.now += 1.0
        token.cancel("the test is over")
        waiter.join(PATIENCE_S)


def swallowed(stage: Stage, token: CancelToken) -> None:
    with pytest.raises(Cancelled), stage.enter("b", token=token):
        pass


def test_a_wait_for_a_slot_that_is_given_up_has_no_service() -> None:
    stage, clock, spans = made()
    token = CancelToken()
    with stage.enter("a", token=CancelToken()):
        waiter = threading.Thread(target=lambda: swallowed(stage, token), daemon=True)
        waiter.start()
        while stage.depth == 0:
            waiter.join(0.001)
        clock.now += 6.0
        token.cancel("the test is over")
        waiter.join(PATIENCE_S)
    gone, _ = spans
    assert (gone.recording, gone.slot, gone.waited_s, gone.service_s, gone.outcome) == ("b", None, 6.0, None, "cancelled")


def test_a_clock_that_goes_back_gives_no_negative_service() -> None:
    stage, clock, spans = made()
    with stage.enter("a", token=CancelToken()) as slot:
        with slot.waiting():
            clock.now += 5.0
        clock.now = 1000.5
    with stage.enter("b", token=CancelToken()) as slot:
        with slot.waiting():
            clock.now += 5.0
        clock.now = 999.0
    assert [(s.waited_s, s.service_s) for s in spans] == [(0.5, 0.0), (0.0, 0.0)]


def fails_in_part(stage: Stage) -> None:
    with suppress(Permanent), stage.enter("a", token=CancelToken()) as slot:
        slot.partial = True
        raise Permanent("x", cause="bad audio")


def test_a_part_is_called_so_where_it_ended_well() -> None:
    stage, _, spans = made()
    with stage.enter("a", token=CancelToken()) as slot:
        slot.partial = True
    fails_in_part(stage)
    with stage.enter("a", token=CancelToken()):
        pass
    assert [(s.outcome, s.cause) for s in spans] == [("ok", PARTIAL), ("failed", "bad audio"), ("ok", None)]


# -- holding --------------------------------------------------------------------------------------------------------------


def test_an_operator_holds_recordings_inside_until_the_stage_goes_on() -> None:
    stage, clock, spans = made()

    def step() -> None:
        assert slot.waits_since == 1000.0
        clock.now += 0.5
        if clock.now >= 1001.0:
            stage.resume()

    token = Stepping(step)
    with stage.enter("a", token=token) as slot:
        stage.wait_while_held(token, slot)
        assert token.waits == []
        stage.pause("watch")  # the engine's own pause lets those inside go on
        assert (stage.paused, stage.held) == (True, False)
        stage.wait_while_held(token, slot)
        assert token.waits == []
        stage.pause()
        assert stage.held
        stage.wait_while_held(token, slot)
        assert token.waits == [0.1, 0.1]
        assert not stage.held
    assert (spans[0].waited_s, spans[0].service_s) == (1.0, 0.0)


def test_who_is_cancelled_during_a_hold_goes_and_a_hold_needs_no_slot() -> None:
    stage, _, _ = made()
    stage.pause()
    token = Stepping(lambda: token.cancel("the test is over"))
    with pytest.raises(Cancelled):
        stage.wait_while_held(token)
    assert len(token.waits) == 1


def test_while_shares_are_held_a_view_shows_those_of_the_last_work() -> None:
    stage, clock, _ = made(2)
    with stage.enter("a", token=CancelToken()):
        clock.now += 10.0
    stage.hold_shares(True)
    clock.now += 10.0
    stage.hold_shares(True)
    held = stage.view()
    assert (held.busy_share, held.starved_share, held.blocked_share) == (0.5, 0.5, 0.0)
    for _ in range(2):
        stage.hold_shares(False)
        assert stage.view().busy_share == 0.25
    clock.now += 20.0
    assert stage.view().busy_share == 0.125


def test_a_service_is_expected_from_those_before_by_the_length_of_the_recording() -> None:
    stage, clock, _ = made()
    assert stage.expected_s(60.0) is None
    for _ in range(20):
        with stage.enter("a", token=CancelToken(), audio_s=60.0):
            clock.now += 6.0
    assert stage.expected_s(600.0) == pytest.approx(60.0, rel=0.02)
    assert stage.expected_s(None) == pytest.approx(6.0, rel=0.02)
    assert stage.expected_s(1.0) == pytest.approx(5.0)


def test_parts_are_served_time_of_the_pass_that_ends_them_and_no_passes_of_their_own() -> None:
    stage, clock, _ = made()
    for service_s, partial in ((4.0, True), (0.0, True), (6.0, False)):
        with stage.enter("a", token=CancelToken(), audio_s=60.0) as slot:
            slot.partial = partial
            clock.now += service_s
    seen, totals = stage.view(), stage.totals()
    assert (seen.done, seen.failed, seen.rtfx) == (1, 0, 6.0)
    assert (totals.done, totals.served_s, totals.audio_s) == (1, 10.0, 60.0)
    assert totals.service_p50_s == pytest.approx(6.0, rel=0.02)
    assert stage.figures(600.0).finished == 1


def test_passes_that_took_no_time_let_none_be_expected() -> None:
    stage, _, _ = made()
    with stage.enter("a", token=CancelToken(), audio_s=60.0):
        pass
    assert stage.expected_s(60.0) == 0.0


def test_a_pass_without_audio_adds_none() -> None:
    stage, clock, _ = made()
    with stage.enter("a", token=CancelToken()):
        clock.now += 2.0
    totals = stage.totals()
    assert (totals.done, totals.served_s, totals.audio_s) == (1, 2.0, 0.0)
