"""A run as a console sees it: what one command, or one listing of a followed source, brought in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RunProgress = Literal["waiting", "running", "done"]


@dataclass(frozen=True, slots=True)
class RunRow:
    """Counts are its recordings. ``work_s`` is the time in which any engine had one of them in flight, ``energy_j`` what the GPUs
    used meanwhile (None where it cannot be read). Wall times are seconds since the epoch, None before they happened."""

    id: int
    name: str
    kind: str  # run, add, follow, demo, console, python; earlier: from before there were runs
    sources: tuple[str, ...]
    added_wall: float
    began_wall: float | None
    ended_wall: float | None
    work_s: float
    energy_j: float | None
    queued: int
    running: int
    stored: int
    failed: int
    skipped: int
    cancelled: int
    retrying: int  # of ``queued``: wait for their next try
    audio_done_s: float  # of stored ones
    audio_left_s: float  # of queued and running ones whose length is known

    @property
    def total(self) -> int:
        return self.queued + self.running + self.stored + self.failed + self.skipped + self.cancelled

    @property
    def left(self) -> int:
        return self.queued + self.running

    @property
    def progress(self) -> RunProgress:
        if not self.left:
            return "done"
        return "waiting" if self.began_wall is None else "running"

    @property
    def rtfx(self) -> float | None:
        """Audio seconds stored per second of work; None before there are any."""
        return self.audio_done_s / self.work_s if self.work_s > 0 and self.audio_done_s > 0 else None
