"""The filter line: plain words, ``field:value`` pairs, ``!`` to invert. One grammar for every table."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from gainstage.engine.views.rows import Query

_ALIASES = {"state": "status", "err": "cause", "error": "cause", "rec": "recording"}
_LENGTH = re.compile(r"^(?:len|length)\s*([<>])\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)?$")
_PIECES = re.compile(r"([A-Za-z]+):'([^']*)'|'([^']*)'|(\S+)")
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, None: 60.0}


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter line. ``fields`` are lower-case names with their values; lengths are seconds."""

    text: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    longer_s: float | None = None
    shorter_s: float | None = None
    invert: bool = False
    unknown: tuple[str, ...] = ()
    """Words that look like fields but name none; they are searched for as they stand."""

    @property
    def empty(self) -> bool:
        return not self.text and not self.fields and self.longer_s is None and self.shorter_s is None


def read_filter(line: str, known: Collection[str]) -> Filter:
    """``!stage:transcribe err:throttled len>2h fibre`` as a :class:`Filter`; quotes keep words together.

    ``known`` are the names of the fields that the table has.
    """
    line = line.strip()
    invert = line.startswith("!")
    words: list[str] = []
    fields: dict[str, str] = {}
    unknown: list[str] = []
    longer = shorter = None
    for name, field_value, quoted, plain in _PIECES.findall(line.removeprefix("!").strip()):
        if quoted:
            words.append(quoted)
            continue
        length = _LENGTH.match(plain)
        if length:
            seconds = float(length[2]) * _SECONDS[length[3]]
            longer, shorter = (seconds, shorter) if length[1] == ">" else (longer, seconds)
            continue
        if not name:
            name, colon, value = plain.partition(":")
            if not colon or not value or not name.isalpha() or value.startswith("//"):
                words.append(plain)
                continue
        else:
            value = field_value
        key = _ALIASES.get(name.lower(), name.lower())
        if key in known:
            fields[key] = value
        else:
            unknown.append(name)
            words.append(f"{name}:{value}")
    return Filter(" ".join(words), fields, longer, shorter, invert, tuple(unknown))


def to_query(f: Filter, *, sort: str, descending: bool, faults: bool, limit: int) -> Query:
    """The question to the desk for a page of recordings."""
    status = tuple(f.fields["status"].split(",")) if "status" in f.fields else ()
    if faults and not status:
        status = ("failed",)
    return Query(
        text=" ".join(filter(None, (f.text, f.fields.get("recording")))),
        status=status,
        stage=f.fields.get("stage"),
        cause=f.fields.get("cause"),
        min_duration_s=f.longer_s,
        max_duration_s=f.shorter_s,
        invert=f.invert,
        sort=sort,
        descending=descending,
        limit=limit,
    )


def matches(f: Filter, text: str, **fields: str | None) -> bool:
    """Whether a line with these fields passes; fields the line does not have never match."""
    hit = f.text.casefold() in text.casefold() if f.text else True
    for name, value in f.fields.items():
        have = fields.get(name)
        hit = hit and have is not None and value.casefold() in have.casefold()
    return hit != f.invert if not f.empty else True
