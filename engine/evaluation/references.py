"""What is true of recordings, from the files people have: STM, SegLST, RTTM, CTM, plain text and gainstage's own json."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from gainstage.config.regular_files import read_regular
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Misconfigured

KINDS = ("stm", "seglst", "rttm", "ctm", "txt", "json")
MOST_BYTES = 256 * 1024**2
LATEST_S = 1e7
"""A later time (116 days) is no time of a recording."""


@dataclass(frozen=True, slots=True)
class Said:
    """Somebody says something from start to end (seconds). ``text`` is None where only the time is known."""

    speaker: str
    start: float
    end: float
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Talk:
    """One recording, true or as understood. ``timed`` says whether speakers and times are known, or only the text.

    ``own_turns`` are who speaks when, where that is stated apart from the words.
    """

    name: str
    parts: tuple[Said, ...]
    timed: bool = True
    own_turns: tuple[Said, ...] = ()

    @property
    def turns(self) -> tuple[Said, ...]:
        """Who speaks when."""
        return self.own_turns or self.parts

    @property
    def turned(self) -> bool:
        """Whether it is known who speaks when."""
        return self.timed or bool(self.own_turns)

    @property
    def worded(self) -> bool:
        """Whether the words are known."""
        return any(part.text is not None for part in self.parts)

    @property
    def text(self) -> str:
        """All words in order of time."""
        return " ".join(part.text for part in sorted(self.parts, key=lambda p: p.start) if part.text)


def load_reference(path: Path) -> list[Talk]:
    """Every recording of a file; its kind is recognised by the ending of the file name and, for json, by the content.

    Raises :class:`Misconfigured` for a file that is missing, of another kind or broken, with the place.
    """
    kind = path.name.lower().rsplit(".", 1)[-1]
    try:
        text = read_regular(path, MOST_BYTES).decode("utf-8-sig")
        if kind in ("stm", "rttm", "ctm"):
            talks = _talks({"stm": _stm, "rttm": _rttm, "ctm": _ctm}[kind](text))
        elif kind in ("json", "seglst"):
            talks = _from_json(json.loads(text), path.stem)
        elif kind == "txt":
            talks = [Talk(path.stem, (Said("", 0.0, 0.0, text),), timed=False)]
        else:
            raise ValueError(f"unknown ending .{kind}")
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        why = f"no field {error}" if isinstance(error, KeyError) else getattr(error, "strerror", None) or error
        raise Misconfigured(
            f"{path.name} is no reference that can be read: {clean_text(str(why), 300)}",
            cause="reference cannot be read",
            hint=f"Formats are {', '.join(KINDS)}; recognised by the ending of the file name.",
        ) from error
    if not any(talk.parts for talk in talks):
        raise Misconfigured(f"{path.name} has no entries", cause="reference cannot be read", hint="Is it the right file?")
    return talks


def _talks(rows: Iterable[tuple[str, Said]]) -> list[Talk]:
    by_name: dict[str, list[Said]] = {}
    for name, said in rows:
        by_name.setdefault(name, []).append(_checked(said))
    return [Talk(name, tuple(parts)) for name, parts in by_name.items()]


def _checked(said: Said) -> Said:
    if not 0 <= said.start <= said.end <= LATEST_S:
        raise ValueError(f"times {said.start} to {said.end}")
    return said


def _lines(text: str, least: int) -> Iterable[list[str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith(";;"):
            fields = line.split()
            if len(fields) < least:
                raise ValueError(f"line {number} has {len(fields)} fields, not {least}")
            yield fields


def _stm(text: str) -> Iterable[tuple[str, Said]]:
    """``file channel speaker start end [<labels>] words``"""
    for fields in _lines(text, 5):
        words = fields[5:]
        if words and words[0].startswith("<") and words[0].endswith(">"):
            words = words[1:]
        yield fields[0], Said(fields[2], float(fields[3]), float(fields[4]), " ".join(words))


def _rttm(text: str) -> Iterable[tuple[str, Said]]:
    """``SPEAKER file channel start duration <NA> <NA> speaker ...``"""
    for fields in _lines(text, 8):
        if fields[0] == "SPEAKER":
            start = float(fields[3])
            yield fields[1], Said(fields[7], start, start + float(fields[4]))


def _ctm(text: str) -> Iterable[tuple[str, Said]]:
    """``file channel start duration word [confidence]``; the channel stands for the speaker"""
    for fields in _lines(text, 5):
        start = float(fields[2])
        yield fields[0], Said(fields[1], start, start + float(fields[3]), fields[4])


def _from_json(data: Any, name: str) -> list[Talk]:
    if isinstance(data, list):  # SegLST
        return _talks(
            (str(row["session_id"]), Said(str(row["speaker"]), float(row["start_time"]), float(row["end_time"]), str(row["words"])))
            for row in data
        )
    if not isinstance(data, dict):
        raise ValueError("neither a list nor an object")
    if "segments" in data:  # `gainstage export --format json`
        id = str(data.get("recording", {}).get("id", name)) if isinstance(data.get("recording"), Mapping) else name
        return _talks((id, Said(str(s["speaker"]), float(s["start"]), float(s["end"]), str(s["text"]))) for s in data["segments"])
    if "words" in data and data["words"] and isinstance(data["words"][0], Mapping):
        return [_demo_truth(data, name)]
    turns = [(name, _turn(t)) for t in data.get("turns", ())]
    if turns and data.get("text"):
        return [Talk(name, (Said("", 0.0, 0.0, str(data["text"])),), timed=False, own_turns=_talks(turns)[0].parts)]
    if turns:
        return _talks(turns)
    return [Talk(name, (Said("", 0.0, 0.0, str(data["text"])),), timed=False)]


def _turn(row: Any) -> Said:
    """A turn as [start, end, speaker] or as an object with those fields."""
    if isinstance(row, Mapping):
        return Said(str(row.get("speaker", row.get("cluster"))), float(row["start"]), float(row["end"]))
    return Said(str(row[2]), float(row[0]), float(row[1]))


def _demo_truth(data: Mapping[str, Any], name: str) -> Talk:
    """The truth beside a demo recording: turns, and words that last until the next one or the end of their turn."""
    turns = [_checked(Said(str(t["speaker"]), float(t["start"]), float(t["end"]))) for t in data["turns"]]
    ends = _TurnEnds(turns)
    words: list[Said] = []
    rows = sorted(data["words"], key=lambda row: float(row["start"]))
    for k, row in enumerate(rows):
        start, speaker = float(row["start"]), str(row["speaker"])
        turn_end = ends.after(speaker, start)
        following = float(rows[k + 1]["start"]) if k + 1 < len(rows) else turn_end
        words.append(_checked(Said(speaker, start, max(start, min(following, turn_end)), str(row["word"]))))
    return Talk(name, tuple(words), own_turns=tuple(turns))


class _TurnEnds:
    """The ends of a speaker's turns by time, found without a look at every turn."""

    def __init__(self, turns: Iterable[Said]) -> None:
        self._of: dict[str, tuple[list[float], list[float]]] = {}
        by_speaker: dict[str, list[Said]] = {}
        for turn in sorted(turns, key=lambda t: t.start):
            by_speaker.setdefault(turn.speaker, []).append(turn)
        for speaker, own in by_speaker.items():
            self._of[speaker] = [t.start - 0.05 for t in own], list(accumulate((t.end for t in own), max))

    def after(self, speaker: str, at: float) -> float:
        """The latest end of the speaker's turns around a time; the time itself where there is none."""
        starts, latest = self._of.get(speaker, ([], []))
        count = bisect_right(starts, at)
        return max(at, latest[count - 1]) if count else at
