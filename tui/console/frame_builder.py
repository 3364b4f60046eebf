"""Frames made from what the poller brings: the snapshot to draw, its age, and how the engine can be reached."""

from __future__ import annotations

from gainstage.engine.views.desk import Desk
from gainstage.engine.views.scopes import scoped
from gainstage.engine.views.snapshot import ScopeName, Snapshot
from gainstage.tui.console.poller import News
from gainstage.tui.console.timeline import Timeline
from gainstage.tui.state.frame import Frame, SnapshotAge, contact_of


class FrameBuilder:
    """``newest`` is the newest snapshot, also while the timeline shows an older one. ``scope`` is what frames are about."""

    def __init__(self, desk: Desk, timeline: Timeline, *, read_only: bool) -> None:
        self._desk, self._timeline, self._read_only = desk, timeline, read_only
        self.newest: Snapshot | None = None
        self.scope: ScopeName = "run"
        self._age = SnapshotAge()
        self._error: str | None = None
        self._engines = 1
        self._has_answered = False

    def note(self, news: News) -> None:
        """Keep what arrived."""
        self._timeline.arrived(news.frames)
        self.newest = news.snapshot or self.newest
        self._error, self._engines, self._has_answered = news.error, news.engines, news.has_answered

    def frame(self, now: float) -> Frame:
        """The frame to draw at a time of the desk's clock."""
        timeline = self._timeline
        age = self._age.of(self.newest, now)
        shown = timeline.shown(self.newest)
        return Frame(
            snapshot=None if shown is None else scoped(shown, self.scope),
            now=now,
            age_s=age,
            contact=contact_of(self.newest, age, self._has_answered),
            mode=timeline.mode,
            frozen_for_s=now - timeline.since if timeline.mode != "live" else 0.0,
            newer=timeline.newer,
            label=self._desk.label,
            live=self._desk.live,
            read_only=self._read_only,
            error=self._error,
            engines=self._engines,
            pace=self._pace(),
        )

    def _pace(self) -> str:
        playback = self._desk.playback
        if playback is None:
            return ""
        return "paused" if not playback.playing else f"×{playback.speed:g}" if playback.speed != 1.0 else ""
