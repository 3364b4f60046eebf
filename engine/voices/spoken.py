"""A recording of one speaker, narrowed to where something is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gainstage.engine.terms import Cast, Word

PAUSE_S = 0.2
"""A longer silence between two words is not speech."""


def spoken(cast: Cast, words: Sequence[Word]) -> Cast:
    """A cast by the fast path says only who speaks, not when: its one turn becomes one per run of words, and the seconds of the
    decision those of the runs. Other casts are left as they are. The sum law holds: speech is what the turns cover.
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
    told = replace(decision, seconds=seconds, seconds_by_speaker={whole.speaker: seconds} if turns else {})
    return replace(cast, turns=turns, decisions=(told,))
