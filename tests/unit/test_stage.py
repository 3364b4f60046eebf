"""A stage with real threads: everybody gets through or out, and every pass leaves its span."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.engine.errors import Cancelled, Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.stage import Slot, Stage, StageSpan

PATIENCE_S = 60.0
"""Only reached when a test fails."""


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that other threads bring about."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.001)):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it never happened")


class Guest(threading.Thread):
    """Passes a stage and stays inside until it is told to go."""

    def __init__(self, stage: Stage, name: str, token: CancelToken | None = None, **how: object) -> None:
        super().__init__(name=name, daemon=True)
        self.stage, self.how, self.token = stage, how, token or CancelToken()
        self.inside, self.go = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            with self.stage.enter(self.name, token=self.token, **self.how):  # type: ignore[arg-type]
                self.inside.set()
                self.go.wait(PATIENCE_S)
        except Cancelled as error:
            self.error = error

    def leave(self) -> None:
        self.go.set()
        self.join(PATIENCE_S)
        assert not self.is_alive()


@contextmanager
def guests(stage: Stage, *names: str) -> Iterator[list[Guest]]:
    """Guests that arrived one after the other; all are sent home at the end."""
    there: list[Guest] = []
    try:
        for name in names:
            before = stage.busy + stage.depth
            there.append(Guest(stage, name))
            until(lambda before=before: stage.busy + stage.depth > before)  # type: ignore[misc]
        yield there
    finally:
        for guest in there:
            guest.go.set()
        for guest in there:
            guest.join(PATIENCE_S)
            assert not guest.is_alive()


def test_a_pass_leaves_a_span() -> None:
    spans: list[StageSpan] = []
    now = [100.0]
    stage = Stage("decode", 2, clock=lambda: now[0], wall=lambda: 1234.5, on_span=spans.append)
    with stage.enter("rec", token=CancelToken(), audio_s=60.0) as slot:
        assert slot.index == 0
        now[0] = 130.0
    assert spans == [StageSpan("decode", "rec", 0, 0.0, 0.0, 30.0, "ok", None, 1234.5, 60.0)]


def test_progress_is_clipped_and_starts_unknown_with_each_pass() -> None:
    stage = Stage("decode", 1)
    with stage.enter("a", token=CancelToken()) as slot:
        slot.progress = 1.7
        assert slot.progress == 1.0
        slot.progress = -1
        assert slot.progress == 0.0
        slot.progress = float("nan")
        assert slot.progress == 0.0
    with stage.enter("b", token=CancelToken()) as slot:
        assert slot.progress is None


def test_an_error_in_the_block_is_told_its_place_and_counted_with_its_cause() -> None:
    spans: list[StageSpan] = []
    stage = Stage("fetch", 1, on_span=spans.append)
    with pytest.raises(Transient) as caught, stage.enter("rec", token=CancelToken()):
        raise Transient("connection reset by \x1b[31mpeer", cause="connection reset")
    assert (caught.value.recording, caught.value.stage) == ("rec", "fetch")
    with pytest.raises(Permanent), stage.enter("rec", token=CancelToken()):
        raise Permanent("gone", cause="404")
    with pytest.raises(KeyError), stage.enter("rec", token=CancelToken()):
        raise KeyError("bidi \u202e trick")
    assert [(s.outcome, s.cause) for s in spans] == [
        ("failed", "connection reset"),
        ("failed", "404"),
        ("failed", "KeyError: 'bidi \\u202e trick'"),
    ]
    view = stage.view()
    assert (view.done, view.failed, view.retries, view.busy) == (0, 3, 1, 0)
    assert view.last_error == spans[-1].cause


def test_a_cancelled_waiter_leaves_at_once_and_the_others_stay_in_line() -> None:
    spans: list[StageSpan] = []
    stage = Stage("asr", 1, on_span=spans.append)
    with guests(stage, "inside", "cancelled", "next") as (inside, cancelled, following):
        cancelled.token.cancel("operator asked")
        cancelled.join(PATIENCE_S)
        assert isinstance(cancelled.error, Cancelled)
        assert cancelled.error.message == "operator asked"
        assert (cancelled.error.recording, cancelled.error.stage) == ("cancelled", "asr")
        assert (stage.busy, stage.depth) == (1, 1)
        inside.leave()
        assert following.inside.wait(PATIENCE_S)
    assert {(s.recording, s.outcome, s.slot) for s in spans} == {
        ("inside", "ok", 0),
        ("cancelled", "cancelled", None),
        ("next", "ok", 0),
    }
    assert next(s for s in spans if s.outcome == "cancelled").service_s is None


def test_who_arrives_cancelled_is_not_served() -> None:
    spans: list[StageSpan] = []
    stage = Stage("asr", 1, on_span=spans.append)
    token = CancelToken()
    token.cancel("engine stops")
    with pytest.raises(Cancelled, match="engine stops"), stage.enter("rec", token=token):
        pytest.fail("must not be served")
    assert [s.outcome for s in spans] == ["cancelled"]
    assert stage.busy == 0


def test_a_paused_stage_holds_everybody_until_it_resumes() -> None:
    stage = Stage("asr", 2)
    stage.pause()
    assert stage.paused
    with guests(stage, "a", "b") as (a, b):
        assert stage.depth == 2
        assert stage.busy == 0
        stage.resume("somebody else")
        assert stage.busy == 0
        stage.resume()
        assert a.inside.wait(PATIENCE_S)
        assert b.inside.wait(PATIENCE_S)


def test_a_pass_under_way_goes_on_through_a_pause() -> None:
    stage = Stage("asr", 1)
    with guests(stage, "a") as (a,):
        stage.pause()
        a.leave()
    assert stage.busy == 0


def test_waiters_are_served_by_priority_then_age_then_arrival() -> None:
    stage = Stage("asr", 1)
    order: list[str] = []
    token = CancelToken()

    def visit(name: str, priority: int, age: float) -> None:
        with stage.enter(name, token=token, priority=priority, age=age):
            order.append(name)

    crowd = [("young", 0, 9.0), ("old", 0, 1.0), ("old too", 0, 1.0), ("urgent", 5, 99.0), ("later", -1, 0.0), ("raised", 0, 50.0)]
    with guests(stage, "inside") as (inside,):
        threads = []
        for n, who in enumerate(crowd):
            threads.append(threading.Thread(target=visit, args=who, daemon=True))
            threads[-1].start()
            until(lambda n=n: stage.depth == n + 1)  # type: ignore[misc]
        assert stage.set_priority("raised", 9)
        assert not stage.set_priority("nobody", 9)
        inside.leave()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert order == ["raised", "urgent", "old", "old too", "young", "later"]


def test_growing_lets_waiters_in_and_shrinking_hands_out_what_retires() -> None:
    retired: list[tuple[int, object]] = []
    stage = Stage("diarize", 1, on_retire=lambda slot: retired.append((slot.index, slot.state.get("model"))))
    with guests(stage, "a", "b", "c") as (a, b, c):
        stage.resize(3)
        assert c.inside.wait(PATIENCE_S)
        with stage._lock:
            for slot in stage._gate.slots.values():
                slot.state["model"] = f"copy {slot.index}"
        stage.resize(1)
        assert [s.state for s in stage.view().slots] == ["busy", "retiring", "retiring"]
        assert retired == []
        b.leave()
        assert retired == [(1, "copy 1")]
        a.leave()
        c.leave()
        assert retired == [(1, "copy 1"), (2, "copy 2")]
    assert (stage.capacity, stage.busy) == (1, 0)


def test_a_model_is_swapped_when_its_stage_has_drained() -> None:
    freed: list[Slot] = []
    stage = Stage("asr", 1, on_retire=freed.append)
    idle = threading.Event()
    with guests(stage, "a", "b") as (a, b):
        stage.pause("reload")

        def swap() -> None:
            stage.wait_idle(CancelToken())
            idle.set()
            stage.renew()
            stage.resume("reload")

        swapper = threading.Thread(target=swap, daemon=True)
        swapper.start()
        assert not idle.is_set()
        a.leave()
        assert idle.wait(PATIENCE_S)
        assert b.inside.wait(PATIENCE_S)
        swapper.join(PATIENCE_S)


def test_waiting_for_a_stage_to_drain_can_be_cancelled() -> None:
    stage = Stage("asr", 1)
    token = CancelToken()
    with guests(stage, "a"):
        errors: list[Cancelled] = []

        def wait() -> None:
            try:
                stage.wait_idle(token)
            except Cancelled as error:
                errors.append(error)

        waiter = threading.Thread(target=wait, daemon=True)
        waiter.start()
        token.cancel("enough")
        waiter.join(PATIENCE_S)
        assert [e.message for e in errors] == ["enough"]


def test_an_interrupt_during_the_wait_leaves_no_trace() -> None:
    class Interrupted(CancelToken):
        def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
            raise KeyboardInterrupt

    stage, before = Stage("asr", 1), Stage("decode", 1)
    with guests(stage, "a"):
        with pytest.raises(KeyboardInterrupt), stage.enter("b", token=Interrupted(), after=before):
            pytest.fail("must not be served")
        assert stage.depth == 0
    assert stage.busy == 0
    assert before._gate.blocked == 0


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**32 - 1))
def test_nobody_is_lost_under_random_sizes_pauses_and_cancels(seed: int) -> None:
    """Many threads through two stages while everything is turned; everybody finishes or is cancelled, spans add up."""
    dice = random.Random(seed)
    spans: list[StageSpan] = []
    first, second = (Stage(name, 2, on_span=spans.append) for name in ("first", "second"))
    inside = {"first": 0, "second": 0}
    most, crowded = 5, []
    lock = threading.Lock()
    results: list[str] = []

    def fly(name: str, token: CancelToken, priority: int) -> None:
        try:
            for stage, after in ((first, None), (second, first)):
                with stage.enter(name, token=token, priority=priority, after=after):
                    with lock:
                        inside[stage.name] += 1
                        if inside[stage.name] > most:
                            crowded.append(stage.name)
                    token.wait(dice_ms[name])
                    with lock:
                        inside[stage.name] -= 1
            results.append("done")
        except Cancelled:
            results.append("cancelled")

    names = [f"r{n}" for n in range(30)]
    dice_ms = {name: dice.random() * 0.002 for name in names}
    tokens = {name: CancelToken() for name in names}
    threads = [threading.Thread(target=fly, args=(n, tokens[n], dice.randrange(3)), daemon=True) for n in names]
    for thread in threads:
        thread.start()
    for _ in range(60):
        stage = dice.choice((first, second))
        dice.choice(
            (
                lambda s=stage: s.resize(dice.randint(1, most)),
                lambda s=stage: s.pause(),
                lambda s=stage: s.resume(),
                lambda s=stage: s.set_priority(dice.choice(names), dice.randrange(5)),
                lambda s=stage: s.view(),
                lambda: tokens[dice.choice(names)].cancel("dice"),
            )
        )()
    for stage in (first, second):
        stage.resume()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(results) == len(names), "somebody was never woken"
    assert crowded == []
    for stage in (first, second):
        assert (stage.busy, stage.depth) == (0, 0)
        totals, mine = stage.totals(), [s for s in spans if s.stage == stage.name]
        assert totals.done + totals.failed + totals.cancelled == len(mine)
        assert totals.served_s == pytest.approx(sum(s.service_s or 0.0 for s in mine))
        assert stage.figures(600).busy_s == pytest.approx(totals.served_s)
        assert first._gate.blocked == 0
