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

from gainstage.config.settings import Asr
from gainstage.engine.evaluation.measures import normaliser, word_errors
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.resolve import find
from gainstage.engine.speech.decode import decode
from gainstage.engine.speech.recogniser import load_transcriber
from gainstage.engine.speech.transcribe import Transcriber
from gainstage.engine.terms import Audio, Transcript

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
    return tmp_path_factory.mktemp("real")


def audio_of(folder: Path, clip: str) -> Audio:
    (folder / clip).mkdir(exist_ok=True)
    return decode(CLIPS / clip, folder / clip, token=CancelToken())


def rate(clip: str, words: list[str]) -> float:
    plain = normaliser("en")
    share = word_errors(plain(truth(clip)["text"]), plain(" ".join(words)))
    return share.errors / share.of


def ours(audio: Audio, clip: str) -> tuple[Run, Transcript]:
    began = time.process_time()
    found = transcriber().transcribe(audio, Asr(batch=4), token=CancelToken())
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


@pytest.mark.parametrize(("clip", "slack"), [("conv_short.flac", 0.01), ("lj_tel8k.wav", 0.02)])
def test_no_worse_than_the_bare_library_and_no_dearer(folder: Path, clip: str, slack: float) -> None:
    """A word or two of a clip this short are chance: ``slack``."""
    audio = audio_of(folder, clip)
    run, found = ours(audio, clip)
    batched, sequential = bare(audio, clip, batched=True), bare(audio, clip, batched=False)
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


@pytest.mark.parametrize("kind", ["silence", "hiss"])
def test_nobody_is_heard_where_nobody_speaks(tmp_path: Path, kind: str) -> None:
    level = {"silence": 0.0, "hiss": 0.02}[kind]
    samples = (np.random.default_rng(0).standard_normal(20 * 16_000) * level * 32768).astype("<i2")
    path = tmp_path / "audio.pcm"
    samples.tofile(path)
    assert transcriber().transcribe(Audio(path, len(samples), kind), Asr(), token=CancelToken()).words == ()
