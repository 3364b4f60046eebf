"""Writing what came of a recording: one transaction, old rows out, new rows in, so that nothing partial is ever visible."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from gainstage.engine.errors import Permanent
from gainstage.engine.store.codec import checked_vector, document, plain, words_document
from gainstage.engine.store.vectors import Role, VectorTable
from gainstage.engine.terms import Balance, Decision, ModelId, Provenance, Recording, RecordingWarning, Segment, Status

if TYPE_CHECKING:
    from pgvector import HalfVector

Fence = Callable[[Cursor[TupleRow]], object]
"""Called in the transaction before anything is written; raises :class:`gainstage.engine.errors.LostClaim` when the claim is gone."""

LOCK_WAIT = "30s"

CLAIM_OVER = "job = null, engine = null, stage = null, next_try = null, wish = null, deaths = 0"
"""What the update that ends a recording sets besides its results: nobody holds it. One update, not two: each is a row version and an
entry in every index.
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """The numbers the rows were given, in the order of the segments and decisions."""

    segments: tuple[int, ...]
    decisions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SegmentLabel:
    """Who a stored segment is said to be."""

    ordinal: int
    speaker: str
    profile: int | None
    confidence: float | None
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class PreparedRecording:
    """Everything to be stored of one recording, checked and in the database's form before a transaction begins."""

    recording: Recording
    segments: tuple[tuple[Any, ...], ...]  # without id
    vectors: Mapping[Role, tuple[HalfVector | None, ...]]
    decisions: tuple[tuple[Any, ...], ...]  # without id
    language: str
    columns: Mapping[str, Any]


def prepared(
    recording: Recording,
    segments: Sequence[Segment],
    decisions: Sequence[Decision],
    *,
    models: Mapping[str, ModelId],
    revision: int,
    facts: Mapping[str, Any],
    fingerprint: str,
    balance: Balance,
    warnings: Sequence[RecordingWarning] = (),
) -> PreparedRecording:
    """Check and convert. Raises :class:`Permanent` for what must never be stored: NaN, zero vectors, times that run backwards."""
    language = str(facts.get("language") or "")[:8]
    for segment in segments:
        if not (math.isfinite(segment.start) and math.isfinite(segment.end) and 0 <= segment.start <= segment.end):
            raise Permanent(f"a segment from {segment.start} to {segment.end} s", cause="segment times")
    return PreparedRecording(
        recording=recording,
        segments=tuple(_segment_row(recording.id, n, segment, language) for n, segment in enumerate(segments)),
        vectors={
            "embed": _vectors((s.vector for s in segments), models.get("embed"), "a text vector"),
            "voice": _vectors((s.voice for s in segments), models.get("voice"), "a voice"),
        },
        decisions=tuple(decision_row(recording.id, n, decision) for n, decision in enumerate(decisions)),
        language=language,
        columns={
            "key": plain(recording.key),
            "source": plain(recording.source),
            "title": plain(recording.title),
            "duration": recording.duration,
            "channel": recording.channel and plain(recording.channel),
            "published": recording.published and plain(recording.published),
            "extra": document({name: value for name, value in recording.extra.items() if name != "redo"}),  # that is done now
            "priority": recording.priority,
            "status": str(Status.STORED),
            "revision": revision,
            "facts": document(facts),
            "warnings": document(list(warnings)),
            "fingerprint": fingerprint,
            "segments": len(segments),
            "speakers": len({segment.speaker for segment in segments}),
            **balance_columns(balance),
        },
    )


def balance_columns(balance: Balance) -> dict[str, float]:
    """The seconds of speech, of named speech and of unknown speech, by column."""
    return {"speech_s": balance.speech, "labelled_s": balance.labelled, "unknown_s": balance.unknown}


def _segment_row(recording: str, ordinal: int, s: Segment, language: str) -> tuple[Any, ...]:
    if s.confidence is not None and not math.isfinite(s.confidence):
        raise Permanent(f"the confidence of a segment is {s.confidence}", cause="not a number in a result")
    confidence = None if s.confidence is None else float(s.confidence)
    label = (plain(s.speaker), s.profile, confidence, str(s.provenance))
    said = (plain(s.text), words_document(s), s.looped, language)
    return (recording, ordinal, float(s.start), float(s.end), *label, *said)


def _vectors(values: Iterable[Any], model: ModelId | None, what: str) -> tuple[HalfVector | None, ...]:
    vectors = list(values)
    if model is None:
        if any(value is not None for value in vectors):
            raise Permanent(f"{what} came without its model", cause="vector without a model")
        return (None,) * len(vectors)
    return tuple(None if value is None else checked_vector(value, model, what) for value in vectors)


def decision_row(recording: str, ordinal: int, d: Decision) -> tuple[Any, ...]:
    """A decision as a row of its table without its number, in the order of :data:`DECISION_COLUMNS`."""
    record = document(d)
    numbers = (float(d.seconds), d.turns, *(None if v is None else float(v) for v in (d.mean, d.variance, d.low, d.high, d.spread)))
    return (
        recording,
        ordinal,
        plain(d.cluster),
        d.revision,
        plain(d.rule),
        d.speaker and plain(d.speaker),
        d.split,
        d.massive,
        *numbers,
        record,
    )


SEGMENT_COLUMNS = (
    "id recording ordinal start_s end_s speaker profile confidence provenance text words looped language",
    ["int8", "text", "int4", "float8", "float8", "text", "int4", "float4", "text", "text", "jsonb", "bool", "text"],
)
DECISION_COLUMNS = (
    "id recording ordinal cluster revision rule speaker split massive seconds turns mean variance low high spread record",
    ["int8", "text", "int4", "text", "int8", "text", "text", "bool", "bool", "float4", "int4", *["float4"] * 5, "jsonb"],
)


def begin(connection: Connection[TupleRow], recording: str) -> int:
    """One writer at a time per recording; the number of this transaction."""
    row = connection.execute(
        "select set_config('lock_timeout', %s, true), pg_advisory_xact_lock(hashtextextended(%s, 0)), pg_current_xact_id()::text",
        [LOCK_WAIT, recording],
    ).fetchone()
    assert row is not None
    return int(row[2])


def committed(connection: Connection[TupleRow], transaction: int) -> bool:
    """Whether an earlier transaction whose answer was lost was committed. Call it where it cannot be running any more."""
    row = connection.execute("select pg_xact_status(%s::text::xid8)", [transaction]).fetchone()
    return row == ("committed",)


def replace(
    cursor: Cursor[TupleRow], result: PreparedRecording, spans: Callable[[int], Jsonb], tables: Mapping[Role, VectorTable]
) -> Stored:
    """Old rows of the recording out, new rows in. ``spans`` makes the spans' document from the attempt."""
    id = result.recording.id
    for old in ("segment", "decision", "label_history"):
        cursor.execute(SQL("delete from {} where recording = %s").format(Identifier(old)), [id])
    attempt = (cursor.execute("select attempt from recording where id = %s", [id]).fetchone() or (1,))[0]
    columns: dict[str, Any] = {
        "id": id,
        **result.columns,
        "spans": spans(max(1, attempt)),
        "text_model": tables["embed"].id if "embed" in tables else None,
        "voice_model": tables["voice"].id if "voice" in tables else None,
    }
    kept = {"id", "key", "priority"}
    cursor.execute(
        SQL(
            "insert into recording ({names}, stored) values ({values}, now()) on conflict (id) do update set {changes}, {over},"
            " cause = null, error = null, hint = null, traceback = null, retryable = null, duplicate_of = null, stored = now(),"
            " changed = now()"
        ).format(
            over=SQL(CLAIM_OVER),
            names=SQL(", ").join(map(Identifier, columns)),
            values=SQL(", ").join(SQL("%s") for _ in columns),
            changes=SQL(", ").join(SQL("{0} = excluded.{0}").format(Identifier(c)) for c in columns if c not in kept),
        ),
        list(columns.values()),
    )
    cursor.execute("insert into language (code) values (%s) on conflict do nothing", [result.language])
    segments = numbers(cursor, "segment", len(result.segments))
    _copy(cursor, "segment", SEGMENT_COLUMNS, ((n, *row) for n, row in zip(segments, result.segments, strict=True)))
    for role, table in tables.items():
        rows = ((n, v) for n, v in zip(segments, result.vectors[role], strict=True) if v is not None)
        _copy(cursor, table.name, ("segment vector", ["int8", "halfvec"]), rows)
    return Stored(segments, insert_decisions(cursor, result.decisions))


def insert_decisions(cursor: Cursor[TupleRow], rows: Sequence[tuple[Any, ...]]) -> tuple[int, ...]:
    """Write rows of :func:`decision_row`; their new numbers, in order."""
    ids = numbers(cursor, "decision", len(rows))
    _copy(cursor, "decision", DECISION_COLUMNS, ((n, *row) for n, row in zip(ids, rows, strict=True)))
    return ids


def numbers(cursor: Cursor[TupleRow], table: str, count: int) -> tuple[int, ...]:
    """New ids, so that rows of several tables can be copied without asking back."""
    if not count:
        return ()
    query = "select nextval(pg_get_serial_sequence(%s, 'id')) from generate_series(1, %s)"
    return tuple(n for (n,) in cursor.execute(query, [table, count]).fetchall())


def _copy(cursor: Cursor[TupleRow], table: str, columns: tuple[str, list[str]], rows: Iterable[tuple[Any, ...]]) -> None:
    names, types = columns
    text = SQL("copy {} ({}) from stdin with (format binary)").format(
        Identifier(table), SQL(", ").join(map(Identifier, names.split()))
    )
    with cursor.copy(text) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
