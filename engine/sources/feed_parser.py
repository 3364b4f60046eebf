"""Parse untrusted feeds in a child process with limits, so that no feed can block this process or use up its memory."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gainstage.engine.errors import Permanent
from gainstage.engine.flow.cancel import CancelToken

DEADLINE_S = 30.0
"""Time limit for one document, in seconds; a batch of entries takes a fraction of a second."""
MOST_ANSWER = 64 * 1024**2


class FeedParser:
    """The child process, started with the first document. For one thread at a time."""

    def __init__(self, token: CancelToken) -> None:
        self._token = token
        self._child: subprocess.Popen[bytes] | None = None

    def parse(self, document: bytes) -> dict[str, Any]:
        """The result of :func:`gainstage.engine.sources.feed_child.parsed` for a document.

        Raises :class:`Permanent` for a document that the parser cannot handle, and ``Cancelled``.
        """
        child = self._child = self._child or _start()
        assert child.stdin is not None
        assert child.stdout is not None
        remove = self._token.on_cancel(child.kill)
        end = time.monotonic() + DEADLINE_S
        try:
            _write(child.stdin.fileno(), struct.pack(">I", len(document)) + document, end)
            (size,) = struct.unpack(">I", _read(child.stdout.fileno(), 4, end))
            if size > MOST_ANSWER:
                raise ValueError("too long an answer")
            answer: dict[str, Any] = json.loads(_read(child.stdout.fileno(), size, end))
            return answer
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.close()
            self._token.check()
            raise Permanent(
                "the feed is too much for its parser",
                cause="broken feed",
                hint="the feed's owner has to correct it; is it a podcast feed?",
            ) from error
        finally:
            remove()

    def close(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        with contextlib.suppress(OSError):  # unread input is lost
            child.communicate()


@contextmanager
def feed_parser(token: CancelToken) -> Iterator[FeedParser]:
    """A parser for one listing, ended with the block."""
    parser = FeedParser(token)
    try:
        yield parser
    finally:
        parser.close()


def _start() -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-I", "-m", "gainstage.engine.sources.feed_child"],
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
