"""Politeness towards one host: how many requests in any hour, and when to stop asking. Pure: time comes in, a state goes out.

Requests are counted per minute. A window of an hour touches at most 61 of these minutes, so a budget kept over 61 minutes is
kept in every window, wherever it begins, and a host's whole past is 61 numbers.
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
"""A site that watches the pace is asked evenly at this share of its budget, not all at once at the beginning of each hour."""
BURST = 10
"""Requests to such a site that may come together after a rest: a handful of recordings should not wait."""

COOL_S = 60.0
"""First cool-down after a throttle without a delay of the host's own; doubles with each failed trial."""
MOST_COOL_S = 3600.0
MOST_NAMED_S = 86_400.0
"""Longest delay a host may name: a hostile one must not silence itself for ever."""
TRIAL_S = 600.0
"""A trial that says nothing for this long (its engine died) is over; another one may be made."""
TRIAL_LOOK_S = 2.0
UNCLEAR_S = 30.0
"""Wait after a trial that failed for another reason (network, server trouble)."""


@dataclass(frozen=True, slots=True)
class HostState:
    """What is remembered of a host. Times are seconds of one clock."""

    counts: tuple[tuple[int, int], ...] = ()  # (number of the minute, requests), oldest first
    last: float = 0.0  # time of the last request
    breaker: Literal["closed", "open", "trial"] = "closed"
    until: float = 0.0  # of open: nothing before; of trial: given up then
    opened: float = 0.0  # when the breaker opened last
    failures: int = 0  # throttles in a row that were not of requests already under way
    throttled: int = 0  # throttles ever
    paced: float = 0.0  # of a host asked evenly: when a request more would be due, were none ever early

    def used(self, now: float) -> int:
        """Requests of the last hour (61 minutes at most)."""
        return sum(n for _, n in self._recent(now))

    def _recent(self, now: float) -> tuple[tuple[int, int], ...]:
        oldest = floor(now / BUCKET_S) - BUCKETS + 1
        return tuple((minute, n) for minute, n in self.counts if minute >= oldest)


@dataclass(frozen=True, slots=True)
class BudgetAnswer:
    """Whether to ask the host now (``wait_s`` 0) or after which wait, and why."""

    wait_s: float
    why: Literal["", "budget", "spacing", "pace", "cooling down", "trial"] = ""
    trial: bool = False


def even_gap_s(rate: int) -> float:
    """Seconds between requests to a site that is asked evenly."""
    return WINDOW_S / (EVEN_SHARE * rate)


def ask(
    state: HostState, now: float, rate: int, gap_s: float = 0.0, *, even: bool = False, counted: bool = False
) -> tuple[HostState, BudgetAnswer]:
    """May a request be made? When it may, the state returned has it counted.

    ``rate`` is the most requests in any hour, ``gap_s`` the least seconds between two; ``even`` spreads them over the hour.
    ``counted`` is for the second request about something whose first one was counted for both. After a cool-down one request
    is the trial; until it is answered nobody else asks.
    """
    now = max(now, state.last)  # a clock that was set back must not forget what was counted
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
    """Seconds until a request more fits into the budget."""
    over = sum(n for _, n in recent) + 1 - rate
    for minute, n in recent:
        if over <= 0:
            break
        over -= n
        if over <= 0:
            return max((minute + BUCKETS) * BUCKET_S - now, 1e-3)
    return 0.0


def throttled(state: HostState, now: float, asked: float, after_s: float | None) -> HostState:
    """The host has throttled a request made at ``asked``; ``after_s`` is its own delay where it named one.

    The first one opens the breaker. Others that were under way then say nothing new: they count, and their delay is kept.
    """
    named = now + min(after_s or 0.0, MOST_NAMED_S)
    if state.breaker != "closed" and asked <= state.opened:
        return replace(
            state, until=max(state.until, named) if state.breaker == "open" else state.until, throttled=state.throttled + 1
        )
    cool_s = doubled(COOL_S, state.failures, MOST_COOL_S) if after_s is None else 0.0
    return replace(
        state,
        breaker="open",
        until=max(named, now + cool_s),
        opened=max(now, asked),
        failures=state.failures + 1,
        throttled=state.throttled + 1,
    )


def answered(state: HostState, asked: float) -> HostState:
    """The host has answered a request made at ``asked`` like any other; the trial's answer closes the breaker."""
    if state.breaker == "closed" or asked > state.opened:
        return replace(state, breaker="closed", until=0.0, failures=0)
    return state


def unclear(state: HostState, now: float) -> HostState:
    """The trial failed for a reason that says nothing of throttling: another one soon."""
    return replace(state, breaker="open", until=now + UNCLEAR_S) if state.breaker == "trial" else state


def to_json(state: HostState) -> dict[str, Any]:
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
    return HostState(**{**data, "counts": tuple((int(m), int(n)) for m, n in data["counts"])}) if data else HostState()
