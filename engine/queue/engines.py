"""The engines of a database: who lives, what each does, its newest frame, and two hours of frames."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gainstage.config.origins import Loaded, shown_with_origins
from gainstage.config.paths import ENGINE_LOCK, Paths
from gainstage.engine.flow.locks import FileLock
from gainstage.engine.queue import commands
from gainstage.engine.queue.events import write_events
from gainstage.engine.queue.rows import document, plain
from gainstage.engine.store.database import Database
from gainstage.engine.views.events import Event
from gainstage.engine.views.frame_json import dumps, loads
from gainstage.engine.views.rows import EngineEnd, EngineRow
from gainstage.engine.views.snapshot import RunState, Snapshot

HISTORY_EVERY_S = 10.0
HISTORY_S = 7200.0
PLACES_EVERY_S = 0.9
WATCHED_S = 10.0
"""A console that watches says so at least this often."""

FEW = 4
"""Up to this many engines a console asks each for five frames a second."""

FORGOTTEN_S = 7 * 86_400.0
"""Engines silent for longer than this are taken off the list when a new one starts."""

ENDED = "ended = now(), doing = '', state = case when state in ('done', 'stopped') then state else 'died' end"
"""What is written of an engine that is known to be gone and never signed off; one that had finished stays so."""


class EngineRegistry:
    """One engine's place in the table of engines. Thread-safe; every call raises Transient in an outage."""

    def __init__(self, db: Database, engine_id: str) -> None:
        self.db = db
        self.engine_id = engine_id
        self._watched = False
        self._history_at = float("-inf")
        self._places: dict[str, str] = {}
        self._placed_at = float("-inf")
        self._lock = threading.Lock()

    @property
    def watched(self) -> bool:
        """Whether a console was watching at the last :meth:`publish`."""
        return self._watched

    def register(self, paths: Paths, started_wall: float, loaded: Loaded, *, lease_s: float | None = None) -> None:
        """Appear as starting, to be taken for lost when silent for ``lease_s`` (else ``queue.stalled`` of ``loaded``).

        An engine of the same host and home that never signed off is dead (a home has one engine at a time) and is marked as
        ended. Call it before :meth:`gainstage.engine.queue.jobs.JobQueue.register`.
        """
        from importlib.metadata import version

        host, home = socket.gethostname(), str(paths.own)
        with self.db.transaction() as connection:
            connection.execute(
                f"update engine set {ENDED} where host = %s and home = %s and id <> %s and ended is null",
                [host, home, self.engine_id],
            )
            connection.execute("delete from engine where heartbeat < now() - make_interval(secs => %s)", [FORGOTTEN_S])
            connection.execute("delete from engine_frame f where not exists (select 1 from engine e where e.id = f.engine)")
            connection.execute("delete from snapshot_history h where at < now() - make_interval(secs => %s)", [HISTORY_S])
            commands.void(connection, self.engine_id)
            commands.forget(connection)
            connection.execute(
                "insert into engine (id, host, pid, home, version, state, lease_s, started, settings) "
                "values (%s, %s, %s, %s, %s, 'starting', %s, to_timestamp(%s), %s) on conflict (id) do update set "
                "pid = excluded.pid, state = 'starting', ended = null, heartbeat = now(), settings = excluded.settings",
                [
                    self.engine_id,
                    host,
                    os.getpid(),
                    home,
                    version("gainstage"),
                    loaded.settings.queue.stalled if lease_s is None else lease_s,
                    started_wall,
                    document(shown_with_origins(loaded)),
                ],
            )

    def unregister(self, state: str = "stopped") -> None:
        """Sign off; the row stays for a while with its last state."""
        with self.db.transaction() as connection:
            connection.execute(
                "update engine set state = %s, doing = '', ended = now(), worker = null where id = %s", [state, self.engine_id]
            )

    def publish(self, snapshot: Snapshot) -> bool:
        """Show a frame (and keep one each 10 s); says whether a console watches, who wants five a second, else one is enough."""
        frame = plain(dumps(snapshot))
        with self._lock:
            keep = time.monotonic() - self._history_at >= HISTORY_EVERY_S
            if keep:
                self._history_at = time.monotonic()
            moved = self._moved(snapshot)
        with self.db.connection() as connection:
            # one statement, one trip; its commit need not wait for the disk: a frame lost in a crash is a frame of the past
            row = connection.execute(
                """
                with quick as materialized (select set_config('synchronous_commit', 'off', true)),
                frame as (
                  insert into engine_frame (engine, frame) values (%(id)s, %(frame)s)
                  on conflict (engine) do update set frame = excluded.frame, at = now()
                )
                update engine set heartbeat = now(), state = %(state)s, doing = %(doing)s from quick where id = %(id)s
                returning watched_until > now()
                """,
                {"id": self.engine_id, "frame": frame, "state": snapshot.run.state, "doing": doing(snapshot)},
            ).fetchone()
            if keep:
                connection.execute(
                    """
                    with quick as materialized (select set_config('synchronous_commit', 'off', true)),
                    old as (
                      delete from snapshot_history using quick where engine = %(id)s and at < now() - make_interval(secs => %(kept)s)
                    )
                    insert into snapshot_history (engine, frame) select %(id)s, %(frame)s::text from quick
                    """,
                    {"id": self.engine_id, "frame": frame, "kept": HISTORY_S},
                )
        self._watched = bool(row and row[0])
        if moved:
            self._write_places(moved)
        return self._watched

    def _moved(self, snapshot: Snapshot) -> dict[str, str]:
        """Recordings that stand elsewhere than their rows say, asked once a second; the live places are in the frame."""
        if time.monotonic() - self._placed_at < PLACES_EVERY_S:
            return {}
        self._placed_at = time.monotonic()
        places = {flight.id: flight.stage for flight in snapshot.flights}
        moved = {id: stage for id, stage in places.items() if self._places.get(id) != stage}
        self._places = places
        return moved

    def _write_places(self, moved: dict[str, str]) -> None:
        """Where recordings stand, into their rows, so that lists can show and filter it; a row in use waits for the next move."""
        with self.db.transaction() as connection:
            connection.execute("set local synchronous_commit = off")
            connection.execute(
                """
                with free as (
                  select r.id, place.stage from recording r
                  join unnest(%s::text[], %s::text[]) as place (id, stage) on place.id = r.id
                  where r.status = 'running' and r.engine = %s for update of r skip locked
                )
                update recording r set stage = free.stage from free where r.id = free.id
                """,
                [list(moved), list(moved.values()), self.engine_id],
            )

    def add_events(self, events: Sequence[Event]) -> None:
        """Write a batch of the journal's lines for consoles to read."""
        write_events(self.db, self.engine_id, events)


def doing(snapshot: Snapshot) -> str:
    """What an engine does, in a few words."""
    if not snapshot.flights:
        return snapshot.run.reason or ""
    stages: dict[str, int] = {}
    for flight in snapshot.flights:
        stages[flight.stage] = stages.get(flight.stage, 0) + 1
    return f"{len(snapshot.flights)} in flight: " + ", ".join(f"{n} {stage or 'entering'}" for stage, n in stages.items())


def end_dead(db: Database) -> tuple[str, ...]:
    """Mark as ended the engines of this host that are certainly gone, without waiting for their lease; returns their ids.

    Certain is: the lock of the engine's home is free, which it holds for its whole life, and no process has its number.
    """
    with db.connection() as connection:
        rows = connection.execute(
            "select id, pid, home from engine where host = %s and ended is null", [socket.gethostname()]
        ).fetchall()
        gone = [str(id) for id, pid, home in rows if FileLock(Path(home) / ENGINE_LOCK).is_free() and not _runs(pid)]
        if gone:
            connection.execute(f"update engine set {ENDED} where id = any(%s) and ended is null", [gone])
    return tuple(gone)


def _runs(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it is there, and closed to us
        return True


def list_engines(db: Database) -> tuple[EngineRow, ...]:
    """Engines that live, that were lost (silent beyond their lease without signing off), and that ended within the hour;
    the living first, the newest heartbeat before the older.
    """
    with db.transaction() as connection:
        rows = connection.execute(
            """
            select e.id, e.host, e.pid, case when e.ended is null and a.id is null then 'lost' else e.state end,
              extract(epoch from now() - e.heartbeat)::float8, case when a.id is null then '' else e.doing end, e.version
            from engine e left join engine_alive a on a.id = e.id
            where e.ended is null or e.ended > now() - interval '1 hour'
            order by a.id is null, e.heartbeat desc
            """
        )
        return tuple(EngineRow(*row) for row in rows)


def last_ended(db: Database) -> EngineEnd | None:
    """The engine that ended last, whenever that was; None where none has."""
    with db.transaction() as connection:
        row = connection.execute(
            """
            select e.id, e.host, e.pid, e.home, case when e.ended is null then 'lost' else e.state end,
              extract(epoch from e.started)::float8,
              extract(epoch from case when e.state in ('done', 'stopped') then coalesce(e.ended, e.heartbeat) else e.heartbeat end)::float8,
              (select v.text from event v where v.engine = e.id and v.level in ('warning', 'error') order by v.seq desc limit 1)
            from engine e where not exists (select 1 from engine_alive a where a.id = e.id)
            order by coalesce(e.ended, e.heartbeat) desc limit 1
            """
        ).fetchone()
    return None if row is None else EngineEnd(*row)


@dataclass(frozen=True, slots=True)
class Seen:
    """One engine as a console finds it. ``settings`` are its own layers by key: (value, origin). ``ended`` is the state it
    signed off with, None before."""

    id: str
    alive: bool
    frame: Snapshot | None
    settings: dict[str, tuple[Any, str]]
    ended: RunState | None = None
    silent_s: float = 0.0  # since its last heartbeat


def look(db: Database, engine: str | None = None, *, watching: bool = False, frame: bool = True) -> Seen | None:
    """The engine named, else the one with the newest heartbeat; None when there is none. ``watching`` asks it for 5 frames
    a second for the next ten seconds.
    """
    with db.transaction() as connection:
        row = connection.execute(
            """
            select e.id, exists (select 1 from engine_alive a where a.id = e.id), e.settings,
              case when %(frame)s then (select f.frame from engine_frame f where f.engine = e.id) end,
              case when e.ended is not null then e.state end, extract(epoch from now() - e.heartbeat)::float8
            from engine e where %(engine)s::text is null or e.id = %(engine)s
            order by e.ended is not null, e.heartbeat desc limit 1
            """,
            {"engine": engine, "frame": frame},
        ).fetchone()
        if row is None:
            return None
        id, alive, settings, text, ended, silent_s = row
        if watching:
            connection.execute("set local synchronous_commit = off")
            connection.execute("update engine set watched_until = now() + make_interval(secs => %s) where id = %s", [WATCHED_S, id])
    own = {key: (value, origin) for key, (value, origin) in settings.items()}
    return Seen(id, alive, loads(text) if text else None, own, ended, silent_s)


@dataclass(frozen=True, slots=True)
class Published:
    """The newest frame of an engine that lives. ``text`` is None where it is the one the caller has."""

    engine: str
    at: datetime
    text: str | None


def look_at_all(
    db: Database, have: Mapping[str, datetime], *, watching: bool = False, most: int | None = None
) -> tuple[Published, ...]:
    """The newest frame of every living engine, in the order they signed on; the text of those newer than ``have`` alone, of at most
    ``most`` known ones, those first that were read longest ago. ``watching`` asks for five frames a second where they are few: a
    console that adds up many gets one a second from each.
    """
    with db.transaction() as connection:
        rows = connection.execute(
            """
            with living as (
              select e.id, e.started, f.at, known.at as known
              from engine_alive a join engine e on e.id = a.id join engine_frame f on f.engine = e.id
              left join unnest(%s::text[], %s::timestamptz[]) as known (engine, at) on known.engine = e.id
            ),
            fresh as (
              select id from living where known is null
              union all (select id from living where at <> known order by known limit %s::int)
            )
            select l.id, case when fresh.id is null then l.known else l.at end, f.frame
            from living l left join fresh using (id) left join engine_frame f on f.engine = fresh.id
            order by l.started, l.id
            """,
            [list(have), list(have.values()), most],
        ).fetchall()
        if watching and len(rows) <= FEW:
            connection.execute("set local synchronous_commit = off")
            connection.execute(
                "update engine set watched_until = now() + make_interval(secs => %s) where id = any(%s)",
                [WATCHED_S, [id for id, *_ in rows]],
            )
    return tuple(Published(*row) for row in rows)


def frames(db: Database, engine: str, seconds: float) -> tuple[Snapshot, ...]:
    """The kept frames of the last ``seconds``, oldest first, at most two hours."""
    with db.transaction() as connection:
        rows = connection.execute(
            "select frame from snapshot_history where engine = %s and at > now() - make_interval(secs => %s) order by at",
            [engine, min(seconds, HISTORY_S)],
        ).fetchall()
    return tuple(loads(text) for (text,) in rows)


def frames_of_all(db: Database, seconds: float, most: int) -> tuple[tuple[Snapshot, ...], ...]:
    """The kept frames of all engines of the last ``seconds``, those of a moment together, oldest first; about ``most`` in all."""
    seconds = min(seconds, HISTORY_S)
    with db.transaction() as connection:
        recent = "from snapshot_history where at > now() - make_interval(secs => %(seconds)s)"
        ((engines,),) = connection.execute(f"select count(distinct engine) {recent}", {"seconds": seconds}).fetchall()
        every_s = max(HISTORY_EVERY_S, seconds * engines / most)
        rows = connection.execute(
            f"select distinct on (moment, engine) floor(extract(epoch from at) / %(every)s) as moment, frame {recent}"
            " order by moment, engine, at desc",
            {"seconds": seconds, "every": every_s},
        ).fetchall()
    moments: dict[Any, list[Snapshot]] = {}
    for moment, text in rows:
        moments.setdefault(moment, []).append(loads(text))
    return tuple(map(tuple, moments.values()))
