"""A program on a pseudo terminal of ours: what it writes is read away as a terminal would."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIZE = (160, 48)


@dataclass(slots=True)
class Child:
    """A console on a terminal of ours."""

    process: subprocess.Popen[bytes]
    master: int
    out: Path

    def read(self, seconds: float) -> bytes:
        """What it wrote, waiting at most so long for it."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return b""
        with contextlib.suppress(OSError):
            return os.read(self.master, 1 << 16)
        return b""

    def watch(self, seconds: float) -> None:
        """Read for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.read(0.1)

    def drain(self, limit_s: float = 60.0) -> dict[str, Any]:
        """Read until it ends; what it measured. :class:`TimeoutError` when it takes longer than ``limit_s``, :class:`RuntimeError`
        when it says that it failed."""
        until = time.monotonic() + limit_s
        while self.process.poll() is None:
            if time.monotonic() > until:
                raise TimeoutError(f"the console did not end within {limit_s:.0f} s")
            self.read(0.1)
        figures: dict[str, Any] = json.loads(self.out.read_text())
        if "failed" in figures:
            raise RuntimeError(figures["failed"])
        return figures


@contextlib.contextmanager
def on_terminal(command: list[str], out: Path) -> Iterator[Child]:
    """A program on a pseudo terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    env.pop("NO_COLOR", None)
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
    os.close(slave)
    try:
        yield Child(process, master, out)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)
