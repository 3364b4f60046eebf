"""Ways in: a model's folder is data of anybody, and none of it may run code, read other files or call anybody."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from speech_kit import demo_settings

from gainstage.engine.errors import Misconfigured
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.runtime.models import Models

HARM = "harm"


def with_line(line: str) -> Callable[[str, str], str]:
    return lambda text, harm: text + line.replace("HARM", harm) + "\n"


def instead(old: str, new: str) -> Callable[[str, str], str]:
    def change(text: str, harm: str) -> str:
        assert old in text
        return text.replace(old, new.replace("HARM", harm), 1)

    return change


def doubling(text: str, asked: str) -> Callable[[str, str], str]:
    """Values that are ten times as long as those they name, in fifteen steps; one of them is asked for."""

    def change(whole: str, harm: str) -> str:
        names = "".join(f"a{n + 1}: !ref x{text.format(n)}\n" for n in range(15)) if text else ""
        lists = "".join(f"b{n + 1}: [{', '.join([f'!ref <b{n}>'] * 10)}]\n" for n in range(15))
        assert "se_channels: 64" in whole
        return f"a0: xxxxxxxxxx\nb0: [1]\n{names}{lists}{whole}".replace("se_channels: 64", f"se_channels: {asked}", 1)

    return change


MEAN = "mean_var_norm: !new:speechbrain.processing.features.InputNormalization"

VOICE: dict[str, Callable[[str, str], str]] = {
    "a function called": with_line("extra: !apply:os.mkdir [HARM]"),
    "a function called behind a sign of a comment": with_line('extra: "#" \nmore: !apply:os.mkdir ["HARM"] # "'),
    "a comment sign inside a value": with_line("extra: { a: 'x #', b: !apply:os.mkdir [HARM] }"),
    "a module that speechbrain imports": with_line("extra: !new:speechbrain.utils.fetching.pathlib.Path\n    - HARM"),
    "subprocess through speechbrain": with_line("extra: !new:speechbrain.utils.logger.os.popen ['mkdir HARM']"),
    "a class of speechbrain that is no encoder's": with_line("extra: !new:speechbrain.utils.checkpoints.Checkpointer [HARM]"),
    "a name handed over": with_line("extra: !name:os.mkdir [HARM]"),
    "a module": with_line("extra: !module:antigravity"),
    "python's own tags": with_line("extra: !!python/object/apply:os.mkdir [HARM]"),
    "python's own tags spelled out": with_line("extra: !<tag:yaml.org,2002:python/object/apply:os.mkdir> [HARM]"),
    "a percent sign in the tag": with_line("extra: !%61pply:os.mkdir [HARM]"),
    "a tag handle of its own": lambda text, harm: f"%TAG !e! !apply:os.\n---\n{text}extra: !e!mkdir [{harm}]\n",
    "text in brackets": instead("n_mels: 80", "n_mels: (!!python/object/apply:os.mkdir ['HARM'])"),
    "text in brackets as an argument": instead("se_channels: 64", "se_channels: (!!python/object/apply:os.mkdir ['HARM'])"),
    "an attribute of what was built": instead("se_channels: 64", "se_channels: !ref <mean_var_norm.forward.__globals__>"),
    "an included file": with_line("extra: !include:/etc/passwd"),
    "a function applied to a reference": with_line("extra: !applyref:os.mkdir [HARM]"),
    "a key that is built": with_line("? !apply:os.mkdir [HARM]\n: 1"),
    "a merge of what is built": with_line("extra:\n    <<: !apply:os.mkdir [HARM]"),
    "an ignored class as a part": instead(MEAN, "mean_var_norm: !new:speechbrain.utils.parameter_transfer.Pretrainer"),
    "arguments of an activation": instead("se_channels: 64", "activation: !name:torch.nn.ReLU\n        inplace: true"),
    "a text that doubles itself": doubling("<a{0}>" * 10, "!ref <a15>"),
    "a list in a text that doubles itself": doubling("", "!ref x<b15>"),
    "a text that is a list in many brackets": instead("se_channels: 64", "se_channels: !tuple " + "(" * 5000),
    "a sum in many brackets": instead("se_channels: 64", "se_channels: !ref <n_mels>" + "-" * 100_000 + "1"),
    "power that never ends": instead("se_channels: 64", "se_channels: !ref 9 ** 9 ** 9 ** <n_mels>"),
    "a circle": instead("n_mels: 80", "n_mels: !ref <round>\nround: !ref <n_mels>"),
}  # fmt: skip


def refused(tmp_path: Path, role: str, folder: Path) -> Misconfigured:
    """What the load of a folder ends with; nothing that the folder asks for may have happened."""
    before = set(sys.modules)
    with pytest.raises(Misconfigured) as caught:
        Models(lambda: demo_settings(**{f"{role}__model": str(folder)}), tmp_path).load([role])
    assert not (tmp_path / HARM).exists()
    assert "antigravity" not in set(sys.modules) - before
    return caught.value


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", VOICE)
def test_nothing_gets_in_by_a_voice_models_parameters(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "voice"
    shutil.copytree(DEMO / "voice", folder)
    file = folder / "hyperparams.yaml"
    file.write_text(VOICE[name](file.read_text(), str(tmp_path / HARM)))
    assert refused(tmp_path, "voice", folder).cause in ("model not safe to load", "model cannot be loaded")


class Harm:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.folder),))


def test_nothing_gets_in_by_a_voice_models_weights(tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "voice"
    shutil.copytree(DEMO / "voice", folder)
    torch.save({"weights": Harm(tmp_path / HARM)}, folder / "embedding_model.ckpt")
    assert refused(tmp_path, "voice", folder).cause == "model not safe to load"


def test_weights_are_read_from_the_folder_alone(tmp_path: Path) -> None:
    """A pretrainer may name any place, also on the network; only the file's name counts."""
    folder = tmp_path / "voice"
    shutil.copytree(DEMO / "voice", folder)
    file = folder / "hyperparams.yaml"
    text = file.read_text().rstrip() + "\n    paths:\n        embedding_model: ../../../etc/embedding_model.ckpt\n"
    file.write_text(text)
    found = Models(lambda: demo_settings(voice__model=str(folder)), tmp_path)
    assert found.voice_encoder().id.dimension == 96


def diarizer(tmp_path: Path) -> Path:
    folder = tmp_path / "diarization"
    shutil.copytree(DEMO / "diarization", folder)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("../voice", str(DEMO / "voice")))
    return folder


def checkpoint(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the segmentation model's file as anybody can write it."""
    import torch

    file = folder / "segmentation" / "pytorch_model.bin"
    content = torch.load(file, weights_only=False)
    change(content)
    torch.save(content, file)


def of(module: str, name: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["pyannote.audio"].update(architecture={"module": module, "class": name})


CHECKPOINTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "a module of its own": of("trap", "Model"),
    "a module of Python": of("antigravity", "fly"),
    "a model that fetches weights": of("pyannote.audio.models.segmentation.SSeRiouSS", "SSeRiouSS"),
    "a model of another place of pyannote": of("pyannote.audio.core.model", "Model"),
    "a name that is no text": of(["pyannote"], {}),  # type: ignore[arg-type]
    "an instantiator": lambda content: content["hyper_parameters"].update(_instantiator="os.mkdir"),
    "a class path": lambda content: content["hyper_parameters"].update(_class_path="os.mkdir"),
    "parameters deeper than any model's": lambda content: content["hyper_parameters"].update(lstm=deep(30)),
    "weights that are none": lambda content: content["state_dict"].update(more="text"),
}  # fmt: skip


def deep(levels: int) -> dict[str, Any]:
    return {"deeper": deep(levels - 1)} if levels else {}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_nothing_gets_in_by_a_diarizers_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = diarizer(tmp_path)
    (tmp_path / "trap.py").write_text(f"import os\nos.mkdir({str(tmp_path / HARM)!r})\nclass Model: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    checkpoint(folder, CHECKPOINTS[name])
    assert refused(tmp_path, "diarization", folder).cause in ("model not safe to load", "model cannot be loaded")


def test_a_program_in_place_of_weights_is_not_run(tmp_path: Path) -> None:
    folder = diarizer(tmp_path)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("model/constants.pkl", b"")
        archive.writestr("model/data.pkl", b"\x80\x02}.")
        archive.writestr("model/code/__torch__.py", "import os\n")
        archive.writestr("model/version", "3\n")
    (folder / "segmentation" / "pytorch_model.bin").write_bytes(content.getvalue())
    assert refused(tmp_path, "diarization", folder).cause in ("model not safe to load", "model cannot be loaded")


PARTS = "segmentation: $model/segmentation, embedding: $model/embedding, plda: $model/plda}}"
ALIASES = "x0: &x0 [1]\n" + "".join(f"x{n + 1}: &x{n + 1} [{', '.join([f'*x{n}'] * 60)}]\n" for n in range(6))


@pytest.mark.parametrize(
    "lines",
    [
        "pipeline: !!python/object/apply:os.mkdir [HARM]",
        "pipeline: {name: pyannote.audio.pipelines.SpeakerDiarization, params: {segmentation: /etc, embedding: e, plda: p}}",
        "pipeline: {name: pyannote.audio.pipelines.SpeakerDiarization, params: {segmentation: $model/../.., embedding: e, plda: p}}",
        "pipeline: {name: pyannote.audio.pipelines.SpeakerDiarization, params: {a: 1, segmentation: s, embedding: e, plda: p}}",
        # billions of values in a few lines, a list that holds itself, a number of 5,000 digits, a day that is none, brackets, a huge file
        ALIASES + "pipeline: {name: pyannote.audio.pipelines.SpeakerDiarization, params: {clustering: *x6, " + PARTS,
        "params: &a [*a]\npipeline: {name: pyannote.audio.pipelines.SpeakerDiarization, params: {clustering: *a, " + PARTS,
        "pipeline: {name: pyannote.audio.pipelines.SpeakerDiarization, params: {clustering: " + "9" * 5000 + ", " + PARTS,
        "pipeline: {name: pyannote.audio.pipelines.SpeakerDiarization, params: {clustering: 2026-99-99, " + PARTS,
        "pipeline: " + "[" * 20_000,
        "#" * 300_000,
    ],
    ids=lambda lines: lines[:60],
)
@pytest.mark.timeout(60)
def test_nothing_gets_in_by_a_diarizers_config(tmp_path: Path, lines: str) -> None:
    folder = diarizer(tmp_path)
    (folder / "config.yaml").write_text(lines.replace("HARM", str(tmp_path / HARM)))
    refused(tmp_path, "diarization", folder)


def test_the_vectors_of_a_plda_that_are_objects_are_not_read(tmp_path: Path) -> None:
    import numpy as np

    folder = diarizer(tmp_path)
    np.savez(folder / "plda" / "plda.npz", mu=np.array([Harm(tmp_path / HARM)], dtype=object))
    refused(tmp_path, "diarization", folder)


def module(kind: str, place: str = "", **config: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    return [{"idx": 0, "name": "0", "path": place, "type": kind}], config


ST = "sentence_transformers"
TEXTS = {
    "a class of any package": module("joblib.numpy_pickle"),
    "a file beside the weights": module("trap.Model"),
    "a module that reads a tokenizer's class": module(f"{ST}.sentence_transformer.modules.word_embeddings.WordEmbeddings"),
    "a module of another role": module(f"{ST}.cross_encoder.CrossEncoder"),
    "a thing sentence_transformers imports": module(f"{ST}.util.misc.importlib.import_module"),
    "a place outside": module(f"{ST}.models.Transformer", "../../etc"),
    "an absolute place": module(f"{ST}.models.Transformer", "/etc"),
    "modelling code": module(f"{ST}.models.Transformer", auto_map={"AutoModel": "trap.Model"}, model_type="trap"),
    "an activation of its own": module(f"{ST}.models.Dense", activation_function="torch.utils.cpp_extension.load"),
    "a kernel from elsewhere": module(f"{ST}.models.Transformer", model_type="bert", _attn_implementation="somebody/kernel"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_gets_in_by_a_text_model(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "text"
    shutil.copytree(DEMO / "text", folder)
    (folder / "trap.py").write_text(f"import os\nos.mkdir({str(tmp_path / HARM)!r})\nclass Model: pass\n")
    modules, config = TEXTS[name]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config.json").write_text(json.dumps(config))
    assert refused(tmp_path, "embed", folder).cause == "model not safe to load"
