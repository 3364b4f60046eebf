"""Settings that change while engines run: the holder every part reads, and the thread that follows the database.

Effective settings are the engine's own layers (see :mod:`gainstage.config.origins`) with the live values of table ``setting`` on top.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gainstage.config.origins import RETIRED, explain, nearest
from gainstage.config.setting_keys import split_scope
from gainstage.config.settings import SPECS, Settings, changed, value_of
from gainstage.engine.backoff import Backoff
from gainstage.engine.errors import EngineError
from gainstage.engine.queue import commands
from gainstage.engine.queue.inbox import Handle, Inbox, Report
from gainstage.engine.queue.rows import Link
from gainstage.engine.store.database import Database

PROBE_S = 3.0
"""A silent connection is asked this often whether it lives; the tables are read again then too, so a lost note costs this long."""
ASK_EVERY_S = 0.5
"""Between two readings where a pooler lets no notes through."""
SLICE_S = 0.25
"""Longest wait for a note at a stretch, so that the thread ends promptly when asked to."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0
"""Between two tries to reconnect."""

OnSettings = Callable[[set[str], Settings, Settings, int], None]
"""Called with the changed keys, the settings before and after, and the revision. Raises EngineError where it cannot act."""


@dataclass(frozen=True, slots=True)
class Current:
    """Settings and the revision they are, read together."""

    settings: Settings
    revision: int


class LiveSettings:
    """The settings in force, swapped as a whole. Reading takes no lock; subscribers are called one change at a time."""

    def __init__(self, base: Settings, places: Sequence[str] = ()) -> None:
        """``places`` are the scopes whose values hold here, the wider before the narrower."""
        self.base = base
        self.places = places
        self._state = Current(base, 0)
        self._ignored: dict[str, str] = {}
        self._subscribers: list[OnSettings] = []
        self._turn = threading.RLock()

    @property
    def current(self) -> Settings:
        return self._state.settings

    @property
    def revision(self) -> int:
        """Number of the last change seen; 0 before the first."""
        return self._state.revision

    def current_with_revision(self) -> Current:
        return self._state

    def subscribe(self, callback: OnSettings) -> None:
        """Call ``callback`` after every change."""
        with self._turn:
            self._subscribers.append(callback)

    def load(self, overrides: Mapping[str, Any], revision: int) -> tuple[str, ...]:
        """Take the live values of ``revision`` (an older one than seen is left alone).

        Returns in words what subscribers refused, and what this version cannot take (an unknown key, a value now out of
        range) where that is new: such values are left out.
        """
        with self._turn:
            old = self._state
            if revision < old.revision:
                return ()
            new, ignored = self.base, {}
            for key, value in values_at(overrides, self.places).items():
                try:
                    new = changed(new, key, value)
                except KeyError:
                    ignored[key] = "unknown setting" + (nearest(key) if key in RETIRED else "")
                except ValidationError as error:
                    ignored[key] = explain(error)
            news = tuple(f"{key} is left out: {why}" for key, why in ignored.items() if self._ignored.get(key) != why)
            self._ignored = ignored
            self._state = Current(new, revision)
            keys = {key for key in SPECS if value_of(old.settings, key) != value_of(new, key)}
            return (*news, *self._notify(keys, old.settings, new, revision)) if keys else news

    def _notify(self, keys: set[str], old: Settings, new: Settings, revision: int) -> tuple[str, ...]:
        refused = []
        for callback in tuple(self._subscribers):
            try:
                callback(keys, old, new, revision)
            except EngineError as error:
                refused.append(error.message)
        return tuple(refused)


def values_at(values: Mapping[str, Any], places: Sequence[str]) -> dict[str, Any]:
    """The live values that hold at ``places``: those for all engines, over them those of each place in turn."""
    everywhere = {key: value for key, value in values.items() if "@" not in key}
    for place in places:
        everywhere |= {name: value for key, value in values.items() for name, scope in [split_scope(key)] if scope == place}
    return everywhere


def read_live(connection: Link) -> tuple[dict[str, Any], int]:
    """The live values and the revision they are, in one statement. An engine loads them before it builds its parts, so that
    settings which act at the next start do.
    """
    ((revision, values),) = connection.execute(
        "select (select coalesce(max(revision), 0) from change where not refused), "
        "(select coalesce(jsonb_object_agg(key, value), '{}') from setting)"
    ).fetchall()
    return values, revision


class Follower(threading.Thread):
    """One LISTEN connection of an engine, for settings, commands and news of the queue alike.

    It listens first and then reads, so that nothing falls in between; drains a burst of notes into one reading; probes a
    silent connection; and reconnects for ever. ``on_command`` runs on a thread of its own (see :class:`gainstage.engine.queue.inbox.Inbox`),
    ``on_settings`` and ``on_jobs`` on this one. ``report`` gets the faults of both threads.
    """

    def __init__(
        self,
        db: Database,
        engine_id: str,
        *,
        live: LiveSettings,
        report: Report,
        on_settings: OnSettings | None = None,
        on_command: Handle | None = None,
        on_jobs: Callable[[], None] | None = None,
        probe_s: float = PROBE_S,
    ) -> None:
        super().__init__(name="follower", daemon=True)
        self.db = db
        self.engine_id = engine_id
        self.live = live
        self.reconnects = 0
        self.connected = threading.Event()
        self.inbox = Inbox(db, engine_id, on_command, report) if on_command else None
        self._report = report
        self._on_jobs = on_jobs
        self._probe_s = probe_s
        self._ending = threading.Event()
        if on_settings:
            live.subscribe(on_settings)

    def start(self) -> None:
        if self.inbox:
            self.inbox.start()
        super().start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the thread and its connection; waits for both."""
        self._ending.set()
        if self.ident is not None:
            self.join(timeout_s)
        if self.inbox:
            self.inbox.stop(timeout_s)

    def run(self) -> None:
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                self._follow()
            except Exception as error:  # away, or the login was changed: either may pass; a deaf engine helps nobody
                if not isinstance(error, EngineError):
                    self._report("following the database", error)
                self.connected.clear()
                self.reconnects += 1
                if time.monotonic() - began > LONGEST_WAIT_S:
                    backoff.reset()
                self._ending.wait(backoff.next())

    def _follow(self) -> None:
        """Listen until the connection is lost or the thread is to end; where nothing can be heard, ask again and again."""
        if not self.db.can_listen:
            while not self._ending.is_set():
                with self.db.transaction() as connection:
                    self._read(connection, {"settings", "commands", "queue"})
                self.connected.set()
                self._ending.wait(ASK_EVERY_S)
            return
        with self.db.own_connection() as connection:
            connection.execute("listen gainstage")
            topics = {"settings", "commands", "queue"}
            while not self._ending.is_set():
                self._read(connection, topics)
                self.connected.set()
                topics = self._wait(connection) or {"settings", "commands"}

    def _wait(self, connection: Link) -> set[str]:
        """Topics of the notes that came, a burst as one; empty when it is time to probe (or to end)."""
        probe_at = time.monotonic() + self._probe_s
        while not self._ending.is_set() and time.monotonic() < probe_at:
            topics = {note.payload for note in connection.notifies(timeout=SLICE_S, stop_after=1)}
            if topics:
                return topics | {note.payload for note in connection.notifies(timeout=0)}
        return set()

    def _read(self, connection: Link, topics: set[str]) -> None:
        if "settings" in topics:
            self._read_settings(connection)
        if "commands" in topics and self.inbox:
            for received in commands.pending(connection, self.engine_id):
                self.inbox.put(received)
        if "queue" in topics and self._on_jobs:
            self._on_jobs()

    def _read_settings(self, connection: Link) -> None:
        values, revision = read_live(connection)
        before = self.live.revision
        refused = self.live.load(values, revision)
        if revision > before:
            connection.execute(
                """
                insert into change_answer (change, engine, after_s, refused, text)
                select id, %(engine)s, extract(epoch from clock_timestamp() - at), %(refused)s, %(text)s from change
                where not refused and revision > %(before)s and revision <= %(now)s and %(engine)s = any(asked)
                on conflict do nothing
                """,
                {
                    "engine": self.engine_id,
                    "refused": bool(refused),
                    "text": "; ".join(refused),
                    "before": before,
                    "now": revision,
                },
            )
            connection.execute("update engine set revision = %s where id = %s", [revision, self.engine_id])
