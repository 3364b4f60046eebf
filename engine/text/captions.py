"""Publishers' captions and transcripts as timed lines: SubRip, WebVTT, TTML, JSON, HTML, plain text. Pure.

The content decides, not the declared type: servers send captions as text/plain, and pages of an error as captions.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

from gainstage.engine.clean import clean_text
from gainstage.engine.models import quiet
from gainstage.engine.terms import Caption, Captions

MOST_CUES = 100_000
"""Most lines of a file; a day of captions has about 40,000."""

LONGEST_TEXT = 20_000
LONGEST_S = 30 * 86_400.0
LAST_S = 10.0
"""Seconds of the last line of a transcript that gives only the starts."""

_FAULTS = (ValueError, LookupError, AttributeError, TypeError, NotImplementedError, ArithmeticError, SyntaxError)
"""What pysubs2 raises for files that it cannot read; SyntaxError is that of XML."""

_TAG = re.compile(r"</?[A-Za-z][^<>]{0,500}>|<\d[\d:.]{0,20}>|\{\\[^{}]{0,200}\}")
_SOUND = re.compile(
    r"[\[【][^\[\]【】]{0,200}[\]】]|[♪♫♬]+|^[ \t]*(?:>>+|[-–—])[ \t]+|^[ \t]*\([^()]{0,200}\)[ \t]*$", re.MULTILINE
)
"""What captions for the deaf hold beside words: sounds in brackets, notes, marks of a change of speaker."""
_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:[.,]\d{1,6})?)")


class NoCaptions(ValueError):
    """The content cannot be read as captions; the message says why."""


def parse(body: bytes) -> tuple[str, tuple[Caption, ...]]:
    """(format, lines in time order) of a file: "srt", "vtt", "ass", "ttml", "json", "html" or "text".

    Lines of a text without times have none: ``start`` and ``end`` are None. Raises :class:`NoCaptions`.
    """
    text = _decoded(body)
    opening = text.lstrip()[:2000]
    if opening.startswith("#EXTM3U") or "\0" in text:
        raise NoCaptions("it is a playlist" if opening.startswith("#EXTM3U") else "it is no text")
    if opening.startswith(("{", "[")) and (lines := _of_json(text)) is not None:
        return "json", _ordered(lines)
    if opening.startswith("WEBVTT"):
        return "vtt", _ordered(_of_subtitles(text, "vtt"))
    if re.match(r"<(\w+:)?tt\b", _without_prologue(opening)):
        return "ttml", _ordered(_of_subtitles(text, "ttml"))
    if opening.startswith("[Script Info]"):
        return "ass", _ordered(_of_subtitles(text, "ass"))
    if opening.startswith("<"):
        return "html", _ordered(_of_html(text))
    if re.search(r"^[ \t]*(?:\d{1,9}:)?\d{1,9}:\d{1,9}[.,]\d{1,9}[ \t]*-->", text, re.MULTILINE):
        return "srt", _ordered(_of_subtitles(text, "srt"))
    return "text", _ordered(Caption(None, None, line) for line in text.splitlines())


def _without_prologue(opening: str) -> str:
    """The beginning of an XML document without its declaration and the comments before its first element."""
    for begin, end in (("<?xml", "?>"), *(("<!--", "-->"),) * (opening.count("<!--"))):
        if opening.startswith(begin):
            opening = opening.partition(end)[2].lstrip()
    return opening


def timed(lines: Sequence[Caption]) -> bool:
    """Whether the lines have times."""
    return bool(lines) and lines[0].start is not None


def as_facts(captions: Captions, *, instead: bool) -> dict[str, Any]:
    """As kept with the recording. ``instead``: its words were taken from them; beside recognised words, their lines are kept too."""
    facts: dict[str, Any] = {
        "taken": "instead of recognition" if instead else "beside recognition",
        "origin": captions.origin,
        "format": captions.format,
        "language": captions.language,
        "lines": len(captions.lines),
    }
    if instead:
        return {**facts, "word_times": "interpolated within a line"}
    return {**facts, "text": [[_rounded(line.start), _rounded(line.end), line.text] for line in captions.lines]}


def in_words(facts: Mapping[str, Any]) -> str | None:
    """One sentence on the captions among a recording's facts; None when there are none."""
    captions = facts.get("captions")
    if not isinstance(captions, dict):
        return None
    language = f" {captions['language']}" if captions.get("language") else ""
    what = f"publisher's {captions.get('origin')}{language} ({captions.get('format')}, {captions.get('lines')} lines)"
    times = f", word times {captions['word_times']}" if captions.get("word_times") else ""
    return f"{what}, taken {captions.get('taken')}{times}"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _decoded(body: bytes) -> str:
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return body.decode("utf-16", "replace")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")


def _of_subtitles(text: str, format: str) -> Iterator[Caption]:
    import pysubs2

    text = "\n".join(text.splitlines()[: 8 * MOST_CUES])
    try:
        with quiet.working():
            events = pysubs2.SSAFile.from_string(text, format_=format, keep_html_tags=True, keep_unknown_html_tags=True)
    except (pysubs2.exceptions.Pysubs2Error, *_FAULTS) as error:
        raise NoCaptions(f"it is no {format}: {clean_text(str(error), 100)}") from error
    for event in events:
        if event.type == "Dialogue":
            yield Caption(event.start / 1000, event.end / 1000, event.text.replace("\\N", "\n").replace("\\h", " "))


def _of_json(text: str) -> list[Caption] | None:
    """The segments of podcast:transcript's JSON, or of a recogniser's: ``startTime``/``start``, ``endTime``/``end``, ``body``/``text``."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("["):  # a text may begin with "[Music]"
            return None
        raise NoCaptions(f"it is no JSON: {clean_text(str(error), 100)}") from error
    rows = content if isinstance(content, list) else _first(content, "segments", "cues", "transcript", "results")
    if not isinstance(rows, list):
        raise NoCaptions("its JSON has no segments")
    lines = []
    for row in rows[:MOST_CUES]:
        if not isinstance(row, dict):
            continue
        start, end = _seconds(_first(row, "startTime", "start", "begin")), _seconds(_first(row, "endTime", "end"))
        body = _first(row, "body", "text", "content")
        if isinstance(body, str):
            lines.append(Caption(start, end, body))
    return lines


def _first(values: Any, *names: str) -> Any:
    if not isinstance(values, dict):
        return None
    return next((values[name] for name in names if values.get(name) is not None), None)


def _seconds(value: Any) -> float | None:
    if isinstance(value, str):
        if match := _CLOCK.fullmatch(value.strip()):
            hours, minutes, seconds = match.groups()
            return 3600.0 * int(hours or 0) + 60.0 * int(minutes) + float(seconds.replace(",", "."))
        try:
            value = float(value)
        except ValueError:
            return None
    ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if ok and 0 <= value < LONGEST_S else None


class _HtmlTranscript(HTMLParser):
    """A transcript in HTML: text, ``<time>`` where a passage begins, ``<cite>`` with who speaks, which is left out."""

    BLOCKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "section", "article", "blockquote", "cite"})
    HIDDEN = frozenset({"script", "style", "head", "title", "cite", "template", "noscript"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[tuple[float | None, list[str]]] = [(None, [])]
        self._hidden = 0
        self._time: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if tag in self.HIDDEN:
            self._hidden += 1
        elif tag == "time":
            self._time = []
        if tag in self.BLOCKS:
            self.lines[-1][1].append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag == "time" and self._time is not None:
            self.lines.append((_seconds("".join(self._time)), []))
            self._time = None

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        (self.lines[-1][1] if self._time is None else self._time).append(data)


def _of_html(text: str) -> list[Caption]:
    page = _HtmlTranscript()
    try:
        page.feed(text)
        page.close()
    except (AssertionError, *_FAULTS) as error:  # html.parser asserts what a document may break
        raise NoCaptions(f"it is no HTML: {clean_text(str(error), 100)}") from error
    parts = [(start, "".join(parts)) for start, parts in page.lines if "".join(parts).strip()]
    if any(start is not None for start, _ in parts):
        return [Caption(start, None, body) for start, body in parts if start is not None]
    return [Caption(None, None, line) for _, body in parts for line in body.splitlines()]


def _ordered(lines: Iterator[Caption] | Sequence[Caption]) -> tuple[Caption, ...]:
    """Lines with words, in time order, each ending before the next begins. Raises :class:`NoCaptions` for none."""
    kept = []
    for line in lines:
        text = clean_text(" ".join(_SOUND.sub(" ", html.unescape(_TAG.sub("", line.text))).split()), LONGEST_TEXT)
        if re.search(r"\w", text):
            kept.append(replace(line, text=text))
        if len(kept) >= MOST_CUES:
            break
    if not kept:
        raise NoCaptions("it holds no words")
    placed = [line for line in kept if line.start is not None]
    if len(placed) < len(kept) / 2:
        return tuple(Caption(None, None, line.text) for line in kept)
    kept = placed
    kept.sort(key=lambda line: line.start or 0.0)
    return tuple(_apart(kept))


def _apart(lines: Sequence[Caption]) -> Iterator[Caption]:
    for line, after in pairwise([*lines, None]):
        if line is None or line.start is None:
            continue
        end = line.end if line.end is not None and line.end > line.start else None
        limit = after.start if after is not None and after.start is not None and after.start > line.start else None
        if end is None:
            end = limit if limit is not None else line.start + LAST_S
        yield replace(line, end=min(end, limit) if limit is not None else end)
