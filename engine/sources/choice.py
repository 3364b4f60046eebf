"""What was chosen of the sources, and what was left with which reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gainstage.engine.terms import Recording

RECHECKED = (
    "members-only",
    "paid",
    "private",
    "geo-blocked",
    "age-gated",
    "login needed",
    "upcoming",
    "live",
    "just ended",
    "being processed",
    "stream offline",
    "held back",
)
"""Why a recording could not be had, that may be otherwise the next time its source is listed."""

ADDRESSED = ("HTTP 401", "HTTP 403", "HTTP 404", "HTTP 410", "gone or forbidden", "media refused", "not media", "missing file")
"""Failures that a new address may mend: it is tried when its source is listed with one."""


@dataclass(frozen=True, slots=True)
class Left:
    """A recording, or part of a source, that is not taken."""

    title: str
    reason: str
    recording: Recording | None = None
    refused: bool = False  # it cannot be had at the moment: kept as skipped, looked at again by the next listing


@dataclass(frozen=True, slots=True)
class Choice:
    """``taken`` in the order of the run. ``recheck`` are those of them that were refused before and can be had now, ``grown``
    files that have gone on since they were taken. What was ``seen`` is what was taken and what was left.
    """

    taken: tuple[Recording, ...]
    left: tuple[Left, ...]
    seen: int
    recheck: tuple[str, ...] = ()
    unchecked: int = 0  # look-ups that said nothing: such recordings are taken
    waiting: Mapping[str, str] = field(default_factory=dict)  # (queued or running) by the id of those taken that are it already
    grown: tuple[Recording, ...] = ()

    @property
    def new(self) -> tuple[Recording, ...]:
        """What a run would add to the queue."""
        return tuple(r for r in self.taken if r.id not in self.waiting)

    @property
    def passed(self) -> tuple[Left, ...]:
        """Everything listed that a run would not add: in the queue already, or left with its reason."""
        queued = (Left(r.title, f"{self.waiting[r.id]} already", r) for r in self.taken if r.id in self.waiting)
        return (*queued, *self.left)

    @property
    def reasons(self) -> tuple[tuple[str, int], ...]:
        """(reason, how many), most first."""
        return by_reason(self.left)

    @property
    def refused(self) -> tuple[Left, ...]:
        return tuple(left for left in self.left if left.refused)


def by_reason(left: Iterable[Left]) -> tuple[tuple[str, int], ...]:
    """(reason, how many), most first."""
    return tuple(Counter(each.reason for each in left).most_common())
