"""Reading recordings: the rows of a table at 100,000, one with all that is known of it, failures by cause, decisions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow, class_row
from psycopg.sql import SQL, Composable, Identifier

from gainstage.engine.options import RecordingOptions
from gainstage.engine.store.codec import decision_of, plain, span_of
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Balance, Decision, Recording, RecordingWarning, Status
from gainstage.engine.views.rows import FailureGroup, Query, RecordingPage, RecordingRow, Span
from gainstage.engine.views.snapshot import DecisionRow

TITLE = SQL("substr(find, length(id) + 2)")
"""The title as it is searched (in lower case, its first 250 characters): that is in the index, the whole title is not."""

SORTS = {
    **{name: name for name in ("changed", "added", "title", "duration", "status", "stage", "priority", "attempt", "cause", "id")},
    **{name: name for name in ("segments", "speakers", "stored", "channel", "published")},
    "duration_s": "duration",
    "changed_wall": "changed",
    "added_wall": "added",
}
"""What a page may be sorted by: the column behind each name."""

NEVER_NULL = ("changed", "added", "title", "status", "priority", "attempt", "id")

MOST_IDS = 500
"""Ids a failure group lists; its count is of all."""

ALL = SQL("true")

_ROW = """id, title, source, status, duration as duration_s, stage, attempt, %(attempts)s::int as attempts, priority,
    extract(epoch from added)::float8 as added_wall, extract(epoch from changed)::float8 as changed_wall, segments, speakers,
    cause, error, hint, engine, extract(epoch from next_try)::float8 as next_try_wall,
    case when source ~ '^https?://' then source end as url,
    case when status = 'stored' then warnings -> 0 ->> 'cause' end as warning,
    extract(epoch from stored)::float8 as stored_wall"""


@dataclass(frozen=True, slots=True)
class StoredRecording:
    """All that is known of one recording but its segments and decisions."""

    recording: Recording
    row: RecordingRow
    facts: dict[str, Any]
    spans: tuple[Span, ...]
    balance: Balance | None
    revision: int | None
    fingerprint: str | None
    duplicate_of: str | None
    retryable: bool | None
    traceback: str | None
    stored_wall: float | None
    warnings: tuple[RecordingWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision with its number and its recording."""

    id: int
    wall: float
    recording: str
    title: str
    decision: Decision

    def row(self) -> DecisionRow:
        """The decision as the console's feed shows it."""
        d = self.decision
        threshold = next((score.threshold for score in d.scores if score.primary), None)
        return DecisionRow(
            id=self.id,
            wall=self.wall,
            recording=self.recording,
            title=self.title,
            cluster=d.cluster,
            turns=d.turns,
            seconds=d.seconds,
            mean=d.mean,
            variance=d.variance,
            low=d.low,
            high=d.high,
            range=d.spread,
            similarities=d.similarities,
            split=d.split,
            massive=d.massive,
            rule=d.rule,
            speakers=tuple(sorted(d.seconds_by_speaker.items(), key=lambda pair: -pair[1])),
            why=d.why,
            revision=d.revision,
            threshold=threshold,
            variance_spreads=d.variance_spreads,
            range_spreads=d.range_spreads,
        )


def page(db: Database, query: Query, attempts: int) -> RecordingPage:
    """The rows of a filtered, sorted table, with the counts of all and of those that match. ``ValueError`` for an unknown sort."""
    if query.sort not in SORTS:
        raise ValueError(f"recordings are not sorted by {query.sort!r}: use one of {', '.join(SORTS)}")
    where, values = _filter(query)
    limit, offset = max(0, query.limit), max(0, query.offset)
    values |= {"attempts": attempts, "limit": limit, "offset": offset}
    order = _order(SORTS[query.sort], query.descending)
    # the keys of the page first, from an index: the wide rows are read only for what is shown
    keys = SQL("select id from recording where {} order by {} limit %(limit)s offset %(offset)s").format(where, order)
    rows = SQL("select {} from recording where id = any(%(ids)s) order by {}").format(SQL(_ROW), order)
    with db.connection() as connection:
        total, matched = _kept_counts(connection, query)
        values["ids"] = [id for (id,) in connection.execute(keys, values)]
        with connection.cursor(row_factory=class_row(RecordingRow)) as cursor:
            shown = tuple(cursor.execute(rows, values).fetchall())
        if matched is None and len(values["ids"]) < limit and (values["ids"] or not offset):
            matched = offset + len(values["ids"])
        elif matched is None:
            counted = connection.execute(SQL("select count(*) from recording where {}").format(where), values).fetchone()
            matched = int(counted[0]) if counted else 0
    return RecordingPage(shown, total, matched)


def _kept_counts(connection: Connection[TupleRow], query: Query) -> tuple[int, int | None]:
    """All recordings, and those that match where nothing but their status is asked for (else None): from counts that are kept."""
    count_of = {
        status: int(n) for status, n in connection.execute("select status, sum(recordings)::bigint from recording_tally group by 1")
    }
    total = sum(count_of.values())
    if any(
        value is not None for value in (query.text or None, query.stage, query.cause, query.min_duration_s, query.max_duration_s)
    ):
        return total, None
    matched = sum(count_of.get(status, 0) for status in set(query.status)) if query.status else total
    return total, total - matched if query.invert and query.status else matched


def _order(column: str, descending: bool) -> Composable:
    """Unknown values come last either way; the id decides among equals, in the same direction, as the indexes have it."""
    way = SQL("desc" if descending else "asc")
    form = "{0} {1}, id {1}" if column in NEVER_NULL else "{0} is null, {0} {1}, id {1}"
    return SQL(form).format(TITLE if column == "title" else Identifier(column), way)


def _filter(query: Query) -> tuple[Composable, dict[str, Any]]:
    parts: list[str] = []
    values: dict[str, Any] = {}
    if query.text:
        parts.append("find like lower(%(text)s)")
        values["text"] = "%" + plain(query.text).replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
    if query.status:
        parts.append("status = any(%(status)s)")
        values["status"] = list(query.status)
    for name, operator, value in (
        ("stage", "=", query.stage),
        ("cause", "=", query.cause),
        ("min_duration", ">=", query.min_duration_s),
        ("max_duration", "<=", query.max_duration_s),
    ):
        if value is not None:
            parts.append(f"{name.removeprefix('min_').removeprefix('max_')} {operator} %({name})s")
            values[name] = plain(value) if isinstance(value, str) else value
    if not parts:
        return ALL, values
    text = " and ".join(parts)
    return SQL(f"not coalesce({text}, false)" if query.invert else text), values


def recording(db: Database, id: str, attempts: int) -> StoredRecording | None:
    """One recording, or None."""
    query = SQL(
        "select {}, key, published, channel, extra, options, facts, spans, revision, fingerprint, duplicate_of, retryable, traceback, warnings,"
        " stored, speech_s, labelled_s, unknown_s from recording where id = %(id)s"
    ).format(SQL(_ROW))
    with db.connection() as connection, connection.cursor() as cursor:
        record = cursor.execute(query, {"id": plain(id), "attempts": attempts}).fetchone()
        names = [column.name for column in cursor.description or ()]
    if record is None:
        return None
    values = dict(zip(names, record, strict=True))
    row = RecordingRow(**{name: values[name] for name in RecordingRow.__dataclass_fields__})
    stored: datetime | None = values["stored"]
    return StoredRecording(
        recording=Recording(
            id=row.id,
            key=values["key"],
            source=row.source,
            title=row.title,
            duration=row.duration_s,
            priority=row.priority,
            published=values["published"],
            channel=values["channel"],
            extra=values["extra"],
            options=RecordingOptions.stored(values["options"]),
        ),
        row=row,
        facts=values["facts"],
        spans=tuple(span_of(record) for record in values["spans"]),
        balance=(None if values["speech_s"] is None else Balance(values["speech_s"], values["labelled_s"], values["unknown_s"])),
        revision=values["revision"],
        fingerprint=values["fingerprint"],
        duplicate_of=values["duplicate_of"],
        retryable=values["retryable"],
        traceback=values["traceback"],
        stored_wall=stored.timestamp() if stored else None,
        warnings=tuple(RecordingWarning(**warning) for warning in values["warnings"]),
    )


def failures(db: Database) -> tuple[FailureGroup, ...]:
    """Failed recordings by cause, the largest group first; ids are those that failed last."""
    with db.connection() as connection:
        rows = connection.execute(
            "select coalesce(cause, 'unknown'), count(*), (array_agg(hint order by changed desc) filter (where hint <> ''))[1],"
            " bool_or(coalesce(retryable, true)), (array_agg(id order by changed desc))[1:%s]"
            " from recording where status = %s group by 1 order by 2 desc, 1",
            [MOST_IDS, Status.FAILED],
        ).fetchall()
    return tuple(FailureGroup(cause, count, hint or "", retryable, tuple(ids)) for cause, count, hint, retryable, ids in rows)


def decisions(db: Database, limit: int | None, recording: str | None) -> tuple[StoredDecision, ...]:
    """The newest decisions first; of one recording, in its own order."""
    query = (
        "select d.id, extract(epoch from d.wall)::float8, d.recording, r.title, d.record from decision d"
        " join recording r on r.id = d.recording"
    )
    with db.connection() as connection:
        if recording is not None:
            cursor = connection.execute(query + " where d.recording = %s order by d.ordinal limit %s", [plain(recording), limit])
        else:
            cursor = connection.execute(query + " order by d.wall desc, d.id desc limit %s", [limit])
        rows = cursor.fetchall()
    return tuple(StoredDecision(id, wall, of, title, decision_of(record)) for id, wall, of, title, record in rows)
