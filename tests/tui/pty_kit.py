"""A program in a real terminal: a pty, keys typed into it, and a small screen that its output is drawn on."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from types import TracebackType

_PART = re.compile(
    r"\x1b\[(?P<csi>[0-9;:?<>=!]*)(?P<end>[ -/]*[@-~])"  # CSI
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\)"  # OSC, DCS and the like
    r"|\x1b[()][A-Za-z0-9]|\x1b[^\[\]PX^_()]"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f\x7f])"
    r"|(?P<text>[^\x1b\x00-\x1f\x7f]+)",
    re.DOTALL,
)


class Screen:
    """The part of a terminal that a Textual program uses: placed text and cleared lines. Every sign takes one cell."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.x = self.y = 0
        self.cells = [[" "] * columns for _ in range(rows)]
        self._rest = ""

    def feed(self, text: str) -> None:
        text, at = self._rest + text, 0
        while at < len(text):
            part = _PART.match(text, at)
            if part is None:  # the rest of a sequence is still to come
                break
            at = part.end()
            if part["end"]:
                self._move(part["csi"], part["end"])
            elif part["control"]:
                self._control(part["control"])
            elif part["text"]:
                self._put(part["text"])
        self._rest = text[at:]

    def _move(self, digits: str, end: str) -> None:
        numbers = [int(n) if n.isdigit() else 0 for n in digits.split(";")]
        first = numbers[0]
        if end in ("H", "f"):
            self.y, self.x = max(1, first) - 1, (max(1, numbers[1]) if len(numbers) > 1 else 1) - 1
        elif end == "J" and first == 2:
            self.cells = [[" "] * self.columns for _ in range(self.rows)]
        elif end == "K":
            self._row()[self.x :] = [" "] * (self.columns - self.x)
        elif end in "ABCD" and not digits.startswith(("?", ">", "<", "=")):
            step = max(1, first)
            self.y += {"A": -step, "B": step}.get(end, 0)
            self.x += {"C": step, "D": -step}.get(end, 0)

    def _control(self, sign: str) -> None:
        if sign == "\r":
            self.x = 0
        elif sign == "\n":
            self.y += 1
        elif sign == "\b":
            self.x -= 1

    def _row(self) -> list[str]:
        self.y = min(max(self.y, 0), self.rows - 1)
        self.x = min(max(self.x, 0), self.columns)
        return self.cells[self.y]

    def _put(self, text: str) -> None:
        row = self._row()
        for sign in text:
            if self.x < self.columns:
                row[self.x] = sign
            self.x += 1

    def __str__(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self.cells)


class Terminal:
    """A program in a pty of ``columns`` x ``rows``; killed at the end of the block when it still runs."""

    def __init__(self, command: list[str], environ: dict[str, str], *, columns: int = 160, rows: int = 48) -> None:
        self.screen = Screen(columns, rows)
        self.output = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environ | {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(rows)},
            start_new_session=True,
        )
        os.close(terminal)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._controller)

    def type(self, keys: str) -> None:
        os.write(self._controller, keys.encode())

    def read(self, wait_s: float = 0.1) -> None:
        """Take what the program has written, waiting a little for some."""
        while select.select([self._controller], [], [], wait_s)[0]:
            try:
                piece = os.read(self._controller, 65536)
            except OSError:  # the program has left its terminal
                return
            if not piece:
                return
            text = self._decoder.decode(piece)
            self.output = (self.output + text)[-200_000:]
            self.screen.feed(text)
            wait_s = 0.0

    def until(self, words: str, timeout_s: float = 120.0) -> None:
        """Wait until the screen shows a regular expression."""
        end = time.monotonic() + timeout_s
        while not re.search(words, str(self.screen)):
            assert time.monotonic() < end, f"waited {timeout_s:.0f} s for {words!r} on\n{self.screen}"
            assert self.process.poll() is None, f"it ended with {self.process.returncode}\n{self.screen}"
            self.read()

    def ended(self, timeout_s: float = 60.0) -> int:
        """Read on until the program has ended; its exit status."""
        end = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it did not end\n{self.screen}"
            self.read()
        self.read(0.0)
        return int(self.process.returncode)
