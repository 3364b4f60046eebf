"""Which figures are out of their band now: one :class:`gainstage.engine.advisor.bands.BandState` per metric, stepped with every live frame."""

from __future__ import annotations

from collections.abc import Callable

from gainstage.engine.advisor import bands
from gainstage.engine.advisor.bands import Band, BandState
from gainstage.engine.stages import GPU_STAGES
from gainstage.engine.views.snapshot import Snapshot

TOKENS = {"ok": "bar", "warn": "warn", "crit": "crit"}
"""Level -> token of a meter."""
SIGNS = {"ok": " ", "warn": "▲", "crit": "■"}
"""Level -> glyph beside a figure."""


def metrics(s: Snapshot, memory_limit: float) -> dict[str, tuple[Band, float | None]]:
    """Every banded figure of a snapshot with its band."""
    figures: dict[str, tuple[Band, float | None]] = {
        "disk": (bands.DISK_FULL_S, s.host.disk_full_in_s),
        "database": (bands.DATABASE_P95_S, s.database.latency_p95_s),
        "throttled": (bands.THROTTLED, float(s.run.throttled_10m)),
    }
    tried = s.run.finished_10m + s.run.errors_10m
    figures["errors"] = (bands.ERROR_RATE, s.run.errors_10m / tried if tried >= 10 else None)
    for d in s.devices:
        key = f"gpu{d.index}"
        figures[f"{key}.sm"] = (bands.gpu_share(s.verdict.bottleneck.stage in GPU_STAGES), d.sm)
        share = d.memory_used / d.memory_total if d.memory_used is not None and d.memory_total else None
        figures[f"{key}.memory"] = (bands.gpu_memory(memory_limit), share)
        figures[f"{key}.temperature"] = (bands.gpu_temperature(d.slowdown_at), d.temperature)
    return figures


class Alerts:
    """The level of every metric, by name; ``ok`` for what is not known."""

    def __init__(self, also: Callable[[Snapshot], None] | None = None) -> None:
        """``also`` is called with every live frame."""
        self._states: dict[str, BandState] = {}
        self._also = also

    def step(self, snapshot: Snapshot, memory_limit: float) -> None:
        """A new live frame."""
        self._states = {
            name: bands.step(band, self._states.get(name, BandState()), value, snapshot.wall)
            for name, (band, value) in metrics(snapshot, memory_limit).items()
        }
        if self._also is not None:
            self._also(snapshot)

    def of(self, name: str) -> str:
        """``ok``, ``warn`` or ``crit``."""
        state = self._states.get(name)
        return state.level if state is not None else "ok"

    def token(self, name: str) -> str:
        """The token of a meter for this metric."""
        return TOKENS[self.of(name)]

    def sign(self, name: str) -> str:
        """The glyph beside this metric."""
        return SIGNS[self.of(name)]


def lateness(in_stage_s: float, expected_p95_s: float | None) -> str:
    """The level of a recording's time in a stage against what its length needs."""
    band = bands.stage_age(expected_p95_s)
    return "crit" if band.reached(in_stage_s, "crit") else "warn" if band.reached(in_stage_s, "warn") else "ok"
