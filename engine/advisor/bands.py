"""Colour bands with hysteresis and dwell: a value must stay past a limit for a while to count, and go back past the hysteresis to end it.

A :class:`Band` holds the limits; :func:`step` is the pure transition. The console keeps one :class:`BandState` per metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "crit"]
_ORDER: tuple[Level, ...] = ("ok", "warn", "crit")


@dataclass(frozen=True, slots=True)
class Band:
    """Limits of one metric. ``high_is_bad`` False turns them round: warn *below* ``warn`` (an idle GPU).

    A level is entered after ``dwell_s`` seconds at or past its limit, and left at once when the value is back by more than
    ``hysteresis``; ``relative`` makes the hysteresis a share of the limit.
    """

    warn: float | None
    crit: float | None
    hysteresis: float = 0.0
    dwell_s: float = 0.0
    high_is_bad: bool = True
    relative: bool = False

    def limit(self, level: Level) -> float | None:
        return {"ok": None, "warn": self.warn, "crit": self.crit}[level]

    def reached(self, value: float, level: Level) -> bool:
        """At or past the limit of ``level``; False for a level that this band does not have."""
        limit = self.limit(level)
        if limit is None:
            return level == "ok"
        return value >= limit if self.high_is_bad else value <= limit

    def holds(self, value: float, level: Level) -> bool:
        """Still within the hysteresis of ``level``."""
        limit = self.limit(level)
        if limit is None:
            return level == "ok"
        slack = abs(limit) * self.hysteresis if self.relative else self.hysteresis
        return value >= limit - slack if self.high_is_bad else value <= limit + slack


@dataclass(frozen=True, slots=True)
class BandState:
    """Where a metric stands; since when it has been at or past each limit without a break."""

    level: Level = "ok"
    warn_since: float | None = None
    crit_since: float | None = None


def _both(state: BandState) -> tuple[tuple[Level, float | None], ...]:
    return ("warn", state.warn_since), ("crit", state.crit_since)


def step(band: Band, state: BandState, value: float | None, now: float) -> BandState:
    """The next state at time ``now`` (seconds on a clock that does not go back). An unknown value keeps the level, ends the dwell."""
    if value is None:
        return BandState(state.level)
    since: dict[Level, float | None] = {}
    for level, before in _both(state):
        since[level] = (now if before is None else before) if band.reached(value, level) else None
    at = _ORDER.index(state.level)
    while at > 0 and not band.holds(value, _ORDER[at]):
        at -= 1
    for level, began in since.items():
        if began is not None and now - began >= band.dwell_s:
            at = max(at, _ORDER.index(level))
    return BandState(_ORDER[at], since["warn"], since["crit"])


def gpu_share(while_bottleneck: bool) -> Band:
    """SM activity or busy time: high is good on a machine that works through a queue. Only low while a GPU stage is the bottleneck counts."""
    warn, crit = (0.5, 0.2) if while_bottleneck else (None, None)
    return Band(warn, crit, hysteresis=0.05, dwell_s=30, high_is_bad=False)


def gpu_memory(limit: float) -> Band:
    """Share of GPU memory against ``watch.memory_limit`` as a share."""
    return Band(limit - 0.05, limit, hysteresis=0.02, dwell_s=5)


def gpu_temperature(slowdown_at: float | None) -> Band:
    """Degrees against the slowdown limit the GPU itself reports; without one there is no band."""
    return Band(None, None) if slowdown_at is None else Band(slowdown_at - 5, slowdown_at, hysteresis=3, dwell_s=10)


def stage_age(expected_p95_s: float | None) -> Band:
    """Seconds a recording has been in a stage against what 95 % of its length need."""
    return Band(None, None) if expected_p95_s is None else Band(expected_p95_s * 1.5, expected_p95_s * 3)


POWER_CAP = "power cap"
HARMLESS_THROTTLE = frozenset({POWER_CAP, "sync boost"})
"""Reasons for lower GPU clocks that are normal on a fully used card: shown, but not a warning."""

ERROR_RATE_WARN = 0.02
"""Share of recordings that failed in ten minutes from which the run is degraded."""

THROTTLED_WARN = 3
"""Throttled requests in ten minutes from which the run is degraded."""

ERROR_RATE = Band(ERROR_RATE_WARN, 0.10, hysteresis=0.5, dwell_s=60, relative=True)
THROTTLED = Band(THROTTLED_WARN, 10)
DISK_FULL_S = Band(48 * 3600, 6 * 3600, dwell_s=600, high_is_bad=False)
DATABASE_P95_S = Band(0.1, 1.0, hysteresis=0.2, dwell_s=30, relative=True)
