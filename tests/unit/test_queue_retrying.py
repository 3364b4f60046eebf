from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.config.settings import Retry
from gainstage.engine.errors import (
    Cancelled,
    Elsewhere,
    EngineError,
    Misconfigured,
    NotYet,
    OutOfMemory,
    Permanent,
    Postponed,
    Rejected,
    Throttled,
    Transient,
)
from gainstage.engine.queue.retrying import LONGEST_WAIT_S, backoff, decide
from gainstage.engine.terms import Status

RETRY = Retry(attempts=3, backoff=10)


@pytest.mark.parametrize(
    ("error", "attempt", "status"),
    [
        (Permanent("no audio stream"), 1, Status.FAILED),
        (EngineError("unclassified"), 1, Status.FAILED),
        (Rejected("members only"), 1, Status.SKIPPED),
        (Cancelled(), 1, Status.CANCELLED),
        (Transient("timeout"), 1, Status.QUEUED),
        (Transient("timeout"), 2, Status.QUEUED),
        (Transient("timeout"), 3, Status.FAILED),
        (OutOfMemory("cuda"), 1, Status.QUEUED),
        (OutOfMemory("cuda"), 3, Status.FAILED),
        (Throttled("429", after_s=60), 2, Status.QUEUED),
        (Throttled("429", after_s=60), 3, Status.FAILED),
        (Misconfigured("no licence"), 9, Status.QUEUED),
    ],
)
def test_the_class_of_the_error_decides(error: EngineError, attempt: int, status: Status) -> None:
    outcome = decide(error, attempt, RETRY, draw=0.5)
    assert outcome.status is status
    assert outcome.retry is (status is Status.QUEUED)


@pytest.mark.parametrize(("attempt", "draw", "wait_s"), [(1, 0.0, 100.0), (1, 0.8, 120.0), (2, 0.0, 200.0), (2, 0.8, 240.0)])
def test_what_is_not_there_yet_is_looked_at_again_after_doubling_waits(attempt: int, draw: float, wait_s: float) -> None:
    outcome = decide(NotYet("a premiere", after_s=100.0), attempt, RETRY, draw=draw)
    assert (outcome.status, outcome.wait_s, outcome.counted) == (Status.QUEUED, pytest.approx(wait_s), True)


def test_what_is_not_there_yet_waits_a_day_at_most_and_is_skipped_after_the_last_attempt() -> None:
    assert decide(NotYet("a premiere", after_s=50_000.0), 2, RETRY, draw=0.0).wait_s == 86_400.0
    assert decide(NotYet("a premiere", after_s=100.0), 3, RETRY, draw=0.5).status is Status.SKIPPED


def test_a_wrong_setup_stops_the_intake_and_costs_no_attempt() -> None:
    outcome = decide(Misconfigured("no licence"), 1, RETRY, draw=0.0)
    assert outcome.pause
    assert not outcome.counted
    assert outcome.wait_s is None


def test_the_wish_of_an_operator_goes_before_a_retry() -> None:
    assert decide(Transient("timeout"), 1, RETRY, draw=0.0, wish=Status.SKIPPED).status is Status.SKIPPED


def test_the_middle_wait_doubles_with_each_attempt() -> None:
    assert [backoff(n, 10, 0.5) for n in (1, 2, 3, 4)] == [10, 20, 40, 80]


@given(st.integers(1, 10_000), st.floats(0, 3600), st.floats(0, 1, exclude_max=True))
def test_waits_stay_within_the_jitter_of_a_capped_doubling(attempt: int, first_s: float, draw: float) -> None:
    wait_s = backoff(attempt, first_s, draw)
    assert 0 <= wait_s <= 1.25 * max(LONGEST_WAIT_S, first_s)
    assert wait_s >= 0.75 * min(first_s, LONGEST_WAIT_S)


@given(st.floats(0, 86_400), st.floats(0, 1, exclude_max=True))
def test_a_hosts_own_delay_is_never_undercut(after_s: float, draw: float) -> None:
    outcome = decide(Throttled("429", after_s=after_s), 1, RETRY, draw=draw)
    assert outcome.wait_s is not None
    assert outcome.wait_s >= after_s


@given(st.floats(1, 3600), st.integers(1, 50))
def test_a_recording_that_had_to_wait_for_its_host_keeps_its_attempts(after_s: float, attempt: int) -> None:
    """It was never tried: however often, it comes back after exactly that wait and nothing is counted."""
    outcome = decide(Postponed("its hour is full", after_s=after_s), attempt, RETRY, draw=0.9)
    assert (outcome.status, outcome.wait_s, outcome.counted, outcome.pause) == (Status.QUEUED, after_s, False, False)


@pytest.mark.parametrize(("draw", "wait_s"), [(0.0, 100.0), (0.4, 110.0), (0.8, 120.0)])
def test_recordings_that_were_throttled_together_do_not_come_back_together(draw: float, wait_s: float) -> None:
    """A host's own delay is spread too, but never below what it asked for."""
    outcome = decide(Throttled("429", after_s=100.0), 1, RETRY, draw=draw)
    assert outcome.wait_s == pytest.approx(wait_s)
    assert outcome.counted


@pytest.mark.parametrize(("draw", "wait_s"), [(0.0, 15.0), (0.5, 20.0), (0.8, 23.0)])
def test_a_throttle_without_a_delay_waits_like_any_other_failure(draw: float, wait_s: float) -> None:
    assert decide(Throttled("429"), 2, RETRY, draw=draw).wait_s == pytest.approx(wait_s)
    assert decide(Transient("timeout"), 2, RETRY, draw=draw).wait_s == pytest.approx(wait_s)


def test_the_doubling_ends_at_an_hour_or_at_a_longer_first_wait() -> None:
    assert backoff(10, 10, 0.5) == 3600
    assert backoff(40, 7200, 0.5) == 7200
    assert backoff(10_000, 0, 0.5) == 0


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Transient("timeout"), "tried again in 10 s"),
        (Misconfigured("no licence"), "queued again"),
        (Permanent("no audio"), "failed"),
        (Rejected("members only"), "skipped"),
    ],
)
def test_an_outcome_in_words(error: EngineError, words: str) -> None:
    assert decide(error, 1, RETRY, draw=0.5).text == words


def test_what_only_another_host_can_do_is_left_to_its_engines_and_is_no_attempt() -> None:
    left = decide(Elsewhere("a file of that host", host="gpu2"), 9, RETRY, draw=0.5)
    assert (left.status, left.host, left.counted, left.pause, left.wait_s) == (Status.QUEUED, "gpu2", False, False, None)
    assert left.text == "left to the engines of gpu2"
