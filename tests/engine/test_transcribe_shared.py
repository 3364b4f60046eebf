"""Windows of several recordings in one call: the same words as alone, and nobody pays for another recording."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from speech_kit import audio_of, demo_settings, dialogue, models, silence

from gainstage.engine.bench.recogniser import same
from gainstage.engine.errors import Cancelled, OutOfMemory
from gainstage.engine.flow.batcher import Batcher
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.selftest import clip
from gainstage.engine.speech.recognition import DecodedWindow, Decoding, SpeechWindow, calls_of, features_of
from gainstage.engine.terms import SAMPLE_RATE, Audio, Transcript

ASR = demo_settings().asr


def shared(run: object, budget: float, producers: int) -> Batcher[SpeechWindow, DecodedWindow]:
    return Batcher(
        "windows", run, cost=lambda _: 1.0, budget=budget, linger_s=60.0, key=lambda w: w.decoding, producers=lambda: producers
    )  # type: ignore[arg-type]


def transcript(
    audio: Audio, batcher: Batcher[SpeechWindow, DecodedWindow] | None = None, token: CancelToken | None = None
) -> Transcript:
    token = token or CancelToken()
    submit = None if batcher is None else lambda windows, token: batcher.submit(windows, token=token)
    return models().transcriber().transcribe(audio, ASR, token=token, submit=submit)


@pytest.fixture(scope="module")
def audios(tmp_path_factory: pytest.TempPathFactory) -> list[Audio]:
    """Talk of several lengths, and a recording in which nobody speaks."""
    folder = tmp_path_factory.mktemp("shared")
    parts = [dialogue(), np.concatenate([dialogue(), dialogue()]), np.concatenate([silence(0.2), clip("other")]), silence(2.0)]
    return [audio_of(folder, samples, str(k)) for k, samples in enumerate(parts)]


@pytest.mark.parametrize("budget", [1.0, 3.0, 16.0])
def test_words_are_the_same_alone_and_in_any_company(audios: list[Audio], budget: float) -> None:
    alone = [transcript(audio) for audio in audios]
    sizes: list[int] = []

    def run(windows: list[SpeechWindow]) -> Sequence[DecodedWindow]:
        sizes.append(len(windows))
        return models().transcriber().decode(windows)

    talking = len(audios) - 1
    with shared(run, budget, talking) as batcher, ThreadPoolExecutor(len(audios)) as pool:
        batcher.resize(linger_s=0.2)
        together = list(pool.map(lambda audio: transcript(audio, batcher), audios))
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))
    assert max(sizes) <= budget
    if budget == 16.0:
        assert max(sizes) > 2, "no call was shared"


def test_short_windows_share_a_call_up_to_one_full_context_and_stay_the_same(audios: list[Audio]) -> None:
    model = models().transcriber()
    samples = audios[1].read()
    how = Decoding("en", 5, context_s=10)
    pieces = [samples[round(start * SAMPLE_RATE) :][: 4 * SAMPLE_RATE] for start in (0.0, 2.0, 4.0, 6.0)]
    windows = [SpeechWindow(features_of(model._model, piece), len(piece) / SAMPLE_RATE, how) for piece in pieces]
    alone = [model.decode([window])[0] for window in windows]
    assert any(one.words for one in alone)
    calls: list[None] = []
    assert model.decode(windows, between=lambda: calls.append(None)) == alone
    assert [len(call) for call in calls_of(windows, model.together)] == [3, 1]
    assert len(calls) == 2
    full = [replace(window, decoding=replace(how, context_s=30)) for window in windows]
    assert [len(call) for call in calls_of(full, 2)] == [2, 2]
    assert calls_of(full, None) == [full]
    assert model.decode([]) == []


def test_out_of_memory_in_a_shared_call_costs_no_recording_its_words(audios: list[Audio]) -> None:
    alone = [transcript(audio) for audio in audios[:2]]

    def small(windows: list[SpeechWindow]) -> Sequence[DecodedWindow]:
        if len(windows) > 1:
            raise OutOfMemory("no room", cause="out of memory")
        return models().transcriber().decode(windows)

    with shared(small, 8.0, 2) as batcher, ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda audio: transcript(audio, batcher), audios[:2]))
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


def test_a_cancelled_recording_takes_only_its_own_windows_out(audios: list[Audio]) -> None:
    alone = transcript(audios[0])
    seen: list[int] = []
    held, waiting = threading.Event(), threading.Event()

    def run(windows: list[SpeechWindow]) -> Sequence[DecodedWindow]:
        held.wait(60.0)
        seen.append(len(windows))
        return models().transcriber().decode(windows)

    doomed = CancelToken()
    with shared(run, 1.0, 2) as batcher, ThreadPoolExecutor(2) as pool:

        def cancelled() -> Transcript:
            def submit(windows: Sequence[SpeechWindow], token: CancelToken) -> list[DecodedWindow | Exception]:
                waiting.set()
                return batcher.submit(windows, token=token)

            return models().transcriber().transcribe(audios[1], ASR, token=doomed, submit=submit)

        gone = pool.submit(cancelled)
        assert waiting.wait(60.0)
        kept = pool.submit(transcript, audios[0], batcher)
        doomed.cancel("not wanted")
        held.set()
        with pytest.raises(Cancelled, match="not wanted"):
            gone.result(60.0)
        assert same(kept.result(60.0), alone)
    assert len(seen) < len(alone.utterances) + 6, "windows of the cancelled recording were run"


def test_another_language_or_option_is_another_call(tmp_path: Path) -> None:
    audio = audio_of(tmp_path, dialogue())
    keys: set[object] = set()

    def run(windows: list[SpeechWindow]) -> Sequence[DecodedWindow]:
        keys.add(windows[0].decoding)
        assert len({window.decoding for window in windows}) == 1
        return models().transcriber().decode(windows)

    with shared(run, 16.0, 2) as batcher, ThreadPoolExecutor(2) as pool:
        batcher.resize(linger_s=0.2)
        beams = [
            pool.submit(
                models().transcriber().transcribe,
                audio,
                demo_settings(asr__beam=beam).asr,
                token=CancelToken(),
                submit=lambda windows, token: batcher.submit(windows, token=token),
            )
            for beam in (1, 2)
        ]
        assert all(one.result(60.0).words for one in beams)
    assert len(keys) == 2


def test_features_are_computed_ahead_and_never_by_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gainstage.engine.speech import block_recogniser, transcribe

    audio = audio_of(tmp_path, np.concatenate([dialogue() * gain for gain in (1.0, 0.9, 0.8, 0.7)]))
    monkeypatch.setattr(transcribe, "BLOCK_S", (15.0, 15.0))
    alone = transcript(audio)
    computed: list[str] = []
    features = block_recogniser.features_of

    def counted(model: object, samples: object) -> object:
        computed.append(threading.current_thread().name)
        return features(model, samples)  # type: ignore[arg-type]

    monkeypatch.setattr(block_recogniser, "features_of", counted)
    with shared(models().transcriber().decode, 16.0, 1) as batcher:
        found = transcript(audio, batcher)
    assert same(found, alone)
    assert computed
    assert not [name for name in computed if name.startswith("windows-batcher")]
    assert len([name for name in computed if name.startswith("ahead")]) >= len(found.utterances) / 2
