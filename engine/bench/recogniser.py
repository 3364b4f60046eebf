"""What shared calls of the recogniser save: batch fill, equality and CPU time, alone and together, in one run.

``python -m gainstage.engine.bench.recogniser`` prints it, with the bundled recogniser on bundled recordings.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gainstage.engine.bench.quality import demo_settings, media_with_truth
from gainstage.engine.flow.batcher import Batcher
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.resolve import DEMO, find
from gainstage.engine.terms import SAMPLE_RATE, Audio, Transcript

if TYPE_CHECKING:
    from gainstage.engine.speech.recognition import DecodedWindow, SpeechWindow
    from gainstage.engine.speech.transcribe import Transcriber
    from gainstage.engine.views.passes import BatchRecord

RECORDINGS, BATCH, SLOTS, REPEATS = 8, 16, 8, 2
_LINGER_S = 0.5
_SAME_S = 0.010


@dataclass(frozen=True, slots=True)
class RecogniserFigures:
    """``fill`` of the calls with all recordings in flight, ``fill_alone`` one after the other; ``identical``: the same tokens, and
    times equal to 10 ms; ``cpu_ratio``: CPU time together over alone, of all passes; ``cpu_ratios``: of each pair of passes."""

    fill: float
    fill_alone: float
    identical: bool
    cpu_ratio: float
    cpu_ratios: tuple[float, ...]
    calls: int
    calls_alone: int
    waited_p50_s: float


def run(
    recordings: int = RECORDINGS, *, repeats: int = REPEATS, seed: int = 0, model: Path = DEMO / "asr", batch: int = BATCH
) -> RecogniserFigures:
    """Recognise recordings of many lengths, joined from the bundled ones by ``seed``, one by one and all at once, in alternation:
    the first of a pair is the second of the next, so that a machine that warms up or gets busy favours neither.
    """
    from gainstage.engine.speech.recogniser import CALLS, load_transcriber
    from gainstage.engine.telemetry.cores import threads_of

    transcriber = load_transcriber(
        find("asr", str(model), None, model), "cpu", "int8", threads=threads_of(CALLS), workers=CALLS, warn=print
    )
    with tempfile.TemporaryDirectory() as name:
        audios = _recordings(Path(name), recordings, seed)
        _timed(transcriber, audios[:1], 1, batch)  # warm
        cost: dict[int, list[float]] = {1: [], SLOTS: []}
        found = {}
        for turn in range(repeats):
            for slots in (1, SLOTS) if turn % 2 == 0 else (SLOTS, 1):
                transcripts, seconds, made = _timed(transcriber, audios, slots, batch)
                cost[slots].append(seconds)
                found[slots] = transcripts, made
        (alone, calls_alone), (together, calls) = found[1], found[SLOTS]
    return RecogniserFigures(
        fill=_fill(calls, batch),
        fill_alone=_fill(calls_alone, batch),
        identical=all(same(a, b) for a, b in zip(alone, together, strict=True)),
        cpu_ratio=sum(cost[SLOTS]) / sum(cost[1]),
        cpu_ratios=tuple(round(b / a, 3) for a, b in zip(cost[1], cost[SLOTS], strict=True)),
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
    transcriber: Transcriber, audios: Sequence[Audio], slots: int, batch: int
) -> tuple[list[Transcript], float, list[BatchRecord]]:
    """(transcripts, CPU seconds, calls) with ``slots`` recordings in flight."""
    calls: list[BatchRecord] = []
    busy = _Busy()
    settings = demo_settings({"asr.batch": batch}).asr
    batcher: Batcher[SpeechWindow, DecodedWindow] = Batcher(
        "windows",
        transcriber.decode,
        cost=lambda _: 1.0,
        budget=batch,
        linger_s=_LINGER_S,
        key=lambda window: window.decoding,
        producers=lambda: busy.count,
        unit="windows",
        on_batch=calls.append,
    )

    def one(audio: Audio) -> Transcript:
        with busy:
            return transcriber.transcribe(
                audio, settings, token=CancelToken(), submit=lambda windows, token: batcher.submit(windows, token=token)
            )

    began = time.process_time()
    with batcher, ThreadPoolExecutor(slots) as pool:
        transcripts = list(pool.map(one, audios))
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
        f"fill of a call       {result.fill:.0%} with all in flight ({result.calls} calls), "
        f"{result.fill_alone:.0%} one after the other ({result.calls_alone})\n"
        f"words                {'the same' if result.identical else 'DIFFERENT'}\n"
        f"processor time       {result.cpu_ratio:.2f} of one after the other\n"
        f"wait for a call      {result.waited_p50_s:.2f} s (median)"
    )


if __name__ == "__main__":
    print(table(run()))
