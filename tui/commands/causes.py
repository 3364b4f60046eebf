"""Every cause that gainstage reports, with its hint, read from the source: from errors, warnings and tables of them."""

from __future__ import annotations

import ast
import builtins
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import gainstage.engine
from gainstage.engine import errors

OUTCOMES = {
    "Rejected": "left out, with this reason",
    "Throttled": "tried again after a pause",
    "Postponed": "tried later; not an attempt",
    "NotYet": "looked at again later; left out in the end",
    "OutOfMemory": "tried again with smaller batches, then later",
    "Transient": "tried again, up to `retry.attempts`",
    "Permanent": "failed; not tried again",
    "Misconfigured": "the run or the command stops until this is corrected",
    "LostClaim": "dropped: another engine owns it",
    "RecordingWarning": "stored, with this warning",
}
"""What happens after an error, by class; a class that is not listed behaves as the first listed one of its bases."""

SKIPPED = {"bench", "recipe", "scripted"}
"""Parts of the engine whose causes operators do not see."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause. ``room`` is the folder that defines it; parts of ``name`` and ``hints`` in angle brackets are variable."""

    room: str
    name: str
    outcome: str
    hints: tuple[str, ...]


def causes() -> list[Cause]:
    """All causes that have a hint, by room and name, once for each outcome."""
    by_name: dict[tuple[str, str, str], Cause] = {}
    root = Path(gainstage.engine.__file__).parent
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if SKIPPED & set(parts) or parts[-1] == "__init__":
            continue
        tree = ast.parse(path.read_text("utf-8"))
        if not any(isinstance(node, (ast.Call, ast.Tuple)) for node in ast.walk(tree)):
            continue
        module = importlib.import_module(".".join(("gainstage.engine", *parts)))
        room = parts[0] if len(parts) > 1 else "engine"
        for name, outcome, hint in _named(tree, module):
            known = by_name.setdefault((room, name, outcome), Cause(room, name, outcome, ()))
            if hint not in known.hints:
                by_name[room, name, outcome] = replace(known, hints=(*known.hints, hint))
    return sorted(by_name.values(), key=lambda c: (c.room, c.name.lower(), c.outcome))


def _named(tree: ast.Module, module: ModuleType) -> Iterator[tuple[str, str, str]]:
    """(cause, outcome, hint) of every call or table row that names them."""
    for scope, node in _scoped(tree):
        kind, cause, hint = None, None, None
        if isinstance(node, ast.Call):
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            kind, cause, hint = _last(node.func), given.get("cause"), given.get("hint")
        if cause is None and isinstance(node, (ast.Call, ast.Tuple)):  # a row of a table: ..., class, cause, hint, ...
            row = node.elts if isinstance(node, ast.Tuple) else node.args
            at = next((k for k, part in enumerate(row[:-2]) if _outcome(_last(part))), None)
            if at is not None:
                kind, cause, hint = _last(row[at]), row[at + 1], row[at + 2]
        if cause is None or hint is None:
            continue
        for name in _texts(cause, module, scope):
            for advice in _texts(hint, module, scope)[:1]:
                if name.strip("<>. ") and advice:
                    yield name, _outcome(kind) or OUTCOMES["Permanent"], advice


def _scoped(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Every node with the function that contains it, else the module."""

    def walk(node: ast.AST, scope: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            yield scope, child
            yield from walk(child, child if isinstance(child, ast.FunctionDef) else scope)

    return walk(tree, tree)


def _last(node: ast.AST) -> str | None:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _outcome(kind: str | None) -> str | None:
    """What happens after an error of this class; None for another class."""
    if kind in OUTCOMES:
        return OUTCOMES[kind]
    error = getattr(errors, kind or "", None)
    bases = error.__mro__ if isinstance(error, type) else ()
    return next((OUTCOMES[base.__name__] for base in bases if base.__name__ in OUTCOMES), None)


def _texts(node: ast.expr, module: ModuleType, scope: ast.AST) -> list[str]:
    """The possible values of an expression: a text, both of ``a if b else c``, or those assigned to a local name."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.IfExp):
        return _texts(node.body, module, scope) + _texts(node.orelse, module, scope)
    if isinstance(node, ast.JoinedStr):
        return ["".join(_part(part, module) for part in node.values)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [a + b for a in _texts(node.left, module, scope) for b in _texts(node.right, module, scope)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and len(node.args) == 2:
        return _texts(node.args[1], module, scope)
    if isinstance(node, ast.Name) and not hasattr(module, node.id):
        return [text for value in _assigned(node.id, scope) for text in _texts(value, module, scope)]
    value = _value(node, module)
    return [value] if isinstance(value, str) else []


def _assigned(name: str, scope: ast.AST) -> Iterator[ast.expr]:
    """All expressions assigned to a local name."""
    for node in ast.walk(scope):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if _last(target) == name:
                yield node.value  # type: ignore[attr-defined]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):  # type: ignore[attr-defined]
                yield from (v for t, v in zip(target.elts, node.value.elts, strict=False) if _last(t) == name)  # type: ignore[attr-defined]


def _part(node: ast.expr, module: ModuleType) -> str:
    """A part of an f-string: its text, the value of a constant of the module, or a placeholder."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    inner = node.value if isinstance(node, ast.FormattedValue) else node
    value = _value(inner, module)
    if isinstance(value, (str, int, float)):
        return str(value)
    words = [
        n.value for n in ast.walk(inner) if isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value.isidentifier()
    ]
    words += [n.id for n in ast.walk(inner) if isinstance(n, ast.Name) and not hasattr(builtins, n.id)]
    attribute = inner.attr if isinstance(inner, ast.Attribute) else ""
    return f"<{(attribute or words[0]).lower().replace('_', ' ')}>" if attribute or words else "<...>"


def _value(node: ast.expr, module: ModuleType) -> object:
    """The value of an expression that only names or joins constants of the module; None for any other."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return vars(module).get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_value(node.value, module), node.attr, None)
    if isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
        given = _value(node.args[0], module)
        if _last(node.func) == "sorted" and isinstance(given, (tuple, frozenset, set, dict)):
            return tuple(sorted(given))
        if isinstance(node.func, ast.Attribute) and node.func.attr == "join" and isinstance(given, (tuple, dict)):
            return str(_value(node.func.value, module)).join(map(str, given))
    return None
