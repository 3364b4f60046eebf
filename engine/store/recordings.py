"""The recordings of a database: taken in, looked up, stored with all that came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier

from gainstage.engine.errors import Permanent, Transient
from gainstage.engine.store import labels as relabelling
from gainstage.engine.store import rows as reading
from gainstage.engine.store.codec import document, plain, span_record, words_of
from gainstage.engine.store.corrections import Correction, corrections_of, kept
from gainstage.engine.store.database import Database
from gainstage.engine.store.relabelled_turns import balance_of
from gainstage.engine.store.rows import StoredDecision, StoredRecording
from gainstage.engine.store.vectors import Role, VectorTable, ensure_table, tables
from gainstage.engine.store.writing import (
    CLAIM_OVER,
    Fence,
    PreparedRecording,
    SegmentLabel,
    Stored,
    begin,
    committed,
    prepared,
    replace,
)
from gainstage.engine.terms import (
    Audio,
    Balance,
    Decision,
    ModelId,
    Provenance,
    Recording,
    RecordingWarning,
    Segment,
    Status,
    Vector,
)
from gainstage.engine.views.passes import StageSpan
from gainstage.engine.views.rows import FailureGroup, Query, RecordingPage, Span

BATCH = 5_000
VECTOR_ROLES: tuple[Role, ...] = ("embed", "voice")
DUPLICATE = "same audio as another recording"


class AddedRecordings(NamedTuple):
    """Ids of the recordings that were new, and of those known already, which are left as they are."""

    added: tuple[str, ...]
    known: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Unheard:
    """A store whose commit was sent and never answered."""

    given: tuple[object, ...]
    transaction: int
    stored: Stored


class RecordingStore:
    """Thread-safe. ``attempts`` is the limit shown beside each recording's attempt.

    Every method may raise :class:`Transient`, with cause ``Database.AWAY`` while the server cannot be reached: each is safe to
    call again then.
    """

    def __init__(self, db: Database, *, attempts: int = 5) -> None:
        self.db = db
        self.attempts = attempts
        self._tables: dict[tuple[Role, ModelId], VectorTable] = {}
        self._unheard: dict[str, _Unheard] = {}

    # -- taking in --------------------------------------------------------------------------------------------------

    def add(self, recordings: Iterable[Recording]) -> AddedRecordings:
        """Take recordings in as queued, without a job: see :class:`gainstage.engine.queue.backlog.Backlog` for work to be done.

        Raises :class:`Permanent` when an id is taken by a recording of another key.
        """
        wanted = list({recording.key: recording for recording in recordings}.values())
        added: set[str] = set()
        for start in range(0, len(wanted), BATCH):
            with self.db.transaction() as connection:
                added |= _insert(connection, wanted[start : start + BATCH])
        known = [r for r in wanted if r.id not in added]
        with self.db.connection() as connection:
            ids = dict(connection.execute("select key, id from recording where key = any(%s)", [[plain(r.key) for r in known]]))
        if taken := next((r for r in known if plain(r.key) not in ids), None):
            raise Permanent(f"the id {taken.id} belongs to another recording than {plain(taken.key)}", cause="id taken")
        return AddedRecordings(tuple(r.id for r in wanted if r.id in added), tuple(ids[plain(r.key)] for r in known))

    def delete(self, id: str) -> bool:
        """Delete a recording with its segments, vectors and decisions. False when there is none."""
        with self.db.transaction() as connection:
            begin(connection, plain(id))
            return connection.execute("delete from recording where id = %s", [plain(id)]).rowcount == 1

    # -- looking up -------------------------------------------------------------------------------------------------

    def get(self, id: str) -> StoredRecording | None:
        return reading.recording(self.db, id, self.attempts)

    def find(self, text: str) -> str:
        """The id that is, or starts with, ``text``; a key does as well. Raises :class:`Permanent` when none or several do."""
        with self.db.connection() as connection:
            rows = connection.execute(
                "select id, %(text)s in (id, key) as exact from recording where starts_with(id, %(text)s) or key = %(text)s"
                " order by exact desc, id limit 6",
                {"text": plain(text)},
            ).fetchall()
        if not rows or not text:
            raise Permanent(f"no recording {plain(text)!r}", cause="no such recording", hint="`gainstage recordings` lists them.")
        if len(rows) > 1 and not rows[0][1]:
            ids = ", ".join(id for id, _ in rows[:5])
            raise Permanent(
                f"several recordings start with {plain(text)!r}: {ids}",
                cause="ambiguous id",
                hint="Give more characters of the id.",
            )
        return str(rows[0][0])

    def rows(self, query: Query) -> RecordingPage:
        """A page of the recordings table. ``ValueError`` for an unknown sort."""
        return reading.page(self.db, query, self.attempts)

    def stored_ids(self) -> tuple[str, ...]:
        """Everything stored, oldest first."""
        with self.db.connection() as connection:
            rows = connection.execute("select id from recording where status = 'stored' order by stored, id").fetchall()
        return tuple(str(id) for (id,) in rows)

    def failures(self) -> tuple[FailureGroup, ...]:
        return reading.failures(self.db)

    def decisions(self, *, recording: str | None = None, limit: int | None = None) -> tuple[StoredDecision, ...]:
        """Decisions, newest first; those of one recording in its own order."""
        return reading.decisions(self.db, limit, recording)

    def segments(self, id: str, *, vectors: bool = False) -> tuple[Segment, ...]:
        """The segments of a recording in time order; with ``vectors`` also their text vectors and voices (float32)."""
        with self.db.connection() as connection:
            return segments_of(connection, id, vectors=vectors)

    def twin(self, fingerprint: str, id: str) -> str | None:
        """Another recording that is stored with the same audio."""
        with self.db.connection() as connection:
            row = connection.execute(
                "select id from recording where fingerprint = %s and id <> %s and status = 'stored' order by stored limit 1",
                [fingerprint, plain(id)],
            ).fetchone()
        return str(row[0]) if row else None

    # -- storing ----------------------------------------------------------------------------------------------------

    def store(
        self,
        recording: Recording,
        segments: Sequence[Segment],
        decisions: Sequence[Decision],
        *,
        models: Mapping[str, ModelId],
        revision: int,
        facts: Mapping[str, Any],
        spans: Sequence[StageSpan | Span],
        fingerprint: str,
        balance: Balance,
        warnings: Sequence[RecordingWarning] = (),
        fence: Fence | None = None,
    ) -> Stored:
        """Replace everything stored of a recording by this, in one transaction.

        ``models`` names who made the vectors: "embed" of texts, "voice" of voices. ``facts["language"]`` (a two-letter code)
        chooses how words are searched. ``fence`` runs first inside the transaction. When the server is lost at the commit,
        calling again with the same values finds out whether it came through. Raises :class:`Permanent` for NaN and zero
        vectors, :class:`gainstage.engine.errors.LostClaim` from the fence, :class:`Transient` when another writer holds the recording.

        What people corrected in an earlier result is kept, by time and words: see :func:`gainstage.engine.store.corrections.kept`.
        """
        more: dict[str, Any] = {"models": models, "revision": revision, "fingerprint": fingerprint, "warnings": warnings}

        def checked(standing: Sequence[Correction]) -> PreparedRecording:
            return _with_corrections(recording, segments, decisions, facts, balance, standing, **more)

        with self.db.connection() as connection:
            standing = corrections_of(connection, recording.id)
        result = checked(standing)
        used = [role for role in VECTOR_ROLES if any(vector is not None for vector in result.vectors[role])]
        into = {role: self._table(role, models[role]) for role in used}
        given, id = (segments, decisions, spans), recording.id
        before = self._unheard.get(id)
        number, stored = 0, None
        try:
            with self.db.transaction() as connection, connection.cursor() as cursor:
                number = begin(connection, id)
                if (
                    before
                    and all(a is b for a, b in zip(before.given, given, strict=True))
                    and committed(connection, before.transaction)
                ):
                    stored = before.stored
                else:
                    if fence is not None:
                        fence(cursor)
                    if (now := corrections_of(cursor, id)) != standing:
                        result = checked(now)
                    stored = replace(cursor, result, lambda attempt: document([span_record(s, attempt) for s in spans]), into)
        except Transient:
            if stored is not None:
                self._unheard[id] = _Unheard(given, number, stored)
            raise
        self._unheard.pop(id, None)
        return stored

    def add_spans(self, id: str, spans: Sequence[StageSpan], attempt: int) -> None:
        """Add passes to those kept of a recording, oldest left out beyond 200."""
        added = [span_record(span, attempt) for span in spans]
        with self.db.connection() as connection:
            connection.execute(
                "update recording set spans = (select jsonb_agg(s order by n) from (select s, n from"
                " jsonb_array_elements(coalesce(spans, '[]') || %s) with ordinality as kept(s, n) order by n desc limit 200) newest)"
                " where id = %s",
                [document(added), id],
            )

    def link(self, id: str, twin: str, audio: Audio, fence: Fence | None = None) -> None:
        """Record that a recording is the same audio as ``twin``: it ends as skipped, with nothing stored of its own."""
        with self.db.transaction() as connection, connection.cursor() as cursor:
            begin(connection, id)
            if fence is not None:
                fence(cursor)
            for table in ("segment", "decision", "label_history"):
                cursor.execute(SQL("delete from {} where recording = %s").format(Identifier(table)), [id])
            cursor.execute(
                SQL(
                    "update recording set status = %s, cause = %s, error = %s, hint = '', duplicate_of = %s, fingerprint = %s,"
                    " duration = %s, segments = null, speakers = null, speech_s = null, labelled_s = null, unknown_s = null,"
                    " stored = null, warnings = '[]', traceback = null, retryable = false, {over}, changed = now() where id = %s"
                ).format(over=SQL(CLAIM_OVER)),
                [str(Status.SKIPPED), DUPLICATE, f"same audio as {twin}", twin, audio.fingerprint, audio.seconds, id],
            )

    def relabel(
        self,
        id: str,
        labels: Sequence[SegmentLabel],
        revision: int,
        *,
        decisions: Sequence[Decision] | None = None,
        balance: Balance | None = None,
        turns: Sequence[Sequence[Any]] | None = None,
    ) -> int:
        """Name the people of stored segments anew, in one transaction, undoable; how many segments changed.

        ``turns`` are the named turns from now on; without them, those under a renamed segment take its name. Raises
        :class:`Permanent` when nothing is stored under ``id``.
        """
        return relabelling.relabel(self.db, plain(id), labels, revision, decisions, balance, turns)

    def undo_relabel(self, id: str) -> bool:
        """Take the last :meth:`relabel` of a recording back; False when there is none."""
        return relabelling.undo(self.db, plain(id))

    def _table(self, role: Role, model: ModelId) -> VectorTable:
        if (role, model) not in self._tables:
            self._tables[role, model] = ensure_table(self.db, role, model)
        return self._tables[role, model]


def segments_of(connection: Connection[TupleRow], id: str, *, vectors: bool = False) -> tuple[Segment, ...]:
    """What :meth:`RecordingStore.segments` gives, read on a connection that is at hand."""
    rows = connection.execute(
        "select id, start_s, end_s, speaker, profile, confidence, provenance, text, words, looped from segment"
        " where recording = %s order by ordinal",
        [plain(id)],
    ).fetchall()
    of = {role: _vectors_of(connection, role, plain(id)) if vectors else {} for role in VECTOR_ROLES}
    return tuple(
        Segment(
            start=start,
            end=end,
            speaker=speaker,
            profile=profile,
            confidence=confidence,
            provenance=Provenance(provenance),
            text=text,
            words=words_of(words, speaker),
            looped=looped,
            voice=of["voice"].get(number),
            vector=of["embed"].get(number),
        )
        for number, start, end, speaker, profile, confidence, provenance, text, words, looped in rows
    )


def _with_corrections(
    recording: Recording,
    segments: Sequence[Segment],
    decisions: Sequence[Decision],
    facts: Mapping[str, Any],
    balance: Balance,
    standing: Sequence[Correction],
    **more: Any,
) -> PreparedRecording:
    """What is to be stored, with the corrections of the recording that stand."""
    if standing:
        segments, facts = kept(segments, dict(facts), standing)
        balance = balance_of(facts["turns"]) if facts.get("turns") else balance
    return prepared(recording, segments, decisions, facts=facts, balance=balance, **more)


def _insert(connection: Connection[TupleRow], recordings: Sequence[Recording]) -> set[str]:
    columns: dict[str, tuple[str, Callable[[Recording], object]]] = {
        "id": ("text", lambda r: r.id),
        "key": ("text", lambda r: plain(r.key)),
        "source": ("text", lambda r: plain(r.source)),
        "title": ("text", lambda r: plain(r.title)),
        "duration": ("float8", lambda r: r.duration),
        "priority": ("int4", lambda r: r.priority),
        "published": ("text", lambda r: r.published),
        "channel": ("text", lambda r: r.channel and plain(r.channel)),
        "extra": ("jsonb", lambda r: document(r.extra)),
    }
    query = SQL("insert into recording ({}) select * from unnest({}) on conflict do nothing returning id").format(
        SQL(", ").join(map(Identifier, columns)),
        SQL(", ").join(SQL("%s::{}[]").format(SQL(kind)) for kind, _ in columns.values()),
    )
    values = [[value(recording) for recording in recordings] for _, value in columns.values()]
    return {str(id) for (id,) in connection.execute(query, values)}


def _vectors_of(connection: Connection[TupleRow], role: Role, id: str) -> dict[int, Vector]:
    """The vectors of a recording's segments by segment number."""
    vectors: dict[int, Vector] = {}
    for table in tables(connection, role):
        query = SQL("select v.segment, v.vector from {} v join segment s on s.id = v.segment where s.recording = %s")
        for number, vector in connection.execute(query.format(Identifier(table.name)), [id]):
            vectors[number] = vector.to_numpy().astype("float32")
    return vectors
