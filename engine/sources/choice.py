"""The result of a selection: the recordings chosen from the sources, and those left out with the reason."""

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
"""Causes of a failure that may no longer apply when the source is listed again."""

ADDRESSED = ("HTTP 401", "HTTP 403", "HTTP 404", "HTTP 410", "gone or forbidden", "media refused", "not media", "missing file")
"""Causes that a new address may remove: the recording is tried again when its source lists a new address."""


@dataclass(frozen=True, slots=True)
class Left:
    """A recording, or part of a source, that is not chosen."""

    title: str
    reason: str
    recording: Recording | None = None
    refused: bool = False  # not available at the moment: stored as skipped and checked again by the next listing


@dataclass(frozen=True, slots=True)
class Choice:
    """``taken`` is in the order of the run. ``recheck`` holds those of them that were unavailable before and are available now,
    ``grown`` holds files that were extended since they were taken. ``seen`` counts everything listed, taken or left out.
    """

    taken: tuple[Recording, ...]
    left: tuple[Left, ...]
    seen: int
    recheck: tuple[str, ...] = ()
    unchecked: int = 0  # look-ups without a result: such recordings are taken
    waiting: Mapping[str, str] = field(default_factory=dict)  # recordings already in the queue: id -> "queued" or "running"
    grown: tuple[Recording, ...] = ()

    @property
    def new(self) -> tuple[Recording, ...]:
        """The recordings that a run would add to the queue."""
        return tuple(r for r in self.taken if r.id not in self.waiting)

    @property
    def passed(self) -> tuple[Left, ...]:
        """Everything listed that a run would not add: already in the queue, or left out with its reason."""
        queued = (Left(r.title, f"{self.waiting[r.id]} already", r) for r in self.taken if r.id in self.waiting)
        return (*queued, *self.left)

    @property
    def reasons(self) -> tuple[tuple[str, int], ...]:
        """(reason, count), most frequent first."""
        return by_reason(self.left)

    @property
    def refused(self) -> tuple[Left, ...]:
        return tuple(left for left in self.left if left.refused)


def by_reason(left: Iterable[Left]) -> tuple[tuple[str, int], ...]:
    """(reason, count), most frequent first."""
    return tuple(Counter(each.reason for each in left).most_common())
