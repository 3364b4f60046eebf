"""Cutting a stored passage in two between two words, and joining it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg import Cursor
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier

from gainstage.engine.store.codec import document
from gainstage.engine.store.vectors import Role, tables
from gainstage.engine.terms import Segment
from gainstage.engine.text.joining import join

ROLES: tuple[Role, ...] = ("embed", "voice")


@dataclass(frozen=True, slots=True)
class Cut:
    """A passage that was cut in two: its ordinal, and its text, words and end before. The second half has the next ordinal."""

    ordinal: int
    text: str
    words: Any
    end: float


def halves(segment: Segment, word: int, language: str) -> tuple[Segment, Segment]:
    """A passage cut before its word of that index (1 or more). Both halves keep the voice and the text vector of the whole."""
    first, second = segment.words[:word], segment.words[word:]
    return (
        replace(segment, end=first[-1].end, words=first, text=join([w.text for w in first], language)),
        replace(segment, start=second[0].start, words=second, text=join([w.text for w in second], language)),
    )


def cut_at(cursor: Cursor[TupleRow], recording: str, ordinal: int, word: int) -> Cut:
    """Cut a stored passage before a word; later passages move up by one. The caller holds the recording."""
    row = cursor.execute(
        "select id, text, words, start_s, end_s, language from segment where recording = %s and ordinal = %s", [recording, ordinal]
    ).fetchone()
    assert row is not None
    id, text, words, start, end, language = row
    first, second = words[:word], words[word:]
    _shift(cursor, recording, ordinal, 1)
    new = cursor.execute(
        "insert into segment (recording, ordinal, start_s, end_s, speaker, profile, confidence, provenance, text, words, looped, language)"
        " select recording, ordinal + 1, %s, end_s, speaker, profile, confidence, provenance, %s, %s, looped, language"
        " from segment where id = %s returning id",
        [second[0][1], join([w[0] for w in second], language), document(second), id],
    ).fetchone()
    assert new is not None
    cursor.execute(
        "update segment set end_s = %s, text = %s, words = %s where id = %s",
        [max(start, first[-1][2]), join([w[0] for w in first], language), document(first), id],
    )
    for role in ROLES:
        for table in tables(cursor.connection, role):
            query = SQL("insert into {0} (segment, vector) select %s, vector from {0} where segment = %s")
            cursor.execute(query.format(Identifier(table.name)), [new[0], id])
    return Cut(ordinal, text, words, end)


def joined_again(cursor: Cursor[TupleRow], recording: str, cuts: Sequence[Cut]) -> None:
    """Undo cuts, the last first."""
    for cut in reversed(cuts):
        cursor.execute("delete from segment where recording = %s and ordinal = %s", [recording, cut.ordinal + 1])
        cursor.execute(
            "update segment set end_s = %s, text = %s, words = %s where recording = %s and ordinal = %s",
            [cut.end, cut.text, document(cut.words), recording, cut.ordinal],
        )
        _shift(cursor, recording, cut.ordinal + 1, -1)


def _shift(cursor: Cursor[TupleRow], recording: str, after: int, by: int) -> None:
    """Add ``by`` to the ordinals beyond ``after``; in two steps, because each is unique at any moment."""
    cursor.execute("update segment set ordinal = -ordinal where recording = %s and ordinal > %s", [recording, after])
    cursor.execute("update segment set ordinal = -ordinal + %s where recording = %s and ordinal < 0", [by, recording])
