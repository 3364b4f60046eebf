"""Correcting who speaks: what is asked, what would change, what was changed. Frozen values for a console and a command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class CorrectionAsk:
    """What somebody says of a recording: at a time (``at``, seconds) or of all passages of one speaker (``of``).

    Exactly one of: ``speaker`` is the right name (with ``new``, a person not enrolled yet); ``nobody``: it is none of the people
    enrolled; ``split`` alone: another turn begins here. ``split`` with a name gives the part from ``at`` on that name.
    """

    recording: str
    at: float | None = None
    of: str | None = None
    speaker: str | None = None
    new: bool = False
    nobody: bool = False
    split: bool = False


@dataclass(frozen=True, slots=True)
class CorrectionMove:
    """One speaker's passages in one recording that get another name."""

    recording: str
    title: str
    before: str
    after: str
    seconds: float
    passages: int


@dataclass(frozen=True, slots=True)
class CorrectionDiff:
    """A correction and what follows from it. ``moves`` are decided alike; ``applied`` says whether they are written.

    ``id`` is None while nothing is written.
    """

    id: int | None
    recording: str
    title: str
    start: float
    end: float
    text: str
    was: str
    speaker: str
    seconds: float
    passages: int
    moves: tuple[CorrectionMove, ...]
    seconds_moved: float
    recordings: int
    note: str
    took_s: float
    applied: bool = False


@dataclass(frozen=True, slots=True)
class CorrectionRow:
    """One correction in the history."""

    id: int
    revision: int
    wall: float
    by: str
    kind: str
    recording: str
    start: float
    end: float
    was: str
    speaker: str
    effect: dict[str, Any] = field(default_factory=dict)
    undone: bool = False


@dataclass(frozen=True, slots=True)
class CorrectionUndone:
    """What an undo took back."""

    id: int
    was: str
    speaker: str
    recordings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TranscriptLine:
    """One passage as a transcript shows it. ``doubtful``: the recogniser was unsure of it; ``overlap``: two people at once."""

    ordinal: int
    start: float
    end: float
    speaker: str
    confidence: float | None
    provenance: str
    text: str
    overlap: bool
    doubtful: bool


@dataclass(frozen=True, slots=True)
class StoredTranscript:
    """The passages of a recording in time order. ``link`` is its address where it has one, to which a time can be added."""

    recording: str
    title: str
    source: str
    link: str | None
    duration_s: float | None
    lines: tuple[TranscriptLine, ...]
