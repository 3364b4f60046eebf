"""Who says what, on talk of real people with exact truth: words by speaker (cpWER), against the bare libraries put together.

Runs where the models are: ``make real-models``, then GAINSTAGE_REAL_MODELS names their folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gainstage.config.settings import Asr, Diarization
from gainstage.engine.evaluation.measures import measured
from gainstage.engine.evaluation.references import Said, Talk
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.resolve import find
from gainstage.engine.speech.decode import decode
from gainstage.engine.speech.diarize import Diarizer
from gainstage.engine.speech.recogniser import load_transcriber
from gainstage.engine.speech.transcribe import Transcriber
from gainstage.engine.speech.words import assign
from gainstage.engine.terms import SAMPLE_RATE, Audio, DiarizationResult, Provenance, SpeakerTurn, Word
from tests.real.test_real_turns import MODELS, parts

CLIPS = Path(__file__).parent.parent / "data" / "real"
WHISPER = Path(MODELS) / "whisper-base"
LEVEL = 0.08
"""Root mean square of every turn of a generated talk."""

PAIRS = 5
"""Turns of each reader in it."""

pytestmark = [
    pytest.mark.skipif(
        not MODELS or not WHISPER.is_dir() or not (Path(MODELS) / "diarization").is_dir(),
        reason="no real models: make real-models, set GAINSTAGE_REAL_MODELS",
    ),
    pytest.mark.timeout(900),
]


@cache
def transcriber() -> Transcriber:
    return load_transcriber(find("asr", str(WHISPER), None, WHISPER), "cpu", "int8", threads=2, workers=1, warn=print)


def said(clip: str) -> list[Said]:
    """The turns of a clip with their words, in order of time."""
    found = json.loads((CLIPS / clip).with_suffix(".json").read_text("utf-8"))["said"]
    return [Said(who, start, end, text) for start, end, who, text in found]


def joined(folder: Path, seed: int) -> tuple[Audio, list[Said]]:
    """A reader of LJ Speech and one of LibriSpeech in turns, of the words of both clips, with pauses of 0.2 to 0.7 s."""
    rng = np.random.default_rng(seed)
    tracks = {name: decode(CLIPS / name, _place(folder, name), token=CancelToken()) for name in ("lj_tel8k.wav", "conv_short.flac")}
    lot = {
        "lj_tel8k.wav": said("lj_tel8k.wav"),
        "conv_short.flac": [p for p in said("conv_short.flac") if p.speaker == "1998" and len((p.text or "").split()) >= 4],
    }
    order = {name: list(rng.permutation(len(parts))) for name, parts in lot.items()}
    pieces: list[Any] = []
    truth: list[Said] = []
    at = 0.0
    for _ in range(PAIRS):
        for name in lot:
            part = lot[name][order[name].pop()]
            samples = tracks[name].read(part.start, part.end)
            pause = np.zeros(round(rng.uniform(0.2, 0.7) * SAMPLE_RATE), np.float32)
            pieces += [samples * (LEVEL / max(float(samples.std()), 1e-6)), pause]
            truth.append(replace(part, start=at, end=at + len(samples) / SAMPLE_RATE))
            at += (len(samples) + len(pause)) / SAMPLE_RATE
    whole = np.concatenate(pieces)
    path = folder / f"joined-{seed}.pcm"
    (np.clip(whole, -1, 1) * 32767).astype("<i2").tofile(path)
    return Audio(path, len(whole), f"joined-{seed}"), truth


def _place(folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir(exist_ok=True)
    return place


def ours(audio: Audio) -> tuple[list[Said], DiarizationResult]:
    """Our words, each with the speaker it is stored with where nobody is enrolled, and our turns."""
    words = transcriber().transcribe(audio, Asr(batch=4, language="en"), token=CancelToken()).words
    result = Diarizer(parts()).diarize(audio, Diarization(), token=CancelToken())
    named = [SpeakerTurn(t.start, t.end, t.cluster, t.cluster, None, None, Provenance.CLUSTER) for t in result.turns]
    return [_said(w, w.speaker) for w in assign(words, named)], result


def bare(audio: Audio) -> tuple[list[Said], DiarizationResult]:
    """The words of faster-whisper's batched pipeline, each with the speaker of the stock diarizer's turn nearest to its middle."""
    from faster_whisper import BatchedInferencePipeline

    segments, _ = BatchedInferencePipeline(transcriber()._model).transcribe(
        audio.read(), batch_size=4, word_timestamps=True, language="en"
    )
    words = [Word(w.word.strip(), w.start, w.end, w.probability) for s in segments for w in s.words]
    result = Diarizer(parts()).diarize(audio, Diarization(engine="stock"), token=CancelToken())

    def nearest(word: Word) -> str:
        middle = (word.start + word.end) / 2
        return min(result.turns, key=lambda t: max(t.start - middle, middle - t.end, 0.0)).cluster

    return [_said(w, nearest(w)) for w in words], result


def _said(word: Word, speaker: str | None) -> Said:
    return Said(speaker or "nobody", word.start, word.end, word.text)


def figures(truth: Sequence[Said], words: Sequence[Said], result: DiarizationResult) -> dict[str, float]:
    turns = [Said(t.cluster, t.start, t.end) for t in result.turns]
    shares = measured(Talk("talk", tuple(truth)), Talk("talk", tuple(words)), turns)
    return {name: share.errors / share.of for name, share in shares.items()}


def test_who_says_what_is_no_worse_than_from_the_bare_libraries(tmp_path: Path) -> None:
    """Talk of two readers joined at random."""
    audio, truth = joined(tmp_path, 0)
    (words, turns), (their_words, their_turns) = ours(audio), bare(audio)
    found, reference = figures(truth, words, turns), figures(truth, their_words, their_turns)
    shown = ("wer", "cpwer", "tcpwer", "wder", "der")
    print(f"\n{audio.fingerprint}: " + ", ".join(f"{name} {found[name]:.3f} (bare {reference[name]:.3f})" for name in shown))
    assert len({t.cluster for t in turns.turns}) == 2
    assert found["cpwer"] <= reference["cpwer"] + 0.015, "a word or two are chance"
    assert found["wder"] <= reference["wder"] + 0.015
    assert found["der"] <= reference["der"] + 0.001
