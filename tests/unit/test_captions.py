"""Publishers' captions of every form become timed lines, and lines become words."""

from __future__ import annotations

import json

import pytest

from gainstage.config.settings import Settings, changed
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.captions import base, read, wanted_language, with_language
from gainstage.engine.speech.captioned import words_of
from gainstage.engine.terms import Caption, Captions
from gainstage.engine.text.captions import NoCaptions, as_facts, in_words, parse
from gainstage.engine.text.joining import join

VTT = """WEBVTT
Kind: captions

STYLE
::cue { color: red }

NOTE a note

1
00:01.000 --> 00:02.500 align:start
<v Bob>Hello &amp; bye <00:00:01.5><c>there</c>

00:00:03.000 --> 00:00:04.000
- two
lines [Music]

00:00:05.000 --> 00:00:06.000
(applause)
"""
SRT = "1\n00:00:01,000 --> 00:00:02,500\n{\\an8}<i>Grüße</i> 5 < 6\n\n2\n00:00:02,000 --> 00:00:04,000\n♪ la ♪\n"
TTML = (
    '<?xml version="1.0"?><tt xmlns="http://www.w3.org/ns/ttml"><body><div>'
    '<p begin="00:00:01.000" end="00:00:02.000">Hi<br/>you</p></div></body></tt>'
)
ASS = (
    "[Script Info]\nTitle: x\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    "Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\b1}Hi\\Nthere\nComment: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,no\n"
)
TICKS = '<tt xmlns="http://www.w3.org/ns/ttml"><body><div><p begin="10000t" end="20000t">tick</p></div></body></tt>'
HTML = "<cite>Kevin:</cite> <time>0:00</time><p>We have news</p><cite>Ann</cite><time>1:00:30</time><p>yes</p><script>no</script>"
PODCAST = {"version": "1.0.0", "segments": [{"speaker": "a", "startTime": 0.5, "endTime": 0.75, "body": "And"}]}
WHISPER = {"segments": [{"start": "00:00:01.5", "end": 2, "text": " so"}, {"start": None, "text": "[Noise]"}]}


@pytest.mark.parametrize(
    ("body", "format", "lines"),
    [
        (VTT, "vtt", [(1.0, 2.5, "Hello & bye there"), (3.0, 4.0, "two lines")]),
        (VTT.replace("\n", "\r\n"), "vtt", [(1.0, 2.5, "Hello & bye there"), (3.0, 4.0, "two lines")]),
        (SRT, "srt", [(1.0, 2.0, "Grüße 5 < 6"), (2.0, 4.0, "la")]),
        (TTML, "ttml", [(1.0, 2.0, "Hi you")]),
        (ASS, "ass", [(1.0, 2.0, "Hi there")]),
        (HTML, "html", [(0.0, 3630.0, "We have news"), (3630.0, 3640.0, "yes")]),
        ("<p>one</p><p>two</p>", "html", [(None, None, "one"), (None, None, "two")]),
        ("one\n\ntwo", "text", [(None, None, "one"), (None, None, "two")]),
        ("[Music] one", "text", [(None, None, "one")]),
        (json.dumps(PODCAST), "json", [(0.5, 0.75, "And")]),
        (json.dumps(WHISPER), "json", [(1.5, 2.0, "so")]),
    ],
)
def test_the_content_decides_what_it_is(body: str, format: str, lines: list[tuple[float | None, float | None, str]]) -> None:
    expected = (format, tuple(Caption(*line) for line in lines))
    assert parse(body.encode()) == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_captions_in_other_encodings(encoding: str) -> None:
    assert parse(SRT.replace("♪", "").encode(encoding))[1][0].text == "Grüße 5 < 6"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "WEBVTT",
        "WEBVTT\n\n",
        '{"a":',
        "{}",
        '{"segments": 3}',
        "[Music]",
        "<tt xmlns='x'><body><p begin='",
        "\x00" * 9,
        TICKS,
        "#EXTM3U\n#EXTINF:9,\na.vtt",
    ],
)
def test_what_holds_no_words_says_so(body: str) -> None:
    with pytest.raises(NoCaptions):
        parse(body.encode())


def test_a_page_in_place_of_captions_is_none() -> None:
    assert read(b"<p>one two</p>", "podcast:transcript", "en", "text/html", CancelToken()).lines[0].text == "one two"
    for declared in ("text/vtt", "application/srt", "application/json"):
        with pytest.raises(NoCaptions, match="announced as"):
            read(b"<p>Please log in</p>", "podcast:transcript", "en", declared, CancelToken())


def test_words_share_the_time_of_their_line_by_length() -> None:
    words = words_of(Caption(10.0, 14.0, "a longerwrd"))
    assert [w.text for w in words] == [" a", " longerwrd"]
    assert words[0].start == 10.0
    assert words[0].end == words[1].start == pytest.approx(10.0 + 4 * 2 / 12)
    assert words[1].end == pytest.approx(14.0)
    assert words_of(Caption(None, None, "a b")) == ()


@pytest.mark.parametrize(
    ("text", "language", "count"), [("用 machine learning 做。", "zh", 4), ("มา กิน", "th", 4), ("one two", "en", 2)]
)
def test_words_of_other_scripts_join_to_their_text(text: str, language: str, count: int) -> None:
    words = words_of(Caption(0.0, 1.0, text))
    assert (join([w.text for w in words], language), len(words)) == (text, count)


def test_the_language_of_the_recording_is_chosen() -> None:
    tracks = {"live_chat": [], "en": [1], "en-US": [1], "de-DE": [1]}
    assert with_language(tracks, "en-GB") == "en"
    assert with_language(tracks, "en-US") == "en-US"
    assert with_language(tracks, "de") == "de-DE"
    assert with_language(tracks, "fr") is None
    assert with_language(tracks, "") is None
    assert with_language({"live_chat": [], "pt-BR": [1]}, "") == "pt-BR"
    assert (base("eng"), base("en_GB"), base(""), base("iw"), base("zh-Hant"), base("fil")) == ("en", "en", "", "he", "zh", "tl")


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, None),
        ({"fetch.captions": "prefer"}, ""),
        ({"fetch.captions": "beside", "asr.language": "de"}, "de"),
        ({"fetch.captions": "prefer", "asr.language": "de", "asr.task": "translate"}, "en"),
    ],
)
def test_translation_wants_english_captions(values: dict[str, str], wanted: str | None) -> None:
    settings = Settings()
    for key, value in values.items():
        settings = changed(settings, key, value)
    assert wanted_language(settings) == wanted


def test_captions_are_marked_in_the_facts() -> None:
    captions = Captions("subtitles", "vtt", "en", (Caption(0.0, 1.0, "hi"),))
    assert in_words({"captions": as_facts(captions, instead=True)}) == (
        "publisher's subtitles en (vtt, 1 lines), taken instead of recognition, word times interpolated within a line"
    )
    assert as_facts(captions, instead=False)["text"] == [[0.0, 1.0, "hi"]]
    assert in_words({}) is None
