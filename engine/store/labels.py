"""Naming the people of a stored recording anew, and taking that back. Text, words and vectors stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Cursor
from psycopg.rows import TupleRow

from gainstage.engine.errors import Permanent
from gainstage.engine.store.codec import decision_of, document, plain
from gainstage.engine.store.database import Database
from gainstage.engine.store.writing import SegmentLabel, balance_columns, begin, decision_row, insert_decisions
from gainstage.engine.terms import Balance, Decision, Provenance


def relabel(
    db: Database,
    id: str,
    labels: Sequence[SegmentLabel],
    revision: int,
    decisions: Sequence[Decision] | None,
    balance: Balance | None,
) -> int:
    """Give segments new labels in one transaction and keep the old ones for :func:`undo`; how many segments changed.

    ``labels`` may name some segments only; ``decisions`` replace the recording's, ``balance`` its seconds, where given. Raises
    :class:`Permanent` when nothing is stored under ``id``.
    """
    with db.transaction() as connection, connection.cursor() as cursor:
        begin(connection, id)
        before = _snapshot(cursor, id)
        cursor.execute(
            "insert into label_history (recording, revision, labels, balance, decisions) values (%s, %s, %s, %s, %s)",
            [id, revision, *map(document, before)],
        )
        changed = _write(cursor, id, labels, decisions, None if balance is None else balance_columns(balance))
        cursor.execute("update recording set revision = %s, changed = now() where id = %s", [revision, id])
    return changed


def undo(db: Database, id: str) -> bool:
    """Take the last relabelling of a recording back; False when there is none."""
    with db.transaction() as connection, connection.cursor() as cursor:
        begin(connection, id)
        row = cursor.execute(
            "delete from label_history where id = (select max(id) from label_history where recording = %s)"
            " returning labels, balance, decisions",
            [id],
        ).fetchone()
        if row is None:
            return False
        labels, balance, decisions = row
        restored = [SegmentLabel(ordinal, who, profile, sure, Provenance(how)) for ordinal, who, profile, sure, how in labels]
        _write(cursor, id, restored, [decision_of(record) for record in decisions], balance)
        cursor.execute("update recording set revision = %s, changed = now() where id = %s", [balance["revision"], id])
    return True


def _snapshot(cursor: Cursor[TupleRow], id: str) -> tuple[list[Any], dict[str, Any], list[Any]]:
    row = cursor.execute(
        "select speech_s, labelled_s, unknown_s, revision from recording where id = %s and stored is not null for update", [id]
    ).fetchone()
    if row is None:
        raise Permanent(
            f"nothing is stored under {plain(id)!r}", cause="not stored", hint="`gainstage recordings` shows where it stands"
        )
    labels = cursor.execute(
        "select ordinal, speaker, profile, confidence, provenance from segment where recording = %s order by ordinal", [id]
    ).fetchall()
    decisions = cursor.execute("select record from decision where recording = %s order by ordinal", [id]).fetchall()
    names = ("speech_s", "labelled_s", "unknown_s", "revision")
    return [list(label) for label in labels], dict(zip(names, row, strict=True)), [record for (record,) in decisions]


def _write(
    cursor: Cursor[TupleRow],
    id: str,
    labels: Sequence[SegmentLabel],
    decisions: Sequence[Decision] | None,
    balance: dict[str, Any] | None,
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
        "update recording set speakers = (select count(distinct speaker) from segment where recording = %(id)s) where id = %(id)s",
        {"id": id},
    )
    if balance is not None:
        cursor.execute(
            "update recording set speech_s = %(speech_s)s, labelled_s = %(labelled_s)s, unknown_s = %(unknown_s)s where id = %(id)s",
            {"id": id, **balance},
        )
    if decisions is not None:
        cursor.execute("delete from decision where recording = %s", [id])
        insert_decisions(cursor, [decision_row(id, n, decision) for n, decision in enumerate(decisions)])
    return changed
