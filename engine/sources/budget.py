"""Rate limits for one host: how many requests in any hour, and when to stop sending them. Pure: state and time in, new state out.

Requests are counted per minute. A window of an hour touches at most 61 of these minutes, so a limit kept over 61 minutes holds
in every window, wherever it begins, and the whole history of a host is 61 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor
from typing import Any, Literal

from gainstage.engine.backoff import doubled

WINDOW_S = 3600.0
BUCKET_S = 60.0
BUCKETS = round(WINDOW_S / BUCKET_S) + 1

EVEN_SHARE = 0.8
"""Share of the budget at which a site that monitors request rates gets evenly spaced requests, without a burst at each hour."""
BURST = 10
"""Requests to such a site that may be sent together after an idle time, so that a few recordings do not wait."""

COOL_S = 60.0
"""First cool-down, in seconds, after a throttle for which the host gave no delay; doubles with each failed trial."""
MOST_COOL_S = 3600.0
MOST_NAMED_S = 86_400.0
"""Longest delay, in seconds, accepted from a host, so that a hostile or broken host does not stop its requests forever."""
TRIAL_S = 600.0
"""A trial without a result for this many seconds has ended (its engine died); another one may be made."""
TRIAL_LOOK_S = 2.0
UNCLEAR_S = 30.0
"""Seconds to wait after a trial that failed for another reason (network, server error)."""


@dataclass(frozen=True, slots=True)
class HostState:
    """The stored state of a host. Times are seconds of one clock."""

    counts: tuple[tuple[int, int], ...] = ()  # (number of the minute, requests), oldest first
    last: float = 0.0  # time of the last request
    breaker: Literal["closed", "open", "trial"] = "closed"
    until: float = 0.0  # breaker open: no request before this time; trial: given up at this time
    opened: float = 0.0  # time when the breaker opened last
    failures: int = 0  # consecutive throttles, without those of requests that were already under way
    throttled: int = 0  # all throttles so far
    paced: float = 0.0  # evenly paced host: time at which one more request would be due if none had been early

    def used(self, now: float) -> int:
        """Requests of the last hour (over at most 61 minutes)."""
        return sum(n for _, n in self._recent(now))

    def _recent(self, now: float) -> tuple[tuple[int, int], ...]:
        oldest = floor(now / BUCKET_S) - BUCKETS + 1
        return tuple((minute, n) for minute, n in self.counts if minute >= oldest)


@dataclass(frozen=True, slots=True)
class BudgetAnswer:
    """Whether a request may be sent now (``wait_s`` 0), or after how many seconds, and why."""

    wait_s: float
    why: Literal["", "budget", "spacing", "pace", "cooling down", "trial"] = ""
    trial: bool = False


def even_gap_s(rate: int) -> float:
    """Seconds between requests to an evenly paced site; ``rate`` is the most requests in an hour."""
    return WINDOW_S / (EVEN_SHARE * rate)


def ask(
    state: HostState, now: float, rate: int, gap_s: float = 0.0, *, even: bool = False, counted: bool = False
) -> tuple[HostState, BudgetAnswer]:
    """Ask to send a request. When it may be sent, the returned state includes it.

    ``rate`` is the most requests in any hour, ``gap_s`` the least seconds between two; ``even`` spreads them over the hour.
    ``counted`` marks a second request that was already counted together with the first. After a cool-down, one request is the
    trial; no other request is allowed until it is answered.
    """
    now = max(now, state.last)  # a clock set back must not lose counted requests
    if state.breaker == "open" and now < state.until:
        return state, BudgetAnswer(state.until - now, "cooling down")
    if state.breaker == "trial" and now < state.until:
        return state, BudgetAnswer(min(TRIAL_LOOK_S, state.until - now), "trial")
    recent = state._recent(now)
    if not counted and (wait := _until_room(recent, now, rate)) > 0:
        return state, BudgetAnswer(wait, "budget")
    if state.counts and (wait := state.last + gap_s - now) > 0:
        return state, BudgetAnswer(wait, "spacing")
    each_s = even_gap_s(rate) if even and not counted else 0.0
    if (wait := state.paced - (BURST - 1) * each_s - now) > 0 and each_s:
        return state, BudgetAnswer(wait, "pace")
    minute = floor(now / BUCKET_S)
    counts = dict(recent)
    counts[minute] = counts.get(minute, 0) + (0 if counted else 1)
    trial = state.breaker != "closed"
    paced = max(state.paced, now) + each_s if each_s else state.paced
    state = replace(state, counts=tuple(sorted(counts.items())), last=now, paced=paced)
    return (replace(state, breaker="trial", until=now + TRIAL_S) if trial else state), BudgetAnswer(0.0, trial=trial)


def _until_room(recent: tuple[tuple[int, int], ...], now: float, rate: int) -> float:
    """Seconds until the budget has room for one more request."""
    over = sum(n for _, n in recent) + 1 - rate
    for minute, n in recent:
        if over <= 0:
            break
        over -= n
        if over <= 0:
            return max((minute + BUCKETS) * BUCKET_S - now, 1e-3)
    return 0.0


def throttled(state: HostState, now: float, requested_at: float, after_s: float | None) -> HostState:
    """Record that the host throttled a request made at ``requested_at``; ``after_s`` is the delay it named, None when it gave none.

    The first throttle opens the breaker. Those of requests already under way are only counted, and their delay is applied.
    """
    named = now + min(after_s or 0.0, MOST_NAMED_S)
    if state.breaker != "closed" and requested_at <= state.opened:
        return replace(
            state, until=max(state.until, named) if state.breaker == "open" else state.until, throttled=state.throttled + 1
        )
    cool_s = doubled(COOL_S, state.failures, MOST_COOL_S) if after_s is None else 0.0
    return replace(
        state,
        breaker="open",
        until=max(named, now + cool_s),
        opened=max(now, requested_at),
        failures=state.failures + 1,
        throttled=state.throttled + 1,
    )


def answered(state: HostState, requested_at: float) -> HostState:
    """Record a normal answer to the request made at ``requested_at``; the answer to the trial closes the breaker."""
    if state.breaker == "closed" or requested_at > state.opened:
        return replace(state, breaker="closed", until=0.0, failures=0)
    return state


def unclear(state: HostState, now: float) -> HostState:
    """Record a trial that failed for a reason other than throttling: another one follows soon."""
    return replace(state, breaker="open", until=now + UNCLEAR_S) if state.breaker == "trial" else state


def to_json(state: HostState) -> dict[str, Any]:
    """The state as it is stored between engines."""
    return {
        "counts": [list(pair) for pair in state.counts],
        "last": state.last,
        "breaker": state.breaker,
        "until": state.until,
        "opened": state.opened,
        "failures": state.failures,
        "throttled": state.throttled,
        "paced": state.paced,
    }


def from_json(data: dict[str, Any]) -> HostState:
    """The state from its stored form; a new one where nothing is stored."""
    return HostState(**{**data, "counts": tuple((int(m), int(n)) for m, n in data["counts"])}) if data else HostState()
