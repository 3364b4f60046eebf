"""The laws of politeness, on a fake clock."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.engine.sources.budget import (
    BURST,
    COOL_S,
    MOST_COOL_S,
    MOST_NAMED_S,
    TRIAL_S,
    UNCLEAR_S,
    WINDOW_S,
    BudgetAnswer,
    HostState,
    answered,
    ask,
    even_gap_s,
    from_json,
    throttled,
    to_json,
    unclear,
)

steps = st.lists(st.one_of(st.floats(0, 5), st.floats(0, 4000), st.just(0.0)), min_size=1, max_size=120)


@given(steps=steps, rate=st.integers(1, 12), start=st.floats(0, 1e9), restart_every=st.integers(1, 7))
def test_no_window_of_an_hour_ever_holds_more_than_the_budget(
    steps: list[float], rate: int, start: float, restart_every: int
) -> None:
    state, now, granted = HostState(), start, []
    for n, step in enumerate(steps):
        now += step
        state, answer = ask(state, now, rate)
        if answer.wait_s == 0:
            granted.append(now)
        if n % restart_every == 0:
            state = from_json(to_json(state))  # what a restart leaves
    for first in granted:
        assert sum(first <= at < first + WINDOW_S for at in granted) <= rate


@given(rates=st.lists(st.integers(1, 9), min_size=2, max_size=60), step=st.floats(0.5, 300))
def test_a_lowered_rate_counts_what_was_asked_before(rates: list[int], step: float) -> None:
    state, now, granted = HostState(), 0.0, []
    for rate in rates:
        now += step
        state, answer = ask(state, now, rate)
        if answer.wait_s == 0:
            granted.append(now)
            assert sum(now - WINDOW_S < at <= now for at in granted) <= rate


@given(steps=steps, rate=st.integers(1, 5))
def test_the_wait_told_is_true(steps: list[float], rate: int) -> None:
    state, now = HostState(), 1000.0
    for step in steps:
        now += step
        state, answer = ask(state, now, rate)
        if answer.wait_s:
            again, then = ask(state, now + answer.wait_s, rate)
            assert then.wait_s == 0
            assert again.used(now + answer.wait_s) <= rate


def test_a_budget_is_used_up_at_once_and_comes_back_within_61_minutes() -> None:
    state, now = HostState(), 7_200.0
    for _ in range(300):
        state, answer = ask(state, now, 300)
        assert answer.wait_s == 0
    state, answer = ask(state, now, 300)
    assert answer.why == "budget"
    assert WINDOW_S <= answer.wait_s <= WINDOW_S + 60
    assert ask(state, now, 400)[1].wait_s == 0, "a raised rate acts at once"


def test_requests_keep_their_distance() -> None:
    state, _ = ask(HostState(), 100.0, 300, gap_s=2.0)
    state, answer = ask(state, 100.5, 300, gap_s=2.0)
    assert (answer.why, answer.wait_s) == ("spacing", 1.5)
    assert ask(state, 102.0, 300, gap_s=2.0)[1].wait_s == 0


def test_a_clock_that_is_set_back_forgets_nothing() -> None:
    state = HostState()
    for _ in range(3):
        state, _ = ask(state, 10_000.0, 3)
    assert ask(state, 10.0, 3)[1].why == "budget"


def test_a_throttle_opens_the_breaker_for_the_hosts_own_delay() -> None:
    state, _ = ask(HostState(), 50.0, 300)
    state = throttled(state, 51.0, 50.0, after_s=120.0)
    assert ask(state, 52.0, 300)[1].why == "cooling down"
    assert ask(state, 52.0, 300)[1].wait_s == pytest.approx(119.0)
    assert throttled(HostState(), 51.0, 50.0, after_s=1e12).until == 51.0 + MOST_NAMED_S


def test_after_the_cool_down_exactly_one_trial_is_made() -> None:
    state = throttled(HostState(), 100.0, 99.0, None)
    assert state.until == 100.0 + COOL_S
    state = from_json(to_json(state))
    now = state.until
    state, first = ask(state, now, 300)
    assert first.trial
    for _ in range(3):
        state, other = ask(state, now + 1, 300)
        assert (other.why, other.trial) == ("trial", False)
    closed = answered(state, now)
    assert (closed.breaker, closed.failures) == ("closed", 0)
    assert ask(closed, now + 2, 300)[1] == replace(first, trial=False)


def test_a_failed_trial_doubles_the_cool_down_up_to_an_hour() -> None:
    state, now, waits = HostState(), 0.0, []
    for _ in range(9):
        state, answer = ask(state, now, 300)
        assert answer.wait_s == 0
        state = throttled(state, now + 1, now, None)
        waits.append(state.until - now - 1)
        now = state.until
    assert waits[:4] == [COOL_S, 2 * COOL_S, 4 * COOL_S, 8 * COOL_S]
    assert waits[-1] == MOST_COOL_S


def test_throttles_of_requests_under_way_count_but_do_not_escalate() -> None:
    state = HostState()
    for at in (10.0, 10.1, 10.2):
        state, _ = ask(state, at, 300)
    state = throttled(state, 11.0, 10.0, None)
    until = state.until
    state = throttled(throttled(state, 11.1, 10.1, None), 11.2, 10.2, 600.0)
    assert (state.failures, state.throttled) == (1, 3)
    assert state.until == pytest.approx(611.2)
    assert state.until > until
    assert answered(state, 10.1).breaker == "open", "an old request that went well does not close it"


def test_a_trial_that_died_or_said_nothing_is_followed_by_another() -> None:
    state, _ = ask(throttled(HostState(), 0.0, 0.0, 10.0), 10.0, 300)
    assert ask(state, 10.0 + TRIAL_S, 300)[1].trial
    state = unclear(state, 20.0)
    assert ask(state, 20.0, 300)[1].wait_s == UNCLEAR_S
    assert ask(state, 20.0 + UNCLEAR_S, 300)[1].trial


def test_a_host_that_names_ten_days_is_asked_again_after_one() -> None:
    """The longest delay is a day, whatever the host names and however often."""
    state = throttled(HostState(), 1000.0, 999.0, after_s=10 * 86_400.0)
    assert state.until == 1000.0 + 86_400.0
    again = throttled(state, 1001.0, 998.0, after_s=10 * 86_400.0)  # one more that was under way
    assert again.until == 1001.0 + 86_400.0
    assert ask(state, 1000.0 + 86_400.0, 300)[1].trial


def test_the_waits_of_a_breaker_are_the_numbers_they_are() -> None:
    assert (COOL_S, MOST_COOL_S, MOST_NAMED_S, TRIAL_S, UNCLEAR_S, WINDOW_S) == (60, 3600, 86_400, 600, 30, 3600)
    state = throttled(HostState(), 100.0, 99.0, after_s=5.0)
    assert state.until == 105.0, "a short delay of the host's own is kept, not the cool-down"


# -- a site that is asked evenly --------------------------------------------------------------------------------------------


def test_a_site_that_watches_the_pace_is_asked_evenly_after_a_handful() -> None:
    state, now, granted = HostState(), 1e6, []
    while now < 1e6 + 3600:
        state, answer = ask(state, now, 300, 1.0, even=True)
        if answer.wait_s == 0:
            granted.append(now)
        now += max(answer.wait_s, 0.01)
    gaps = [b - a for a, b in pairwise(granted)]
    assert all(gap < 1.1 for gap in gaps[: BURST - 1])
    assert all(abs(gap - even_gap_s(300)) < 0.1 for gap in gaps[BURST + 1 :])
    assert 0.8 * 300 <= len(granted) <= 300


def test_a_look_and_its_download_count_as_one() -> None:
    state = HostState()
    state, first = ask(state, 1e6, 1, even=True)
    assert first.wait_s == 0
    state, again = ask(state, 1e6 + 5, 1, even=True, counted=True)
    assert again.wait_s == 0
    assert state.used(1e6 + 5) == 1
    state, third = ask(state, 1e6 + 10, 1, even=True)
    assert third.why == "budget"


def test_what_is_counted_already_waits_for_a_throttle_all_the_same() -> None:
    state = throttled(HostState(), 1e6, 1e6, 600.0)
    assert ask(state, 1e6 + 1, 300, counted=True)[1].why == "cooling down"


def test_the_pace_is_kept_across_a_restart() -> None:
    state, _ = ask(HostState(), 1e6, 300, even=True)
    assert from_json(to_json(state)) == state
    old = {name: value for name, value in to_json(state).items() if name != "paced"}
    assert from_json(old).paced == 0.0


def test_whoever_asks_during_a_trial_looks_again_soon() -> None:
    state, first = ask(throttled(HostState(), 0.0, 0.0, 10.0), 10.0, 300)
    assert first.trial
    assert ask(state, 11.0, 300)[1].wait_s == 2.0
    assert ask(state, 10.0 + TRIAL_S - 0.5, 300)[1].wait_s == 0.5, "no longer than the trial lasts"


def test_an_answer_to_a_request_made_when_the_breaker_opened_does_not_close_it() -> None:
    state = throttled(HostState(), 100.0, 100.0, None)
    assert answered(state, 100.0).breaker == "open"
    assert answered(state, 100.5) == replace(state, breaker="closed", until=0.0, failures=0)
    again = throttled(state, 101.0, 100.0, None)
    assert (again.failures, again.throttled, again.until) == (1, 2, state.until), "it was under way already"


# -- at the limits themselves ---------------------------------------------------------------------------------------------


def test_a_request_counts_to_the_end_of_the_61st_minute_it_touches() -> None:
    state, _ = ask(HostState(), 30.0, 1)
    assert ask(state, 90.0, 1)[1] == BudgetAnswer(3570.0, "budget")
    assert ask(state, 3659.0, 1)[1] == BudgetAnswer(1.0, "budget")
    assert ask(state, 3660.0, 1)[1] == BudgetAnswer(0.0)
    assert state.used(3659.0) == 1
    assert state.used(3660.0) == 0


def test_the_wait_for_room_is_that_of_the_minute_which_makes_it() -> None:
    """One request in the first minute, two in the second: a rate lowered to two has room when both minutes are over."""
    state = HostState()
    for now in (0.0, 60.0, 61.0):
        state, _ = ask(state, now, 10)
    assert ask(state, 120.0, 3)[1].wait_s == 3660.0 - 120.0
    assert ask(state, 120.0, 2)[1].wait_s == 3720.0 - 120.0
    assert ask(state, 120.0, 4)[1].wait_s == 0.0


def test_requests_may_be_sent_at_the_very_end_of_a_wait() -> None:
    state, _ = ask(HostState(), 100.0, 300, 10.0)
    assert ask(state, 109.0, 300, 10.0)[1] == BudgetAnswer(1.0, "spacing")
    assert ask(state, 110.0, 300, 10.0)[1].wait_s == 0.0
    held = throttled(state, 120.0, 115.0, 5.0)
    assert ask(held, 124.0, 300)[1] == BudgetAnswer(1.0, "cooling down")
    tried, answer = ask(held, 125.0, 300)
    assert answer == BudgetAnswer(0.0, "", True)
    assert ask(tried, 725.0, 300)[1].trial, "the trial has ended without a result"


def test_ten_requests_go_at_once_and_then_one_in_45_seconds_of_a_hundred_an_hour() -> None:
    assert even_gap_s(100) == 45.0
    state = HostState()
    for _ in range(10):
        state, answer = ask(state, 1000.0, 100, even=True)
        assert answer.wait_s == 0.0
    assert ask(state, 1000.0, 100, even=True)[1] == BudgetAnswer(45.0, "pace")
    assert ask(state, 1045.0, 100, even=True)[1].wait_s == 0.0
    assert ask(state, 1000.0, 100)[1].wait_s == 0.0, "a site that does not watch the pace"


def test_a_delay_for_requests_under_way_only_lengthens_a_cool_down() -> None:
    state = throttled(HostState(), 100.0, 90.0, 50.0)
    assert (state.until, state.opened, state.failures, state.throttled) == (150.0, 100.0, 1, 1)
    shorter = throttled(state, 101.0, 100.0, 10.0)
    assert (shorter.until, shorter.failures, shorter.throttled) == (150.0, 1, 2)
    assert throttled(state, 101.0, 100.0, None).until == 150.0
    assert throttled(state, 101.0, 100.5, 10.0).failures == 2, "it was sent after the breaker opened"
    trial, _ = ask(state, 150.0, 300)
    assert throttled(trial, 151.0, 100.0, 500.0).until == trial.until, "of a trial the end stays"


def test_what_is_said_of_a_trial_closes_the_breaker_or_delays_the_next() -> None:
    state = throttled(HostState(), 100.0, 100.0, 50.0)
    assert answered(state, 100.0) == state
    closed = answered(state, 100.5)
    assert (closed.breaker, closed.until, closed.failures) == ("closed", 0.0, 0)
    assert unclear(state, 120.0) == state
    trial, _ = ask(state, 150.0, 300)
    assert (unclear(trial, 160.0).breaker, unclear(trial, 160.0).until) == ("open", 190.0)
    assert answered(HostState(failures=3), 0.0).failures == 0


def test_waits_of_less_than_a_second_are_waits() -> None:
    full = HostState(counts=((0, 5),), last=10.0)
    assert ask(full, 61 * 60.0 - 0.5, 5)[1] == BudgetAnswer(0.5, "budget")
    assert throttled(HostState(), 100.0, 100.0, 0.5).until == 100.5
    ahead = HostState(paced=1000.5 + (BURST - 1) * even_gap_s(100))
    assert ask(ahead, 1000.0, 100, even=True)[1] == BudgetAnswer(0.5, "pace")
    cooling = HostState(breaker="open", until=100.5, opened=50.0)
    assert throttled(cooling, 100.0, 10.0, None).until == 100.5, "no delay was named"
