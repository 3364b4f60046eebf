"""Options of a recording: what can be written, what is refused, and what becomes of the settings."""

from __future__ import annotations

from typing import Any

import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES

from gainstage.config.settings import Settings, changed
from gainstage.engine.errors import Permanent
from gainstage.engine.options import FEWEST, LANGUAGES, MOST, MOST_HOTWORDS, RecordingOptions, speakers_text


def test_the_languages_are_those_of_whisper() -> None:
    assert set(_LANGUAGE_CODES) == LANGUAGES


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("3", (3, 3)),
        (3, (3, 3)),
        ("2..4", (2, 4)),
        (" 2 .. 4 ", (2, 4)),
        ("2-4", (2, 4)),
        ("2..", (2, None)),
        ("..4", (None, 4)),
        ([2, 4], (2, 4)),
        ([None, 4], (None, 4)),
        ("auto", (None, None)),
        ("4..4", (4, 4)),
    ],
)
def test_speakers_can_be_written_in_several_ways(written: Any, read: tuple[int | None, int | None]) -> None:
    assert RecordingOptions.of({"speakers": written}).speakers == read


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("speakers", "4..2", "The first number is the fewest"),
        *(
            ("speakers", value, "Write a number as in 3")
            for value in ("0", "21", "..", "-3", "x", "", "2..99", True, 2.5, [1, 2, 3])
        ),
        *(("language", value, "Write a code") for value in ("german", "xx", "", "e n", 3)),
        ("hotwords", 3, "Write names and terms"),
        ("hotwords", "x" * (MOST_HOTWORDS + 1), "characters or fewer"),
    ],
)
def test_an_invalid_option_is_refused_with_what_to_write(name: str, value: Any, part: str) -> None:
    with pytest.raises(Permanent, match=name) as caught:
        RecordingOptions.of({name: value})
    assert part in caught.value.hint
    assert RecordingOptions.stored({name: value, "language" if name != "language" else "speakers": "auto"}) != RecordingOptions()


def test_a_near_code_is_named() -> None:
    with pytest.raises(Permanent) as caught:
        RecordingOptions.of({"language": "eng"})
    assert "Did you mean en?" in caught.value.hint


def test_what_is_stored_comes_back() -> None:
    counts = (None, *range(FEWEST, MOST + 1))
    pairs = [(low, high) for low in counts for high in counts if low is None or high is None or low <= high]
    for language, hotwords in [(None, None), ("de", "Kea,\tTakahe\x1b[31m"), ("auto", ""), ("yue", "\0\u202e")]:
        for low, high in pairs:
            options = RecordingOptions.of({"language": language, "speakers": [low, high], "hotwords": hotwords})
            assert RecordingOptions.stored(options.record()) == options
            assert options.speakers == RecordingOptions.of({"speakers": speakers_text((low, high))}).speakers == (low, high)


def test_options_replace_settings_and_leave_the_others() -> None:
    settings = changed(changed(changed(Settings(), "diarization.max_speakers", 2), "asr.hotwords", "Kea"), "asr.beam", 3)
    assert RecordingOptions().applied(settings) == settings
    some = RecordingOptions(language="de", speakers=(5, None)).applied(settings)
    assert (some.asr.language, some.asr.hotwords, some.asr.beam) == ("de", "Kea", 3)
    assert (some.diarization.min_speakers, some.diarization.max_speakers) == (5, None), "the bounds go together"
    assert RecordingOptions(hotwords="").applied(settings).asr.hotwords == ""


def test_the_own_options_of_a_line_go_before_those_of_the_list() -> None:
    own, whole = RecordingOptions(language="de"), RecordingOptions(language="en", speakers=(2, 4), hotwords="Kea")
    assert own.over(whole) == RecordingOptions(language="de", speakers=(2, 4), hotwords="Kea")
    assert str(own.over(whole)) == "language de · speakers 2..4 · hotwords Kea"
    assert str(RecordingOptions()) == ""
