"""Models that cannot be used are refused in words: random weights, foreign code, broken folders, arithmetic a device lacks."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from speech_kit import models, registry

from gainstage.engine.errors import Misconfigured
from gainstage.engine.models.resolve import DEMO as FOLDERS
from gainstage.engine.models.selftest import check_texts, check_voices, clip
from gainstage.engine.stages import ROLES
from gainstage.engine.telemetry.cores import torch_device


def voice_copy(tmp_path: Path) -> Path:
    folder = tmp_path / "voice"
    shutil.copytree(FOLDERS / "voice", folder)
    return folder


def test_an_encoder_of_random_weights_fails_its_self_test(tmp_path: Path) -> None:
    import torch

    folder = voice_copy(tmp_path)
    weights = torch.load(folder / "embedding_model.ckpt", weights_only=True)
    torch.manual_seed(0)
    random = {k: torch.randn_like(w) * 0.05 if w.is_floating_point() and w.ndim > 1 else w for k, w in weights.items()}
    torch.save(random, folder / "embedding_model.ckpt")
    found, _ = registry(tmp_path, voice__model=str(folder))
    with pytest.raises(Misconfigured, match="fails its self-test") as caught:
        found.voice_encoder()
    assert caught.value.cause == "self-test failed"
    assert found.views()[ROLES.index("voice")].state == "failed"


def test_an_encoder_that_says_nothing_or_nonsense_fails_its_self_test() -> None:
    for value in (1.0, np.nan):
        with pytest.raises(Misconfigured):
            check_voices("flat", lambda batch, value=value: np.full((len(batch), 4), value, np.float32))  # type: ignore[misc]
        with pytest.raises(Misconfigured):
            check_texts("flat", lambda texts, value=value: np.full((len(texts), 4), value, np.float32))  # type: ignore[misc]


def test_a_hub_folder_gives_its_own_weights_without_asking_the_hub(tmp_path: Path) -> None:
    folder = voice_copy(tmp_path)
    text = (folder / "hyperparams.yaml").read_text()
    names = ("embedding_model", "classifier", "label_encoder")
    paths = "".join(f"        {name}: !ref <pretrained_path>/{name}.ckpt\n" for name in names)
    (folder / "hyperparams.yaml").write_text(f"pretrained_path: somebody/else\n{text.rstrip()}\n    paths:\n{paths}")
    found, _ = registry(tmp_path, voice__model=str(folder))
    ours = found.voice_encoder().embed(clip("one_a")[None])
    assert np.allclose(ours, models().voice_encoder().embed(clip("one_a")[None]), atol=1e-6)


def test_a_voice_model_that_asks_for_foreign_code_is_refused(tmp_path: Path) -> None:
    folder = voice_copy(tmp_path)
    with (folder / "hyperparams.yaml").open("a") as file:
        file.write("extra: !apply:os.getcwd []\n")
    found, _ = registry(tmp_path, voice__model=str(folder))
    with pytest.raises(Misconfigured, match=r"!apply:os\.getcwd") as caught:
        found.voice_encoder()
    assert caught.value.cause == "model not safe to load"


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (os.environ["GAINSTAGE_TEST_HARM"],))


def test_a_diarizer_whose_weights_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "diarization"
    shutil.copytree(FOLDERS / "diarization", folder)
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text().replace("../voice", str(FOLDERS / "voice")))
    weights = folder / "segmentation" / "pytorch_model.bin"
    monkeypatch.setenv("GAINSTAGE_TEST_HARM", str(tmp_path / "harm"))
    original, poisoned = zipfile.ZipFile(weights), io.BytesIO()
    with original, zipfile.ZipFile(poisoned, "w", zipfile.ZIP_STORED) as target:
        for name in original.namelist():
            data = original.read(name)
            target.writestr(name, pickle.dumps({"state_dict": Harm()}, 2) if name.endswith("data.pkl") else data)
    weights.write_bytes(poisoned.getvalue())
    found, _ = registry(tmp_path, diarization__model=str(folder))
    with pytest.raises(Misconfigured) as caught:
        found.diarizer({})
    assert caught.value.cause == "model not safe to load"
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("role", "file", "content"),
    [
        ("diarization", "config.yaml", "pipeline: {name: other.Pipeline, params: {segmentation: a, embedding: b, plda: c}}"),
        ("diarization", "config.yaml", "nothing: here"),
        ("asr", "model.bin", "not weights"),
        ("voice", "embedding_model.ckpt", "not weights"),
        ("embed", "model.safetensors", "not weights"),
    ],
)
def test_a_broken_folder_is_said_in_words(tmp_path: Path, role: str, file: str, content: str) -> None:
    folder = tmp_path / role
    shutil.copytree(FOLDERS / {"embed": "text"}.get(role, role), folder)
    (folder / file).write_text(content)
    found, _ = registry(tmp_path, **{f"{role}__model": str(folder)})
    with pytest.raises(Misconfigured, match=r"cannot be loaded|not safe to load"):
        found.load([role])
    assert found.views()[ROLES.index(role)].state == "failed"


def test_files_of_two_recognisers_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "asr"
    shutil.copytree(FOLDERS / "asr", folder)
    config = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(config | {"feature_size": 128}))
    found, _ = registry(tmp_path, asr__model=str(folder))
    with pytest.raises(Misconfigured, match=r"take 80 mel bands and preprocessor_config\.json makes 128") as caught:
        found.transcriber()
    assert caught.value.cause == "model files do not fit"
    (folder / "tokenizer.json").unlink()
    found, _ = registry(tmp_path, asr__model=str(folder))
    with pytest.raises(Misconfigured, match=r"no tokenizer\.json"):
        found.transcriber()


def test_a_pipeline_of_version_3_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "diarization"
    shutil.copytree(FOLDERS / "diarization", folder)
    lines = "pipeline:\n  name: pyannote.audio.pipelines.SpeakerDiarization\n  params: {segmentation: a/b, embedding: c/d}\n"
    (folder / "config.yaml").write_text(lines)
    found, _ = registry(tmp_path, diarization__model=str(folder))
    with pytest.raises(Misconfigured, match="a pipeline of version 3 has none"):
        found.diarizer({})


def test_arithmetic_the_device_lacks_is_refused_with_the_choices(tmp_path: Path) -> None:
    found, _ = registry(tmp_path, asr__compute="int8_float16")
    with pytest.raises(Misconfigured) as caught:
        found.transcriber()
    assert "int8" in caught.value.hint


def test_a_gpu_asked_for_where_there_is_none_is_said(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    for role in ("asr", "voice"):
        found, _ = registry(tmp_path, **{f"{role}__device": "cuda"})
        with pytest.raises(Misconfigured, match=f"{role}.device is cuda") as caught:
            found.load([role])
        assert caught.value.cause == "no GPU"
    assert torch_device("auto", "voice.device") == "cpu"
