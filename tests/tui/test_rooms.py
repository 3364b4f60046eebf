"""The rooms of the terminal: who may import whom, imports for types included."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUI = ROOT / "tui"


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(["gainstage", *(parts[:-1] if parts[-1] == "__init__" else parts)])


def _imported(path: Path) -> set[str]:
    """Everything a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_no_module_of_the_terminal_imports_itself_by_way_of_others() -> None:
    files = {_name(path): path for path in TUI.rglob("*.py")}
    graph = {name: (_imported(path) & files.keys()) - {name} for name, path in files.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


PLANTED = {
    "a widget typed against the app": ("tui/widgets/live.py", "if True:\n    from gainstage.tui.console.app import GainstageApp\n"),
    "an import for types only": (
        "tui/screens/base.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gainstage.tui.console.shell import Shell\n",
    ),
    "the console that reads the engine's insides": ("tui/console/ring.py", "def late():\n    import gainstage.engine.runtime\n"),
    "a room that the plan does not name": ("tui/attic.py", ""),
}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources without their data, importable as ``gainstage``."""
    top = tmp_path_factory.mktemp("rooms")
    for room in ("config", "engine", "tui"):
        only_sources = shutil.ignore_patterns("__pycache__", "demo")
        shutil.copytree(ROOT / room, top / "gainstage" / room, ignore=only_sources)
    (top / "gainstage" / "engine" / "models" / "demo").mkdir()
    (top / "gainstage" / "engine" / "models" / "demo" / "__init__.py").touch()
    shutil.copy(ROOT / "pyproject.toml", top)
    return top


def _lint(top: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=top, env=os.environ | {"PYTHONPATH": str(top)}, capture_output=True, text=True)


def test_the_contracts_hold_on_the_copy(copied: Path) -> None:
    done = _lint(copied)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_import_breaks_a_contract(copied: Path, fault: str) -> None:
    name, text = PLANTED[fault]
    path = copied / "gainstage" / name
    before = path.read_text("utf-8") if path.exists() else None
    path.write_text((before or '"""Planted."""\n\nfrom __future__ import annotations\n') + text, "utf-8")
    try:
        done = _lint(copied)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, "utf-8")
    assert done.returncode == 1, done.stdout
    assert "BROKEN" in done.stdout or "attic" in done.stdout
