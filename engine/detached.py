"""Programs that outlive the process that started them."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path


def start(command: Sequence[str], log: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own: no terminal, its output at the end of ``log``, ``environ`` over this environment."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
        )
    return leave(child)


def leave(child: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """The child, which nobody has to wait for. A thread does: an ended child would stay a zombie, and subprocess warns of a running one
    that nothing refers to."""
    threading.Thread(target=child.wait, name=f"child-{child.pid}", daemon=True).start()
    return child
