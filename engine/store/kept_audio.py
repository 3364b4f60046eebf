"""Audio kept of stored recordings (``store.keep_audio``), in one folder of the home, by fingerprint."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from gainstage.engine.store.database import Database

Keep = Literal["never", "opus", "original"]
"""The values of ``store.keep_audio``."""

UNKNOWN_S = 86_400.0
"""Seconds to leave a file that belongs to no recording: one that is not stored yet is in flight."""

OPUS_BITS = 24_000
"""Bits per second of kept Opus: 16 kHz speech at a quality that recognisers and diarizers do not tell from the original."""


def kept_file(folder: Path, fingerprint: str) -> Path | None:
    """The file kept of an audio, if there is one."""
    if not re.fullmatch(r"[0-9A-Za-z_-]+", fingerprint):  # of a row of a shared database: no pattern, no path
        return None
    files = [p for p in folder.glob(f"{fingerprint}.*") if not p.name.endswith(".part") and p.is_file()]
    return files[0] if files else None


def sweep(database: Database, folder: Path) -> int:
    """Delete kept audio that no recording has any more, once it is a day old; how many files."""
    now = time.time()
    files = []
    for path in folder.glob("*"):
        with suppress(OSError):  # another engine of this home removed it just now
            if path.is_file() and now - path.stat().st_mtime > UNKNOWN_S:
                files.append(path)
    if not files:
        return 0
    with database.connection() as connection:
        names = [p.name.split(".")[0] for p in files]
        query = "select fingerprint from recording where fingerprint = any(%s)"
        known = {name for (name,) in connection.execute(query, [names])}
    gone = [p for p in files if p.name.split(".")[0] not in known]
    for path in gone:
        path.unlink(missing_ok=True)
    return len(gone)


def opus_bytes(seconds: float) -> int:
    """What kept Opus of this many seconds of audio takes on disk, with 5 % for its container."""
    return round(seconds * OPUS_BITS / 8 * 1.05)
