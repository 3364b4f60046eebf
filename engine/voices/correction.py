"""A correction as it is planned: the place, the person, and every label it writes."""

from __future__ import annotations

from dataclasses import dataclass, field

from gainstage.engine.store.corrections import Correction, Kind, Place
from gainstage.engine.store.rows import StoredRecording
from gainstage.engine.store.writing import SegmentLabel
from gainstage.engine.terms import ModelId, Segment, Vector
from gainstage.engine.views.corrections import CorrectionAsk, CorrectionMove

NEW = -1
"""Stands for the profile of a person who is enrolled with the correction."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who a passage is said to be. ``profile`` is None for people not enrolled, :data:`NEW` for one enrolled with it."""

    name: str
    profile: int | None

    @property
    def new(self) -> bool:
        return self.profile == NEW


@dataclass(frozen=True, slots=True)
class CorrectedPlace:
    """The corrected recording: its passages after the cut (ordinal and index of the word, where there is one), and those meant."""

    stored: StoredRecording
    segments: tuple[Segment, ...]
    chosen: tuple[int, ...]
    cut: tuple[int, int] | None

    @property
    def was(self) -> Person:
        first = self.segments[self.chosen[0]]
        return Person(first.speaker, first.profile)


@dataclass(slots=True)
class Plan:
    """Everything a correction writes. Labels are by ordinal after the cut; ``likes`` are those of each recording."""

    ask: CorrectionAsk
    kind: Kind
    recording: str
    title: str
    places: tuple[Place, ...]
    text: str
    was: Person
    person: Person
    cut: tuple[int, int] | None
    labels: list[SegmentLabel]
    seconds: float
    model: ModelId | None = None
    voice: Vector | None = None
    standing: Correction | None = None  # the same correction, made before
    likes: dict[str, list[SegmentLabel]] = field(default_factory=dict)
    moves: list[CorrectionMove] = field(default_factory=list)
    note: str = ""

    def after_cut(self, recording: str, ordinal: int) -> int:
        """A stored ordinal as it is once the passage is cut."""
        return ordinal + (self.cut is not None and recording == self.recording and ordinal > self.cut[0])

    def move(self, recording: str, title: str, before: str, labels: list[SegmentLabel], seconds: float) -> None:
        """Add passages that are decided again; those that have a new label already are left out."""
        taken = {label.ordinal for label in self.likes.get(recording, ())}
        if recording == self.recording:
            taken |= {label.ordinal for label in self.labels}
        fresh = [label for label in labels if label.ordinal not in taken]
        if fresh:
            self.likes.setdefault(recording, []).extend(fresh)
            self.moves.append(CorrectionMove(recording, title, before, fresh[0].speaker, seconds, len(fresh)))
