"""Which stage holds a run up: when there is nothing to do, who wins between several, what the text and the evidence say."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from gainstage.engine.advisor.bottleneck import bottleneck, waiting_audio_s
from gainstage.engine.advisor.forecast import GPU_CEILING
from gainstage.engine.stages import FEEDERS, STAGES
from gainstage.engine.views.snapshot import FlightView, HostBudget, HostView, Snapshot
from tests.advice_kit import stage
from tests.frames_kit import random_frame


@pytest.fixture(scope="module")
def full() -> Snapshot:
    """The first random frame of all stages with three recordings in flight and a card."""
    frames = (random_frame(Random(seed)) for seed in range(1000))
    return next(f for f in frames if len(f.stages) == len(STAGES) and len(f.flights) >= 3 and f.devices)


@pytest.fixture(scope="module")
def flights(full: Snapshot) -> tuple[FlightView, ...]:
    return tuple(replace(f, waiting=False, side_stage=None) for f in full.flights)


@pytest.fixture(scope="module")
def calm(full: Snapshot) -> Snapshot:
    """No stage is busy, nobody waits, no host limits, a hundred recordings are queued."""
    stages = tuple(replace(s, busy_share=0.3, blocked_share=0.0, depth=0, paused=False) for s in full.stages)
    run = replace(full.run, state="running", queued=100, running=0)
    return replace(full, run=run, stages=stages, budgets=(), flights=(), devices=full.devices[:1])


def running(frame: Snapshot, **what: Any) -> Snapshot:
    return replace(frame, run=replace(frame.run, **what))


@pytest.mark.parametrize(
    ("state", "queued", "at_work", "over"),
    [
        ("running", 0, 0, True),
        ("running", 1, 0, False),
        ("running", 0, 1, False),
        ("running", 1, 1, False),
        ("done", 1, 1, True),
        ("paused", 0, 0, False),
    ],
)
def test_nothing_is_to_do_when_nothing_is_queued_or_at_work(
    calm: Snapshot, state: str, queued: int, at_work: int, over: bool
) -> None:
    frame = running(calm, state=state, queued=queued, running=at_work)
    assert (bottleneck([frame]).text == "nothing to do") is over


def test_a_recording_in_flight_is_something_to_do(calm: Snapshot, flights: tuple[FlightView, ...]) -> None:
    assert bottleneck([replace(running(calm, queued=0), flights=flights[:1])]).text != "nothing to do"


@pytest.mark.parametrize("state", ["starting", "stopped"])
def test_of_an_engine_that_does_not_work_nothing_is_known(calm: Snapshot, state: str) -> None:
    held = stage(calm, "transcribe", busy_share=1.0, depth=5)
    assert bottleneck([running(held, state=state)]).text == "not known yet"


@pytest.mark.parametrize(("at_work", "says"), [(0, "not known yet"), (1, "measuring: shares need some seconds of work")])
def test_before_shares_are_known_it_says_whether_they_are_measured(calm: Snapshot, at_work: int, says: str) -> None:
    unknown = replace(calm, stages=tuple(replace(s, busy_share=None) for s in calm.stages))
    assert bottleneck([running(unknown, running=at_work)]).text == says
    assert bottleneck([stage(unknown, "embed", busy_share=0.2)]).kind == "none", "one share is enough to judge"


def test_a_paused_stage_and_one_nobody_waits_for_hold_nothing_up(calm: Snapshot) -> None:
    held = stage(calm, "transcribe", busy_share=0.9, depth=1)
    found = bottleneck([held])
    assert (found.stage, found.kind, found.share) == ("transcribe", "stage", 0.9)
    assert bottleneck([stage(held, "transcribe", paused=True)]).kind == "none"
    assert bottleneck([stage(held, "transcribe", depth=0)]).kind == "none"


def test_the_paused_stage_that_recordings_have_waited_at_for_longest_is_named(calm: Snapshot) -> None:
    one = stage(calm, "decode", paused=True, depth=2, oldest_wait_s=10.0)
    two = stage(one, "embed", paused=True, depth=3, oldest_wait_s=20.0)
    found = bottleneck([two])
    assert (found.stage, found.kind, found.text) == (None, "none", "embed is paused: 3 waiting (oldest 20s)")
    fresh = stage(stage(two, "decode", oldest_wait_s=None), "embed", oldest_wait_s=0.5)
    assert bottleneck([fresh]).text.startswith("embed is paused"), "a wait that is not known is none"
    unknown = replace(one, stages=tuple(replace(s, busy_share=None) for s in one.stages))
    assert bottleneck([unknown]).text == "decode is paused: 2 waiting (oldest 10s)"


@pytest.mark.parametrize("what", [{"paused": True, "depth": 0}, {"paused": False, "depth": 3}])
def test_a_paused_stage_without_work_and_a_stage_with_work_are_not_held(calm: Snapshot, what: dict[str, Any]) -> None:
    assert bottleneck([stage(calm, "decode", **what)]).text == "no bottleneck"


def test_between_several_the_one_with_most_audio_waiting_wins(calm: Snapshot, flights: tuple[FlightView, ...]) -> None:
    long, short = (
        replace(f, stage=name, waiting=True, side_stage=None, duration_s=seconds)
        for f, name, seconds in zip(flights[:2], ("decode", "embed"), (3600.0, 60.0), strict=True)
    )
    frame = stage(stage(calm, "decode", busy_share=0.9, depth=1), "embed", busy_share=1.0, depth=10)
    frame = replace(frame, flights=(long, short))
    assert bottleneck([frame]).stage == "decode"  # 3600 s wait there, 600 s for embed
    waits = {s.name: waiting_audio_s(frame, s) for s in frame.stages if s.depth}
    assert waits == {"decode": 3600.0, "embed": 600.0}
    working = replace(frame, flights=(replace(long, waiting=False), short))
    assert waiting_audio_s(working, next(s for s in frame.stages if s.name == "decode")) == 1830.0, "the mean of all in flight"
    assert waiting_audio_s(replace(frame, flights=()), frame.stages[0]) == 0.0


def test_the_text_says_how_long_it_is_busy_and_how_many_wait(calm: Snapshot) -> None:
    held = stage(calm, "transcribe", busy=2, capacity=2, busy_share=0.9, depth=3, oldest_wait_s=75.0)
    frames = [replace(held, wall=1000.0 + 60 * n) for n in range(3)]
    assert bottleneck(frames).text == "transcribe 2/2 busy for 2m00s · 3 waiting (oldest 1m15s)"
    assert bottleneck([stage(held, "transcribe", oldest_wait_s=None)]).text == "transcribe 2/2 busy for 0s · 3 waiting"


@pytest.mark.parametrize(
    ("budget", "stage_name", "says"),
    [
        (HostBudget("a.example", 10, 60, "open", None, 4), "fetch", "source limited: a.example throttles, requests wait"),
        (HostBudget("a.example", 60, 60, "closed"), "fetch", "source limited: a.example is at its 60 requests an hour"),
        (HostBudget("a.example", 59, 60, "closed"), None, "no bottleneck"),
    ],
)
def test_a_host_that_holds_requests_back_is_the_limit(
    calm: Snapshot, budget: HostBudget, stage_name: str | None, says: str
) -> None:
    found = bottleneck([replace(calm, budgets=(budget,))])
    assert (found.stage, found.text) == (stage_name, says)
    assert found.evidence == "4 throttled" or budget.state != "open"


def test_when_everything_is_taken_in_it_says_what_is_left_and_where(calm: Snapshot, flights: tuple[FlightView, ...]) -> None:
    far = replace(flights[0], stage="transcribe", side_stage=None, duration_s=1000.0, progress=0.9)  # 100 s left
    near = replace(flights[1], stage="embed", side_stage="diarize", duration_s=90.0, progress=0.0)
    more = replace(flights[2], stage="store", side_stage="diarize", duration_s=30.0, progress=None)  # diarize: 120 s in all
    dry = replace(running(calm, queued=0, running=3), flights=(far, near, more))
    assert bottleneck([dry]).text == "intake is finished: 3 to go, diarize is slowest"
    assert bottleneck([replace(dry, flights=(replace(far, duration_s=None),))]).text == "intake is finished: 3 to go"
    assert bottleneck([running(calm, queued=1, running=3)]).text == "no bottleneck"


@pytest.mark.parametrize(
    ("sm", "used", "temperature", "throttle", "evidence"),
    [
        (0.5, 40, 70.0, (), "GPU is not the limit: GPU busy 50%, memory 50%, 70°C, no throttle"),
        (0.99, 40, None, None, "the GPU is the limit: GPU busy 99%, memory 50%"),
        (None, 40, None, ("power",), "GPU: memory 50%, power"),
        (None, None, None, None, ""),
    ],
)
def test_the_evidence_of_a_gpu_stage_is_what_its_card_says(
    calm: Snapshot, sm: float | None, used: int | None, temperature: float | None, throttle: tuple[str, ...] | None, evidence: str
) -> None:
    card = replace(
        calm.devices[0],
        sm=sm,
        sm_history=() if sm is None else (sm,) * 12,
        memory_used=used,
        memory_total=80,
        temperature=temperature,
        throttle=throttle,
    )
    held = stage(replace(calm, devices=(card,)), "transcribe", busy_share=0.97, depth=5)
    assert bottleneck([held]).evidence == evidence


def test_evidence_that_was_not_read_is_left_out(calm: Snapshot) -> None:
    dark = replace(
        calm,
        host=replace(calm.host, cpu=None, net_rx=None),
        database=replace(calm.database, latency_p95_s=None),
        run=replace(calm.run, throttled_10m=2),
    )
    for name, evidence in {"decode": "", "store": "", "fetch": "2 throttled in 10 m"}.items():
        assert bottleneck([stage(dark, name, busy_share=0.97, depth=5)]).evidence == evidence


@pytest.mark.parametrize(("blocked", "held_up"), [(0.06, True), (0.05, False)])
@pytest.mark.parametrize("feeder", FEEDERS["identify"])
def test_one_feeder_that_is_blocked_is_enough(calm: Snapshot, feeder: str, blocked: float, held_up: bool) -> None:
    full = stage(stage(calm, "identify", busy_share=0.95), feeder, blocked_share=blocked)
    assert (bottleneck([full]).stage == "identify") is held_up


def test_a_stage_whose_feeders_are_not_shown_is_judged_by_who_waits(calm: Snapshot) -> None:
    alone = tuple(replace(s, busy_share=0.95, depth=2) for s in calm.stages if s.name == "identify")
    assert bottleneck([replace(calm, stages=alone)]).stage == "identify"


def test_between_equals_the_busier_stage_wins(calm: Snapshot) -> None:
    assert bottleneck([stage(stage(calm, "decode", busy_share=0.92, depth=1), "embed", busy_share=0.97, depth=1)]).stage == "embed"


def test_a_busy_time_ends_at_a_frame_in_which_the_stage_was_idle_unknown_or_not_there(calm: Snapshot) -> None:
    held = stage(calm, "transcribe", busy_share=0.95, depth=1)
    place = [s.name for s in held.stages].index("transcribe")
    breaks = [
        stage(held, "transcribe", busy_share=0.89),
        stage(held, "transcribe", busy_share=None),
        replace(held, stages=held.stages[:place]),
        replace(held, stages=tuple(reversed(held.stages))),
    ]
    for broken in breaks:
        frames = [replace(f, wall=1000.0 + 60 * n) for n, f in enumerate((held, broken, held, held))]
        assert "busy for 1m00s" in bottleneck(frames).text


def test_of_several_cards_the_fullest_is_shown_and_the_limit_is_reached_at_its_ceiling(calm: Snapshot) -> None:
    card = replace(calm.devices[0], memory_total=100, temperature=None, throttle=None, sm=None, sm_history=())
    cards = [replace(card, memory_used=used) for used in (None, 20, 70, 30)]
    cards[0] = replace(cards[0], sm_history=(GPU_CEILING,))
    held = stage(replace(calm, devices=tuple(cards)), "transcribe", busy_share=0.97, depth=5)
    assert bottleneck([held]).evidence == f"the GPU is the limit: GPU busy {GPU_CEILING:.0%}, memory 70%"


def test_the_evidence_of_work_on_the_cpu_is_its_share(calm: Snapshot) -> None:
    held = stage(replace(calm, host=HostView("here", cpu=0.44)), "decode", busy_share=0.97, depth=5)
    assert bottleneck([held]).evidence == "CPU 44%"


def test_without_a_bottleneck_the_busiest_stage_is_shown(calm: Snapshot) -> None:
    assert bottleneck([stage(calm, "embed", busy_share=0.61)]).evidence == "busiest is embed at 61%"
    assert (
        bottleneck([stage(stage(calm, "decode", busy_share=0.0), "embed", busy_share=0.61)]).evidence == "busiest is embed at 61%"
    )


@pytest.mark.parametrize(
    ("share", "evidence"),
    [(0.0, ""), (0.004, ""), (0.005, ""), (0.006, "busiest is fetch at 1%"), (0.3, "busiest is fetch at 30%")],
)
def test_a_share_that_rounds_to_nothing_is_not_shown(calm: Snapshot, share: float, evidence: str) -> None:
    even = replace(calm, stages=tuple(replace(s, busy_share=share) for s in calm.stages))
    assert bottleneck([even]).evidence == evidence


@pytest.mark.parametrize(("at_work", "text"), [(0, "no bottleneck"), (1, "intake is finished: 1 to go")])
def test_intake_is_finished_while_something_is_at_work(
    calm: Snapshot, flights: tuple[FlightView, ...], at_work: int, text: str
) -> None:
    one = replace(flights[0], duration_s=None)
    assert bottleneck([replace(running(calm, queued=0, running=at_work), flights=(one,))]).text == text
