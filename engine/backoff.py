"""Waits between tries that grow: the one formula, and the small state of a loop that uses it."""

from __future__ import annotations


def doubled(first_s: float, times: int, longest_s: float) -> float:
    """``first_s`` seconds doubled ``times`` times, at most ``longest_s``."""
    return min(longest_s, first_s * 2.0 ** min(times, 60))


class Backoff:
    """Seconds to wait after each failure in a row: ``first_s``, then ``factor`` times the one before, at most ``longest_s``."""

    def __init__(self, first_s: float, longest_s: float, factor: float = 2.0) -> None:
        self.first_s = first_s
        self.longest_s = longest_s
        self.factor = factor
        self._wait_s = first_s

    @property
    def wait_s(self) -> float:
        """The wait after the next failure."""
        return self._wait_s

    def next(self) -> float:
        """The wait after this failure; the one after the next is longer."""
        wait_s = self._wait_s
        self._wait_s = min(self.longest_s, self.factor * wait_s)
        return wait_s

    def reset(self) -> None:
        """A success: the next failure is the first again."""
        self._wait_s = self.first_s
