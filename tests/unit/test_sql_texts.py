"""Values reach the database as parameters; a text of SQL is put together from constants of our own alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [path for room in ("config", "engine", "tui") for path in sorted((ROOT / room).rglob("*.py"))]
CALLS = ("execute", "executemany", "copy")


EXAMINED = {
    ("engine/queue/schema.py", "trigger"),
    ("engine/sources/subscriptions.py", "result"),
    ("engine/store/labels.py", "', '.join(BALANCE)"),
    ("engine/voices/renaming.py", "column"),
    ("engine/voices/renaming.py", "profile"),
    ("engine/bench/corrections.py", "table"),
    ("engine/bench/corrections.py", "table.name"),
    ("tui/bench/truth.py", "_PAST[scope]"),
    ("tui/bench/truth.py", "_WHICH[scope]"),
}
"""Parameters and loop variables that stand for texts written out in the same file, and names of our own tables."""


def literals(tree: ast.AST) -> set[str]:
    """Names that are given nothing but texts written out, by every assignment of the file."""
    given: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    given.setdefault(target.id, []).append(node.value)
    arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return {name for name, values in given.items() if name not in arguments and all(map(is_literal, values))}


def is_literal(value: ast.expr) -> bool:
    if isinstance(value, ast.IfExp):
        return is_literal(value.body) and is_literal(value.orelse)
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def mixed_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, expression) of everything but a constant that becomes part of a statement's text."""
    fixed = literals(tree)
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in CALLS and call.args):
            continue
        for part in ast.walk(call.args[0]):
            if isinstance(part, ast.FormattedValue):
                name = ast.unparse(part.value)
                if not name.lstrip("_").replace("_", "").isupper() and name not in fixed:
                    yield part.value.lineno, name
            if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mod):
                yield part.lineno, ast.unparse(part)


@pytest.mark.parametrize("text", ['c.execute(f"select {name}")', 'c.execute("select %s" % name)', 'c.execute("a" + f"{self.x}")'])
def test_a_value_in_a_text_is_noticed(text: str) -> None:
    assert [line for line, _ in mixed_in(ast.parse(text))] == [1]


def test_a_constant_in_a_text_is_not() -> None:
    assert list(mixed_in(ast.parse('kind = "a" if b else "c"\nc.execute(f"select {kind}")'))) == []
    assert list(mixed_in(ast.parse('c.execute(f"select {_COLUMNS} from {SCHEMA}.recording where id = %s", [id])'))) == []


def test_no_statement_of_ours_holds_a_value() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line}": name
        for path in FILES
        for line, name in mixed_in(ast.parse(path.read_text("utf-8")))
        if (path.relative_to(ROOT).as_posix(), name) not in EXAMINED
    }
    assert found == {}
