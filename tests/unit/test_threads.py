"""Threads of our own take no name that the interpreter's thread uses: Python 3.13 keeps its handle in ``_handle``."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import gainstage.engine as engine

OURS = sorted(p for top in ("engine", "tui") for p in (Path(engine.__file__).parents[1] / top).rglob("*.py"))

KNOWN = {name for name in (*vars(threading.Thread(target=print)), *vars(threading.Thread)) if name.startswith("_")} | {
    "_handle",
    "_context",
}
"""Private names of a thread: of this interpreter, and those that later ones added."""


def taken(cls: ast.ClassDef) -> set[str]:
    """Attributes that a class sets on itself, and methods it defines."""
    stores = {
        n.attr
        for n in ast.walk(cls)
        if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store) and isinstance(n.value, ast.Name) and n.value.id == "self"
    }
    return stores | {n.name for n in cls.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("__")}


def test_no_thread_of_ours_takes_a_name_of_the_interpreter() -> None:
    threads = [
        (path, node)
        for path in OURS
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Thread") for base in node.bases)
    ]
    assert {node.name for _, node in threads} >= {"Inbox", "Follower"}
    assert [(path.name, node.name, taken(node) & KNOWN) for path, node in threads if taken(node) & KNOWN] == []
