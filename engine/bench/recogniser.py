"""What shared calls of the recogniser save: batch fill, equality and CPU time, shared and each recording with its own, in one run.

Both ways have the same recordings in flight: the same work costs more CPU time when both cores of a processor are busy, so one
recording after the other would be measured at a lower price.

``python -m gainstage.engine.bench.recogniser`` prints it, with the bundled recogniser on bundled recordings.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gainstage.engine.bench.quality import demo_settings, media_with_truth
from gainstage.engine.flow.batcher import Batcher
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.resolve import DEMO, find
from gainstage.engine.speech.recogniser import CALLS
from gainstage.engine.terms import SAMPLE_RATE, Audio, Transcript

if TYPE_CHECKING:
    from gainstage.engine.speech.recognition import DecodedWindow, SpeechWindow
    from gainstage.engine.speech.transcribe import Transcriber
    from gainstage.engine.views.passes import BatchRecord

RECORDINGS, BATCH, SLOTS, REPEATS = 8, 16, 8, 2
SHARED, OWN, IN_TURN = "shared", "own", "in turn"
WAYS = (OWN, SHARED, IN_TURN)
_LINGER_S = 0.5
_SAME_S = 0.010


@dataclass(frozen=True, slots=True)
class RecogniserFigures:
    """``fill`` of the calls that all recordings in flight share, ``fill_alone`` where each has calls of its own; ``identical``: the
    same tokens, and times equal to 10 ms; ``cpu_ratio``: CPU time of shared calls over own ones, of all passes; ``cpu_ratios``: of
    each pair of passes; ``cpu_ratio_in_turn``: of shared calls over one recording after the other."""

    fill: float
    fill_alone: float
    identical: bool
    cpu_ratio: float
    cpu_ratios: tuple[float, ...]
    cpu_ratio_in_turn: float
    calls: int
    calls_alone: int
    waited_p50_s: float


def run(
    recordings: int = RECORDINGS, *, repeats: int = REPEATS, seed: int = 0, model: Path = DEMO / "asr", batch: int = BATCH
) -> RecogniserFigures:
    """Recognise recordings of many lengths, joined from the bundled ones by ``seed``, in three ways in alternation: the first of a
    round is the last of the next, so that a machine that warms up or gets busy favours none.
    """
    from gainstage.engine.speech.recogniser import load_transcriber
    from gainstage.engine.telemetry.cores import threads_of

    transcriber = load_transcriber(
        find("asr", str(model), None, model), "cpu", "int8", threads=threads_of(CALLS), workers=CALLS, warn=print
    )
    with tempfile.TemporaryDirectory() as name:
        audios = _recordings(Path(name), recordings, seed)
        _timed(transcriber, audios[:1], IN_TURN, batch)  # warm
        cost: dict[str, list[float]] = {way: [] for way in WAYS}
        texts = {}
        for turn in range(repeats):
            for way in WAYS if turn % 2 == 0 else WAYS[::-1]:
                transcripts, seconds, made = _timed(transcriber, audios, way, batch)
                cost[way].append(seconds)
                texts[way] = transcripts, made
        (alone, calls_alone), (together, calls) = texts[OWN], texts[SHARED]
    return RecogniserFigures(
        fill=_fill(calls, batch),
        fill_alone=_fill(calls_alone, batch),
        identical=all(same(a, b) for a, b in zip(alone, together, strict=True)),
        cpu_ratio=sum(cost[SHARED]) / sum(cost[OWN]),
        cpu_ratios=tuple(round(b / a, 3) for a, b in zip(cost[OWN], cost[SHARED], strict=True)),
        cpu_ratio_in_turn=sum(cost[SHARED]) / sum(cost[IN_TURN]),
        calls=len(calls),
        calls_alone=len(calls_alone),
        waited_p50_s=float(np.median([c.waited_s for c in calls])),
    )


def same(one: Transcript, other: Transcript) -> bool:
    """Whether two transcripts have the same words, at the same times to 10 ms."""
    return [w.text for w in one.words] == [w.text for w in other.words] and all(
        max(abs(a.start - b.start), abs(a.end - b.end)) <= _SAME_S for a, b in zip(one.words, other.words, strict=True)
    )


def _recordings(folder: Path, count: int, seed: int) -> list[Audio]:
    """Bundled speech joined in random order to recordings of two to five minutes."""
    from gainstage.engine.speech.decode import decode

    rng = np.random.default_rng(seed)
    pieces = []
    for path in media_with_truth(DEMO / "recordings"):
        (folder / path.stem).mkdir()
        decoded = decode(path, folder / path.stem, token=CancelToken())
        pieces.append(decoded.read())
    made = []
    for n in range(count):
        samples = np.concatenate([pieces[k] for k in rng.integers(0, len(pieces), int(rng.integers(2, 6)))])
        path = folder / f"{n}.pcm"
        (samples * 32768).astype("<i2").tofile(path)
        made.append(Audio(path, len(samples), f"bench-{n}-{len(samples) / SAMPLE_RATE:.0f}"))
    return made


def _timed(
    transcriber: Transcriber, audios: Sequence[Audio], way: str, batch: int
) -> tuple[list[Transcript], float, list[BatchRecord]]:
    """(transcripts, CPU seconds, calls) of a way: one of :data:`WAYS`."""
    calls: list[BatchRecord] = []
    busy = _Busy()
    settings = demo_settings({"asr.batch": batch}).asr

    def batcher(producers: Callable[[], int], runners: int) -> Batcher[SpeechWindow, DecodedWindow]:
        return Batcher(
            "windows",
            transcriber.decode,
            cost=lambda window: window.share,
            budget=batch,
            linger_s=_LINGER_S,
            key=lambda window: window.decoding,
            producers=producers,
            unit="windows",
            on_batch=calls.append,
            runners=runners,
        )

    def one(audio: Audio, batcher: Batcher[SpeechWindow, DecodedWindow]) -> Transcript:
        with busy:
            return transcriber.transcribe(
                audio, settings, token=CancelToken(), submit=lambda windows, token: batcher.submit(windows, token=token)
            )

    def own(audio: Audio) -> Transcript:
        with batcher(lambda: 1, 1) as alone:
            return one(audio, alone)

    began = time.process_time()
    with batcher(lambda: busy.count, CALLS) as shared, ThreadPoolExecutor(1 if way == IN_TURN else SLOTS) as pool:
        transcripts = list(pool.map((lambda audio: one(audio, shared)) if way == SHARED else own, audios))
    return transcripts, time.process_time() - began, calls


class _Busy:
    """Counts the recordings in flight."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.count -= 1


def _fill(calls: Sequence[BatchRecord], batch: int) -> float:
    return sum(c.items for c in calls) / (batch * len(calls)) if calls else 0.0


def document(result: RecogniserFigures) -> dict[str, Any]:
    """For ``--json``."""
    return asdict(result)


def table(result: RecogniserFigures) -> str:
    """The result as plain text."""
    return (
        f"fill of a call       {result.fill:.0%} shared ({result.calls} calls), "
        f"{result.fill_alone:.0%} with calls of each recording ({result.calls_alone})\n"
        f"words                {'the same' if result.identical else 'DIFFERENT'}\n"
        f"processor time       {result.cpu_ratio:.2f} of calls of each recording, "
        f"{result.cpu_ratio_in_turn:.2f} of one recording after the other\n"
        f"wait for a call      {result.waited_p50_s:.2f} s (median)"
    )


if __name__ == "__main__":
    print(table(run()))
