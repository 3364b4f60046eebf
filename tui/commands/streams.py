"""Standard output and error of a command, with any encoding, closed, full or without a terminal: each gives one sentence at
most."""

from __future__ import annotations

import errno
import io
import os
import sys

REPLACED = "replace"

OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EBADF}


def prepare(name: str) -> str | None:
    """Make all output printable. Returns why the command cannot print at all, None when it can.

    An engine needs no output: a closed stream is replaced by the null device, so that no file opened later gets its number.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  (open as long as the process)
    if sys.stderr is None:
        sys.stderr = _nowhere(2)
    missing = sys.stdout is None
    if missing:
        sys.stdout = _nowhere(1)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=REPLACED)
    return "standard output is closed" if missing and name != "engine" else None


def unwritable(error: OSError) -> str | None:
    """The message for an error of standard output itself; None for another file's. Afterwards nothing more is written to it."""
    if error.filename is not None or error.errno not in OUTPUT_ERRORS:
        return None
    abandon()
    return f"standard output cannot be written: {error.strerror}"


def abandon() -> None:
    """Redirect standard output to the null device, so that nothing fails again when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _nowhere(number: int) -> io.TextIOWrapper:
    handle = os.open(os.devnull, os.O_WRONLY)
    if handle != number:
        os.dup2(handle, number)
        os.close(handle)
    return open(number, "w", encoding="utf-8", errors=REPLACED, closefd=False)
