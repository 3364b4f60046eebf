"""When the console itself goes wrong: an id on the screen, the traceback in a file, no locals anywhere."""

from __future__ import annotations

import hashlib
import traceback
from datetime import datetime
from pathlib import Path

from gainstage.tui.render.safe import conceal


def write_report(problem: BaseException, what: str, log: Path) -> str:
    """Append the traceback to ``log`` and return its short id; the same fault has the same id."""
    text = conceal("".join(traceback.format_exception(problem)))
    where = traceback.extract_tb(problem.__traceback__)
    last = f"{where[-1].filename}:{where[-1].lineno}" if where else ""
    number = hashlib.sha256(f"{type(problem).__name__}{last}{what}".encode()).hexdigest()[:6]
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{datetime.now().isoformat(timespec='seconds')} {number} {what}\n{text}\n")
    return number
