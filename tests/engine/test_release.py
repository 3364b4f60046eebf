"""The wheel as a stranger gets it: built, installed on a fresh resolve, started in a folder that knows nothing of it.

Marked long: it installs PyTorch once for every version of Python (`make pythons`, `make release-check`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gainstage.engine.doctor import PYTHONS
from gainstage.tui.commands.registry import COMMANDS
from tests.conftest import new_home
from tests.tui.pty_kit import Terminal

ROOT = Path(__file__).parents[2]
VERSIONS = [f"{major}.{minor}" for major, minor in PYTHONS]
PATIENCE_S = 1500

pytestmark = [pytest.mark.long, pytest.mark.timeout(2 * PATIENCE_S)]


def environment() -> dict[str, str]:
    """This process's environment without settings, without its virtual environment, and without leave to download a Python."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GAINSTAGE_", "VIRTUAL_ENV", "PYTHON", "UV_PROJECT"))}
    return kept | {"PYTHONUTF8": "1", "UV_PYTHON_DOWNLOADS": "never"}


def uv(*args: object, cwd: Path, **environ: str) -> None:
    done = subprocess.run(
        ["uv", *map(str, args)], cwd=cwd, env=environment() | environ, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr[-4000:]


def interpreter(version: str) -> Path | None:
    """A Python of this version on this machine: this one, one that uv finds, or one of pyenv's."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return Path(sys.executable).resolve()
    find = ["uv", "python", "find", version]
    asked = subprocess.run(find, env=environment(), cwd="/", capture_output=True, text=True, timeout=60)
    if asked.returncode == 0:
        return Path(asked.stdout.strip())
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return max(root.glob(f"versions/{version}.*/bin/python"), default=None)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution as `uv build` does it."""
    out = tmp_path_factory.mktemp("dist")
    uv("build", "--out-dir", out, cwd=ROOT)
    (file,) = out.glob("*.whl")
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder but for packages of a user's own that have the names of gainstage's rooms."""
    for name in ("config", "engine", "tui"):
        (tmp_path / "work" / name).mkdir(parents=True)
        (tmp_path / "work" / name / "__init__.py").write_text("raise SystemExit('a folder of the user was imported')\n")
    return tmp_path / "work"


@pytest.fixture
def run(folder: Path) -> Iterator[Callable[..., str]]:
    """Runs an installed command in :func:`folder`, its home elsewhere."""
    with new_home() as home:

        def command(program: Path, *args: object) -> str:
            done = subprocess.run(
                [str(program), *map(str, args)],
                cwd=folder,
                env=environment() | {"GAINSTAGE_HOME": str(home)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
            )
            assert done.returncode == 0, f"{args}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            return done.stdout

        yield command


@pytest.mark.parametrize("version", VERSIONS)
def test_the_wheel_runs_the_demo(version: str, wheel: Path, tmp_path: Path, folder: Path, run: Callable[..., str]) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    places = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    uv("tool", "install", "--python", python, wheel, cwd=folder, **places)
    program = tmp_path / "bin" / "gainstage"
    assert all(name in run(program, "--help") for name in COMMANDS)
    result = json.loads(run(program, "demo", "--headless", "--json"))
    assert [r["status"] for r in result["recordings"]] == ["stored"] * 5
    assert result["quality"]["wer"] < 0.04
    assert result["quality"]["speaker_accuracy"] > 0.95
    console_opens(program)


def console_opens(program: Path) -> None:
    """The console in a terminal: its first picture, and a dialog over it."""
    with Terminal(
        [str(program), "console", "--scripted"], environment() | {"TERM": "xterm-256color"}, columns=80, rows=24
    ) as terminal:
        terminal.until("detach")
        terminal.type("?")
        terminal.until("keys of Deck")
