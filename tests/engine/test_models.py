"""The models of an engine: loaded once, shared, swapped, quiet."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from speech_kit import DEMO, demo_settings, models, registry, tone

from gainstage.engine.errors import EngineError, Misconfigured, OutOfMemory
from gainstage.engine.models import quiet
from gainstage.engine.models.oom import is_out_of_memory, out_of_memory_named
from gainstage.engine.models.rate import Rate
from gainstage.engine.models.resolve import DEMO as FOLDERS
from gainstage.engine.models.selftest import clip
from gainstage.engine.runtime.models import Models
from gainstage.engine.stages import ROLES
from gainstage.engine.telemetry.cores import threads_of
from gainstage.engine.terms import SAMPLE_RATE

# -- the registry -------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_before_it_is_asked_for(tmp_path: Path) -> None:
    found, told = registry(tmp_path)
    assert [(v.role, v.name, v.state) for v in found.views()] == [(r, DEMO[f"{r}.model"], "not loaded") for r in ROLES]
    assert told == []


def test_a_model_is_loaded_once_however_many_ask_at_once(tmp_path: Path) -> None:
    found, told = registry(tmp_path)
    with ThreadPoolExecutor(6) as pool:
        got = [job.result() for job in [pool.submit(found.transcriber) for _ in range(6)]]
    assert len({id(t) for t in got}) == 1
    assert [text for _, text in told if text.startswith("loading")] == ["loading asr model demo:asr"]


def test_what_is_loaded_is_seen_with_its_device_and_figures(tmp_path: Path) -> None:
    found, told = registry(tmp_path)
    found.load(["asr", "voice"])
    by_role = {v.role: v for v in found.views()}
    assert by_role["asr"].state == by_role["voice"].state == "ready"
    assert by_role["asr"].device == by_role["voice"].device == "cpu"
    assert by_role["asr"].note.startswith("int8 · 100% of the words of its self-test")
    assert "same speaker" in (by_role["voice"].note or "")
    assert by_role["voice"].memory is not None
    assert by_role["voice"].memory > 2_000_000
    assert by_role["voice"].revision == found.voice_encoder().id.revision
    assert by_role["embed"].state == "not loaded"
    assert [level for level, _ in told] == ["info"] * 4


def test_a_model_that_cannot_be_loaded_is_seen_as_failed_and_tried_again(tmp_path: Path) -> None:
    found, told = registry(tmp_path, asr__model="/no/such/folder")
    for _ in range(2):
        with pytest.raises(Misconfigured, match="there is no folder"):
            found.transcriber()
    view = found.views()[0]
    assert (view.state, view.device) == ("failed", None)
    assert "no folder" in (view.note or "")
    assert ("error" in {level for level, _ in told}) is True


def test_the_stores_names_of_the_models_are_those_of_the_encoders() -> None:
    ids = models().ids()
    assert set(ids) == {"voice", "embed"}
    assert ids["voice"].name == "demo:voice"
    assert ids["voice"].revision.startswith("sha256:")
    assert ids["embed"].dimension == models().text_encoder().encode(["roses"]).shape[1]


def test_the_diarizer_of_a_slot_stays_in_the_slot_and_uses_the_one_copy_of_the_voice_model() -> None:
    state: dict[str, Any] = {}
    first = models().diarizer(state)
    assert models().diarizer(state) is first
    assert models().diarizer({}) is not first
    inside = first.parts.embedding._encoder[0]
    assert inside.modules()[0] is models().voice_encoder().modules()[0]


def test_a_reload_takes_what_the_settings_name_now_and_slots_follow(tmp_path: Path) -> None:
    copy = tmp_path / "diarizer"
    shutil.copytree(FOLDERS / "diarization", copy)
    (copy / "config.yaml").write_text((copy / "config.yaml").read_text().replace("../voice", str(FOLDERS / "voice")))
    now = [demo_settings()]
    found = Models(lambda: now[0], tmp_path)
    state: dict[str, Any] = {}
    before = found.diarizer(state)
    now[0] = demo_settings(diarization__model=str(copy))
    assert found.diarizer(state) is before
    found.reload("diarization")
    after = found.diarizer(state)
    assert after is not before
    assert after.parts.label.startswith(str(copy))
    assert found.views()[ROLES.index("diarization")].name == str(copy)


def test_a_failed_reload_leaves_no_model_but_another_choice_mends_it(tmp_path: Path) -> None:
    now = [demo_settings()]
    found = Models(lambda: now[0], tmp_path)
    found.load(["asr"])
    now[0] = demo_settings(asr__model="demo:nothing")
    with pytest.raises(Misconfigured):
        found.reload("asr")
    with pytest.raises(Misconfigured):
        found.transcriber()
    now[0] = demo_settings()
    assert found.transcriber().compute == "int8"


# -- voices -------------------------------------------------------------------------------------------------------------


def test_a_voice_is_the_same_alone_and_in_any_batch() -> None:
    encoder = models().voice_encoder()
    spans = np.stack([clip(name)[at : at + 2 * SAMPLE_RATE] for name in ("one_a", "one_b", "other") for at in (0, 8000)])
    together = encoder.embed(spans)
    assert together.shape == (6, encoder.id.dimension)
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for k, span in enumerate(spans):
        assert float(encoder.embed(span[None])[0] @ together[k]) > 0.999


def test_what_is_no_span_is_refused_and_a_broken_one_is_not_a_voice() -> None:
    encoder = models().voice_encoder()
    for wrong in (np.zeros(16000, np.float32), np.zeros((1, 100), np.float32)):
        with pytest.raises(ValueError, match="voices need"):
            encoder.embed(wrong)
    assert encoder.embed(np.zeros((0, 16000), np.float32)).shape == (0, encoder.id.dimension)
    broken = np.stack([tone(1), np.full(SAMPLE_RATE, np.nan, np.float32)])
    good, bad = encoder.embed(broken)
    assert np.isfinite(good).all()
    assert np.isnan(bad).all()


# -- memory, threads, rates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA failed with error out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
        OutOfMemory("x"),
    ],
)
def test_out_of_memory_is_known_in_every_librarys_words(error: Exception) -> None:
    assert is_out_of_memory(error)
    with pytest.raises(OutOfMemory), out_of_memory_named("here"):
        raise error


def test_what_a_call_held_when_memory_ran_out_is_let_go_while_its_error_lives() -> None:
    """An error is kept for its retry and for the journal; on a card, what its traceback held would be missing for the next call."""

    class Tensor:
        pass

    held: list[weakref.ref[Tensor]] = []

    def call() -> None:
        features = Tensor()
        held.append(weakref.ref(features))
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(OutOfMemory) as caught, out_of_memory_named("here"):
        call()
    assert held[0]() is None
    assert caught.value.__cause__ is not None


def test_other_errors_are_not_out_of_memory() -> None:
    for error in (RuntimeError("shape mismatch"), ValueError("out of memory"), EngineError("x")):
        assert not is_out_of_memory(error)
        with pytest.raises(type(error)), out_of_memory_named("here"):
            raise error


def test_callers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gainstage.engine.telemetry.cores.cores", lambda: 16)
    assert [threads_of(n) for n in (1, 2, 3, 16, 40)] == [8, 8, 5, 1, 1]


def test_a_rate_is_work_over_time_and_unknown_before_any() -> None:
    rate = Rate("texts")
    assert rate.per_second is None
    assert str(rate) == ""
    with rate.timed(10):
        pass
    with pytest.raises(ValueError, match="failed"), rate.timed(1000):
        raise ValueError("failed")
    assert rate.per_second is not None
    assert str(rate).endswith(" texts/s")


# -- quiet --------------------------------------------------------------------------------------------------------------


def test_overlapping_callers_leave_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)
    inside, leave = threading.Barrier(2), threading.Event()

    def work() -> None:
        with quiet.working():
            inside.wait()
            leave.wait()

    with quiet.importing():
        thread = threading.Thread(target=work)
        thread.start()
        inside.wait()
        warnings.warn("third party", UserWarning, stacklevel=1)
    with pytest.warns(UserWarning, match="ours"):  # a caller at work hides only what is known to be harmless
        warnings.warn("ours", UserWarning, stacklevel=1)
    leave.set()
    thread.join()
    assert list(warnings.filters) == before


def test_telemetry_is_off_and_loggers_are_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYANNOTE_METRICS_ENABLED", "1")
    quiet.hush()
    assert os.environ["PYANNOTE_METRICS_ENABLED"] == "0"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert not logging.getLogger("speechbrain").isEnabledFor(logging.WARNING)


SILENT = """
import sys
calls = []
def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        calls.append((event, args))
sys.addaudithook(hook)
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from speech_kit import audio_of, dialogue, models, registry
from gainstage.config.settings import Asr, Diarization
from gainstage.engine.flow.cancel import CancelToken
audio = audio_of(Path(sys.argv[2]), dialogue())
models().load()
assert models().transcriber().transcribe(audio, Asr(), token=CancelToken()).words
assert models().diarizer({}).diarize(audio, Diarization(min_speakers=5), token=CancelToken()).turns
assert not calls, calls
"""


def test_loading_and_using_every_model_prints_nothing_warns_of_nothing_and_opens_no_connection(tmp_path: Path) -> None:
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", SILENT, str(Path(__file__).parent), str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
    )
    assert (out.returncode, out.stdout, out.stderr) == (0, "", "")
