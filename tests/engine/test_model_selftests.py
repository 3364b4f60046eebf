"""Models whose results are nonsense, and files that do not fit each other, are refused before a run and by the doctor."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from speech_kit import demo_settings

from gainstage.config.paths import Paths
from gainstage.engine.doctor import Check, checks
from gainstage.engine.errors import Misconfigured
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.models.selftest import SPOKEN, Recognised, check_turns, check_words, conversation
from gainstage.engine.runtime.models import Models
from gainstage.engine.speech.recogniser_files import misfit, sizes_of

WORDS = tuple(SPOKEN.split())
PARTS = {"asr": "asr", "diarization": "diarization", "voice": "voice", "embed": "text"}


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    """A function that copies the bundled model of a role. The diarizer's voice model lies beside it."""

    def copy(role: str) -> Path:
        shutil.copytree(DEMO, tmp_path / "models", ignore=shutil.ignore_patterns("recipe", "recordings"), dirs_exist_ok=True)
        return tmp_path / "models" / PARTS[role]

    return copy


def load(role: str, folder: Path, **more: object) -> str:
    """The note of a model that loads."""
    models = Models(lambda: demo_settings(**{f"{role}__model": str(folder), **more}), folder.parent / "cache")
    models.load([role])
    return next(view.note for view in models.views() if view.role == role)


def refused(role: str, folder: Path) -> Misconfigured:
    with pytest.raises(Misconfigured) as caught:
        load(role, folder)
    return caught.value


def doctor(role: str, folder: Path, tmp_path: Path) -> Check:
    settings = demo_settings(**{f"{role}__model": str(folder)})
    return next(check for check in checks(settings, Paths.of(tmp_path / "home")) if check.name == f"{role} model")


# -- what models say ----------------------------------------------------------------------------------------------------


def test_the_bundled_models_pass(copied: Callable[[str], Path]) -> None:
    assert "100% of the words" in load("asr", copied("asr"))
    assert "2 speakers, turns over" in load("diarization", copied("diarization"))


@pytest.mark.parametrize(
    ("recognised", "claims", "why"),
    [
        (Recognised(WORDS, math.nan, 1.0), True, "log-probability"),
        (Recognised(WORDS, -math.inf, 1.0), False, "log-probability"),
        (Recognised(("!!!!!!!!",), -0.1, 0.9), False, None),
        (Recognised(("aaaaaaaaaa",), -0.1, 0.9), False, "repeats"),
        (Recognised(("la",) * 60, -0.1, 9.0), True, "repeats"),
        (Recognised((), -0.1, 0.0), True, "'nothing'"),
        (Recognised(("Untertitel", "von", "Stephanie"), -0.4, 1.0), True, "Untertitel"),
        (Recognised(("Untertitel", "von", "Stephanie"), -0.4, 1.0), False, None),
        (Recognised(("my", "sister", "planted", "7", "yellow", "rose", "near", "the", "wall"), -0.4, 1.0), True, None),
    ],
)
def test_what_a_recogniser_says_is_judged(recognised: Recognised, claims: bool, why: str | None) -> None:
    if why is None:
        check_words("m", recognised, claims=claims)
        return
    with pytest.raises(Misconfigured, match=why) as caught:
        check_words("m", recognised, claims=claims)
    assert caught.value.cause == "self-test failed"
    assert caught.value.hint


def turns(*spans: tuple[float, float, str]) -> list[tuple[float, float, str]]:
    return list(spans)


def test_what_a_diarizer_says_is_judged() -> None:
    def finite(batch: np.ndarray) -> np.ndarray:
        return np.ones((len(batch), 4), np.float32)

    samples, spans = conversation()
    end = len(samples) / 16_000
    right = [(a, b, f"SPEAKER_0{k % 2}") for k, (a, b) in enumerate(spans)]
    assert check_turns("m", right, finite) == "2 speakers, turns over 100% of speech and 0% of silence"
    for wrong in (turns(), turns((0.0, end, "a")), right[:1], [(a, b, str(k / 2)) for k, (a, b, _) in enumerate(right * 2)]):
        with pytest.raises(Misconfigured, match="self-test"):
            check_turns("m", wrong, finite)
    with pytest.raises(Misconfigured, match="no numbers"):
        check_turns("m", right, lambda batch: np.full((1, 4), np.nan, np.float32))


def test_a_recogniser_of_random_weights_is_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("asr")
    file = folder / "model.bin"
    content = bytearray(file.read_bytes())
    rows = content.index(b"decoder/embeddings/weight\0") + len(b"decoder/embeddings/weight\0") + 1 + 8 + 1
    (size,) = struct.unpack_from("<I", content, rows)
    noise = np.random.default_rng(1).integers(0, 256, size, np.uint8).tobytes()
    content[rows + 4 : rows + 4 + size] = noise
    file.write_bytes(content)
    assert refused("asr", folder).cause == "self-test failed"


def test_a_diarizer_of_random_weights_is_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("diarization")
    file = folder / "segmentation" / "pytorch_model.bin"
    with torch.serialization.safe_globals([]):
        content = torch.load(file, map_location="cpu", weights_only=False)
    generator = torch.Generator().manual_seed(1)
    for name, weight in content["state_dict"].items():
        if weight.is_floating_point() and weight.ndim > 1:
            content["state_dict"][name] = torch.randn(weight.shape, generator=generator) * 0.05
    torch.save(content, file)
    assert refused("diarization", folder).cause == "self-test failed"


# -- files that do not fit ----------------------------------------------------------------------------------------------


def test_the_sizes_of_weights_are_read_from_their_header(tmp_path: Path) -> None:
    assert sizes_of(DEMO / "asr" / "model.bin").mels == 80
    assert sizes_of(DEMO / "asr" / "model.bin").tokens == 2793
    assert misfit(DEMO / "asr") is None
    for broken in (b"", b"\x06\0\0\0", b"\x63\0\0\0\0\0", (DEMO / "asr" / "model.bin").read_bytes()[:400]):
        (tmp_path / "model.bin").write_bytes(broken)
        assert sizes_of(tmp_path / "model.bin").mels in (None, 80)


def without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def other_tokenizer(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"].append({**content["added_tokens"][-1], "id": 2793, "content": "<|more|>"})
    (folder / "tokenizer.json").write_text(json.dumps(content))


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


def other_mels(folder: Path) -> None:
    content = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**content, "feature_size": 128}))


def version_3(folder: Path) -> None:
    (folder / "config.yaml").write_text(
        "version: 3.1.0\npipeline:\n  name: pyannote.audio.pipelines.SpeakerDiarization\n  params:\n"
        "    clustering: AgglomerativeClustering\n    embedding: pyannote/wespeaker-voxceleb-resnet34-LM\n"
        "    segmentation: pyannote/segmentation-3.0\nparams:\n  segmentation:\n    min_duration_off: 0.0\n"
    )


def no_segmentation(folder: Path) -> None:
    (folder / "segmentation" / "pytorch_model.bin").unlink()


def no_voice_weights(folder: Path) -> None:
    (folder / "embedding_model.ckpt").unlink()


@pytest.mark.parametrize(
    ("role", "harm", "why"),
    [
        ("asr", without_tokenizer, "no tokenizer.json"),
        ("asr", other_tokenizer, "another model's"),
        ("asr", broken_tokenizer, "cannot be read"),
        ("asr", other_mels, "80 mel bands and preprocessor_config.json makes 128"),
        ("diarization", version_3, "version 3"),
        ("diarization", no_segmentation, "holds no pytorch_model.bin"),
        ("voice", no_voice_weights, "holds no embedding_model.ckpt"),
    ],
)
def test_files_that_do_not_fit_are_named_by_run_and_doctor(
    copied: Callable[[str], Path], tmp_path: Path, role: str, harm: Callable[[Path], None], why: str
) -> None:
    folder = copied(role)
    harm(folder)
    assert why in refused(role, folder).message
    check = doctor(role, folder, tmp_path)
    assert (check.state, why in check.text) == ("fail", True), check
    assert check.hint


def test_parts_of_two_diarizers_do_not_fit(copied: Callable[[str], Path]) -> None:
    folder = copied("diarization")
    file = folder / "plda" / "xvec_transform.npz"
    with np.load(file) as arrays:
        wider = {"mean1": np.tile(arrays["mean1"], 2), "mean2": arrays["mean2"], "lda": np.tile(arrays["lda"], (2, 1))}
    np.savez(file, **wider)
    assert refused("diarization", folder).cause == "model files do not fit"


def test_half_an_archive_of_arrays_is_named(copied: Callable[[str], Path]) -> None:
    folder = copied("diarization")
    file = folder / "plda" / "xvec_transform.npz"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "plda holds no arrays, or is broken" in refused("diarization", folder).message
