"""What was recognised and diarized before an end is not computed again, and gives the same result; a held stage holds inside."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from speech_kit import audio_of, demo_settings, dialogue, models

from gainstage.engine.bench import resume
from gainstage.engine.errors import Cancelled
from gainstage.engine.flow.batcher import Batcher
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.kept import KeptResults
from gainstage.engine.flow.stage import Stage
from gainstage.engine.speech.diarize import Diarizer
from gainstage.engine.speech.recogniser import UNDER_WAY_S
from gainstage.engine.speech.recognition import Decoding, SpeechWindow
from gainstage.engine.terms import Audio, DiarizationResult, Transcript
from tests.queue_kit import until


@pytest.fixture
def talk(tmp_path: Path) -> Audio:
    return audio_of(tmp_path, np.concatenate([dialogue() * gain for gain in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)]))


class Counted:
    """Calls of the models, by key."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from gainstage.engine.models import speaker_pipeline
        from gainstage.engine.speech import recognition, transcribe

        monkeypatch.setattr(transcribe, "decode", recognition.decode)  # put back at the end of the test
        monkeypatch.setattr(speaker_pipeline.Work, "batches", speaker_pipeline.Work.batches)
        self.keys: list[str] = []
        resume.trace_calls(lambda key, _: self.keys.append(key))

    def taken(self) -> list[str]:
        keys, self.keys = self.keys, []
        return keys


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    models().transcriber()  # whose self-test at load calls the model too
    models().diarizer({})
    return Counted(monkeypatch)


def transcribed(talk: Audio, path: Path | None, token: CancelToken, **settings: Any) -> Transcript:
    recogniser, asr = models().transcriber(), demo_settings(**settings).asr
    if path is None:
        return recogniser.transcribe(talk, asr, token=token)
    with KeptResults(path, recogniser.header(talk, asr)) as kept:
        return recogniser.transcribe(talk, asr, token=token, kept=kept)


def diarized(talk: Audio, path: Path | None, token: CancelToken, after: int = 10**9, **settings: Any) -> DiarizationResult:
    """With ``after``, cancelled at that call of a network."""
    diarizer, asked = Diarizer(models().diarizer({}).parts), demo_settings(**settings).diarization
    calls = 0

    def between() -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            token.cancel("enough")
            token.check()

    if path is None:
        return diarizer.diarize(talk, asked, token=token, between=between)
    with KeptResults(path, diarizer.header(talk, asked)) as kept:
        return diarizer.diarize(talk, asked, token=token, between=between, kept=kept)


def test_words_of_an_earlier_attempt_are_not_recognised_again(talk: Audio, tmp_path: Path, counted: Counted) -> None:
    reference, path = transcribed(talk, None, CancelToken()), tmp_path / "words.kept"
    windows = counted.taken()
    token = CancelToken()

    def stop(key: str, _: float) -> None:
        counted.keys.append(key)
        if len(counted.keys) == len(windows) // 2:
            token.cancel("stopped")

    resume.trace_calls(stop)
    with pytest.raises(Cancelled):
        transcribed(talk, path, token, asr__batch=1)
    before = set(counted.taken())
    assert 0 < len(before) < len(set(windows))
    resumed = transcribed(talk, path, CancelToken(), asr__batch=4)
    again = set(counted.taken())
    assert resumed == reference
    assert not before & again
    assert before | again == set(windows)
    assert transcribed(talk, path, CancelToken()) == reference
    assert not counted.taken(), "everything was kept"


@pytest.mark.parametrize("change", [{"asr__beam": 2}, {"asr__hotwords": "Kea"}, {"asr__language": "en"}])
def test_words_of_other_settings_are_recognised_again(
    talk: Audio, tmp_path: Path, counted: Counted, change: dict[str, Any]
) -> None:
    path = tmp_path / "words.kept"
    transcribed(talk, path, CancelToken())
    first = counted.taken()
    assert transcribed(talk, path, CancelToken(), **change) == transcribed(talk, None, CancelToken(), **change)
    assert len(counted.taken()) >= len(first)


@pytest.mark.parametrize("after", [1, 4, 9, 14])
def test_chunks_and_vectors_of_an_earlier_attempt_are_not_computed_again(
    talk: Audio, tmp_path: Path, counted: Counted, after: int
) -> None:
    reference, path, small = diarized(talk, None, CancelToken()), tmp_path / "turns.kept", {"diarization__batch": 16}
    everything = set(counted.taken())
    with pytest.raises(Cancelled):
        diarized(talk, path, CancelToken(), after, **small)
    before = set(counted.taken())
    assert before < everything
    resumed = diarized(talk, path, CancelToken(), **small)
    again = set(counted.taken())
    assert (resumed.turns, resumed.exclusive) == (reference.turns, reference.exclusive)
    assert not before & again
    diarized(talk, path, CancelToken())
    assert not counted.taken()
    diarized(talk, path, CancelToken(), diarization__step=0.5)
    assert counted.taken(), "another step is other work"


def test_a_held_stage_holds_inside_a_recording(talk: Audio, counted: Counted) -> None:
    stage, token = Stage("transcribe", 1), CancelToken()
    recogniser, asr = models().transcriber(), demo_settings(asr__batch=16).asr

    def submit(windows: Any, _: CancelToken) -> Any:
        return recogniser.decode(windows, between=lambda: stage.wait_while_held(token))

    done: list[Transcript] = []
    thread = threading.Thread(target=lambda: done.append(recogniser.transcribe(talk, asr, token=token, submit=submit)))
    stage.pause()
    thread.start()
    until(lambda: stage.held)
    assert not counted.keys
    stage.resume()
    until(lambda: len(counted.keys) >= 2)
    stage.pause()
    asked = time.monotonic()
    seen = len(counted.keys)
    until(lambda: time.monotonic() > asked + 2.0)
    held = len(counted.keys)
    until(lambda: time.monotonic() > asked + 3.0)
    assert len(counted.keys) == held <= seen + 2, "nothing begins more than 2 s after the pause"
    stage.resume()
    thread.join(60)
    assert done
    assert done[0] == transcribed(talk, None, CancelToken())


@pytest.mark.parametrize(("kills", "minutes", "slow"), [(2, 3.0, 0.0), (1, 1.5, 0.2)])
def test_a_killed_engine_goes_on_where_it_was(kills: int, minutes: float, slow: float) -> None:
    result = resume.run(kills=kills, minutes=minutes, slow=slow)
    assert result["kills"] >= 1
    assert result["identical"]
    assert result["redone_s_p95"] <= 30
    assert result["recognised_s_p95"] + result["diarized_s_p95"] >= result["redone_s_p95"] - 0.15  # each is rounded to 0.1 s


def test_little_of_one_recording_is_under_way_at_once_however_long_its_windows() -> None:
    begun: list[float] = []
    inside, most, lock, go = 0.0, 0.0, threading.Lock(), threading.Event()

    def run(windows: list[SpeechWindow]) -> list[str]:
        nonlocal inside, most
        seconds = sum(window.seconds for window in windows)
        with lock:
            inside += seconds
            most = max(most, inside)
            begun.append(seconds)
        if len(begun) < 3:
            go.wait(0.2)  # slow enough for others to begin
        with lock:
            inside -= seconds
        return ["done"] * len(windows)

    how = Decoding("en", 5)
    windows = [SpeechWindow(np.zeros((80, 8), np.float32), seconds, how) for seconds in (29.0, 14.0, 14.0, 28.0, 9.0, 9.0, 9.0)]
    with Batcher(
        "windows",
        run,
        cost=lambda _: 1.0,
        budget=1.0,
        linger_s=0.0,
        weight=lambda w: w.seconds,
        most_running=UNDER_WAY_S,
        runners=4,
    ) as batcher:
        assert batcher.submit(windows, token=CancelToken()) == ["done"] * len(windows)
    assert len(begun) == len(windows)
    assert most <= UNDER_WAY_S


@pytest.mark.parametrize(
    ("own", "step_s", "cores", "chunks", "calls", "threads"),
    [
        (32, 1.0, 1, 10, 1, 1),
        (32, 1.0, 2, 5, 2, 1),
        (32, 1.0, 8, 5, 2, 4),
        (32, 0.5, 2, 10, 2, 1),
        (32, 0.5, 8, 4, 5, 1),
        (32, 2.5, 2, 4, 1, 2),
        (8, 0.5, 2, 4, 2, 1),
        (32, 30.0, 4, 1, 1, 4),
    ],
)
def test_calls_of_the_diarizer_on_a_cpu_hold_seconds_of_audio(
    own: int, step_s: float, cores: int, chunks: int, calls: int, threads: int
) -> None:
    import torch

    from gainstage.engine.models.speaker_pipeline import TOGETHER_S, CallPlan

    plan = CallPlan.of(own, step_s, torch.device("cpu"), cores)
    assert plan == CallPlan(chunks, calls, threads)
    assert chunks == 1 or chunks * calls * step_s <= TOGETHER_S
    assert calls * threads <= cores
    assert CallPlan.of(own, step_s, torch.device("cuda"), cores) == CallPlan(own)
