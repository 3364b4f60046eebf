"""Lists of sources: a text file with one source per line, or JSON Lines. Read line by line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent
from gainstage.engine.options import RecordingOptions

LISTS = (".txt", ".jsonl", ".ndjson", ".urls")
MOST_LINE = 100_000


@dataclass(frozen=True, slots=True)
class ListLine:
    """A source named in a list, with the list's details; or the error of the line."""

    number: int
    source: str
    details: dict[str, Any] = field(default_factory=dict)
    wrong: str | None = None


def read_list(path: Path) -> Iterator[ListLine]:
    """The lines of a list that name a source. Blank lines and comments (``#``) are skipped; relative paths start at the list.

    An object of JSON Lines has ``url`` (or ``source`` or ``path``) and may have ``title``, ``duration`` (seconds),
    ``published`` (ISO day), ``channel``, ``priority`` and the fields of :class:`RecordingOptions`. Raises :class:`Permanent` when the file cannot be read.
    """
    json_lines = path.suffix.lower() in (".jsonl", ".ndjson")
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            number = 0
            while text := file.readline(MOST_LINE):
                number += 1
                text = text.strip()
                if text and not text.startswith("#"):
                    yield _json_line(number, text, path) if json_lines else ListLine(number, _place(text, path))
    except OSError as error:
        raise Permanent(
            f"cannot read {clean_text(str(path), 300)}: {error.strerror}", cause="unreadable file", hint="Check its permissions."
        ) from error


def _json_line(number: int, text: str, path: Path) -> ListLine:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return ListLine(number, "", wrong=f"line {number}: not JSON")
    if isinstance(data, str):
        data = {"url": data}
    source = next((data[k] for k in ("url", "source", "path") if data.get(k)), None) if isinstance(data, dict) else None
    if not isinstance(source, str) or not source.strip():
        return ListLine(number, "", wrong=f"line {number}: no url")
    details: dict[str, Any] = {k: clean_text(data[k], 300) for k in ("title", "channel") if isinstance(data.get(k), str)}
    if isinstance(data.get("duration"), int | float) and 0 < data["duration"] < 1e9:
        details["duration"] = float(data["duration"])
    if isinstance(data.get("published"), str):
        details["published"] = clean_text(data["published"], 10)
    try:
        details["options"] = RecordingOptions.of(data)
    except Permanent as error:
        return ListLine(number, "", wrong=f"line {number}: {error}")
    if isinstance(data.get("priority"), int) and abs(data["priority"]) < 10**6:
        details["priority"] = int(data["priority"])
    return ListLine(number, _place(source.strip(), path), details)


def _place(text: str, path: Path) -> str:
    if "://" in text or text.startswith("ytsearch"):
        return text
    return str(path.parent / os.path.expanduser(text))
