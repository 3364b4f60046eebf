"""Experiments as a console lists them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExperimentLine:
    """One experiment: what was tried, how far it is, and what it said."""

    id: int
    wall: float
    what: str
    state: str
    verdict: str


class NoExperiments:
    """The part of a desk that has none."""

    def experiments(self, limit: int = 50) -> tuple[ExperimentLine, ...]:
        """The newest experiments, newest first."""
        return ()
