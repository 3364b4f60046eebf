"""The tiny Whisper: fresh with a head start, or unpacked from the int8 weights it was shipped as; and its way back to those."""

from __future__ import annotations

import json
import math
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gainstage.engine.models.demo.recipe.asr_tokens import Tokens
from gainstage.engine.models.demo.recipe.asr_windows import WINDOW_S
from gainstage.engine.terms import SAMPLE_RATE

WIDTH, ENCODER_LAYERS, DECODER_LAYERS, HEAD = 96, 2, 2, 32
HEADS = WIDTH // HEAD
ALIGNED_LAYER, ALIGNED_HEADS = DECODER_LAYERS - 1, (0, 1)
"""The cross-attention heads that are taught where words are, and that faster-whisper reads word times from."""
POSITIONS = 1500
"""Encoder frames (20 ms): faster-whisper always pads its windows to 30 s, so a model cannot have fewer."""


def fresh(tokens: Tokens) -> Any:
    """A ``WhisperForConditionalGeneration`` to train from nothing."""
    from transformers import WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration(_config(tokens))
    encoder, decoder = model.model.encoder, model.model.decoder
    with torch.no_grad():
        for convolution in (encoder.conv1, encoder.conv2):  # the usual start is too small here: sound drowns under positions
            convolution.reset_parameters()
            convolution.weight *= 2
        decoder.embed_tokens.weight.mul_(0.05 / WIDTH**-0.5)
        decoder.embed_positions.weight.mul_(0.1)
        for layer, offsets in zip(encoder.layers, ((-4, 0, 4), (-9, 9, 0)), strict=True):
            for head, offset in enumerate(offsets):
                _look_aside(layer.self_attn, head, offset)
        rows = decoder.embed_tokens.weight  # a timestamp looks like the frame it names
        rows[tokens.first_timestamp : tokens.first_timestamp + POSITIONS] = encoder.embed_positions.weight * 0.05
        rows[tokens.first_timestamp + POSITIONS] = rows[tokens.first_timestamp + POSITIONS - 1]
    return model


def _config(tokens: Tokens) -> Any:
    from transformers import WhisperConfig

    return WhisperConfig(
        vocab_size=tokens.size,
        num_mel_bins=80,
        d_model=WIDTH,
        encoder_layers=ENCODER_LAYERS,
        decoder_layers=DECODER_LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=4 * WIDTH,
        decoder_ffn_dim=4 * WIDTH,
        dropout=0.0,
        max_source_positions=POSITIONS,
        max_target_positions=448,
        pad_token_id=tokens.end,
        bos_token_id=tokens.end,
        eos_token_id=tokens.end,
        decoder_start_token_id=tokens.start,
        init_std=WIDTH**-0.5,
        suppress_tokens=None,
        begin_suppress_tokens=[tokens.space, tokens.end],
    )


def _look_aside(attention: Any, head: int, offset: int) -> None:
    """Make an encoder head look ``offset`` frames aside: its query is the position rotated, its key the position, over 16 of the
    sinusoid's frequencies. Without this most of the training goes into finding out that speech is local."""
    half, frequencies = WIDTH // 2, torch.arange(4, 20)
    omega = torch.exp(-math.log(10_000) / (half - 1) * frequencies.float())
    sine, cosine = torch.sin(omega * offset), torch.cos(omega * offset)
    row = torch.arange(16)
    query, key = torch.zeros(HEAD, WIDTH), torch.zeros(HEAD, WIDTH)
    key[row, frequencies] = 1
    key[row + 16, frequencies + half] = 1
    query[row, frequencies], query[row, frequencies + half] = cosine, sine
    query[row + 16, frequencies + half], query[row + 16, frequencies] = cosine, -sine
    rows = slice(head * HEAD, (head + 1) * HEAD)
    attention.q_proj.weight[rows] = 4.0 * query + 0.02 * torch.randn(HEAD, WIDTH)
    attention.k_proj.weight[rows] = key + 0.02 * torch.randn(HEAD, WIDTH)


def unpacked(folder: Path, tokens: Tokens) -> Any:
    """The model in a CTranslate2 folder as floats, to train on from there."""
    model = fresh(tokens)
    state = model.state_dict()
    for name, value in _translated(_variables(folder / "model.bin")).items():
        state[name].copy_(torch.from_numpy(np.array(value)))
    model.load_state_dict(state)
    return model


def _variables(path: Path) -> dict[str, NDArray[np.float32]]:
    """The float arrays of a CTranslate2 model file (version 6), int8 ones multiplied by their scale."""
    kinds = (np.float32, np.int8, np.int16, np.int32, np.float16)
    raw: dict[str, NDArray[Any]] = {}
    with path.open("rb") as file:

        def number(form: str) -> int:
            return int(struct.unpack("<" + form, file.read(struct.calcsize("<" + form)))[0])

        def text() -> str:
            return file.read(number("H")).rstrip(b"\0").decode()

        if (version := number("I")) != 6:
            raise ValueError(f"{path} is of version {version}, not 6")
        text()  # the kind of model
        number("I")  # its revision
        for _ in range(number("I")):
            name = text()
            shape = [number("I") for _ in range(number("B"))]
            kind = kinds[number("B")]
            raw[name] = np.frombuffer(file.read(number("I")), kind).reshape(shape)
    scaled: dict[str, NDArray[np.float32]] = {}
    for name, value in raw.items():
        scale = raw.get(f"{name}_scale")
        if scale is not None:
            scaled[name] = (value / scale.reshape(-1, *[1] * (value.ndim - 1))).astype(np.float32)
        elif value.dtype == np.float32 and value.ndim and not name.endswith("_scale"):
            scaled[name] = value
    return scaled


def _translated(variables: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """CTranslate2's names and fused projections as transformers has them."""
    state: dict[str, NDArray[np.float32]] = {}
    for name, value in variables.items():
        side, *path = name.split("/")
        stem = f"model.{side}"
        match path:
            case ["embeddings", "weight"]:
                state[f"{stem}.embed_tokens.weight"] = state["proj_out.weight"] = value
            case ["position_encodings", "encodings"]:
                state[f"{stem}.embed_positions.weight"] = value
            case [("conv1" | "conv2") as convolution, kind]:
                state[f"{stem}.{convolution}.{kind}"] = value
            case ["layer_norm", kind]:
                state[f"{stem}.layer_norm.{_AFFINE[kind]}"] = value
            case [layer, "ffn", "layer_norm", kind]:
                state[f"{stem}.{_layer(layer)}.final_layer_norm.{_AFFINE[kind]}"] = value
            case [layer, "ffn", linear, kind]:
                state[f"{stem}.{_layer(layer)}.fc{int(linear[-1]) + 1}.{kind}"] = value
            case [layer, attention, "layer_norm", kind]:
                state[f"{stem}.{_layer(layer)}.{_ATTENTION[attention]}_layer_norm.{_AFFINE[kind]}"] = value
            case [layer, attention, linear, kind]:
                names = _PROJECTIONS[attention][int(linear[-1])]
                for projection, part in zip(names, np.split(value, len(names)), strict=True):
                    if (projection, kind) != ("k_proj", "bias"):  # transformers has none; the fused one is zero
                        state[f"{stem}.{_layer(layer)}.{_ATTENTION[attention]}.{projection}.{kind}"] = part
            case _:
                raise ValueError(f"no place for {name}")
    return state


_AFFINE = {"gamma": "weight", "beta": "bias"}
_ATTENTION = {"self_attention": "self_attn", "attention": "encoder_attn"}
_PROJECTIONS = {
    "self_attention": (("q_proj", "k_proj", "v_proj"), ("out_proj",)),
    "attention": (("q_proj",), ("k_proj", "v_proj"), ("out_proj",)),
}


def _layer(name: str) -> str:
    return f"layers.{name.removeprefix('layer_')}"


def export(model: Any, tokens: Tokens, folder: Path) -> None:
    """Write the model as faster-whisper reads it: CTranslate2 int8, windows of 10 s."""
    import ctranslate2
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=tokens.end,
        eos_token_id=tokens.end,
        pad_token_id=tokens.end,
        decoder_start_token_id=tokens.start,
        suppress_tokens=[],
        begin_suppress_tokens=model.config.begin_suppress_tokens,
        alignment_heads=[[ALIGNED_LAYER, head] for head in ALIGNED_HEADS],
        no_timestamps_token_id=tokens.no_timestamps,
        is_multilingual=False,
    )
    with tempfile.TemporaryDirectory() as name:
        plain = Path(name)
        model.save_pretrained(plain)
        shutil.copy(tokens.path, plain / "tokenizer.json")
        ends = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>")
        (plain / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **ends}))
        (plain / "preprocessor_config.json").write_text(json.dumps(_preprocessing()))
        converter = ctranslate2.converters.TransformersConverter(
            str(plain), copy_files=["tokenizer.json", "preprocessor_config.json"]
        )
        converter.convert(str(folder), quantization="int8", force=True)


def _preprocessing() -> dict[str, object]:
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 80,
        "sampling_rate": SAMPLE_RATE,
        "hop_length": 160,
        "chunk_length": int(WINDOW_S),
        "n_fft": 400,
        "n_samples": int(WINDOW_S) * SAMPLE_RATE,
        "nb_max_frames": int(WINDOW_S) * 100,
        "padding_value": 0.0,
        "return_attention_mask": False,
        "processor_class": "WhisperProcessor",
    }
