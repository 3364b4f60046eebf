"""A recording as text for other programs: subtitles, transcripts, turns. What their readers would run is made harmless."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from gainstage.engine.clean import clean_text
from gainstage.engine.store.rows import StoredRecording
from gainstage.engine.store.turns import named_turns
from gainstage.engine.terms import Segment, Word
from gainstage.engine.text.captions import in_words
from gainstage.engine.text.cues import Cue, CueStyle, cues

LONGEST_LINE = 20_000

# SubRip has no escapes: players run <tags> and {\\overrides}, and split at arrows. The full-width signs look the same.
_SRT = str.maketrans({"<": "＜", ">": "＞", "{": "｛", "}": "｝"})
_VTT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# what a terminal would run when the file is printed, and what turns text round in an editor; the value stays the same
_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def as_document(stored: StoredRecording, segments: Sequence[Segment]) -> dict[str, Any]:
    """``captions`` is present where the publisher's were taken; beside recognised words, with their lines."""
    recording, captions = stored.recording, stored.facts.get("captions")
    return {
        "recording": {"id": recording.id, "title": recording.title, "source": recording.source, "duration": recording.duration},
        **({"captions": captions} if captions else {}),
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
                        "word": w.text.strip(),
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


def json_of(stored: StoredRecording, segments: Sequence[Segment], style: CueStyle | None = None) -> str:
    """Exactly the stored values; control characters are escaped."""
    text = json.dumps(as_document(stored, segments), ensure_ascii=False, indent=1)
    return _JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def srt_of(stored: StoredRecording, segments: Sequence[Segment], style: CueStyle | None = None) -> str:
    """SubRip: the passages, or cues in a style. Signs that players run are replaced by their full-width look-alikes."""
    if style is None:
        shown = [(s.start, s.end, f"{_line(s.speaker)}: {_line(s.text)}".translate(_SRT)) for s in segments]
    else:
        harmless = [_harmless(s, _SRT) for s in segments]
        shown = [(cue.start, cue.end, "\n".join(cue.lines)) for cue in cues(harmless, language_of(stored), style)]
    stamped = ((_stamp(start, ","), _stamp(end, ","), text) for start, end, text in shown)
    return "\n".join(f"{n}\n{start} --> {end}\n{text}\n" for n, (start, end, text) in enumerate(stamped, 1))


def vtt_of(stored: StoredRecording, segments: Sequence[Segment], style: CueStyle | None = None) -> str:
    """WebVTT: the passages, or cues in a style, each with a voice tag; text is escaped as the standard says."""
    if style is None:
        shown = [Cue(s.start, s.end, _line(s.speaker), (_line(s.text),)) for s in segments]
    else:
        harmless = [_harmless(s, {}) for s in segments]
        shown = list(cues(harmless, language_of(stored), replace(style, speakers="never")))
    note = [f"NOTE {_line(said).translate(_VTT)}\n"] if (said := in_words(stored.facts)) else []
    return "\n".join(["WEBVTT\n", *note, *(_vtt_cue(cue, style is None or style.speakers != "never") for cue in shown)])


def _vtt_cue(cue: Cue, voiced: bool) -> str:
    text = "\n".join(line.translate(_VTT) for line in cue.lines)
    tag = f"<v {cue.speaker.translate(_VTT)}>" if voiced else ""
    return f"{_stamp(cue.start, '.')} --> {_stamp(cue.end, '.')}\n{tag}{text}\n"


def _harmless(segment: Segment, signs: dict[int, str]) -> Segment:
    """The segment with texts that may stand in a subtitle; a word's leading space stays, as it belongs to its script."""

    def cleaned(text: str) -> str:
        return clean_text(text, LONGEST_LINE).translate(signs)

    words = tuple(replace(w, text=" " * w.text.startswith(" ") + cleaned(w.text)) for w in segment.words)
    return replace(segment, speaker=_line(segment.speaker).translate(signs), text=_line(segment.text).translate(signs), words=words)


def language_of(stored: StoredRecording) -> str:
    """The recording's language code, empty where it is not known."""
    return str(stored.facts.get("language") or "")


def txt_of(stored: StoredRecording, segments: Sequence[Segment], style: CueStyle | None = None) -> str:
    """One line per segment: time, who, what."""
    lines = [_line(stored.recording.title), *([f"({_line(note)})"] if (note := in_words(stored.facts)) else []), ""]
    lines += [f"[{_stamp(s.start, '.')[:8]}] {_line(s.speaker)}: {_line(s.text)}" for s in segments]
    return "\n".join(lines) + "\n"


def rttm_of(stored: StoredRecording, segments: Sequence[Segment], style: CueStyle | None = None) -> str:
    """NIST RTTM: who speaks when, two at once where they do. White space in names becomes ``_``; names that would then be the
    same get a number."""
    turns = named_turns(stored.facts, segments)
    file, names = _field(stored.recording.id), _distinct([t.speaker for t in turns])
    return "".join(
        f"SPEAKER {file} 1 {t.start:.3f} {max(0.0, t.end - t.start):.3f} <NA> <NA> {names[t.speaker]} <NA> <NA>\n" for t in turns
    )


def stm_of(stored: StoredRecording, segments: Sequence[Segment], style: CueStyle | None = None) -> str:
    """NIST STM: one line per passage, with its text."""
    file, names = _field(stored.recording.id), _distinct([s.speaker for s in segments])
    return "".join(
        f"{file} 1 {names[s.speaker]} {s.start:.3f} {max(s.end, s.start + 0.001):.3f} {_line(s.text)}\n" for s in segments
    )


def ctm_of(stored: StoredRecording, segments: Sequence[Segment], style: CueStyle | None = None) -> str:
    """NIST CTM: one line per word in time order, with its probability. White space inside a word becomes ``_``."""
    file = _field(stored.recording.id)
    return "".join(
        f"{file} 1 {w.start:.3f} {max(0.0, w.end - w.start):.3f} {_field(w.text)} {w.probability:.3f}\n"
        for _, w in _words(segments)
    )


def seglst_of(stored: StoredRecording, segments: Sequence[Segment], style: CueStyle | None = None) -> str:
    """SegLST, the JSON of meeteval: one object per passage."""
    rows = [
        {
            "session_id": stored.recording.id,
            "speaker": s.speaker,
            "start_time": round(s.start, 3),
            "end_time": round(s.end, 3),
            "words": s.text,
        }
        for s in segments
    ]
    return _JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(rows, ensure_ascii=False, indent=1)) + "\n"


def _words(segments: Sequence[Segment]) -> Iterator[tuple[Segment, Word]]:
    yield from sorted(((s, w) for s in segments for w in s.words if w.text.strip()), key=lambda pair: (pair[1].start, pair[1].end))


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
