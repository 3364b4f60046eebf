"""What a command prints goes anywhere: other encodings, closed and full outputs, pipes; homes that cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli_kit import command, environment

NEWS = "no engine runs on this database"


def shell(line: str, *args: object, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """A command through a shell: ``line`` holds "$@" for it."""
    variables = environment(**environ)
    variables.pop("PYTHONUTF8")
    return subprocess.run(["sh", "-c", line, "sh", *command(*args)], capture_output=True, timeout=240, env=variables)


def one_sentence(error: bytes) -> str:
    text = error.decode()
    assert "Traceback" not in text
    (line,) = text.splitlines()
    return line


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_signs_that_an_encoding_lacks_are_replaced(home: Path, encoding: str) -> None:
    done = shell('"$@"', "settings", "--home", home, "--database", "", PYTHONIOENCODING=encoding)
    assert b"Traceback" not in done.stderr
    assert b"workers.transcribe" in done.stdout
    document = shell('"$@"', "config", "show", "--home", home, "--json", PYTHONIOENCODING=encoding)
    assert b"Traceback" not in document.stderr
    if document.returncode == 0:
        json.loads(document.stdout.decode(encoding))


def test_a_closed_output_is_said_in_one_sentence(home: Path) -> None:
    done = shell('"$@" >&-', "config", "show", "--home", home)
    assert one_sentence(done.stderr) == "gainstage config: standard output is closed"
    assert done.returncode == 1
    both = shell('"$@" >&- 2>&-', "config", "show", "--home", home)
    assert (both.returncode, both.stdout, both.stderr) == (1, b"", b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("args", [("config", "show"), ("config", "show", "--json"), ("--help",)])
def test_a_full_output_is_said_in_one_sentence(home: Path, args: tuple[str, ...]) -> None:
    done = shell('"$@" > /dev/full', *args, *(() if args == ("--help",) else ("--home", home)))
    assert one_sentence(done.stderr).endswith("standard output cannot be written: No space left on device")
    assert done.returncode == 1


def test_a_console_that_is_piped_says_that_it_needs_a_terminal(home: Path) -> None:
    for line in ('"$@" </dev/null | cat', '"$@" </dev/null'):
        done = shell(line, "console", "--scripted", "--home", home)
        assert done.stdout == b""
        assert one_sentence(done.stderr).startswith("gainstage console: the console needs a terminal")


@pytest.mark.parametrize("place", ["/dev/null/home", "/proc/home"])
@pytest.mark.parametrize("args", [("follow", "talks", "--every", "6h"), ("engine", "--simulated"), ("run", "x.mp3", "--headless")])
def test_a_home_that_cannot_be_written_is_said_in_one_sentence(place: str, args: tuple[str, ...]) -> None:
    done = shell('"$@"', *args, "--home", place)
    assert f"{place} cannot be written" in one_sentence(done.stderr)
    assert "--home" in one_sentence(done.stderr)
    assert done.returncode == 2


NOBODY = """
import os, sys
import gainstage.tui.cli, gainstage.config.paths, platformdirs, argparse, getpass, pwd, encodings.idna, gettext, locale
for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
    os.environ.pop(name, None)
os.environ["XDG_DATA_HOME"] = ""
from gainstage.config.paths import Paths
from gainstage.tui.commands import config, serve
import gainstage.engine.errors, gainstage.engine.views.commands, json
os.setuid(54_321)
print(serve._user())
sys.exit(gainstage.tui.cli.main(["config", "show"]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that nobody knows")
def test_a_user_without_an_entry_is_asked_for_a_home() -> None:
    done = subprocess.run([sys.executable, "-c", NOBODY], capture_output=True, timeout=240, env=environment())
    assert done.stdout == b"USER\n"
    assert "this user has no home folder" in one_sentence(done.stderr)
    assert done.returncode == 2
