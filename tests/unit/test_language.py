"""A language the recogniser does not know is reported."""

from __future__ import annotations

import pytest

from gainstage.engine.speech.language import language_warnings
from gainstage.engine.terms import Transcript, Word

WORDS = tuple(Word(f"w{n}", n, n + 0.5, 0.9) for n in range(20))


def said(language: str, sure: float, mean: float, model: str, words: tuple[Word, ...] = WORDS) -> Transcript:
    return Transcript(words, (), language, sure, mean, model)


@pytest.mark.parametrize(
    ("transcript", "multilingual", "detected", "part"),
    [
        (said("de", 0.99, -0.2, "small"), True, True, None),
        (said("cy", 0.31, -0.2, "small"), True, True, "a guess: cy with a probability of 0.31"),
        (said("cy", 0.31, -0.2, "small"), True, False, None),
        (
            said("de", 0.98, -0.3, "distil-large-v3"),
            True,
            True,
            "de was spoken (probability 0.98), and distil-large-v3 was trained on English",
        ),
        (said("de", 0.98, -0.3, "Systran/faster-distil-whisper-large-v3@abc"), True, True, "trained on English"),
        (said("en", 0.98, -0.3, "distil-large-v3"), True, True, None),
        (said("en", 1.0, -0.25, "distil-small.en"), False, False, None),
        (said("en", 1.0, -1.1, "distil-small.en"), False, False, "knows English only"),
        (said("en", 1.0, -1.1, "distil-small.en", WORDS[:2]), False, False, None),
    ],
)
def test_what_is_said_of_the_language(transcript: Transcript, multilingual: bool, detected: bool, part: str | None) -> None:
    warnings = language_warnings(transcript, multilingual=multilingual, detected=detected)
    assert [w.cause for w in warnings] == (["language"] if part else [])
    assert not part or part in warnings[0].message
    assert all(w.hint for w in warnings)
