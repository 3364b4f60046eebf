"""A recording of one speaker, limited to the spans with words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gainstage.engine.terms import Cast, Word

PAUSE_S = 0.2
"""A longer silence between two words, in seconds, does not count as speech."""


def spoken(cast: Cast, words: Sequence[Word]) -> Cast:
    """Replace the single turn of a fast-path cast by one turn per run of words.

    A fast-path cast says who speaks but not when. The seconds of its decision become those of the runs, so that the speech of a
    decision still equals the sum of its turns. Other casts are returned unchanged.
    """
    if not cast.fast_path or len(cast.turns) != 1:
        return cast
    (whole,), (decision,) = cast.turns, cast.decisions
    runs: list[tuple[float, float]] = []
    for word in sorted(words, key=lambda w: w.start):
        if runs and word.start - runs[-1][1] <= PAUSE_S:
            runs[-1] = (runs[-1][0], max(runs[-1][1], word.end))
        else:
            runs.append((word.start, max(word.end, word.start)))
    turns = tuple(replace(whole, start=start, end=end) for start, end in runs if end > start)
    seconds = sum(t.seconds for t in turns)
    adjusted = replace(decision, seconds=seconds, seconds_by_speaker={whole.speaker: seconds} if turns else {})
    return replace(cast, turns=turns, decisions=(adjusted,))
