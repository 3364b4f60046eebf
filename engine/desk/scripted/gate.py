"""A stage of the scripted story: slots, a queue, and the integrals from which its shares are computed."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from gainstage.engine.desk.scripted.items import ScriptedPass

SAMPLE_S = 5.0
"""Story seconds between samples of the integrals."""

WINDOW = 12
"""Samples in the 60 s window of the shares."""


def quantile(values: Iterable[float], *shares: float) -> tuple[float | None, ...]:
    """Nearest-rank quantiles of the values, rounded to 3 decimals; None for each without values."""
    rows = sorted(values)
    n = len(rows)
    return tuple(round(rows[min(n - 1, int(q * n))], 3) if rows else None for q in shares)


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of the last 100 passes of a gate, from the last sample."""

    wait_p50_s: float | None
    wait_p95_s: float | None
    service_p50_s: float | None
    service_p95_s: float | None
    rtfx: float | None
    per_audio_p95: float | None  # service seconds per audio second, over at least 8 passes


NOTHING = Measured(None, None, None, None, None, None)


@dataclass(slots=True, eq=False)
class ScriptedGate:
    """A gate of the scripted story. Times are story seconds."""

    name: str
    capacity: int
    paused: bool = False
    line: list[tuple[int, float, int, ScriptedPass]] = field(default_factory=list)
    slots: dict[int, ScriptedPass] = field(default_factory=dict)
    idle_since: dict[int, float] = field(default_factory=dict)
    done: int = 0
    failed: int = 0
    retries: int = 0
    last_error: str | None = None
    waits: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=100))
    services: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=100))  # (end, service, audio)
    blocked_now: int = 0  # finished here, but waiting at the next gate
    since: float = 0.0
    busy_s: float = 0.0
    capacity_s: float = 0.0
    starved_s: float = 0.0
    blocked_s: float = 0.0
    samples: deque[tuple[float, float, float, float]] = field(default_factory=lambda: deque(maxlen=61))
    trend: tuple[float, ...] = ()  # busy share of each past sample interval, oldest first
    measured: Measured = NOTHING

    def account(self, now: float) -> None:
        """Update the integrals to ``now``; call it before every change."""
        dt = now - self.since
        if dt <= 0:
            return
        busy, slots = len(self.slots), max(self.capacity, len(self.slots))
        self.busy_s += dt * busy
        self.capacity_s += dt * slots
        idle = slots - busy
        if not self.line and not self.paused:
            blocked = min(idle, self.blocked_now)
            self.blocked_s += dt * blocked
            self.starved_s += dt * (idle - blocked)
        self.since = now

    def sample(self, now: float) -> None:
        self.account(now)
        if self.samples:
            busy, slots, *_ = self.samples[-1]
            span = self.capacity_s - slots
            self.trend = (*self.trend[-59:], round((self.busy_s - busy) / span, 3) if span > 0 else 0.0)
        self.measured = self._measure()
        self.samples.append((self.busy_s, self.capacity_s, self.starved_s, self.blocked_s))

    def shares(self) -> tuple[float | None, float | None, float | None]:
        """Busy, starved and blocked share over the last 60 s; None before the first sample."""
        if not self.samples:
            return None, None, None
        then = self.samples[-min(WINDOW, len(self.samples))]
        span = self.capacity_s - then[1]
        if span <= 0:
            return None, None, None
        return (self.busy_s - then[0]) / span, (self.starved_s - then[2]) / span, (self.blocked_s - then[3]) / span

    def _measure(self) -> Measured:
        total = audio = 0.0
        per_audio = []
        for _, service, length in self.services:
            total += service
            audio += length
            per_audio.append(service / max(30.0, length))
        wait_p50, wait_p95 = quantile((w for _, w in self.waits), 0.5, 0.95)
        service_p50, service_p95 = quantile((s for _, s, _ in self.services), 0.5, 0.95)
        rtfx = round(audio / total, 1) if total > 0 else None
        slowest = quantile(per_audio, 0.95)[0] if len(per_audio) >= 8 else None
        return Measured(wait_p50, wait_p95, service_p50, service_p95, rtfx, slowest)

    def queue(self, one: ScriptedPass, priority: int, n: int) -> None:
        self.account(one.queued)
        insort(self.line, (-priority, one.queued, n, one))

    def forget(self, one: ScriptedPass, now: float) -> None:
        """Remove a pass from the queue or its slot."""
        self.account(now)
        one.alive = False
        if one.slot is not None:
            self.slots.pop(one.slot, None)
            self.idle_since[one.slot] = now
        else:
            self.line = [row for row in self.line if row[3] is not one]

    def ready(self) -> bool:
        return bool(self.line) and not self.paused and len(self.slots) < self.capacity

    def take(self, now: float) -> ScriptedPass:
        """Give the lowest free slot to the next in the queue."""
        self.account(now)
        one = self.line.pop(0)[3]
        one.slot = next(i for i in range(self.capacity + len(self.slots) + 1) if i not in self.slots)
        one.start = now
        self.slots[one.slot] = one
        self.waits.append((now, now - one.queued))
        return one

    def leave(self, one: ScriptedPass, now: float, audio_s: float, well: bool) -> None:
        self.account(now)
        if one.slot is None or one.start is None:
            raise ValueError(f"{one.item.id} was never served by {self.name}")
        self.slots.pop(one.slot, None)
        self.idle_since[one.slot] = now
        if well:
            self.done += 1
            self.services.append((now, now - one.start, audio_s))
        else:
            self.failed += 1
