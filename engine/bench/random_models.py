"""Model folders of the shape of the default models with random weights: the same cost, meaningless results, nothing to download."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gainstage.engine.bench.diarize import real_size
from gainstage.engine.bench.peers_ways import Weights
from gainstage.engine.models import quiet
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.speech.listening import FILE, Listening

TOKENS = 96
"""Tokens after which a recogniser with random weights is stopped."""

ROLES = {"asr": "recogniser", "diarization": "diarizer", "voice": "voice", "embed": "texts"}


def random_models(folder: Path, device: str, *, tiny: bool, seed: int = 0) -> Weights:
    """Folders for every role; ``tiny``: small networks of the same kinds."""
    import torch

    folder.mkdir()
    torch.manual_seed(seed)
    random_recogniser(folder / ROLES["asr"], tiny=tiny)
    random_diarizer(folder / ROLES["diarization"], seed)
    random_voice(folder / ROLES["voice"], tiny=tiny)
    random_texts(folder / ROLES["embed"], tiny=tiny)
    return Weights(**{role: str(folder / name) for role, name in ROLES.items()}, device=device, tokens=TOKENS)


def random_recogniser(folder: Path, *, tiny: bool) -> Path:
    """A Whisper of the shape of distil-large-v3 (``tiny``: two narrow layers) with random weights, as CTranslate2 reads it."""
    import ctranslate2
    from tokenizers import Tokenizer
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    tokenizer = Tokenizer.from_file(str(DEMO / "asr" / "tokenizer.json"))
    end, start = (int(tokenizer.token_to_id(name) or 0) for name in ("<|endoftext|>", "<|startoftranscript|>"))
    width, layers, heads = (64, 2, 2) if tiny else (1280, 32, 20)
    shape = WhisperConfig(
        vocab_size=tokenizer.get_vocab_size(), num_mel_bins=80, d_model=width, encoder_layers=layers, decoder_layers=2,
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width,
        max_source_positions=1500, max_target_positions=448, bos_token_id=end, eos_token_id=end, pad_token_id=end,
        decoder_start_token_id=start, suppress_tokens=[], begin_suppress_tokens=[end],
    )  # fmt: skip
    network: Any = WhisperForConditionalGeneration(shape)
    model = network.eval()
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=start, suppress_tokens=[],
        begin_suppress_tokens=[end], alignment_heads=[[1, 0]], no_timestamps_token_id=tokenizer.token_to_id("<|notimestamps|>"),
        is_multilingual=False,
    )  # fmt: skip
    plain = folder.with_name("plain")
    model.save_pretrained(plain)
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (plain / name).write_bytes((DEMO / "asr" / name).read_bytes())
    listed = json.loads((plain / "preprocessor_config.json").read_text())
    listed |= {"chunk_length": 30, "n_samples": 480_000, "nb_max_frames": 3000}
    (plain / "preprocessor_config.json").write_text(json.dumps(listed))
    special = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (plain / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **special}))
    converter = ctranslate2.converters.TransformersConverter(str(plain), copy_files=["tokenizer.json", "preprocessor_config.json"])
    converter.convert(str(folder), quantization="int8" if tiny else "float16", force=True)
    rule = Listening(
        again=False, timestamps=False
    )  # its words have no times to speak of: nearly all speech would be recognised again
    (folder / FILE).write_text(json.dumps(asdict(rule)))
    return folder


def random_diarizer(folder: Path, seed: int) -> Path:
    """pyannote's segmentation network and WeSpeaker's ResNet34 in full size, as a pipeline of version 4."""
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications

    parts = real_size(seed)
    voices = Specifications(problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=10.0)
    for name, module, place, specifications in (
        ("segmentation", parts.segmentation, "pyannote.audio.models.segmentation.PyanNet", parts.segmentation.specifications),
        ("embedding", parts.embedding, "pyannote.audio.models.embedding.wespeaker", voices),
    ):
        (folder / name).mkdir(parents=True)
        description = {"architecture": {"module": place, "class": type(module).__name__}, "specifications": specifications}
        torch.save(
            {
                "pyannote.audio": {"versions": {"pyannote.audio": "4.0.0"}, **description},
                "hyper_parameters": dict(module.hparams),
                "state_dict": module.state_dict(),
                "pytorch-lightning_version": "2.0.0",
            },
            folder / name / "pytorch_model.bin",
        )
    shutil.copytree(DEMO / "diarization" / "plda", folder / "plda")
    places = {"segmentation": "$model/segmentation", "embedding": "$model/embedding", "plda": "$model/plda"}
    pipeline = {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": {**parts.options, **places}}
    (folder / "config.yaml").write_text(json.dumps({"pipeline": pipeline, "params": parts.parameters}))  # JSON is YAML
    return folder


_VOICE = """\
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: 80
    sample_rate: 16000
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: 80
    channels: [{width}, {width}, {width}, {width}, {last}]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 128
    lin_neurons: 192
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
"""


def random_voice(folder: Path, *, tiny: bool) -> Path:
    """An ECAPA-TDNN of the published shape (``tiny``: a narrow one) with plausible statistics of its normalisation."""
    import torch

    with quiet.importing():
        from gainstage.engine.models.hyperparams import read

        folder.mkdir()
        width = 64 if tiny else 1024
        text = _VOICE.format(width=width, last=3 * width)
        (folder / "hyperparams.yaml").write_text(text)
        network = read(text).value("embedding_model")
        with torch.no_grad():
            for _ in range(2):
                network(torch.randn(4, 100, 80) * 10)
        torch.save(network.state_dict(), folder / "embedding_model.ckpt")
    return folder


def random_texts(folder: Path, *, tiny: bool) -> Path:
    """A text model of the shape of bge-small (``tiny``: two layers), with the tokenizer of the bundled recogniser."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    with quiet.importing():
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Normalize, Pooling, Transformer

        end = "<|endoftext|>"
        tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_file=str(DEMO / "asr" / "tokenizer.json"), pad_token=end, unk_token=end, model_max_length=512
        )
        layers = 2 if tiny else 12
        shape = BertConfig(
            vocab_size=len(tokenizer), hidden_size=384, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=1536
        )
        plain = folder.with_name("plain-texts")
        network: Any = BertModel(shape)
        network.save_pretrained(plain)
        tokenizer.save_pretrained(plain)
        body = Transformer(str(plain), max_seq_length=512)
        modules = [body, Pooling(384), Normalize()]
        SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return folder
