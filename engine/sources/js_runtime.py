"""The JavaScript runtime that solves a site's challenges: located once, run in a child with limits, ended by the cancel token."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from gainstage.engine.flow.cancel import CancelToken

DEADLINE_S = 60.0
"""Time limit of a script, in seconds: a challenge takes seconds, and a script over the limit will not end."""
MOST_CPU_S = 120
"""CPU seconds of a child whose parent was killed, so that an endless script does not run forever."""
MOST_OUTPUT = 64 * 1024**2
HEAP_MB = 1024
LEAST_DENO = (2, 3, 0)
"""Oldest version of deno that yt-dlp supports."""


class ScriptFailed(Exception):
    """A script that ended without a result. ``late`` when it was killed at its deadline."""

    def __init__(self, message: str, *, late: bool = False) -> None:
        super().__init__(message)
        self.late = late


@dataclass(frozen=True, slots=True)
class Runtime:
    """deno as found on this machine."""

    path: Path
    version: str

    @property
    def supported(self) -> bool:
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:3]) >= LEAST_DENO


@lru_cache(maxsize=1)
def find_runtime() -> Runtime | None:
    """deno next to this interpreter, where its wheel installs it, else on the PATH; None when there is none that runs."""
    for path in _candidates():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            answer = subprocess.run(
                [path, "--version"], capture_output=True, timeout=20, check=True, env=_environment(tempfile.gettempdir()), text=True
            )
            if match := re.match(r"deno (\S+)", answer.stdout):
                return Runtime(Path(path), match[1])
    return None


def solver_version() -> str | None:
    """The version of yt-dlp-ejs, the scripts that solve a challenge; None when it is not installed."""
    with contextlib.suppress(PackageNotFoundError):
        return version("yt-dlp-ejs") if find_spec("yt_dlp_ejs") else None
    return None


def _candidates() -> list[str]:
    candidates: list[str] = []
    with contextlib.suppress(ImportError, OSError):  # the wheel or its binary is missing
        from deno import find_deno_bin

        candidates.append(os.fspath(find_deno_bin()))
    beside = os.path.join(sysconfig.get_path("scripts"), "deno")
    return [path for path in dict.fromkeys([*candidates, beside, shutil.which("deno")]) if path and os.access(path, os.X_OK)]


def run_script(runtime: Path, options: Sequence[str], script: str, token: CancelToken, *, deadline_s: float | None = None) -> str:
    """Run ``script`` and return its output. It gets an empty environment, an empty folder, no network and no files.

    Raises :class:`ScriptFailed`, and :class:`gainstage.engine.errors.Cancelled` at once when the token is cancelled.
    """
    with tempfile.TemporaryDirectory(prefix="gainstage-js-", ignore_cleanup_errors=True) as folder:
        source, printed, complaints = (Path(folder, name) for name in ("script.js", "out", "err"))
        source.write_text(script, encoding="utf-8", errors="replace")
        with source.open("rb") as stdin, printed.open("wb") as stdout, complaints.open("wb") as stderr:
            child = subprocess.Popen(
                [runtime, "run", *options, f"--v8-flags=--max-old-space-size={HEAP_MB}", "-"],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=folder,
                env=_environment(folder),
                start_new_session=True,
            )
            _limit(child.pid)
            remove = token.on_cancel(child.kill)
            try:
                code = child.wait(DEADLINE_S if deadline_s is None else deadline_s)
            except subprocess.TimeoutExpired as error:
                raise ScriptFailed("the script did not end in time", late=True) from error
            finally:
                remove()
                child.kill()
                child.wait()
        token.check()
        said = _tail(complaints)
        if code or said:
            raise ScriptFailed(f"the runtime ended with {code}: {said}" if said else f"the runtime ended with {code}")
        return printed.read_text(encoding="utf-8", errors="replace")


def _environment(folder: str) -> dict[str, str]:
    """All environment variables that the child gets."""
    return {
        "HOME": folder,
        "DENO_DIR": os.path.join(folder, "deno"),
        "DENO_NO_UPDATE_CHECK": "1",
        "NO_COLOR": "1",
        "PATH": os.defpath,
    }


def _limit(pid: int) -> None:
    """Set limits that remain when this process is gone, on systems that have them."""
    with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):
        import resource

        resource.prlimit(pid, resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S + 1))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (MOST_OUTPUT, MOST_OUTPUT))
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        text = file.read(4096).decode("utf-8", "replace")
    return " ".join(text.split())
