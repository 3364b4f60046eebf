"""Recordings, their passes, decisions and batches in the scripted story: plain records."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gainstage.engine.desk.scripted.cast import Part
from gainstage.engine.desk.scripted.voices import Cluster, Conclusion
from gainstage.engine.views.rows import Span

TERMINAL = ("stored", "failed", "skipped", "cancelled")


@dataclass(slots=True, eq=False)
class Item:
    """A recording and everything that happened to it."""

    part: Part
    order: int
    status: str = "queued"
    priority: int = 0
    attempt: int = 0
    attempts: int = 5
    added: float = 0.0
    changed: float = 0.0
    admitted: float | None = None
    passes: dict[str, ScriptedPass] = field(default_factory=dict)
    through: set[str] = field(default_factory=set)  # stages of this attempt that are done or skipped
    spans: list[Span] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # decision ids
    speakers: dict[str, float] = field(default_factory=dict)
    segments: int = 0
    cause: str | None = None
    next_try: float | None = None
    finished: float | None = None
    note: str | None = None
    revision: int = 0

    haystack: str = ""  # text that filters search

    @property
    def id(self) -> str:
        return self.part.id


@dataclass(slots=True, eq=False)
class ScriptedPass:
    """One recording at one stage. ``end`` is None while it waits."""

    item: Item
    stage: str
    queued: float
    start: float | None = None
    end: float | None = None
    slot: int | None = None
    alive: bool = True
    behind: str | None = None  # the stage it came from, until this one serves it
    fails: str | None = None  # how this pass ends, None when it succeeds


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision of the story with everything that a what-if needs."""

    id: int
    at: float
    item: Item
    cluster: Cluster
    conclusion: Conclusion
    revision: int
    unknown: str
    threshold: float  # of the primary profile, at that time
    statistics: tuple[float, float, float, float] | None  # mean, variance, lowest, highest


@dataclass(slots=True)
class Batches:
    """Counters of a batcher."""

    batches: int = 0
    items: int = 0
    waiting: int = 0
    budget: float = 0.0
    out_of_memory: int = 0
    refused: int = 0
    hits: int = 0
    misses: int = 0
    sizes: list[int] = field(default_factory=lambda: [0] * 8)
    recent: deque[tuple[float, int, float]] = field(default_factory=lambda: deque(maxlen=100))  # (at, items, seconds)
    most: int = 0

    def add(self, at: float, items: int, per_batch: int, each_s: float) -> None:
        while items > 0:
            n = min(items, per_batch)
            items -= n
            self.batches += 1
            self.items += n
            self.most = max(self.most, n)
            self.sizes[min(7, max(0, n.bit_length() - 1))] += 1
            self.recent.append((at, n, n * each_s))
