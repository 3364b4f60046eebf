"""A publisher's captions in place of recognition: words with times interpolated in their lines, checked against the speech."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.speech.activity import speech_spans
from gainstage.engine.speech.coverage import coverage
from gainstage.engine.terms import Audio, Caption, Captions, Transcript, Word
from gainstage.engine.text.captions import NoCaptions, timed
from gainstage.engine.text.joining import runs_on

LEAST_COVERED = 0.5
"""Captions with words for less than this share of the speech are an excerpt, or belong to another recording."""

MOST_STRAY = 0.5
"""Captions with more than this share of their time outside speech belong to another recording, or to another cut of it."""

LONGER_S = 60.0
"""Captions may end this many seconds after the audio: a closing line is often shown longer than anybody speaks."""

_PIECE = re.compile(r"\s*\S+")


def transcript_of(captions: Captions, audio: Audio, language: str, token: CancelToken) -> Transcript:
    """The words of captions as a transcript in ``language`` (a two-letter code).

    Raises :class:`NoCaptions` when they have no times or do not fit the audio, :class:`gainstage.engine.errors.Cancelled`.
    """
    if not timed(captions.lines):
        raise NoCaptions("they have no times")
    last = max(line.end or 0.0 for line in captions.lines)
    if last > audio.seconds + LONGER_S:
        raise NoCaptions(f"they last {last:.0f} s and the recording {audio.seconds:.0f} s")
    words: list[Word] = []
    utterances: list[tuple[int, int]] = []
    for line in captions.lines:
        placed = [word for word in words_of(line) if word.start < audio.seconds]
        if placed:
            utterances.append((len(words), len(words) + len(placed)))
            words += placed
    account = coverage(speech_spans(audio, token), words, ())
    share = account.worded_s / account.speech_s if account.speech_s else 0.0
    if share < LEAST_COVERED:
        raise NoCaptions(f"they cover {100 * share:.0f} % of the speech")
    total = sum(word.end - word.start for word in words)
    if account.stray_s > MOST_STRAY * total:
        raise NoCaptions(f"{account.stray_s:.0f} s of their {total:.0f} s lie where nobody speaks")
    return Transcript(
        words=tuple(words),
        utterances=tuple(utterances),
        language=language,
        language_probability=1.0,
        average_log_probability=None,
        model=f"publisher's {captions.origin} ({captions.format})",
        coverage=account,
        interpolated=True,
    )


def words_of(line: Caption) -> tuple[Word, ...]:
    """The words of a line with times: each gets the share of the line's time that its characters have of the line's text.

    Their probability is 1: people wrote them. Scripts without spaces are divided into characters.
    """
    if line.start is None or line.end is None:
        return ()
    pieces = [piece for part in _PIECE.findall(line.text) for piece in _divided(part)]
    weights = [len(piece.strip()) + 1 for piece in pieces]
    a_unit, done, words = (line.end - line.start) / max(1, sum(weights)), 0, []
    for k, (piece, weight) in enumerate(zip(pieces, weights, strict=True)):
        spaced = " " if k == 0 or piece[0].isspace() else ""
        start, end = line.start + done * a_unit, line.start + (done + weight) * a_unit
        words.append(Word(spaced + piece.strip(), start, end, 1.0))
        done += weight
    return tuple(words)


def _divided(part: str) -> Iterator[str]:
    """A text between spaces; its characters where its script has no spaces, punctuation with the character before it."""
    piece = ""
    for sign in part:
        apart = runs_on(sign) or (piece and runs_on(piece[-1]))
        if apart and sign.isalnum() and piece.strip():
            yield piece
            piece = ""
        piece += sign
    if piece:
        yield piece
