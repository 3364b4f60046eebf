"""Recordings of nothing, of a moment and of a crowd through what recordings share and keep; nobody pays for another one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from speech_kit import audio_of, demo_settings, dialogue, models, silence

from gainstage.engine.bench.recogniser import same
from gainstage.engine.errors import OutOfMemory
from gainstage.engine.flow.batcher import Batcher
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.kept import KeptResults
from gainstage.engine.models import quiet
from gainstage.engine.models.selftest import clip
from gainstage.engine.runtime.models import Models
from gainstage.engine.speech.recognition import DecodedWindow, SpeechWindow
from gainstage.engine.terms import Audio, DiarizationResult, Transcript, Turn
from gainstage.engine.voices.extract import VoiceExtractor, voice_batcher
from gainstage.engine.voices.identify import identify

ASR = demo_settings().asr

MOMENTS = {
    "nothing": np.zeros(0, np.float32),
    "a sample": np.ones(1, np.float32),
    "silence": silence(3.0),
    "a word": clip("one_a")[:9600],
}


def transcribed(audio: Audio, path: Path, batcher: Batcher[SpeechWindow, DecodedWindow]) -> Transcript:
    recogniser = models().transcriber()
    with KeptResults(path, recogniser.header(audio, ASR)) as kept:
        return recogniser.transcribe(
            audio, ASR, token=CancelToken(), kept=kept, submit=lambda windows, token: batcher.submit(windows, token=token)
        )


def batcher_of(run: Any, producers: int = 1) -> Batcher[SpeechWindow, DecodedWindow]:
    return Batcher(
        "windows", run, cost=lambda _: 1.0, budget=8.0, linger_s=0.3, key=lambda w: w.decoding, producers=lambda: producers
    )


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_moment_is_recognised_beside_others_and_kept(moment: str, tmp_path: Path) -> None:
    audio, path = audio_of(tmp_path, MOMENTS[moment]), tmp_path / "words.kept"
    with batcher_of(models().transcriber().decode) as batcher:
        first = transcribed(audio, path, batcher)
        calls = batcher.view().batches
        assert transcribed(audio, path, batcher) == first
        assert batcher.view().batches == calls, "it was kept"
    assert all(word.end <= audio.seconds for word in first.words)
    assert bool(first.words) == (moment == "a word")


@pytest.mark.parametrize("engine", ["stacked", "once", "stock"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_moment_is_diarized_and_kept(moment: str, engine: str, tmp_path: Path) -> None:
    audio, path = audio_of(tmp_path, MOMENTS[moment]), tmp_path / "turns.kept"
    diarizer, settings = models().diarizer({}), demo_settings(diarization__engine=engine).diarization
    found = []
    for _ in range(2):
        with KeptResults(path, diarizer.header(audio, settings)) as kept:
            found.append(diarizer.diarize(audio, settings, token=CancelToken(), kept=kept))
    assert found[0] == found[1]
    assert len(found[0].turns) <= (1 if moment == "a word" else 0)


@pytest.mark.parametrize("samples", [1, 399, 400, 4_800, 24_000])
def test_frames_of_a_moment_are_read_once(samples: int, tmp_path: Path) -> None:
    with quiet.importing():
        import torch
        from pyannote.audio.models.embedding import WeSpeakerResNet34

        from gainstage.engine.models.speaker_frames import FrameReader, Pooled

        torch.manual_seed(0)
        network = WeSpeakerResNet34().eval()
    audio = audio_of(tmp_path, 0.1 * np.random.default_rng(0).standard_normal(samples).astype(np.float32))
    masks = np.zeros((1, 3, 589), np.float32)
    masks[0, 0, : max(1, round(589 * samples / 160_000))] = 1
    with torch.inference_mode():
        vectors = Pooled(FrameReader(network, audio, torch.device("cpu")), masks, 10.0, 1.0).vectors(0, 1)
    assert vectors.shape == (1, 3, 256)
    assert np.isnan(vectors[0, 1:]).all(), "who does not speak has no vector"
    assert np.isfinite(vectors[0, 0]).all() == (samples >= 400), "a vector needs a frame"


def test_only_the_recording_of_a_window_that_never_fits_fails(tmp_path: Path) -> None:
    audios = [audio_of(tmp_path, dialogue() * gain, f"{n}") for n, gain in enumerate((1.0, 0.9, 0.8))]
    guilty: set[int] = set()

    def run(windows: list[SpeechWindow]) -> Sequence[DecodedWindow]:
        if any(id(window) in guilty for window in windows):
            raise OutOfMemory("no room", cause="out of memory")
        return models().transcriber().decode(windows)

    def one(n: int) -> Transcript:
        def submit(windows: Sequence[SpeechWindow], token: CancelToken) -> list[DecodedWindow | Exception]:
            if n == 1:
                guilty.add(id(windows[-1]))
            return batcher.submit(windows, token=token)

        return models().transcriber().transcribe(audios[n], ASR, token=CancelToken(), submit=submit)

    with batcher_of(run, 3) as batcher, ThreadPoolExecutor(3) as pool:
        found = [pool.submit(one, n) for n in range(3)]
        with pytest.raises(OutOfMemory):
            found[1].result(120.0)
        for n in (0, 2):
            alone = models().transcriber().transcribe(audios[n], ASR, token=CancelToken())
            assert same(found[n].result(120.0), alone)


def test_four_hundred_speakers_in_one_recording_each_get_a_decision(tmp_path: Path) -> None:
    voices = [clip(name)[:24_000] for name in ("one_a", "other", "one_b")]
    audio = audio_of(tmp_path, np.concatenate([voices[n % 3] for n in range(400)]))
    starts = np.cumsum([0] + [len(voices[n % 3]) for n in range(400)]) / 16_000
    turns = tuple(Turn(float(a), float(b), f"SPEAKER_{n:03d}") for n, (a, b) in enumerate(pairwise(starts)))
    encoder = models().voice_encoder()
    extractor = VoiceExtractor(lambda: encoder, voice_batcher(lambda: encoder, lambda: 60.0))
    began = time.process_time()
    try:
        cast = identify(
            audio,
            DiarizationResult(turns, turns, "crowd"),
            [],
            demo_settings().identify,
            revision=1,
            extractor=extractor,
            token=CancelToken(),
        )
    finally:
        extractor.close()
    assert {turn.cluster for turn in cast.turns} == {turn.cluster for turn in turns}
    assert {cluster for decision in cast.decisions for cluster in (decision.cluster,)} <= {turn.cluster for turn in turns}
    assert all(turn.speaker for turn in cast.turns)
    assert time.process_time() - began < 120


def test_loaded_gives_a_model_only_when_it_is_there(tmp_path: Path) -> None:
    fresh = Models(demo_settings, tmp_path)
    heard: list[str] = []
    fresh.on_loaded = heard.append
    assert fresh.loaded("embed") is None
    fresh.load(["embed"])
    assert fresh.loaded("embed") is fresh.text_encoder()
    assert heard == ["embed"]
