"""What a screen is given to draw: a snapshot, how old it is, and in which view (live, frozen, scrubbed) it is seen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from gainstage.engine.views.snapshot import SCHEMA, Health, Snapshot

STALE_AFTER_S = 1.5
OFFLINE_AFTER_S = 5.0


class Contact(StrEnum):
    """How the engine can be reached."""

    UNKNOWN = "unknown"  # the desk has not answered yet
    NONE = "none"  # no snapshot has ever been written
    LIVE = "live"
    STALE = "stale"
    OFFLINE = "offline"
    STOPPED = "stopped"  # the engine signed off
    FOREIGN = "foreign"  # it writes another schema


Mode = Literal["live", "frozen", "scrub"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of the world. ``now`` is the desk's clock; ``age_s`` is None before the first snapshot."""

    snapshot: Snapshot | None
    now: float
    age_s: float | None
    contact: Contact
    mode: Mode = "live"
    frozen_for_s: float = 0.0
    newer: int = 0
    label: str = ""
    live: bool = True
    read_only: bool = False
    error: str | None = None  # the last error of the desk, when it could not be asked
    engines: int = 1
    pace: str = ""  # of a replay: "×4", "paused"

    @property
    def health(self) -> Health:
        """The verdict as shown: the engine's own, unless its last snapshot is old."""
        if self.contact in (Contact.UNKNOWN, Contact.NONE, Contact.OFFLINE, Contact.STOPPED):
            return "offline"
        if self.contact is Contact.STALE:
            return "stale"
        return self.snapshot.verdict.health if self.snapshot else "offline"

    @property
    def lost(self) -> bool:
        """Whether the engine ended without signing off: it sends nothing, and the database knows of none that is alive."""
        return self.contact is Contact.OFFLINE and self.engines == 0

    @property
    def startable(self) -> bool:
        """Whether there is no engine, and one could be started."""
        return self.live and (self.contact in (Contact.NONE, Contact.STOPPED) or self.lost)

    @property
    def faded(self) -> bool:
        """Whether the figures have stopped moving and are drawn faded."""
        return self.mode == "live" and self.contact in (Contact.STALE, Contact.OFFLINE, Contact.STOPPED)

    @property
    def past_s(self) -> float | None:
        """How old the figures are of an engine that has ended or sends nothing any more; None of one at work."""
        gone = self.mode == "live" and self.contact in (Contact.OFFLINE, Contact.STOPPED)
        return self.age_s if gone and self.snapshot is not None else None

    @property
    def edge(self) -> str:
        """The token of frames: their colour tells live from frozen, scrubbed and replayed."""
        return {"live": "line", "frozen": "info", "scrub": "change"}[self.mode] if self.live else "warn"


EMPTY = Frame(None, 0.0, None, Contact.UNKNOWN)
"""Before anything is known."""


def contact_of(snapshot: Snapshot | None, age_s: float | None, has_answered: bool = True) -> Contact:
    """How an old snapshot becomes stale, then offline. ``has_answered``: the desk has answered at least once, with a snapshot or without."""
    if snapshot is None or age_s is None:
        return Contact.NONE if has_answered else Contact.UNKNOWN
    if snapshot.schema != SCHEMA:
        return Contact.FOREIGN
    state = snapshot.run.state
    if state == "stopped" or (state == "done" and age_s > STALE_AFTER_S):  # what ended with everything done is silent, not lost
        return Contact.STOPPED
    if age_s > OFFLINE_AFTER_S:
        return Contact.OFFLINE
    return Contact.STALE if age_s > STALE_AFTER_S else Contact.LIVE


class SnapshotAge:
    """How long ago the engine last sent a snapshot, by the reader's own clock.

    The first snapshot may be a row some engine left behind hours ago, so it is aged by the time written in it. From then on
    only its moving on counts: clocks of two machines need not agree.
    """

    def __init__(self) -> None:
        self._last: tuple[str, int] | None = None
        self._at = 0.0

    def of(self, snapshot: Snapshot | None, now: float) -> float | None:
        """Seconds since the snapshot last moved; None without one."""
        if snapshot is None:
            return None
        mark = (snapshot.engine, snapshot.seq)
        if mark != self._last:
            self._at = snapshot.wall if self._last is None else now
            self._last = mark
        return max(0.0, now - self._at)
