from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.config.settings import Retry
from gainstage.engine.errors import Cancelled, EngineError, Misconfigured, OutOfMemory, Permanent, Rejected, Throttled, Transient
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
