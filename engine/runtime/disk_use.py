"""What a living engine leaves on the disk, kept within bounds: recorded runs and its log by size and age."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

SHARE = 4
"""A recorded run goes on in a new file at this part of all that runs may take, so that old ones can be removed singly."""


def trim_runs(folder: Path, most_bytes: int, most_days: float, *, writing: Path | None = None) -> tuple[str, ...]:
    """Remove recorded runs that are too old, and the oldest beyond ``most_bytes``; never the one being written. Their names."""
    sizes = []
    for path in folder.glob("*.gsr"):
        try:
            sizes.append((path.stat().st_mtime, path.stat().st_size, path))
        except OSError:  # another engine of this home removed it just now
            continue
    removed, total, oldest = [], 0, time.time() - most_days * 86_400
    for at, size, path in sorted(sizes, reverse=True):
        total += size
        if path != writing and (at < oldest or total > most_bytes):
            path.unlink(missing_ok=True)
            total -= size
            removed.append(path.name)
    return tuple(removed)


def trim_log(log: Path, most_bytes: int, most_days: float, begun: float) -> bool:
    """Begin the log anew once it is too long, or ``begun`` (wall-clock seconds) too long ago, when it is this process's own
    output; what it held stays beside it as ``.1`` until that is as old.

    The file is emptied, not replaced: the process writes to it at its end by a handle that it was given.
    """
    try:
        mine, there = os.fstat(sys.__stdout__.fileno() if sys.__stdout__ else 1), log.stat()
    except (OSError, ValueError):
        return False
    if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
        return False
    earlier, oldest = log.with_suffix(".log.1"), time.time() - most_days * 86_400
    with suppress(FileNotFoundError):
        if earlier.stat().st_mtime < oldest:
            earlier.unlink()
    if there.st_size <= most_bytes and (begun >= oldest or not there.st_size):
        return False
    shutil.copyfile(log, earlier)
    os.truncate(log, 0)
    return True
