"""Captions of somebody who means harm: a file of 200 bytes once held the engine for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import child_parser
from gainstage.engine.sources.captions import read
from gainstage.engine.text.captions import NoCaptions, parse

SHAPES: dict[str, Callable[[int], bytes]] = {
    "comments before the first element": lambda n: b"<!---->" * n + b"<tt",
    "empty lines": lambda n: b"hello" + b"\n" * n + b"world",
    "a bracket before blanks": lambda n: b"1\n00:00:00,000 --> 00:00:01,000\n(" + b" \n" * n + b"x",
    "marks of speakers": lambda n: b"1\n00:00:00,000 --> 00:00:01,000\n" + b"> " * n + b"x",
    "digits": lambda n: b"x\n" + b"0" * n + b"\nword",
    "open brackets": lambda n: b"1\n00:00:00,000 --> 00:00:01,000\n" + b"[a" * n,
    "tags that do not end": lambda n: b"WEBVTT\n\n00:00.000 --> 00:01.000\n" + b"</a" * n,
    "paragraphs": lambda n: b"<tt xmlns='http://www.w3.org/ns/ttml'><body><div>" + b"<p/>" * n + b"</div></body></tt>",
}


def processor_s(body: bytes) -> float:
    """The least of two."""
    took = []
    for _ in range(2):
        before = time.process_time()
        with suppress(NoCaptions):
            parse(body)
        took.append(time.process_time() - before)
    return min(took)


@pytest.mark.parametrize("name", SHAPES)
def test_twice_as_much_takes_twice_as_long(name: str) -> None:
    parse(b"1\n00:00:00,000 --> 00:00:01,000\nhello\n")  # loads the library
    half, whole = (processor_s(SHAPES[name](n)) for n in (20_000, 40_000))
    assert whole < 3 * half + 0.2, f"{half:.2f} s, {whole:.2f} s"


def test_what_a_library_is_slow_at_ends_with_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_parser, "DEADLINE_S", 1.0)
    began = time.monotonic()
    with pytest.raises(NoCaptions, match="too much for their parser"):
        read(b"<p>" + b"<a " * 1_000_000, "podcast:transcript", "en", "text/html", CancelToken())
    assert time.monotonic() - began < child_parser.DEADLINE_S + 10


def test_captions_come_through_the_child_as_they_are() -> None:
    body = "WEBVTT\n\n00:01.000 --> 00:02.500\nШум \u202eand «words»\n".encode()
    captions = read(body, "subtitles", "en", "vtt", CancelToken())
    assert (captions.format, captions.lines) == parse(body)
    with pytest.raises(NoCaptions, match="playlist"):
        read(b"#EXTM3U\n", "subtitles", "en", "vtt", CancelToken())
