"""People recorded on separate lines: each line is recognised alone, is one speaker, and the words are merged in time order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gainstage.config.settings import Asr
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.kept import KeptResults
from gainstage.engine.speech.activity import speech_spans
from gainstage.engine.speech.block_recogniser import Submit
from gainstage.engine.speech.coverage import summed
from gainstage.engine.speech.transcribe import Transcriber
from gainstage.engine.terms import DiarizationResult, SpeakerTrack, SpeakerTurn, Transcript, Turn, Word

MODEL = "one speaker per track"


def cluster_of(number: int) -> str:
    """The cluster name of a line, counted from 0."""
    return f"TRACK_{number:02d}"


def transcribe_lines(
    recogniser: Transcriber,
    lines: Sequence[SpeakerTrack],
    settings: Asr,
    *,
    token: CancelToken,
    progress: Callable[[float], None] | None = None,
    submit: Submit | None = None,
    kept: KeptResults | None = None,
) -> Transcript:
    """The words of all lines in time order; ``speaker`` of each word is the cluster of its line until names are assigned. Errors as
    for :meth:`Transcriber.transcribe`."""
    transcripts: list[Transcript] = []
    for k, line in enumerate(lines):

        def share(done: float, k: int = k) -> None:
            if progress is not None:
                progress((k + done) / len(lines))

        transcripts.append(recogniser.transcribe(line.audio, settings, token=token, progress=share, submit=submit, kept=kept))
    words = [replace(w, speaker=cluster_of(k)) for k, one in enumerate(transcripts) for w in one.words]
    words.sort(key=lambda w: (w.start, w.end))
    main = max(transcripts, key=lambda one: len(one.words))
    means = [(one.average_log_probability, len(one.words)) for one in transcripts if one.average_log_probability is not None]
    return replace(
        main,
        words=tuple(words),
        utterances=((0, len(words)),) if words else (),
        average_log_probability=sum(m * n for m, n in means) / sum(n for _, n in means) if means else None,
        looped=tuple(sorted(span for one in transcripts for span in one.looped)),
        coverage=summed([one.coverage for one in transcripts]),
    )


def turns_of(lines: Sequence[SpeakerTrack], token: CancelToken) -> DiarizationResult:
    """Turns where each line has speech. Where two overlap, the exclusive turns give the time to the one that began first."""
    turns = sorted(
        (Turn(start, end, cluster_of(k)) for k, line in enumerate(lines) for start, end in speech_spans(line.audio, token)),
        key=lambda t: (t.start, t.end),
    )
    exclusive: list[Turn] = []
    reached = 0.0
    for turn in turns:
        start = max(turn.start, reached)
        if turn.end > start:
            exclusive.append(replace(turn, start=start))
            reached = turn.end
    return DiarizationResult(tuple(turns), tuple(exclusive), MODEL)


def named(words: Sequence[Word], turns: Sequence[SpeakerTurn], overlaps: Sequence[tuple[float, float]]) -> tuple[Word, ...]:
    """The words of :func:`transcribe_lines` with the speaker's name of their line; flagged where two people speak at once.

    Words of a line without a named turn keep no speaker.
    """
    seconds: dict[str, dict[str, float]] = {}
    for turn in turns:
        names = seconds.setdefault(turn.cluster, {})
        names[turn.speaker] = names.get(turn.speaker, 0.0) + turn.seconds
    who = {cluster: max(names, key=lambda name: names[name]) for cluster, names in seconds.items()}

    def at_once(word: Word) -> bool:
        return any(start < word.end and end > word.start for start, end in overlaps)

    return tuple(replace(w, speaker=who.get(w.speaker or ""), overlap=at_once(w)) for w in words)
