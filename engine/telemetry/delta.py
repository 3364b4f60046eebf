"""Small differences between two JSON trees: what a recorded run stores instead of whole frames.

A patch is one of
* ``{member: patch, ...}``  members of an object, or places of a list of the same length, that changed
* ``["=", value]``          something else altogether
* ``["<", n, [tail]]``      a list that lost its first n and gained a tail: histories move like this
* ``["#", [ids], {id: patch or ["=", row]}]``  rows with an ``id``, in a new order: recordings in flight, decisions
"""

from __future__ import annotations

from typing import Any

Tree = Any

_FARTHEST = 8
"""Longest shift of a list that is looked for."""


def diff(old: Tree, new: Tree) -> Any:
    """The patch that makes ``new`` of ``old``; an empty object when they are equal."""
    if type(old) is not type(new):
        return ["=", new]
    if isinstance(old, dict):
        if old.keys() != new.keys():
            return ["=", new]
        return {k: p for k in old if (p := diff(old[k], new[k])) != {}}
    if isinstance(old, list):
        return _rows(old, new)
    return {} if old == new else ["=", new]


def _rows(old: list[Any], new: list[Any]) -> Any:
    if old == new:
        return {}
    if _named(old) and _named(new):
        return _by_id(old, new)
    for gone in range(min(_FARTHEST, len(old)) + 1):
        kept = len(old) - gone
        if 0 < kept <= len(new) and old[gone:] == new[:kept] and len(new) - kept <= _FARTHEST:
            return ["<", gone, new[kept:]]
    if len(old) != len(new):
        return ["=", new]
    return {str(i): p for i, (a, b) in enumerate(zip(old, new, strict=True)) if (p := diff(a, b)) != {}}


def _named(rows: list[Any]) -> bool:
    """Rows that each have an id of their own."""
    ids = [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row]
    return len(ids) == len(rows) > 0 and len(set(ids)) == len(ids)


def _by_id(old: list[Any], new: list[Any]) -> Any:
    before = {str(row["id"]): row for row in old}
    changed = {}
    for row in new:
        key = str(row["id"])
        patch = diff(before[key], row) if key in before else ["=", row]
        if patch != {}:
            changed[key] = patch
    return ["#", [str(row["id"]) for row in new], changed]


def apply(old: Tree, patch: Any) -> Tree:
    """The tree ``patch`` was made for. ``old`` is left as it is; what did not change is shared with it."""
    if isinstance(patch, dict):
        if not patch:
            return old
        if isinstance(old, list):
            rows = list(old)
            for place, part in patch.items():
                rows[int(place)] = apply(rows[int(place)], part)
            return rows
        return {**old, **{key: apply(old[key], part) for key, part in patch.items()}}
    if patch[0] == "=":
        return patch[1]
    if patch[0] == "<":
        return old[patch[1] :] + patch[2]
    before = {str(row["id"]): row for row in old}
    return [apply(before.get(key), patch[2].get(key, {})) for key in patch[1]]
