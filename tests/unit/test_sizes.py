"""No module and no function grows until nobody reads it whole, and no name of a class means two things."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
FILES = [
    path
    for package in ("config", "engine", "tui")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "recipe" not in path.parts  # how the bundled models were trained: run once, not part of the wheel
]
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def too_long(path: Path) -> list[str]:
    """What is too long in a module: itself, or functions of it."""
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    long = [f"{lines} lines"] if lines > LONGEST_FILE else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                long.append(f"{node.name} has {length} lines")
    return long


def test_modules_and_functions_stay_short() -> None:
    assert len(FILES) > 200
    assert len(TESTS) > 200
    assert {str(path.relative_to(ROOT)): found for path in [*FILES, *TESTS] if (found := too_long(path))} == {}


@pytest.mark.parametrize(("text", "says"), [("x = 1\n" * 401, "401 lines"), ("def f():\n" + "    x = 1\n" * 60, "f has 61 lines")])
def test_what_is_too_long_is_found(tmp_path: Path, text: str, says: str) -> None:
    module = tmp_path / "module.py"
    module.write_text(text)
    assert too_long(module) == [says]


def test_the_name_of_a_class_is_used_once() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert len(places) > 200
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
