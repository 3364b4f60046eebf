"""How often the picture moves: as often as the operator wants, slower where drawing takes processor time from the work."""

from __future__ import annotations

from gainstage.engine.views.snapshot import Snapshot

SLOW_TICK_S = 0.04
SLOW_HZ = 2.5
CROWDED = 0.95
"""Share of the engine's processors in use from which the picture moves at ``SLOW_HZ``."""


def allowed_hz(hz: float) -> float:
    """A refresh rate within the range that the console can hold."""
    return min(10.0, max(1.0, hz))


class RefreshRate:
    """Times are those of ``time.perf_counter``, in seconds."""

    def __init__(self, hz: float) -> None:
        self.wanted_hz = allowed_hz(hz)
        self.hz = self.wanted_hz
        self.mean_tick_s = 0.0
        self._next = 0.0

    def due(self, now: float) -> bool:
        """Whether a tick that comes now is to draw."""
        return now >= self._next

    def ticked(self, start: float, took_s: float, newest: Snapshot | None) -> None:
        """Choose the rate after a tick that began at ``start``."""
        self.mean_tick_s = 0.8 * self.mean_tick_s + 0.2 * took_s
        crowded = newest is not None and (newest.host.cpu or 0.0) >= CROWDED
        slow = crowded or self.mean_tick_s > SLOW_TICK_S
        self._next = start + 1.0 / SLOW_HZ - 0.01 if slow else 0.0
        self.hz = SLOW_HZ if slow else self.wanted_hz
