"""A unit of a stage's capacity."""

from __future__ import annotations

from typing import Any


class Slot:
    """One place in a stage. ``state`` lives as long as the slot: a diarizer instance, a device, whatever belongs to it.

    ``state`` and ``progress`` belong to the recording that holds the slot; everybody else only reads. ``lingered_s`` are seconds of
    the pass in which it waited for others (a batch that filled): they are no service. ``partial``: the stage is passed once more
    by this recording, so that this pass does not count as one that is done.
    """

    __slots__ = ("_progress", "audio_s", "index", "lingered_s", "partial", "recording", "renew", "since", "state")

    def __init__(self, index: int, now: float) -> None:
        self.index = index
        self.state: dict[str, Any] = {}
        self.recording: str | None = None  # who holds it
        self.audio_s: float | None = None
        self.since = now  # of being busy or idle
        self.renew = False  # to be replaced by a fresh one when it comes free
        self.lingered_s = 0.0
        self.partial = False
        self._progress: float | None = None

    def lingered(self, seconds: float) -> None:
        """Part of this pass was a wait for others."""
        self.lingered_s += seconds

    @property
    def progress(self) -> float | None:
        """Share of the work done, 0..1; None while it is not known. Values outside are clipped."""
        return self._progress

    @progress.setter
    def progress(self, share: float | None) -> None:
        self._progress = None if share is None else min(1.0, max(0.0, share))

    def take(self, recording: str, audio_s: float | None, now: float) -> None:
        self.recording, self.audio_s, self.since, self._progress = recording, audio_s, now, None
        self.lingered_s, self.partial = 0.0, False

    def free(self, now: float) -> None:
        self.recording, self.audio_s, self.since, self._progress = None, None, now, None
