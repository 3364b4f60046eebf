"""The child's side of :mod:`gainstage.engine.sources.child_parser`: documents on stdin, what is made of them as JSON on stdout.

A document that exceeds the limits ends this child only.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

MEMORY_BYTES = 1024**3
CPU_S = 600


def serve(prepare: Callable[[], Callable[[bytes], Any]]) -> None:
    """Answer document after document until the input ends. ``prepare`` loads the parser, under the limits."""
    _limit()
    answer_to = prepare()
    while (document := _read(sys.stdin.buffer)) is not None:
        answer = json.dumps(answer_to(document), ensure_ascii=False).encode("utf-8", "replace")
        sys.stdout.buffer.write(struct.pack(">I", len(answer)) + answer)
        sys.stdout.buffer.flush()


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(4)
    if len(head) < 4:
        return None
    return stream.read(struct.unpack(">I", head)[0])


def _limit() -> None:
    try:
        import resource
    except ImportError:  # systems without it rely on the parent's deadline
        return
    for kind, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):
            continue
