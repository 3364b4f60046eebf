"""Every setting is read by the engine or the console: none is parsed, shown, and then without effect.

Two proofs, and each setting needs one. Watched: a real engine runs simulated recordings while every read of a setting is
noted with the module that reads it; the schema's own walks over all settings count for nothing. Read in the source: an
attribute of the very section (``settings.asr.beam``, or ``asr.beam`` where ``asr`` is declared as :class:`gainstage.config.settings.Asr`),
or asked for by its key (``case.value("watch.memory_limit")``).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gainstage.config.settings
from gainstage.config.settings import SPECS, Section, Settings
from gainstage.engine.store.database import Database
from tests.engine.engine_kit import ended, make_engine, queue, running
from tests.queue_kit import until

ROOT = Path(gainstage.config.settings.__file__).parent.parent
SECTIONS = {
    name: field.annotation.__name__
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
"""Section to the class that declares it."""

WALKERS = frozenset({"value_of", "changed", "shown", "_specs", "load", "explain"})
"""Functions of the schema that walk over every setting: what they read says nothing of use."""


class Reads:
    """Notes reads of settings while it is installed."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self._section = {cls: name for name, cls in SECTIONS.items()}

    def note(self, section: Section, name: str) -> None:
        caller = sys._getframe(2)
        if caller.f_code.co_name in WALKERS or "pydantic" in caller.f_code.co_filename:
            return
        kind = type(section).__name__
        key = name if kind == "Settings" else f"{self._section.get(kind)}.{name}"
        if key in SPECS:
            self.keys.add(key)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    noted = Reads()
    plain = Section.__getattribute__

    def watched(self: Section, name: str) -> Any:
        if not name.startswith("_") and not name.startswith("model_"):
            noted.note(self, name)
        return plain(self, name)

    monkeypatch.setattr(Section, "__getattribute__", watched)
    return noted


def sources() -> Iterator[Path]:
    for package in ("engine", "tui"):
        yield from (p for p in sorted((ROOT / package).rglob("*.py")) if "scripted" not in p.name and "recipe" not in p.parts)


def read_in(tree: ast.Module) -> set[str]:
    """Keys whose attribute is read in a module."""
    classes = {cls: name for name, cls in SECTIONS.items()} | {"Limits": "identify"}  # its fields are settings by contract
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "gainstage.config.settings":
            classes |= {alias.asname: classes[alias.name] for alias in node.names if alias.asname and alias.name in classes}
    makers = _makers(tree, classes)  # "settings" given as a function that returns a section
    found: set[str] = set()
    for scope in (n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef | ast.Lambda)):
        found |= _read_in_scope(scope, _declared(scope, classes, makers), makers)
    return found


def _makers(tree: ast.Module, classes: dict[str, str]) -> dict[str, str]:
    """Names of functions, and of attributes they are kept in, that return a section."""
    makers = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            kind = ast.unparse(node.annotation).removeprefix("Callable[[], ").removesuffix("]")
            if ast.unparse(node.annotation).startswith("Callable[[], ") and kind in classes:
                makers[node.arg] = classes[kind]
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id in makers:
            makers |= {t.attr: makers[node.value.id] for t in node.targets if isinstance(t, ast.Attribute)}
    return makers


def _declared(scope: ast.AST, classes: dict[str, str], makers: dict[str, str]) -> dict[str, str]:
    """Names of a scope that hold a section: by their annotation, or because they were given one."""
    declared: dict[str, str] = {}
    if isinstance(scope, ast.FunctionDef | ast.Lambda):
        for argument in (*scope.args.posonlyargs, *scope.args.args, *scope.args.kwonlyargs):
            for word in ast.unparse(argument.annotation).split(" | ") if argument.annotation else ():
                if word in classes:
                    declared[argument.arg] = classes[word]
    if isinstance(scope, ast.ClassDef) and scope.name in classes:
        declared["self"] = classes[scope.name]
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and (section := _section_of(node.value, declared, makers)):
            declared |= {t.id: section for t in node.targets if isinstance(t, ast.Name)}
    return declared


def _section_of(node: ast.expr, declared: dict[str, str], makers: dict[str, str]) -> str | None:
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
        return makers.get(name)
    if isinstance(node, ast.Attribute):
        return node.attr if node.attr in SECTIONS else None
    return declared.get(node.id) if isinstance(node, ast.Name) else None


def _read_in_scope(scope: ast.AST, declared: dict[str, str], makers: dict[str, str]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(scope):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("value", "get"):
            found |= {str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant)}
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            found.add(f"{_section_of(node.value, declared, makers)}.{node.attr}")
    return found & set(SPECS)


def test_every_setting_is_read(database: Database, tmp_path: Path, reads: Reads) -> None:
    queue(database, 6)
    with running(make_engine(database, tmp_path, watch__record=True)) as engine:
        until(lambda: ended(database, 6))
        until(lambda: engine.threads.publisher.history)
    in_source: set[str] = set()
    for path in sources():
        in_source |= read_in(ast.parse(path.read_text("utf-8")))
    watched = reads.keys
    assert {"in_flight", "fetch.disk_floor", "workers.transcribe", "queue.heartbeat", "watch.record", "retry.attempts"} <= watched
    assert set(SPECS) - watched - in_source == set()


def test_the_search_of_the_source_takes_no_other_attribute_for_a_setting() -> None:
    tree = ast.parse("def f(asr: Asr, other: Thing, settings):\n  asr.beam; other.vad; settings.fetch.rate; thing.batch\n")
    assert read_in(tree) == {"asr.beam", "fetch.rate"}
