"""Who speaks when: the diarizer's turns, from one pipeline per slot over weights that all slots share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gainstage.config.settings import Diarization as DiarizationSettings
from gainstage.engine.errors import Misconfigured, Permanent
from gainstage.engine.flow.adaptive_budget import AdaptiveBudget
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.kept import KeptResults
from gainstage.engine.models import quiet
from gainstage.engine.models.cpu_threads import follow
from gainstage.engine.models.made_by import made_by
from gainstage.engine.models.oom import out_of_memory_named
from gainstage.engine.terms import SAMPLE_RATE, Audio, DiarizationResult, Turn

if TYPE_CHECKING:
    from gainstage.engine.models.diarizer import DiarizerParts

_SHARES = {
    "segmentation": (0.0, 0.4),
    "speaker_counting": (0.4, 0.4),
    "embeddings": (0.4, 0.95),
    "discrete_diarization": (0.98, 0.98),
}
"""Start and end of each pipeline step as a share of its progress; measured on a CPU with the demo models."""


AUDIBLE = 1e-3
"""A recording whose loudest sample is below this (-60 dBFS) has no speech; a model may still detect some in its noise."""

BLOCK_S = 60.0


class Diarizer:
    """The pipeline of one slot. Not thread-safe; other slots build their own over the same weights."""

    def __init__(self, parts: DiarizerParts) -> None:
        self.parts = parts
        self.device = parts.device
        self._pipeline = parts.pipeline()

    def diarize(
        self,
        audio: Audio,
        settings: DiarizationSettings,
        *,
        token: CancelToken,
        progress: Callable[[float], None] | None = None,
        batch: Callable[[], int | None] | None = None,
        between: Callable[[], object] = lambda: None,
        kept: KeptResults | None = None,
        on_oom: Callable[[str, int], object] = lambda step, chunks: None,
    ) -> DiarizationResult:
        """The turns of a recording; none where nobody speaks. The audio is read in blocks; only the ``stock`` engine holds all of
        it as float32 (230 MB an hour). ``batch`` returns the present ``diarization.batch``; without it, the value in ``settings``
        is used. ``between`` is called between two calls of a network, ``on_oom`` with the step and the chunks of each call that did
        not fit into memory: it is made again in halves, a single chunk with no other call on the device. Results in ``kept`` are not
        computed again, new ones are added to it; the stock engine keeps none.

        Raises :class:`Misconfigured` for contradictory speaker counts, :class:`gainstage.engine.errors.OutOfMemory`,
        :class:`gainstage.engine.errors.Cancelled`.
        """
        low, high = settings.min_speakers, settings.max_speakers
        if low is not None and high is not None and low > high:
            raise Misconfigured(
                f"diarization.min_speakers ({low}) is above diarization.max_speakers ({high})",
                cause="speaker bounds exclude each other",
                hint="Change one of the two.",
            )
        self.parts.set_threshold(self._pipeline, settings.clustering_threshold)
        if not audible(audio):
            return DiarizationResult((), (), self.parts.label)
        output = self._run(_file(audio, settings, batch, kept, on_oom), audio.seconds, low, high, token, progress, between)
        turns = _turns(getattr(output, "speaker_diarization", output), audio.seconds)
        offered = getattr(output, "exclusive_speaker_diarization", None)
        sole = exclusive(_turns(offered, audio.seconds) if offered is not None else turns)
        if self.parts.pad_s:
            turns, sole = padded(turns, self.parts.pad_s, audio.seconds), padded(sole, self.parts.pad_s, audio.seconds)
        if progress is not None:
            progress(1.0)
        return DiarizationResult(turns, sole, self.parts.label)

    def header(self, audio: Audio, settings: DiarizationSettings) -> dict[str, Any]:
        """All that kept results of a recording depend on; clustering is done anew."""
        parts = self.parts
        return {
            "audio": audio.fingerprint,
            "model": [parts.label, parts.device, parts.options, parts.parameters.get("segmentation", {})],
            "settings": settings.model_dump(include={"engine", "step"}),
            "made by": made_by("pyannote-audio", "torch"),
        }

    def _run(
        self,
        file: dict[str, Any],
        seconds: float,
        low: int | None,
        high: int | None,
        token: CancelToken,
        progress: Callable[[float], None] | None,
        between: Callable[[], object],
    ) -> Any:
        def hook(step: str, _artefact: object, *, total: int | None = None, completed: int | None = None, **_: object) -> None:
            token.check()
            between()
            follow()
            if progress is not None and step in _SHARES:
                a, b = _SHARES[step]
                done = 1.0 if total is None else min(1.0, float(completed or 0) / total)  # without a total, the step has finished
                progress(a + (b - a) * done)

        token.check()
        follow()
        try:
            with quiet.working(), out_of_memory_named(f"diarizer on {self.device}"), self.parts.rate.timed(seconds):
                run = self._pipeline if "waveform" in file else self._pipeline.apply  # the call requires a waveform
                return run(file, min_speakers=low, max_speakers=high, hook=hook)
        except ValueError as error:
            raise Permanent(
                f"the diarizer cannot work on this audio: {error}",
                cause="diarizer refused the audio",
                hint="Play it: is there speech in it?",
                stage="diarize",
            ) from error


def audible(audio: Audio) -> bool:
    """Whether any sample reaches :data:`AUDIBLE`; read in blocks until one does."""
    at = 0.0
    while at < audio.seconds:
        block = audio.read(at, at + BLOCK_S)
        if max(block.max(initial=0.0), -block.min(initial=0.0)) >= AUDIBLE:
            return True
        at += BLOCK_S
    return False


def _file(
    audio: Audio,
    settings: DiarizationSettings,
    batch: Callable[[], int | None] | None,
    kept: KeptResults | None,
    on_oom: Callable[[str, int], object],
) -> dict[str, Any]:
    """The pipeline's input: a waveform for the stock engine, else an object that reads the audio by itself."""
    if settings.engine == "stock":
        import torch

        return {"waveform": torch.from_numpy(audio.read())[None], "sample_rate": SAMPLE_RATE, "uri": "audio"}
    from gainstage.engine.models.speaker_pipeline import Work

    work = Work(audio, AdaptiveBudget, settings.engine, settings.step, batch or (lambda: settings.batch), kept, on_oom)
    return {"work": work, "uri": "audio"}


def padded(turns: Sequence[Turn], pad_s: float, seconds: float) -> tuple[Turn, ...]:
    """Extend every turn by ``pad_s`` at both ends, within the recording; into a pause at most to its middle, and never into
    another turn. ``turns`` are in time order.
    """
    line: list[Turn] = []
    reached = 0.0  # the latest end of all turns before
    for n, turn in enumerate(turns):
        following = turns[n + 1].start if n + 1 < len(turns) else seconds + 2 * pad_s
        before, after = max(0.0, turn.start - reached), max(0.0, following - turn.end)
        first = turn.start - min(pad_s, before / 2 if n else before)
        line.append(replace(turn, start=round(first, 3), end=round(min(seconds, turn.end + min(pad_s, after / 2)), 3)))
        reached = max(reached, turn.end)
    return tuple(line)


def _turns(annotation: Any, seconds: float) -> tuple[Turn, ...]:
    """Turns in time order, within the recording (the last window of the model is padded beyond its end)."""
    turns = (
        Turn(round(max(0.0, span.start), 3), round(min(span.end, seconds), 3), str(label))
        for span, _, label in annotation.itertracks(yield_label=True)
    )
    return tuple(sorted((t for t in turns if t.end > t.start), key=lambda t: (t.start, t.end, t.cluster)))


def exclusive(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """Turns without overlap: in an overlap, the turn that began first keeps the time until it ends.

    The union of the turns stays the same, so no speech is lost; a turn that lasts longer continues afterwards.
    """
    waiting = sorted(turns, key=lambda t: (t.start, -t.end))
    result: list[Turn] = []
    for turn in waiting:
        start = max(turn.start, result[-1].end) if result else turn.start
        if turn.end > start:
            result.append(Turn(start, turn.end, turn.cluster))
    return tuple(result)
