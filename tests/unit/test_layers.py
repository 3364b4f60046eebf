"""The rooms of the tree: the contracts hold, and each of them fails when an import that breaks it is planted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = shutil.ignore_patterns("__pycache__", "demo", "*.sql", "*.tcss", "*.toml")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with the project's own contracts, importable as ``gainstage``."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("config", "engine", "tui"):
        shutil.copytree(ROOT / name, copy / name, ignore=SOURCES)
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / "path").mkdir()
    (copy / "path" / "gainstage").symlink_to(copy)
    return copy


def lint(tree: Path) -> tuple[int, str]:
    """Exit status and report of the real ``lint-imports`` over a copy."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "path"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_contracts_hold(tree: Path) -> None:
    status, report = lint(tree)
    assert status == 0, report
    assert " 0 broken" in report


TYPE_CHECKING = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


@pytest.mark.parametrize(
    ("file", "planted", "contract"),
    [
        ("engine/flow/slot.py", "import gainstage.engine.runtime.engine", "the rooms of the engine"),
        ("engine/runtime/context.py", TYPE_CHECKING + "import gainstage.engine.pipeline", "the rooms of the engine"),
        ("engine/sources/ids.py", "import gainstage.engine.voices.limits", "the rooms of the engine"),
        ("engine/attic.py", "ROOM = 'without a place in the contract'", "the rooms of the engine"),
        ("engine/runtime/faults.py", TYPE_CHECKING + "import gainstage.engine.runtime.engine", "no circle of imports"),
        ("config/paths.py", TYPE_CHECKING + "import gainstage.engine.terms", "config knows nobody"),
        ("engine/clean.py", "import gainstage.tui.render.safe", "the engine never sees the terminal"),
        ("tui/render/format.py", "import torch", "the console never loads a model library"),
        ("tui/render/format.py", TYPE_CHECKING + "import gainstage.tui.console.app", "rooms of the terminal, from the top down"),
        ("tui/widgets/live.py", "import gainstage.engine.desk.postgres", "the console knows the engine by its views"),
    ],
)
def test_an_import_that_breaks_a_contract_is_found(tree: Path, file: str, planted: str, contract: str) -> None:
    path = tree / file
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}\n{planted}\n")
    try:
        status, report = lint(tree)
    finally:
        path.unlink() if before is None else path.write_text(before)
    assert status == 1, report
    assert f"{contract} BROKEN" in report
