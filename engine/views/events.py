"""A line of the journal, as a console reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["debug", "info", "warning", "error"]

EVENTS_KEPT = 20_000
"""Newest events that a database and a console keep."""


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the journal as the console shows it."""

    seq: int
    wall: float
    level: Level
    kind: str  # "log", "decision", "change", "failure", "stored", "stage", "batch", "state" ...
    text: str
    stage: str | None = None
    recording: str | None = None
    engine: str | None = None
    thread: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Events:
    """Events after a cursor, oldest first; ``cursor`` is for the next call, ``dropped`` are those after it that are gone."""

    items: tuple[Event, ...]
    cursor: int
    dropped: int
