"""The poller: a thread of its own asks the desk, the screen takes what has come. The two never wait for each other.

The desk may block for as long as a database cares to; so every question to it is asked here, off the thread that draws.
Commands and one-off queries go by short workers instead (see :mod:`gainstage.tui.console.app`), so that a slow search never ages the frame.
"""

from __future__ import annotations

import threading
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from gainstage.engine.views.commands import Ack, DeskError
from gainstage.engine.views.desk import Desk
from gainstage.engine.views.events import EVENTS_KEPT, Event
from gainstage.engine.views.snapshot import Snapshot
from gainstage.tui.console.ring import Ring
from gainstage.tui.state.feeds import Feed, FeedResult

ACK_EVERY_S = 0.1
SILENT_AFTER_S = 2.0
"""A desk that has not answered for this long counts as silent: nothing is known of the engine then."""


@dataclass(slots=True)
class News:
    """Everything that arrived since it was last taken."""

    snapshot: Snapshot | None = None
    frames: int = 0
    events: list[Event] = field(default_factory=list)
    dropped: int = 0
    answers: dict[str, FeedResult] = field(default_factory=dict)
    acks: list[Ack] = field(default_factory=list)
    error: str | None = None
    engines: int = 1
    has_answered: bool = False  # the desk has answered a request, or given an error
    broken: str | None = None  # traceback of the reader, when it died


class Poller:
    """Owns the reader thread ``console-reader`` and the ring of past frames."""

    def __init__(self, desk: Desk, hz: float = 4.0) -> None:
        self._desk = desk
        self.hz = hz
        self.ring = Ring()
        self._lock = threading.Lock()
        self._news = News()
        self._feeds: tuple[Feed, ...] = ()
        self._due: dict[Feed, float] = {}
        self._following: tuple[int, ...] = ()
        self._cursor = 0
        self._seen: tuple[str, int] | None = None
        self._engines_due = 0.0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._asked_at: float | None = None

    def start(self) -> None:
        """Start the reader."""
        self._thread = threading.Thread(target=self._run, name="console-reader", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Ask the reader to end and wait a little: a desk that hangs does not keep the console open."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    @property
    def alive(self) -> bool:
        """Whether the reader runs."""
        return self._thread is not None and self._thread.is_alive()

    def watch(self, feeds: tuple[Feed, ...]) -> None:
        """Replace the questions asked; new ones are asked at once."""
        with self._lock:
            self._feeds = feeds
            self._news.answers = {n: a for n, a in self._news.answers.items() if a.feed in feeds}
        self._wake.set()

    def follow(self, command: int) -> None:
        """Ask for a command's acknowledgement until it is final."""
        with self._lock:
            self._following = (*self._following, command)
        self._wake.set()

    def take(self) -> News:
        """What arrived since the last call."""
        with self._lock:
            news = self._news
            self._news = News(error=news.error, engines=news.engines, has_answered=news.has_answered, broken=news.broken)
            asked_at = self._asked_at
        if asked_at is not None and time.monotonic() - asked_at > SILENT_AFTER_S:
            news.error = f"the database has not answered for {time.monotonic() - asked_at:.0f} s"
        return news

    def poll(self) -> None:
        """One round of questions. Called by the reader; tests call it themselves and start none."""
        error = self._poll_engine()
        with self._lock:
            feeds, following = self._feeds, self._following
        self._due = {feed: due for feed, due in self._due.items() if feed in feeds}
        now = self._desk.now()
        for feed in feeds:
            if self._due.get(feed, now) > now:
                continue
            try:
                answer = FeedResult(feed, self._desk_call(feed))
            except DeskError as problem:
                answer = FeedResult(feed, error=str(problem))
            self._due[feed] = now + feed.every_s if feed.every_s > 0 else float("inf")
            with self._lock:
                if feed in self._feeds:
                    self._news.answers[feed.name] = answer
        for command in following:
            try:
                ack = self._desk.ack(command)
            except DeskError as problem:
                ack = Ack(command, "expired", str(problem))
            if ack.state != "pending":
                with self._lock:
                    self._following = tuple(c for c in self._following if c != command)
                    self._news.acks.append(ack)
        with self._lock:
            self._news.error = error

    def _desk_call(self, feed: Feed) -> Any:
        return feed.ask(self._desk)

    def _poll_engine(self) -> str | None:
        error: str | None = None
        snapshot: Snapshot | None = None
        events, dropped = [], 0
        try:
            snapshot = self._desk.snapshot()
            fresh_events = self._desk.events(self._cursor)
            events, dropped, self._cursor = list(fresh_events.items), fresh_events.dropped, fresh_events.cursor
            if self._desk.now() >= self._engines_due:
                engines = sum(e.alive for e in self._desk.engines())
                self._engines_due = self._desk.now() + 2.0
                with self._lock:
                    self._news.engines = engines
        except DeskError as problem:
            error = str(problem)
        mark = (snapshot.engine, snapshot.seq) if snapshot else None
        fresh = snapshot is not None and mark != self._seen
        self._seen = mark or self._seen
        with self._lock:
            if snapshot is not None:
                self._news.snapshot = snapshot
                self._news.frames += fresh
            self._news.events = [*self._news.events, *events][-EVENTS_KEPT:]
            self._news.dropped += dropped
            self._news.has_answered = True
        if fresh and snapshot is not None:
            self.ring.add(snapshot)
        return error

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._asked_at = time.monotonic()
                self.poll()
                self._asked_at = None
                with self._lock:
                    hurried = bool(self._following)
                self._wake.wait(ACK_EVERY_S if hurried else 1.0 / self.hz)
                self._wake.clear()
        except Exception:  # the thread ends here; the console shows it and keeps its last frame
            with self._lock:
                self._news.broken = traceback.format_exc()
