"""Values on their way into the database's rows."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from gainstage.engine.store.codec import plain

__all__ = ["Link", "Transaction", "document", "plain"]

Link = Connection[TupleRow]
"""A connection as :class:`gainstage.engine.store.database.Database` gives it."""

Transaction = Cursor[Any]
"""A cursor inside somebody's open transaction."""


def document(value: Any) -> Jsonb:
    """A value as jsonb: every text in it :func:`plain`, NaN and infinity as null, anything JSON does not know as text.

    (:func:`gainstage.engine.store.codec.document` is the strict one for results; this is for what is only shown.)
    """
    return Jsonb(_plain_tree(value), dumps=partial(json.dumps, default=str))


def _plain_tree(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(str(k)): _plain_tree(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_tree(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
