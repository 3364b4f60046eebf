"""A panel as text, CSV or JSON. What a spreadsheet would run is escaped."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from gainstage.config.whole_files import write_whole
from gainstage.engine.views.commands import DeskError

KINDS = {"text": "txt", "csv": "csv", "json": "json"}
"""Kind -> ending of the file."""


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not _number(cell) else cell


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def render(kind: str, columns: list[str], rows: list[list[Any]]) -> str:
    """The table as CSV or JSON text."""
    if kind == "json":
        return json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1, ensure_ascii=False) + "\n"
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return out.getvalue()


def write(path: Path, text: str) -> Path:
    """Write a new file; raises ``DeskError`` where it cannot be written or is there already."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text, new=True)
    except FileExistsError:
        raise DeskError(f"{path} is there already") from None
    except OSError as problem:
        raise DeskError(f"cannot write {path}: {problem.strerror}") from None
    return path
