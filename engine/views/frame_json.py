"""Frames as JSON: how the engine writes a snapshot and how a console reads it, also one of another version."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gainstage.engine.views.snapshot import Snapshot


def dumps(value: Any) -> str:
    """A snapshot (or any of its parts) as compact JSON."""
    return json.dumps(tree(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class BadFrame(ValueError):
    """A frame that cannot be read: another version wrote it, or something else than an engine. The text says what to do."""


MALFORMED = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What :func:`build` raises for a tree that is JSON and not what it should be."""


_LONE_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
"""An escape for half a character, which no UTF-8 can hold; the text of a frame is what its writer made of it."""


def loads(text: str | bytes | dict[str, Any]) -> Snapshot:
    """The snapshot behind :func:`dumps`; unknown fields of a newer engine are left out. Raises :class:`BadFrame`."""
    if isinstance(text, str) and "\\u" in text:
        text = _LONE_SURROGATE.sub(r"\\ufffd", text)
    try:
        built = build(Snapshot, text if isinstance(text, dict) else json.loads(text))
    except MALFORMED as error:
        raise BadFrame("the engine's figures cannot be read: run the same version of gainstage on both sides") from error
    if not isinstance(built, Snapshot):
        raise BadFrame("the engine's figures cannot be read: they are empty")
    return built


_PLAIN = frozenset({str, int, float, bool, type(None)})


def tree(value: Any) -> Any:
    """The dicts, lists and plain values JSON knows; ten times as fast as ``dataclasses.asdict``, which copies every leaf."""
    kind: Any = type(value)
    if kind in _PLAIN:
        return value
    if kind is tuple or kind is list:
        if not value or type(value[0]) in _PLAIN:  # rows of one kind: the first says enough
            return list(value)
        return [tree(v) for v in value]
    shape = _shape(kind)
    if shape is None:
        return value
    names, values, deep = shape
    made = dict(zip(names, values(value), strict=True))
    for name in deep:
        made[name] = tree(made[name])
    return made


@cache
def _shape(kind: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[str, ...]] | None:
    """Names of a dataclass's fields, what fetches them all, and the names of those that are more than plain values."""
    if not is_dataclass(kind):
        return None
    hints = get_type_hints(kind)
    names = tuple(f.name for f in fields(kind))
    fetch = attrgetter(*names)
    values = fetch if len(names) > 1 else lambda value: (fetch(value),)
    return names, values, tuple(name for name in names if not _is_plain(hints[name]))


def _is_plain(hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return True
    if get_origin(hint) in (Union, types.UnionType):
        return all(_is_plain(part) for part in get_args(hint))
    return hint in _PLAIN


def build(kind: Any, value: Any) -> Any:
    """The dataclass ``kind`` (or tuple of them, ...) behind a :func:`tree`; unknown fields are left out, missing ones take defaults."""
    make = _builder(kind)
    return value if make is None or value is None else make(value)


@cache
def _builder(kind: Any) -> Callable[[Any], Any] | None:
    """How a tree becomes ``kind``; None where it already is."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _builder(next(k for k in args if k is not type(None)))
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        each = _builder(args[0])
        return tuple if each is None else lambda rows: tuple([None if v is None else each(v) for v in rows])
    if origin is tuple:
        return lambda row: tuple([build(k, v) for k, v in zip(args, row, strict=True)])
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return None
    hints = get_type_hints(kind)
    members = [(f.name, _builder(hints[f.name])) for f in fields(kind)]

    def make(value: dict[str, Any]) -> Any:
        given = {}
        for name, member in members:
            if name in value:
                v = value[name]
                given[name] = v if member is None or v is None else member(v)
        return kind(**given)

    return make
