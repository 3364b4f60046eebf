"""Between the domain's values and the database's: text and JSON as Postgres takes them, words, decisions, spans, vectors."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from gainstage.engine.errors import Permanent
from gainstage.engine.terms import Decision, ModelId, Segment, Vector, Word
from gainstage.engine.views.passes import StageSpan
from gainstage.engine.views.rows import Span

if TYPE_CHECKING:
    from pgvector import HalfVector
    from pydantic import TypeAdapter

_dumps: Callable[..., str] = partial(json.dumps, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def plain(text: str) -> str:
    """Text as Postgres takes it: NUL taken out, lone surrogates (undecodable file names) replaced."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def jsonable(value: Any) -> Any:
    """A value as plain JSON types: dataclasses become objects, tuples arrays, numpy's numbers Python's, text :func:`plain`.

    Raises :class:`Permanent` for NaN and infinity: they have no place in results.
    """
    if isinstance(value, str):
        return plain(str(value))
    if value is None or isinstance(value, bool | int):
        return value
    if _of_numpy(value):
        return jsonable(value.tolist())
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Permanent(f"a result is {value}", cause="not a number in a result", hint="Report it with `gainstage show ID`.")
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {plain(str(key)): jsonable(v) for key, v in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [jsonable(v) for v in value]
    return plain(str(value))


def _of_numpy(value: Any) -> bool:
    """Whether a value is a number or an array of numpy: of a library that is not loaded there is none."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic | numpy.ndarray)


def document(value: Any) -> Jsonb:
    """A value as a jsonb parameter: see :func:`jsonable`."""
    try:
        data = _dumps(value, default=_shallow).encode()
    except (ValueError, TypeError):  # NaN, lone surrogates, odd keys
        data = b""
    if not data or rb"\u0000" in data:  # something Postgres or JSON cannot hold: cleaned or refused node by node
        data = _dumps(jsonable(value)).encode()
    return Jsonb(data, dumps=bytes)


def _shallow(value: Any) -> Any:
    """One level of what the JSON encoder does not know."""
    if _of_numpy(value):
        return value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return jsonable(value)


def words_document(segment: Segment) -> Jsonb:
    """The words of a segment as compact rows; a speaker who is the segment's is null, so that a new label needs no new words."""
    return document(
        [
            [w.text, w.start, w.end, w.probability, None if w.speaker in (None, segment.speaker) else w.speaker, w.overlap]
            for w in segment.words
        ]
    )


def words_of(rows: Sequence[Sequence[Any]], speaker: str) -> tuple[Word, ...]:
    """Words from their stored rows (text, start, end, probability, speaker, overlap); ``speaker`` where a row names none."""
    return tuple(
        Word(text, start, end, probability, who or speaker, overlap) for text, start, end, probability, who, overlap in rows
    )


@cache
def _decisions() -> TypeAdapter[Decision]:
    from pydantic import TypeAdapter

    return TypeAdapter(Decision)


def decision_of(record: Mapping[str, Any]) -> Decision:
    """The decision behind ``document(decision)``."""
    return _decisions().validate_python(record)


def span_record(span: StageSpan | Span, attempt: int) -> dict[str, Any]:
    """A pass as it is stored: the fields of :class:`gainstage.engine.views.rows.Span`."""
    if isinstance(span, StageSpan):
        waited_s = span.waited_s + span.paused_s
        span = Span(span.stage, span.start_wall, waited_s, span.service_s, span.outcome, attempt, span.cause)
    record: dict[str, Any] = jsonable(span)
    return record


def span_of(record: Mapping[str, Any]) -> Span:
    """The pass behind :func:`span_record`; fields it lacks take their defaults."""
    known = {field.name for field in fields(Span)}
    return Span(**{"service_s": None, "outcome": "ok", **{key: value for key, value in record.items() if key in known}})


def checked_vector(vector: Vector, model: ModelId, what: str) -> HalfVector:
    """A vector as it is stored (half precision). Raises :class:`Permanent` for another dimension, NaN, infinity and zero."""
    import numpy as np
    from pgvector import HalfVector

    values = np.asarray(vector, np.float32)
    if values.shape != (model.dimension,):
        raise Permanent(
            f"{what} has shape {values.shape}, {model.name} makes {model.dimension} numbers", cause="vector of another dimension"
        )
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise Permanent(f"{what} holds NaN or infinity", cause="not a number in a vector")
    if not half.any():
        raise Permanent(f"{what} is zero", cause="zero vector")
    return HalfVector(half)
