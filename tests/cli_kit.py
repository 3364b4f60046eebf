"""The command line as a process of its own, as an operator runs it, and what is left of its engine afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from gainstage.config.paths import Paths
from gainstage.engine.process import engine_pid, log_tail
from gainstage.tui.cli import main

PATIENCE_S = 240.0


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "gainstage.tui.cli", *map(str, args)]


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of the machine."""
    return {k: v for k, v in os.environ.items() if not k.startswith("GAINSTAGE_")} | {"PYTHONUTF8": "1"} | more


def gainstage(
    *args: object, status: int | None = 0, environ: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and check its exit status (None: any)."""
    done = subprocess.run(
        command(*args),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
        env=environment(**(environ or {})),
        cwd=cwd,
    )
    if status is not None:
        assert done.returncode == status, f"{args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def said(*args: object, status: int = 0) -> str:
    """What a command prints, run in this process."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        got = main([str(a) for a in args])
    assert got == status, f"{args}: {got}\n{out.getvalue()}\n{err.getvalue()}"
    return out.getvalue() if status == 0 else out.getvalue() + err.getvalue()


def told(*args: object, status: int = 0) -> Any:
    """What a command prints with ``--json``, run in this process."""
    return json.loads(said(*args, "--json", status=status).split("\ngainstage ")[0])


def data_of(*args: object, status: int | None = 0) -> Any:
    """What a command prints with ``--json``."""
    return json.loads(gainstage(*args, "--json", status=status).stdout)


@contextlib.contextmanager
def engine_ended(home: Path) -> Iterator[None]:
    """Whatever engine serves ``home`` at the end of the block is ended, at first gently."""
    paths = Paths.of(home)
    try:
        yield
    finally:
        for number, patience_s in ((signal.SIGTERM, 0.0), (signal.SIGTERM, 20.0), (signal.SIGKILL, 20.0)):
            if (pid := engine_pid(paths)) is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            end = time.monotonic() + patience_s
            while engine_pid(paths) is not None and time.monotonic() < end:
                time.sleep(0.05)


def last_words(home: Path) -> str:
    return log_tail(Paths.of(home), 40)
