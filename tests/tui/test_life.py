"""The console in a real terminal: it gives it back, whatever happens."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CHILD = """
import sys, time
from pathlib import Path
from gainstage.engine.desk.scripted.desk import ScriptedDesk
from gainstage.tui.console.launch import run_console
raise SystemExit(run_console(ScriptedDesk(clock=time.monotonic, start_at=60.0), log=Path(sys.argv[1])))
"""
FAILING = """
import sys, time
from pathlib import Path
from gainstage.engine.desk.scripted.desk import ScriptedDesk
from gainstage.tui.console import launch
class Failing(launch.GainstageApp):
    def on_key(self, event):
        secret = "hunter2-local"
        raise RuntimeError("postgresql://me:hunter2@db/x")
launch.GainstageApp = Failing
raise SystemExit(launch.run_console(ScriptedDesk(clock=time.monotonic, start_at=60.0), log=Path(sys.argv[1])))
"""


class Terminal:
    """A child on a terminal of its own, 160 x 48."""

    def __init__(self, code: str, log: Path) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 48, 160, 0, 0))
        env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "TEXTUAL_ANIMATIONS": "none"}
        script = log.with_suffix(".py")
        script.write_text(code)
        self.child = subprocess.Popen(
            [sys.executable, str(script), str(log)], stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
        os.close(slave)
        self.seen = b""

    def read(self, seconds: float = 0.1) -> bytes:
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return b""
        try:
            got = os.read(self.master, 65536)
        except OSError:
            return b""
        self.seen += got
        return got

    def until(self, text: bytes, seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, self.seen[-2000:]
            self.read()

    def ended(self, seconds: float = 60.0) -> int:
        end = time.monotonic() + seconds
        while self.child.poll() is None:
            assert time.monotonic() < end, "still running"
            self.read(0.05)
        while self.read(0.05):
            pass
        return self.child.returncode

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        os.close(self.master)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    t = Terminal(CHILD, tmp_path / "console.log")
    yield t
    t.close()


def restored(seen: bytes) -> bool:
    """Alternate screen left, mouse off, cursor shown - after everything else."""
    return (
        seen.rfind(b"\x1b[?1049l") > seen.rfind(b"\x1b[?1049h")
        and seen.rfind(b"\x1b[?1000l") > seen.rfind(b"\x1b[?1000h")
        and b"\x1b[?25h" in seen
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_give_the_terminal_back(terminal: Terminal, number: signal.Signals, code: int) -> None:
    terminal.until(b"HEALTHY")
    terminal.child.send_signal(number)
    assert terminal.ended() == code
    assert restored(terminal.seen)


def test_q_detaches_and_says_so(terminal: Terminal) -> None:
    terminal.until(b"HEALTHY")
    os.write(terminal.master, b"q")
    assert terminal.ended() == 0
    assert restored(terminal.seen)
    assert b"The engine goes on" in terminal.seen


def test_a_lost_terminal_ends_the_console(tmp_path: Path) -> None:
    t = Terminal(CHILD, tmp_path / "console.log")
    try:
        t.until(b"HEALTHY")
        os.close(t.master)
        t.child.wait(60)
    finally:
        if t.child.poll() is None:
            t.child.kill()
            t.child.wait()


def test_a_failing_console_leaves_an_id_and_no_secrets(tmp_path: Path) -> None:
    t = Terminal(FAILING, tmp_path / "console.log")
    try:
        t.until(b"HEALTHY")
        os.write(t.master, b"x")
        assert t.ended() != 0
        assert restored(t.seen)
        tail = t.seen[t.seen.rfind(b"\x1b[?1049l") :]
        assert b"The console failed (fault" in tail
        assert b"hunter2" not in tail
        assert b"Traceback" not in tail
        log = (tmp_path / "console.log").read_text()
        assert "RuntimeError" in log
        assert "hunter2" not in log
    finally:
        t.close()


# -- the command line around it

EARLY = """
import os, signal, sys, time
from pathlib import Path
from gainstage.engine.desk.scripted.desk import ScriptedDesk
from gainstage.tui.console import launch
class Slow(launch.GainstageApp):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        os.kill(os.getpid(), signal.SIGHUP)  # before the loop runs and its handlers stand
launch.GainstageApp = Slow
raise SystemExit(launch.run_console(ScriptedDesk(clock=time.monotonic, start_at=60.0), log=Path(sys.argv[1])))
"""


def test_a_terminal_that_hangs_up_before_the_first_picture_is_given_back(tmp_path: Path) -> None:
    t = Terminal(EARLY, tmp_path / "console.log")
    try:
        assert t.ended() == 129
        assert b"\x1b[?1049h" not in t.seen or restored(t.seen)
        assert b"Traceback" not in t.seen
    finally:
        t.close()


def gainstage(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command without a terminal."""
    command = [sys.executable, "-m", "gainstage.tui.cli", *args]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=os.environ | environ)


@pytest.mark.parametrize("args", [("console", "--scripted"), ("attach",), ()])
def test_without_a_terminal_the_console_says_so(args: tuple[str, ...], tmp_path: Path) -> None:
    done = gainstage(*args, *(("--home", str(tmp_path)) if args else ()))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "the console needs a terminal" in done.stderr
    assert "gainstage status" in done.stderr
    assert not (tmp_path / "postgres").exists(), "no database was made for a console that cannot open"


def test_an_unknown_theme_names_those_there_are() -> None:
    done = gainstage("console", "--theme", "solarised")
    assert done.returncode == 2
    assert "gainstage-light" in done.stderr
    done = gainstage("config", "show", GAINSTAGE_CONSOLE__THEME="solarised")
    assert done.returncode == 2
    assert "gainstage-light" in done.stderr


ENCODED = """
import sys
from gainstage.tui.cli import main
raise SystemExit(main(["console", "--scripted", "--at", "60"]))
"""


@pytest.mark.parametrize(("encoding", "plain"), [("iso8859-1", True), ("utf-8", False)])
def test_a_terminal_that_is_not_utf8_is_drawn_in_ascii(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, plain: bool
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    monkeypatch.setenv("GAINSTAGE_HOME", str(tmp_path / "home"))
    t = Terminal(ENCODED, tmp_path / "console.log")
    try:
        t.until(b"HEALTHY")
        for _ in range(8):  # some more frames; a live console never falls silent
            t.read(0.5)
        drawn = t.seen.decode("utf-8", "replace")
        assert ("\N{BOX DRAWINGS LIGHT HORIZONTAL}" in drawn) is not plain
        assert "\\u25" not in drawn, "nor as an escape"
        assert drawn.isascii() is plain
    finally:
        t.close()


@pytest.mark.parametrize("args", ["--help", "run --help", "settings --json"])
def test_a_reader_that_leaves_early_ends_a_command_quietly(args: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -m gainstage.tui.cli {args} | true; exit ${{PIPESTATUS[0]}}"
    environ = os.environ | {"GAINSTAGE_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environ)
    assert done.stderr == ""
    assert done.returncode == 0
