"""Transcripts for other programs: srt, vtt, txt, json and rttm, with what their readers would run made harmless."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.rows import StoredRecording
from gainstage.engine.terms import Segment
from gainstage.engine.views.exports import EXPORT_FORMATS

LONGEST_LINE = 20_000

# SubRip has no escapes: players run <tags> and {\\overrides}, and split at arrows. The full-width signs look the same.
_SRT = str.maketrans({"<": "＜", ">": "＞", "{": "｛", "}": "｝"})
_VTT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# what a terminal would run when the file is printed, and what turns text round in an editor; the value stays the same
_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def document(store: RecordingStore, id: str) -> dict[str, Any]:
    """A recording and its segments as the json export has them. Raises :class:`Permanent` when there is no such recording."""
    stored = store.get(id)
    if stored is None:
        raise Permanent(f"no recording {id!r}", cause="no such recording", hint="`gainstage recordings` lists them")
    return as_document(stored, store.segments(id))


def as_document(stored: StoredRecording, segments: Sequence[Segment]) -> dict[str, Any]:
    recording = stored.recording
    return {
        "recording": {"id": recording.id, "title": recording.title, "source": recording.source, "duration": recording.duration},
        "segments": [
            {
                "start": s.start,
                "end": s.end,
                "speaker": s.speaker,
                "confidence": s.confidence,
                "provenance": str(s.provenance),
                "text": s.text,
                "words": [
                    {
                        "word": w.text,
                        "start": w.start,
                        "end": w.end,
                        "probability": w.probability,
                        "speaker": w.speaker,
                        "overlap": w.overlap,
                    }
                    for w in s.words
                ],
            }
            for s in segments
        ],
    }


def json_of(stored: StoredRecording, segments: Sequence[Segment]) -> str:
    """Exactly the stored values; control characters are escaped."""
    text = json.dumps(as_document(stored, segments), ensure_ascii=False, indent=1)
    return _JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def srt_of(stored: StoredRecording, segments: Sequence[Segment]) -> str:
    """SubRip. Signs that players run are replaced by their full-width look-alikes."""
    cues = []
    for n, s in enumerate(segments, 1):
        line = f"{_line(s.speaker)}: {_line(s.text)}".translate(_SRT)
        cues.append(f"{n}\n{_stamp(s.start, ',')} --> {_stamp(s.end, ',')}\n{line}\n")
    return "\n".join(cues)


def vtt_of(stored: StoredRecording, segments: Sequence[Segment]) -> str:
    """WebVTT with a voice tag per cue. Raises nothing: text is escaped as the standard says."""
    cues = ["WEBVTT\n"]
    for s in segments:
        line = f"<v {_line(s.speaker).translate(_VTT)}>{_line(s.text).translate(_VTT)}"
        cues.append(f"{_stamp(s.start, '.')} --> {_stamp(s.end, '.')}\n{line}\n")
    return "\n".join(cues)


def txt_of(stored: StoredRecording, segments: Sequence[Segment]) -> str:
    """One line per segment: time, who, what."""
    lines = [_line(stored.recording.title), ""]
    lines += [f"[{_stamp(s.start, '.')[:8]}] {_line(s.speaker)}: {_line(s.text)}" for s in segments]
    return "\n".join(lines) + "\n"


def rttm_of(stored: StoredRecording, segments: Sequence[Segment]) -> str:
    """NIST RTTM: who speaks when. White space in names becomes ``_``; names that would then be the same get a number."""
    file, names = _field(stored.recording.id), _distinct([s.speaker for s in segments])
    return "".join(
        f"SPEAKER {file} 1 {s.start:.3f} {max(0.0, s.end - s.start):.3f} <NA> <NA> {names[s.speaker]} <NA> <NA>\n" for s in segments
    )


Writer = Callable[[StoredRecording, Sequence[Segment]], str]
WRITERS: dict[str, Writer] = dict(zip(EXPORT_FORMATS, (srt_of, vtt_of, txt_of, json_of, rttm_of), strict=True))


def export_recording(store: RecordingStore, id: str, format: str, folder: Path) -> Path:
    """Write one recording to ``folder/<id>.<format>``, whole or not at all; the file written.

    Raises :class:`Permanent` when there is no such recording or format, or the folder cannot be written.
    """
    if format not in WRITERS:
        raise Permanent(f"unknown format {format!r}", cause="unknown format", hint=f"formats are {', '.join(WRITERS)}")
    stored = store.get(id)
    if stored is None:
        raise Permanent(f"no recording {id!r}", cause="no such recording", hint="`gainstage recordings` lists them")
    text = WRITERS[format](stored, store.segments(id))
    target = folder / f"{file_name(stored.recording.id)}.{format}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(target, text)
    except OSError as error:
        raise Permanent(
            f"{target} cannot be written: {error.strerror}", cause="export: cannot write", hint="choose another folder"
        ) from error
    return target


def file_name(id: str) -> str:
    """An id as a file name; ours are safe already, anything else loses what could leave the folder or hide the file."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", id).lstrip(".")[:150] or "recording"


def _write(target: Path, text: str) -> None:
    draft = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        with open(draft, "x", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _line(text: str) -> str:
    """One harmless line: see :func:`gainstage.engine.clean.clean_text`. Never empty, so that a cue never ends early."""
    return clean_text(text, LONGEST_LINE) or "-"


def _stamp(seconds: float, mark: str) -> str:
    ms = max(0, round(seconds * 1000))
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}{mark}{ms % 1000:03d}"


def _field(text: str) -> str:
    return re.sub(r"\s", "_", _line(text)).replace("<NA>", "NA")


def _distinct(names: Sequence[str]) -> dict[str, str]:
    """A field for each name, no two the same."""
    fields: dict[str, str] = {}
    for name in names:
        if name not in fields:
            field, n = _field(name), 2
            while field in fields.values():
                field, n = f"{_field(name)}_{n}", n + 1
            fields[name] = field
    return fields
