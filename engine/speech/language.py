"""Whether the detected or chosen language of a recording is credible."""

from __future__ import annotations

import re

from gainstage.engine.terms import RecordingWarning, Transcript

_SURE = 0.5
"""A detected language with a lower probability is a guess."""

_DOUBTFUL = -0.7
"""Mean log-probability below which a recogniser of one language mostly receives another and writes similar-sounding words."""

_ENGLISH_ONLY = re.compile(r"\bdistil-(?:whisper-)?(?:small|medium|large)")
"""The distilled models share the vocabulary of all languages but were trained on one."""

_OTHERS = "For other languages set asr.model to small, medium or large-v3-turbo."

_FEWEST = 5
"""A recording with fewer words gives no evidence of its language."""


def language_warnings(transcript: Transcript, *, multilingual: bool, detected: bool) -> tuple[RecordingWarning, ...]:
    """Warnings about a transcript's language: it was a guess, or the recogniser may not know it.

    ``multilingual``: whether the recogniser knows more than English; ``detected``: whether it detected the language itself.
    """
    if len(transcript.words) < _FEWEST:
        return ()
    sure, language = transcript.language_probability, transcript.language
    if _ENGLISH_ONLY.search(transcript.model) and language != "en":
        message = f"{language} was spoken (probability {sure:.2f}), and {transcript.model} was trained on English"
        return (RecordingWarning("language", message, _OTHERS),)
    if multilingual and detected and sure < _SURE:
        message = f"its language is a guess: {language} with a probability of {sure:.2f}"
        return (RecordingWarning("language", message, "Set asr.language if it is another."),)
    mean = transcript.average_log_probability
    if not multilingual and mean is not None and mean < _DOUBTFUL:
        message = f"the recogniser knows English only and is not sure of what it heard (mean log-probability {mean:.2f})"
        return (RecordingWarning("language", message, _OTHERS),)
    return ()
