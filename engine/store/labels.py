"""Naming the people of a stored recording anew, and taking that back. Text, words and vectors stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import Cursor
from psycopg.rows import TupleRow

from gainstage.engine.errors import Permanent
from gainstage.engine.store.codec import decision_of, document, plain
from gainstage.engine.store.database import Database
from gainstage.engine.store.passages import Cut, joined_again
from gainstage.engine.store.relabelled_turns import Renamed, TurnRow, balance_of, renamed_turns
from gainstage.engine.store.writing import SegmentLabel, balance_columns, begin, decision_row, insert_decisions
from gainstage.engine.terms import Balance, Decision, Provenance

BALANCE = ("speech_s", "labelled_s", "unknown_s", "revision")


def relabel(
    db: Database,
    id: str,
    labels: Sequence[SegmentLabel],
    revision: int,
    decisions: Sequence[Decision] | None,
    balance: Balance | None,
    turns: Sequence[TurnRow] | None = None,
) -> int:
    """Give segments new labels in one transaction and keep the old ones for :func:`undo`; how many segments changed.

    ``labels`` may name some segments only; ``decisions`` replace the recording's, ``balance`` its seconds, ``turns`` its named
    turns where given; without ``turns`` those under a renamed segment take its new name. Raises :class:`Permanent` when nothing
    is stored under ``id``.
    """
    with db.transaction() as connection, connection.cursor() as cursor:
        begin(connection, id)
        return rewrite(cursor, id, labels, revision, decisions=decisions, balance=balance, turns=turns)


def rewrite(
    cursor: Cursor[TupleRow],
    id: str,
    labels: Sequence[SegmentLabel],
    revision: int,
    *,
    decisions: Sequence[Decision] | None = None,
    balance: Balance | None = None,
    turns: Sequence[TurnRow] | None = None,
    correction: int | None = None,
    cuts: Sequence[Cut] = (),
) -> int:
    """:func:`relabel` inside a transaction that holds the recording (:func:`gainstage.engine.store.writing.begin`).

    ``correction`` is the one it follows from; ``cuts`` are the passages that were cut in two before, in the same transaction.
    """
    before = _snapshot(cursor, id, decisions is not None, cuts)
    cursor.execute(
        "insert into label_history (recording, revision, labels, balance, decisions, turns, correction, cuts)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            id,
            revision,
            document(before["labels"]),
            document(before["balance"]),
            None if decisions is None else document(before["decisions"]),
            None if before["turns"] is None else document(before["turns"]),
            correction,
            document([[c.ordinal, c.text, c.words, c.end] for c in cuts]),
        ],
    )
    if turns is None and before["turns"] is not None:
        turns = renamed_turns(before["turns"], _changes(cursor, id, labels))
    if balance is None and turns:
        balance = balance_of(turns)
    changed = _write(cursor, id, labels, decisions, None if balance is None else balance_columns(balance), turns)
    cursor.execute("update recording set revision = %s, changed = now() where id = %s", [revision, id])
    return changed


def undo(db: Database, id: str) -> bool:
    """Take the last relabelling of a recording back; False when there is none."""
    with db.transaction() as connection, connection.cursor() as cursor:
        begin(connection, id)
        return restore(cursor, id)


def restore(cursor: Cursor[TupleRow], id: str) -> bool:
    """:func:`undo` inside a transaction that holds the recording."""
    row = cursor.execute(
        "delete from label_history where id = (select max(id) from label_history where recording = %s)"
        " returning labels, balance, decisions, turns, cuts",
        [id],
    ).fetchone()
    if row is None:
        return False
    labels, balance, decisions, turns, cuts = row
    joined_again(cursor, id, [Cut(*cut) for cut in cuts])
    restored = [SegmentLabel(ordinal, who, profile, sure, Provenance(how)) for ordinal, who, profile, sure, how in labels]
    _write(cursor, id, restored, None if decisions is None else [decision_of(record) for record in decisions], balance, turns)
    cursor.execute("update recording set revision = %s, changed = now() where id = %s", [balance["revision"], id])
    return True


def _snapshot(cursor: Cursor[TupleRow], id: str, with_decisions: bool, cuts: Sequence[Cut]) -> dict[str, Any]:
    row = cursor.execute(
        f"select {', '.join(BALANCE)}, facts -> 'turns' from recording where id = %s and stored is not null for update", [id]
    ).fetchone()
    if row is None:
        raise Permanent(
            f"nothing is stored under {plain(id)!r}", cause="not stored", hint="`gainstage recordings` shows where it stands."
        )
    labels = cursor.execute(
        "select ordinal, speaker, profile, confidence, provenance from segment where recording = %s order by ordinal", [id]
    ).fetchall()
    for cut in reversed(cuts):  # as they were before they were cut
        labels = [(n - (n > cut.ordinal), *rest) for n, *rest in labels if n != cut.ordinal + 1]
    decisions: list[Any] = []
    if with_decisions:
        query = "select record from decision where recording = %s order by ordinal"
        decisions = [record for (record,) in cursor.execute(query, [id]).fetchall()]
    return {
        "labels": [list(label) for label in labels],
        "balance": dict(zip(BALANCE, row[:4], strict=True)),
        "decisions": decisions,
        "turns": row[4] if isinstance(row[4], list) else None,
    }


def _changes(cursor: Cursor[TupleRow], id: str, labels: Sequence[SegmentLabel]) -> list[Renamed]:
    """The new names by time: a passage that changes renames the turns of its old speaker under it."""
    new = {label.ordinal: label for label in labels}
    rows = cursor.execute(
        "select ordinal, start_s, end_s, speaker from segment where recording = %s and ordinal = any(%s) order by ordinal",
        [id, list(new)],
    ).fetchall()
    return [
        Renamed(start, end, speaker, new[n].speaker, str(new[n].provenance), new[n].confidence)
        for n, start, end, speaker in rows
        if new[n].speaker != speaker
    ]


def _write(
    cursor: Cursor[TupleRow],
    id: str,
    labels: Sequence[SegmentLabel],
    decisions: Sequence[Decision] | None,
    balance: Mapping[str, Any] | None,
    turns: Sequence[TurnRow] | None,
) -> int:
    columns = {
        "ordinal": [label.ordinal for label in labels],
        "speaker": [plain(label.speaker) for label in labels],
        "profile": [label.profile for label in labels],
        "confidence": [label.confidence for label in labels],
        "provenance": [str(label.provenance) for label in labels],
    }
    changed = cursor.execute(
        "update segment s set speaker = l.speaker, profile = l.profile, confidence = l.confidence, provenance = l.provenance"
        " from unnest(%(ordinal)s::int[], %(speaker)s::text[], %(profile)s::int[], %(confidence)s::real[], %(provenance)s::text[])"
        "   as l (ordinal, speaker, profile, confidence, provenance)"
        " where s.recording = %(id)s and s.ordinal = l.ordinal and (s.speaker, s.profile, s.confidence, s.provenance)"
        "   is distinct from (l.speaker, l.profile, l.confidence, l.provenance)",
        {"id": id, **columns},
    ).rowcount
    cursor.execute(
        "update recording set speakers = (select count(distinct speaker) from segment where recording = %(id)s),"
        " segments = (select count(*) from segment where recording = %(id)s) where id = %(id)s",
        {"id": id},
    )
    if turns is not None:
        cursor.execute("update recording set facts = jsonb_set(facts, '{turns}', %s) where id = %s", [document(list(turns)), id])
    if balance is not None:
        cursor.execute(
            "update recording set speech_s = %(speech_s)s, labelled_s = %(labelled_s)s, unknown_s = %(unknown_s)s where id = %(id)s",
            {"id": id, **balance},
        )
    if decisions is not None:
        cursor.execute("delete from decision where recording = %s", [id])
        insert_decisions(cursor, [decision_row(id, n, decision) for n, decision in enumerate(decisions)])
    return changed
