"""Measured speed of a model: work done over time spent in it, summed over all its callers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Rate:
    """Units of work (seconds of audio, texts) per second of a call. Thread-safe."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._lock = threading.Lock()
        self._amount = 0.0
        self._seconds = 0.0

    @contextmanager
    def timed(self, amount: float) -> Iterator[None]:
        """Count ``amount`` and the duration of the block, when it succeeds."""
        start = time.perf_counter()
        yield
        took = time.perf_counter() - start
        with self._lock:
            self._amount += amount
            self._seconds += took

    @property
    def per_second(self) -> float | None:
        """Units of work per second; None before any work."""
        with self._lock:
            return self._amount / self._seconds if self._seconds > 0 else None

    def __str__(self) -> str:
        rate = self.per_second
        if rate is None:
            return ""
        return f"RTFx {rate:.0f}" if self.unit == "audio" else f"{rate:.0f} {self.unit}/s"
