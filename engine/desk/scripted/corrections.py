"""Transcripts of the story's recordings, and corrections of who speaks in them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gainstage.engine.desk.scripted.items import Item
from gainstage.engine.desk.scripted.text import transcript
from gainstage.engine.terms import UNKNOWN_PREFIX
from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.corrections import (
    CorrectionAsk,
    CorrectionDiff,
    CorrectionMove,
    CorrectionUndone,
    StoredTranscript,
    TranscriptLine,
)


@dataclass(frozen=True, slots=True)
class _Made:
    diff: CorrectionDiff
    names: dict[int, str]  # by ordinal
    by_hand: int


class ScriptedCorrections:
    """What was corrected in this story, the newest last."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._made: list[_Made] = []

    def transcript(self, item: Item) -> StoredTranscript:
        rows = transcript(self._seed, item)
        lines = [
            TranscriptLine(
                ordinal=n,
                start=start,
                end=end,
                speaker=speaker,
                confidence=None if speaker.startswith(UNKNOWN_PREFIX) else 0.62 + (number * 7 % 31) / 100,
                provenance="cluster",
                text=text,
                overlap=number % 9 == 4,
                doubtful=number % 11 == 7,
            )
            for n, (number, start, end, speaker, text) in enumerate(rows)
        ]
        for made in self._made:
            if made.diff.recording == item.id:
                for n, name in made.names.items():
                    how = "manual" if n == made.by_hand else "corrected"
                    lines[n] = replace(lines[n], speaker=name, provenance=how, confidence=None)
        return StoredTranscript(item.id, item.part.title, item.part.url, item.part.url, item.part.duration_s, tuple(lines))

    def preview(self, item: Item, ask: CorrectionAsk) -> CorrectionDiff:
        """The line at the time, and the other lines of its speaker."""
        if ask.speaker is None and not ask.nobody:
            raise DeskError("this story's turns are not split")
        shown = self.transcript(item)
        at = ask.at or 0.0
        here = min(shown.lines, key=lambda line: max(line.start - at, at - line.end, 0.0))
        speaker = ask.speaker or f"{UNKNOWN_PREFIX}9"
        others = [x for x in shown.lines if x.speaker == here.speaker and x is not here and x.provenance != "manual"]
        seconds = sum(x.end - x.start for x in others)
        moves = (CorrectionMove(item.id, shown.title, here.speaker, speaker, round(seconds, 1), len(others)),) if others else ()
        return CorrectionDiff(
            id=None,
            recording=item.id,
            title=shown.title,
            start=here.start,
            end=here.end,
            text=here.text,
            was=here.speaker,
            speaker=speaker,
            seconds=round(here.end - here.start, 1),
            passages=1,
            moves=moves,
            seconds_moved=round(seconds, 1),
            recordings=len(moves),
            note="",
            took_s=0.04,
        )

    def correct(self, item: Item, ask: CorrectionAsk, *, likes: bool) -> CorrectionDiff:
        diff = replace(self.preview(item, ask), id=len(self._made) + 1, applied=likes)
        lines = self.transcript(item).lines
        here = next(line.ordinal for line in lines if line.start == diff.start)
        names = {here: diff.speaker}
        if likes:
            names |= {x.ordinal: diff.speaker for x in lines if x.speaker == diff.was and x.provenance != "manual"}
        self._made.append(_Made(diff, names, here))
        return diff

    def undo(self, number: int | None) -> CorrectionUndone:
        if not self._made or number not in (None, self._made[-1].diff.id):
            raise DeskError("no correction stands")
        diff = self._made.pop().diff
        return CorrectionUndone(diff.id or 0, diff.was, diff.speaker, (diff.recording,))
