"""Every error a person can meet says what to do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import gainstage.engine as engine

CLASSES = {
    *("Permanent", "Rejected", "Transient", "Throttled", "Postponed", "OutOfMemory", "Misconfigured", "LostClaim"),
    *("BadVoice", "ForeignVoice"),
}
OURS = {
    "not a voice",
    "not a number in a result",
    "not a number in a vector",
    "zero vector",
    "vector of another dimension",
    "vector without a model",
    "segment times",
    "wrong number of results",
    "id taken",
    "database closed",
    "simulated fault",
    "simulated passing fault",
}
"""Causes of faults of gainstage, of a model or of a damaged file: nothing but a report helps."""


def without_hint(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CLASSES:
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            cause = given.get("cause")
            known = isinstance(cause, ast.Constant) and cause.value in OURS
            if "hint" not in given and None not in given and not known:
                yield f"{path.name}:{node.lineno}"


def test_every_error_says_what_to_do() -> None:
    room = Path(engine.__file__).parent
    files = [path for path in room.rglob("*.py") if not {"bench", "recipe"} & set(path.parts)]
    assert len(files) > 100
    assert [place for path in files for place in without_hint(path)] == []
