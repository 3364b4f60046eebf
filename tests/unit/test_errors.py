"""Every error a person can meet says what to do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gainstage.engine as engine
from tests.unit.test_pages import causes_by_name

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


HINT_AT = {"RecordingWarning": 2, "Check": 3, "ToolState": 2, "Reason": 3}
"""Place of the hint in calls that do not name it."""


def is_sentence(text: str) -> bool:
    """Whether a text begins with a capital (or with a name, a command, a number) and ends with a full stop or a question mark, as far
    as it is fixed."""
    first = text.split()[0].rstrip(",:;")
    return not (first.isalpha() and first[0].islower()) and text.endswith((".", "?", "{}"))


def texts(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may be; of an f-string, what is fixed in it, with braces for the rest."""
    if isinstance(node, ast.IfExp):
        yield from (*texts(node.body), *texts(node.orelse))
    elif isinstance(node, ast.BoolOp):
        yield from (text for value in node.values for text in texts(value))
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value


def hints(path: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of every hint that is written where it is used."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            given = [k.value for k in node.keywords if k.arg == "hint"]
            at = HINT_AT.get(node.func.id) if isinstance(node.func, ast.Name) else None
            given += node.args[at : at + 1] if at is not None else []
        elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id.lower() == "hint" for t in node.targets):
            given = [node.value]
        else:
            continue
        yield from ((f"{path.name}:{node.lineno}", text) for value in given for text in texts(value))


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("Lower fetch.rate.", True), ("fetch.rate sets it.", True), ("`gainstage runs` lists them.", True), ("yt-dlp knows it.", True),
        ("Is it right?", True), ("lower fetch.rate.", False), ("Lower fetch.rate", False), ("again, later.", False),
    ],
)  # fmt: skip
def test_what_a_sentence_is(text: str, whole: bool) -> None:
    assert is_sentence(text) is whole


def test_every_hint_is_a_sentence() -> None:
    room = Path(engine.__file__).parent
    written = [hint for path in room.rglob("*.py") if "recipe" not in path.parts for hint in hints(path)]
    assert len(written) > 200
    shown = [(f"{room}: {name}", hint) for (room, name), cause in causes_by_name().items() for hint in cause.hints]
    assert len(shown) > 200
    assert [(place, text) for place, text in (*written, *shown) if not is_sentence(text)] == []
