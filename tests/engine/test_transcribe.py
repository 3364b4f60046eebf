"""The real recogniser, small: right words at right times, in bounded memory, stoppable, shared by threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from speech_kit import WarningLog, audio_of, demo_settings, dialogue, models, silence

from gainstage.engine.errors import Cancelled, Misconfigured
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.selftest import clip
from gainstage.engine.speech import transcribe as module
from gainstage.engine.speech.transcribe import Transcriber
from gainstage.engine.terms import Audio, Transcript

SPOKEN = ("sister", "planted", "yellow", "roses", "sailed", "miles", "island", "ferry", "harbour")


def heard(audio: Audio, transcriber: Transcriber | None = None, **asr: object) -> Transcript:
    settings = demo_settings(**{f"asr__{k}": v for k, v in asr.items()}).asr
    return (transcriber or models().transcriber()).transcribe(audio, settings, token=CancelToken())


def plain(transcript: Transcript) -> list[str]:
    return [w.text.strip(".,?").lower() for w in transcript.words]


def in_order(wanted: tuple[str, ...], words: list[str]) -> bool:
    rest = iter(words)
    return all(any(word == w for word in rest) for w in wanted)


def holds(transcript: Transcript, seconds: float) -> bool:
    edges = [t for w in transcript.words for t in (w.start, w.end)]
    covered = [k for a, b in transcript.utterances for k in range(a, b)]
    return edges == sorted(edges) and covered == list(range(len(transcript.words))) and all(0 <= t <= seconds for t in edges)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Audio:
    return audio_of(tmp_path_factory.mktemp("talk"), dialogue())


def test_the_words_of_a_dialogue_come_in_order_at_their_times(talk: Audio) -> None:
    told = WarningLog()
    found = models().transcriber().transcribe(talk, demo_settings().asr, token=CancelToken(), progress=told)
    assert in_order(SPOKEN, plain(found))
    assert holds(found, talk.seconds)
    at = {w.text.strip(".,").lower(): w.start for w in reversed(found.words)}
    assert 0.3 < at["sister"] < 1.0  # the clips start at 0.3, 4.1 and 7.8 s
    assert 4.0 < at["sailed"] < 4.9
    assert 7.7 < at["storm"] < 9.2
    assert told.rises
    assert told.shares[-1] == 1
    assert (found.language, found.looped) == ("en", ())
    assert found.average_log_probability is not None
    assert found.model.startswith("demo:asr@sha256:")


@pytest.mark.parametrize("seconds", [0.0, 0.5, 3.0])
def test_silence_has_no_words_and_is_no_error(tmp_path: Path, seconds: float) -> None:
    for vad in (True, False):
        found = heard(audio_of(tmp_path, silence(seconds)), vad=vad)
        assert (found.words, found.utterances, found.average_log_probability) == ((), (), None)


def test_noise_is_not_speech(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(5 * 16000).astype(np.float32) * 0.02
    assert heard(audio_of(tmp_path, noise)).words == ()


def test_without_voice_detection_the_same_words_are_found(talk: Audio) -> None:
    found = heard(talk, vad=False)
    assert in_order(SPOKEN[:3], plain(found))
    assert holds(found, talk.seconds)


def test_a_long_recording_is_worked_through_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = audio_of(tmp_path, np.concatenate([dialogue(), dialogue()]))
    monkeypatch.setattr(module, "BLOCK_S", (8.0, 8.0))
    read: list[float] = []
    whole = Audio.read

    def reading(audio: Audio, start: float = 0.0, end: float | None = None) -> np.ndarray:
        samples = whole(audio, start, end)
        read.append(len(samples) / 16000)
        return samples

    monkeypatch.setattr(Audio, "read", reading)
    found = heard(long)
    assert max(read) <= 1.25 * 8.0
    assert in_order(SPOKEN + SPOKEN, plain(found))
    assert holds(found, long.seconds)


def test_threads_share_one_model_and_disturb_each_other_not(talk: Audio, tmp_path: Path) -> None:
    other = audio_of(tmp_path, np.concatenate([silence(0.2), clip("other"), silence(0.2)]))
    alone = [heard(talk).words, heard(other).words]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda audio: heard(audio).words, [talk, other, talk, other]))
    assert together == [*alone, *alone]


def test_a_cancel_ends_it_between_batches(talk: Audio) -> None:
    token = CancelToken()
    told = WarningLog(lambda share: token.cancel("enough"))
    with pytest.raises(Cancelled, match="enough"):
        models().transcriber().transcribe(audio_twice(talk), demo_settings(asr__batch=1).asr, token=token, progress=told)


def audio_twice(audio: Audio) -> Audio:
    return audio_of(audio.path.parent, np.concatenate([audio.read(), audio.read()]), "twice")


def test_a_language_the_model_does_not_speak_is_named(talk: Audio) -> None:
    with pytest.raises(Misconfigured, match="does not speak 'de'") as caught:
        heard(talk, language="de")
    assert "en" in caught.value.hint
