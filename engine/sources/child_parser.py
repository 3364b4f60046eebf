"""Parse foreign text in a child process with limits, so that nothing that comes in can block this process or use up its memory."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import struct
import subprocess
import sys
import time
from typing import Any

from gainstage.engine.flow.cancel import CancelToken

DEADLINE_S = 30.0
"""Time limit for one document, in seconds; what is no attack takes a fraction of one."""
MOST_ANSWER = 64 * 1024**2


class TooMuch(Exception):
    """The child did not get through a document within its limits."""


class ChildParser:
    """The child process, which runs a module that calls :func:`gainstage.engine.sources.parsing_child.serve`; started with the first
    document. For one thread at a time.
    """

    def __init__(self, token: CancelToken, module: str) -> None:
        self._token = token
        self._module = module
        self._child: subprocess.Popen[bytes] | None = None

    def ask(self, document: bytes) -> Any:
        """What the module makes of a document, as JSON gives it. Raises :class:`TooMuch`, and ``Cancelled``."""
        child = self._child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        remove = self._token.on_cancel(child.kill)
        end = time.monotonic() + DEADLINE_S
        try:
            _write(child.stdin.fileno(), struct.pack(">I", len(document)) + document, end)
            (size,) = struct.unpack(">I", _read(child.stdout.fileno(), 4, end))
            if size > MOST_ANSWER:
                raise ValueError("too long an answer")
            return json.loads(_read(child.stdout.fileno(), size, end))
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.close()
            self._token.check()
            raise TooMuch from error
        finally:
            remove()

    def close(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        with contextlib.suppress(OSError):  # unread input is lost
            child.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-I", "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=os.path.abspath(os.sep),
        )
        assert child.stdin is not None
        os.set_blocking(child.stdin.fileno(), False)
        return child


def _write(fd: int, data: bytes, end: float) -> None:
    rest = memoryview(data)
    while rest:
        _wait(fd, selectors.EVENT_WRITE, end)
        rest = rest[os.write(fd, rest) :]


def _read(fd: int, size: int, end: float) -> bytes:
    out = bytearray()
    while len(out) < size:
        _wait(fd, selectors.EVENT_READ, end)
        block = os.read(fd, min(1 << 20, size - len(out)))
        if not block:
            raise EOFError
        out += block
    return bytes(out)


def _wait(fd: int, event: int, end: float) -> None:
    with selectors.DefaultSelector() as ready:
        ready.register(fd, event)
        if not ready.select(max(0.0, end - time.monotonic())):
            raise TimeoutError
