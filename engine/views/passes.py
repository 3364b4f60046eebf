"""What gates and batchers leave behind: one record per pass and per call, and figures over a window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PassOutcome = Literal["ok", "failed", "cancelled"]

PARTIAL = "partial"
"""Cause of a pass that ended well and is followed by another one of the same stage: the two are one visit."""

Why = Literal["full", "age", "everybody waits", "retry"]
"""What sent a batch off: its budget was full, its oldest item was old enough, nobody was left to add to it, or it is a part
of a batch that failed."""


@dataclass(frozen=True, slots=True)
class StageSpan:
    """One pass of a recording through a stage, from its arrival at the gate.

    ``waited_s`` is the wait without ``paused_s``, the part of it in which the stage was paused; ``slot`` and ``service_s``
    are None when the pass was cancelled before it was served.
    """

    stage: str
    recording: str
    slot: int | None
    waited_s: float
    paused_s: float
    service_s: float | None
    outcome: PassOutcome
    cause: str | None  # of what did not go well, as failures are grouped
    start_wall: float
    audio_s: float | None = None


@dataclass(frozen=True, slots=True)
class StageFigures:
    """What a stage's slots did in a window of ``window_s`` seconds; shares are None before the first instant of it.

    busy + starved + blocked + paused <= capacity slot-seconds. What is missing are free slots held back while a retiring
    one is still in use. Slots that retire count as capacity until they are free.
    """

    window_s: float
    capacity_s: float
    busy_s: float
    starved_s: float  # free, and nobody waited
    blocked_s: float  # free, and what passed here waited at the next gate
    paused_s: float  # free, and the stage was paused
    finished: int
    depth: int
    oldest_wait_s: float | None  # without pauses

    @property
    def busy_share(self) -> float | None:
        return self._share(self.busy_s)

    @property
    def starved_share(self) -> float | None:
        return self._share(self.starved_s)

    @property
    def blocked_share(self) -> float | None:
        return self._share(self.blocked_s)

    @property
    def per_minute(self) -> float | None:
        """Passes that ended well per minute; None in the first second."""
        return 60.0 * self.finished / self.window_s if self.window_s >= 1.0 else None

    def _share(self, seconds: float) -> float | None:
        return min(1.0, seconds / self.capacity_s) if self.capacity_s > 0 else None


@dataclass(frozen=True, slots=True)
class StageTotals:
    """A stage since it was made. Quantiles are within 2 %."""

    done: int
    failed: int
    cancelled: int
    waited_s: float
    served_s: float
    audio_s: float  # of the passes that ended well
    wait_p50_s: float | None
    wait_p95_s: float | None
    service_p50_s: float | None
    service_p95_s: float | None


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One call of a batcher. ``waited_s`` is that of its oldest item; ``padding`` the share of the call that was padding."""

    batcher: str
    items: int
    cost: float
    budget: float  # allowed in a call at that moment
    unit: str
    why: Why
    waited_s: float
    service_s: float
    outcome: Literal["ok", "out of memory", "failed"]
    cause: str | None
    padding: float | None
    start_wall: float
