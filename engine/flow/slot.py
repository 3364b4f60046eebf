"""A unit of a stage's capacity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Slot:
    """One place in a stage. ``state`` lives as long as the slot: a diarizer instance, a device, whatever belongs to it.

    ``state`` and ``progress`` belong to the recording that holds the slot; everybody else only reads. ``lingered_s`` are seconds of
    the pass in which it waited for others (see :meth:`waiting`), ``waits_since`` when such a wait began, None outside one.
    ``partial``: the stage is passed once more by this recording, so that this pass does not count as one that is done.
    """

    __slots__ = (
        "_progress",
        "audio_s",
        "index",
        "lingered_s",
        "on_wait",
        "partial",
        "recording",
        "renew",
        "since",
        "state",
        "waits_since",
    )

    def __init__(self, index: int, now: float) -> None:
        self.index = index
        self.state: dict[str, Any] = {}
        self.recording: str | None = None  # who holds it
        self.audio_s: float | None = None
        self.since = now  # of being busy or idle
        self.renew = False  # to be replaced by a fresh one when it comes free
        self.lingered_s = 0.0
        self.waits_since: float | None = None
        self.on_wait: Callable[[Slot, bool, int], None] | None = None  # its stage's account of waits
        self.partial = False
        self._progress: float | None = None

    @contextmanager
    def waiting(self, *, company: bool = False) -> Iterator[None]:
        """The block is a wait for others, which is neither service nor load: a host, a database, an operator's hold.

        ``company`` is a wait for a batch to fill: it keeps the slot from whoever waits at the gate, and is load only then.
        """
        if self.on_wait is None:
            yield
            return
        self.on_wait(self, company, 1)
        try:
            yield
        finally:
            self.on_wait(self, company, -1)

    @property
    def progress(self) -> float | None:
        """Share of the work done, 0..1; None while it is not known. Values outside are clipped."""
        return self._progress

    @progress.setter
    def progress(self, share: float | None) -> None:
        self._progress = None if share is None else min(1.0, max(0.0, share))

    def take(self, recording: str, audio_s: float | None, now: float) -> None:
        self.recording, self.audio_s, self.since, self._progress = recording, audio_s, now, None
        self.lingered_s, self.waits_since, self.partial = 0.0, None, False

    def free(self, now: float) -> None:
        self.recording, self.audio_s, self.since, self._progress = None, None, now, None
