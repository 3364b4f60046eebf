"""Sources that are listed at intervals: which are due, which engine lists them, with what result. Kept in the database."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any

from gainstage.engine.backoff import doubled
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent
from gainstage.engine.options import RecordingOptions
from gainstage.engine.sources.local import place_of
from gainstage.engine.sources.policy import split_url
from gainstage.engine.sources.selection import Selection
from gainstage.engine.sources.ytdlp_list import SEARCH
from gainstage.engine.store.codec import document, plain
from gainstage.engine.store.database import Database

LEASE_S = 3600.0
"""A run longer than this many seconds may be taken over, even from a running engine."""
LEAST_S = 60.0
MOST_S = 366 * 86_400.0
FIRST_RETRY_S = 300.0


@dataclass(frozen=True, slots=True)
class Subscription:
    """A followed source. ``*_wall`` are epoch seconds; ``options`` are those of :class:`Selection` and :class:`RecordingOptions`, as given."""

    id: int
    source: str
    every_s: float
    options: dict[str, Any]
    priority: int
    next_wall: float
    running: str | None  # the engine that lists it now
    last_wall: float | None
    last_new: int | None
    last_error: str | None
    failures: int
    found: int

    @property
    def folder(self) -> Path | None:
        """The folder to watch, when the source is one."""
        return Path(self.source) if "://" not in self.source and Path(self.source).is_dir() else None


_COLUMNS = (
    "id, source, every_s, options, priority, extract(epoch from next_at)::float8,"
    " case when claimed_by in (select id from engine_alive) then claimed_by end, extract(epoch from last_at)::float8,"
    " last_new, last_error, failures, found"
)


class Subscriptions:
    """The stored subscriptions. Thread-safe; every call may raise :class:`gainstage.engine.errors.Transient`. ``now`` is in epoch
    seconds and defaults to the database's clock."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def follow(
        self, source: str, every_s: float, options: dict[str, Any] | None = None, *, priority: int = 0, now: float | None = None
    ) -> Subscription:
        """Follow a source, which is listed at once the first time; a followed source gets the new interval and options.

        Raises :class:`Permanent` for an invalid source, an interval out of range, or invalid options.
        """
        if not LEAST_S <= every_s <= MOST_S:
            raise Permanent(
                "follow at least every 60 s and at most every 366 days", cause="interval", hint="Write 90m, 6h, 2d or 1w."
            )
        Selection.of(options or {})
        RecordingOptions.of(options or {})
        with self.database.connection() as connection:
            row = connection.execute(
                f"""
                insert into subscription (source, every_s, options, priority, next_at) values (%s, %s, %s, %s, to_timestamp(%s))
                on conflict (source) do update set every_s = excluded.every_s, options = excluded.options,
                  priority = excluded.priority, next_at = excluded.next_at, failures = 0, last_error = null
                returning {_COLUMNS}
                """,
                [plain(absolute(source)), every_s, document(options or {}), priority, self._now(now)],
            ).fetchone()
        assert row is not None
        return Subscription(*row)

    def unfollow(self, which: str) -> Subscription:
        """End a subscription by its number or source. Raises :class:`Permanent` when there is no such subscription."""
        number = int(which) if re.fullmatch(r"\d{1,9}", which) else -1
        with self.database.connection() as connection:
            row = connection.execute(
                f"delete from subscription where id = %s or source = any(%s) returning {_COLUMNS}",
                [number, [plain(which), plain(_place(which))]],
            ).fetchone()
        if row is None:
            raise Permanent(
                f"not followed: {clean_text(which, 200)}", cause="not followed", hint="`gainstage following` lists all."
            )
        return Subscription(*row)

    def rows(self) -> tuple[Subscription, ...]:
        with self.database.connection() as connection:
            return tuple(Subscription(*row) for row in connection.execute(f"select {_COLUMNS} from subscription order by id"))

    def due(self, now: float | None = None, *, engine: str, busy: Collection[int] = ()) -> Subscription | None:
        """Claim a due subscription, the longest overdue first, except ``busy`` (those that this engine is listing). Claims of a
        dead engine are ignored.

        After several missed runs it is due once: the next run is at the first future time of its interval.
        """
        with self.database.transaction() as connection:
            row = connection.execute(
                f"""
                update subscription set claimed_by = %(engine)s, claimed_at = to_timestamp(%(now)s)
                where id = (
                  select id from subscription
                  where next_at <= to_timestamp(%(now)s) and id <> all(%(busy)s) and (claimed_by is null or claimed_by = %(engine)s
                    or claimed_by not in (select id from engine_alive) or claimed_at < to_timestamp(%(now)s - %(lease)s))
                  order by next_at, id limit 1 for update skip locked)
                returning {_COLUMNS}
                """,
                {"engine": engine, "now": self._now(now), "lease": LEASE_S, "busy": list(busy)},
            ).fetchone()
        return Subscription(*row) if row else None

    def done(self, claim: Subscription, new: int, *, engine: str, now: float | None = None) -> None:
        """Record a successful run with ``new`` recordings."""
        at = self._now(now)
        ahead = claim.next_wall + claim.every_s * (floor(max(0.0, at - claim.next_wall) / claim.every_s) + 1)
        self._end(claim, engine, at, ahead, "last_new = %s, found = found + %s, last_error = null, failures = 0", [new, new])

    def failed(self, claim: Subscription, error: str, *, retry: bool, engine: str, now: float | None = None) -> None:
        """Record a failed run: tried again soon when that can help (``retry``), else at the next interval."""
        at = self._now(now)
        soon = doubled(FIRST_RETRY_S, claim.failures, claim.every_s)
        self._end(
            claim, engine, at, at + (soon if retry else claim.every_s), "last_error = %s, failures = failures + 1", [plain(error)]
        )

    def hurry(self, id: int, now: float | None = None) -> None:
        """Make it due now, or again after the current run: its folder has changed."""
        with self.database.connection() as connection:
            connection.execute(
                "update subscription set next_at = case when claimed_by is null then least(next_at, to_timestamp(%(now)s))"
                " else to_timestamp(%(now)s) end where id = %(id)s",
                {"id": id, "now": self._now(now)},
            )

    def _end(self, claim: Subscription, engine: str, at: float, ahead: float, result: str, values: list[Any]) -> None:
        """End a run; a time set during the run (hurried, followed again) is kept."""
        with self.database.connection() as connection:
            connection.execute(
                f"update subscription set claimed_by = null, claimed_at = null, last_at = to_timestamp(%s), next_at = case when"
                f" abs(extract(epoch from next_at) - %s) < 0.001 then to_timestamp(%s) else next_at end, {result}"
                " where id = %s and claimed_by = %s",
                [at, claim.next_wall, ahead, *values, claim.id, engine],
            )

    def _now(self, now: float | None) -> float:
        return self.database.clock.now() if now is None else now


def absolute(source: str) -> str:
    """A source in a form that is valid from every folder. Raises :class:`Permanent` for an invalid address or path."""
    if SEARCH.match(source):
        return source
    if "://" in source:
        split_url(source)
        return source
    place = place_of(source).absolute()
    if not os.path.exists(place):
        raise Permanent(
            f"no such file or folder: {clean_text(source, 300)}", cause="missing source", hint="Give a file, a folder or a URL."
        )
    return str(place)


def _place(source: str) -> str:
    return source if "://" in source or SEARCH.match(source) else str(Path(os.path.expanduser(source)).absolute())
