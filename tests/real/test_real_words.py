"""Real people through real Whisper weights, against the bare library on the same clips in the same run.

Runs where the models are: ``make real-models``, then GAINSTAGE_REAL_MODELS names their folder.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gainstage.config.settings import Asr
from gainstage.engine.evaluation.measures import normaliser, word_errors
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.resolve import find
from gainstage.engine.speech.decode import decode
from gainstage.engine.speech.recogniser import load_transcriber
from gainstage.engine.speech.transcribe import Transcriber
from gainstage.engine.terms import SAMPLE_RATE, Audio, Transcript

CLIPS = Path(__file__).parent.parent / "data" / "real"
MODELS = os.environ.get("GAINSTAGE_REAL_MODELS", "")
WHISPER = Path(MODELS) / "whisper-base"

pytestmark = [
    pytest.mark.skipif(not MODELS or not WHISPER.is_dir(), reason="no real models: make real-models, set GAINSTAGE_REAL_MODELS"),
    pytest.mark.timeout(900),
]


@dataclass(frozen=True)
class Run:
    """Words of a clip, and what they cost."""

    words: list[str]
    wer: float
    cpu_s: float


@cache
def transcriber() -> Transcriber:
    return load_transcriber(find("asr", str(WHISPER), None, WHISPER), "cpu", "int8", threads=2, workers=1, warn=print)


@cache
def truth(clip: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CLIPS / clip).with_suffix(".json").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for decoded clips; every way was used once, so that none pays for what is loaded late."""
    place = tmp_path_factory.mktemp("real")
    short = stored(place, decode(CLIPS / "lj_tel8k.wav", place, token=CancelToken()).read(0.0, 5.0), "warm")
    ours(short, "lj_tel8k.wav")
    for batched in (True, False):
        bare(short, "lj_tel8k.wav", batched=batched)
    return place


def audio_of(folder: Path, clip: str, noise_db: float | None = None) -> Audio:
    """A clip, on request under white noise that is ``noise_db`` decibels below its level."""
    place = folder / f"{clip}{noise_db}"
    place.mkdir(exist_ok=True)
    audio = decode(CLIPS / clip, place, token=CancelToken())
    if noise_db is None:
        return audio
    samples = audio.read()
    level = float(np.sqrt(np.mean(np.square(samples)))) * 10 ** (-noise_db / 20)
    return stored(place, samples + level * np.random.default_rng(0).standard_normal(len(samples)), "noisy")


def stored(folder: Path, samples: NDArray[np.floating[Any]], fingerprint: str) -> Audio:
    """Samples as decoded audio."""
    path = folder / f"{fingerprint}.pcm"
    (np.clip(samples, -1, 1) * 32767).astype("<i2").tofile(path)
    return Audio(path, len(samples), fingerprint)


def chords() -> NDArray[np.floating[Any]]:
    """Twenty seconds of music: chords of decaying harmonics, one every half second."""
    at = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    rng = np.random.default_rng(0)
    played = []
    for _ in range(40):
        tones = rng.choice([220.0, 246.9, 261.6, 293.7, 329.6, 349.2, 392.0, 440.0], 3, replace=False)
        played.append(sum(np.exp(-4 * at) * np.sin(2 * np.pi * tone * k * at) / k for tone in tones for k in (1, 2, 3)) * 0.1)
    return np.concatenate(played)


def rate(clip: str, words: list[str]) -> float:
    plain = normaliser("en")
    share = word_errors(plain(truth(clip)["text"]), plain(" ".join(words)))
    return share.errors / share.of


def ours(audio: Audio, clip: str) -> tuple[Run, Transcript]:
    model = transcriber()
    began = time.process_time()
    found = model.transcribe(audio, Asr(batch=4), token=CancelToken())
    words = [w.text for w in found.words]
    return Run(words, rate(clip, words), time.process_time() - began), found


def bare(audio: Audio, clip: str, *, batched: bool) -> Run:
    from faster_whisper import BatchedInferencePipeline

    model, samples = transcriber()._model, audio.read()
    began = time.process_time()
    segments, _ = (
        BatchedInferencePipeline(model).transcribe(samples, batch_size=4, word_timestamps=True)
        if batched
        else model.transcribe(samples, word_timestamps=True)
    )
    words = [w.word.strip() for s in segments for w in s.words]
    return Run(words, rate(clip, words), time.process_time() - began)


@pytest.mark.parametrize(
    ("clip", "noise_db", "slack"), [("conv_short.flac", None, 0.015), ("lj_tel8k.wav", None, 0.02), ("lj_tel8k.wav", 8.0, 0.02)]
)
def test_no_worse_than_the_bare_library_and_no_dearer(folder: Path, clip: str, noise_db: float | None, slack: float) -> None:
    """A word or two of a clip this short are chance: ``slack``.

    The goal is 1.5 times the processor time of the batched pipeline. Both run twice, in turn, and the lesser time of each counts:
    other work on the machine adds to it. Quick dialogue is near the goal, 1.41 to 1.47; one single run beside much other work
    had 1.53.
    """
    audio = audio_of(folder, clip, noise_db)
    runs, bare_runs = [], []
    for _ in range(2):
        run, found = ours(audio, clip)
        runs.append(run)
        bare_runs.append(bare(audio, clip, batched=True))
    run, batched = (min(several, key=lambda one: one.cpu_s) for several in (runs, bare_runs))
    sequential = bare(audio, clip, batched=False)
    print(
        f"\n{clip}: WER, processor s: ours {run.wer:.3f} {run.cpu_s:.1f}, batched {batched.wer:.3f} {batched.cpu_s:.1f}, ", end=""
    )
    print(f"sequential {sequential.wer:.3f} {sequential.cpu_s:.1f}")
    assert run.wer <= min(batched.wer, sequential.wer) + slack
    assert run.cpu_s <= 1.5 * batched.cpu_s
    assert found.language == "en"


@pytest.mark.parametrize("clip", ["conv_short.flac", "lj_tel8k.wav"])
def test_every_second_of_speech_is_accounted_for_and_words_lie_in_it(folder: Path, clip: str) -> None:
    audio = audio_of(folder, clip)
    _, found = ours(audio, clip)
    account = found.coverage
    assert account.worded_s + account.judged_silent_s + account.left_s == pytest.approx(account.speech_s)
    assert account.left_s <= 0.03 * account.speech_s
    assert account.stray_s < 0.5
    edges = [t for w in found.words for t in (w.start, w.end)]
    assert edges == sorted(edges)


def test_words_of_a_turn_lie_within_it(folder: Path) -> None:
    clip = "conv_short.flac"
    _, found = ours(audio_of(folder, clip), clip)
    turns = truth(clip)["turns"]
    beside = [w for w in found.words if not any(a - 0.3 <= (w.start + w.end) / 2 <= b + 0.3 for a, b, _ in turns)]
    assert len(beside) <= 0.02 * len(found.words), beside


@pytest.mark.parametrize("kind", ["silence", "hiss", "music"])
def test_no_words_where_nobody_speaks(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    samples = {"silence": np.zeros(20 * SAMPLE_RATE), "hiss": 0.02 * rng.standard_normal(20 * SAMPLE_RATE), "music": chords()}[kind]
    assert transcriber().transcribe(stored(tmp_path, samples, kind), Asr(), token=CancelToken()).words == ()
