"""Where in time the operator looks: live, frozen, or somewhere in the last two hours."""

from __future__ import annotations

from datetime import datetime

from gainstage.engine.views.snapshot import Snapshot
from gainstage.tui.console.ring import Ring
from gainstage.tui.state.frame import Mode


class Timeline:
    """Live shows what comes; frozen keeps one picture; scrub shows a frame of the ring. The work goes on in all three."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self.mode: Mode = "live"
        self.kept: Snapshot | None = None
        self.since = 0.0
        self.newer = 0

    def shown(self, newest: Snapshot | None) -> Snapshot | None:
        """The snapshot to draw."""
        return newest if self.mode == "live" else self.kept

    def arrived(self, frames: int) -> None:
        """Count frames that came while the view showed an older one."""
        if self.mode != "live":
            self.newer += frames

    def freeze(self, newest: Snapshot | None, now: float) -> bool:
        """Freeze the picture, or go back to live. Returns whether it is frozen now."""
        if self.mode != "live":
            self.live()
            return False
        self.mode, self.kept, self.since, self.newer = "frozen", newest, now, 0
        return True

    def scrub(self, newest: Snapshot | None, now: float, frames: int) -> str | None:
        """Move through the ring; returns why not, in words, when there is nowhere to go."""
        here = self.kept if self.mode != "live" else newest
        if here is None or not len(self._ring):
            return "no frames yet"
        if self.mode == "live" and frames > 0:
            return "this is the newest frame"
        wall = self._ring.step(here.wall, frames)
        frame = self._ring.at(wall) if wall is not None else None
        if frame is None or frame.wall == here.wall:
            return "no older frame" if frames < 0 else "no newer frame"
        if self.mode == "live":
            self.since, self.newer = now, 0
        self.mode, self.kept = "scrub", frame
        return None

    def move(self, newest: Snapshot | None, now: float, seconds: float) -> str | None:
        """Move so many seconds, however far the frames there are apart; returns why not, in words, when there is nowhere to go."""
        here, walls = self.shown(newest), self._ring.walls()
        if here is None or newest is None or not walls:
            return "no frames yet"
        if self.mode == "live" and seconds > 0:
            return "this is the newest frame"
        frame = self._ring.at(max(here.wall + seconds, walls[0]))
        if seconds > 0 and frame is not None and frame.wall <= here.wall:  # they are farther apart than that
            return self.scrub(newest, now, 1)
        if seconds < 0 and (frame is None or frame.wall >= here.wall):
            return "no older frame"
        return self.to(newest, now, max(here.wall + seconds, walls[0]))

    def to(self, newest: Snapshot | None, now: float, wall: float) -> str | None:
        """Show the frame of a time; returns why not, in words, when none is kept of it."""
        walls = self._ring.walls()
        if not walls or newest is None:
            return "no frames yet"
        if wall >= newest.wall:
            self.live()
            return None
        if wall < walls[0] - 1.0:
            return f"frames are kept back to {datetime.fromtimestamp(walls[0]):%H:%M:%S}"
        if self.mode == "live":
            self.since, self.newer = now, 0
        self.mode, self.kept = "scrub", self._ring.at(wall)
        return None

    def live(self) -> None:
        """Back to now."""
        self.mode, self.kept, self.newer = "live", None, 0
