"""The five ways of ``gainstage.engine.bench.voices``: each runs in its own process, receives slices of the spans, reports times.

The network has the shape of the published one (14.7 million parameters, 192 dimensions) and random weights, which take the same
time as trained ones; equality is measured with the bundled trained model.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models import quiet
from gainstage.engine.models.resolve import ResolvedModel, find
from gainstage.engine.models.selftest import clip
from gainstage.engine.models.voice import VoiceEncoder, load_voice_encoder
from gainstage.engine.terms import SAMPLE_RATE, Audio
from gainstage.engine.voices.evidence import Refusal
from gainstage.engine.voices.extract import VoiceExtractor, voice_batcher

MINUTES = 10
SHORTEST_S, LONGEST_S = 1.0, 8.0
BATCH_SECONDS = 120.0
ARRIVAL_BATCH = 32

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Bench:
    """The input of every way: the same spans of the same audio."""

    encoder: VoiceEncoder
    modules: Any  # the encoder's own: features, their normalisation, the network
    audio: Audio
    wave: NDArray[np.float32]
    wav: Path
    spans: Sequence[Span]
    extractor: VoiceExtractor

    def cut(self, span: Span) -> NDArray[np.float32]:
        return self.wave[round(span[0] * SAMPLE_RATE) : round(span[1] * SAMPLE_RATE)]


def spans_of(count: int, seed: int) -> list[Span]:
    """Spans like those of a diarizer: log-normal lengths around 3 s, anywhere in the recording, in arrival order."""
    rng = random.Random(seed)
    spans = []
    for _ in range(count):
        length = min(LONGEST_S, max(SHORTEST_S, rng.lognormvariate(1.1, 0.6)))
        start = rng.uniform(0, 60 * MINUTES - length)
        spans.append((round(start, 3), round(start + length, 3)))
    return spans


def full_size(device: str, seed: int = 0) -> tuple[VoiceEncoder, Any]:
    """An encoder of the published shape with random weights and plausible batch-norm statistics, built in memory; its modules."""
    import torch

    with quiet.importing():
        from speechbrain.lobes.features import Fbank
        from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
        from speechbrain.processing.features import InputNormalization
    torch.manual_seed(seed)
    network = ECAPA_TDNN(
        80,
        channels=[1024, 1024, 1024, 1024, 3072],
        kernel_sizes=[5, 3, 3, 3, 1],
        dilations=[1, 2, 3, 4, 1],
        attention_channels=128,
        lin_neurons=192,
    )
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(4, 100, 80) * 10)
    features = Fbank(n_mels=80, sample_rate=SAMPLE_RATE)
    norm = InputNormalization(norm_type="sentence", std_norm=False)
    modules = [part.to(device).eval() for part in (features, norm, network)]
    names = ("compute_features", "mean_var_norm", "embedding_model")
    mods = SimpleNamespace(**dict(zip(names, modules, strict=True)))
    resolved = ResolvedModel("full-size ECAPA-TDNN, random weights", Path(), str(seed), "memory")
    return VoiceEncoder(SimpleNamespace(mods=mods), resolved, device), mods


def noise(seconds: float, seed: int) -> NDArray[np.float32]:
    """Noise at the level of speech; the content does not affect the speed."""
    rng = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE)
    level = np.repeat(rng.uniform(0.02, 0.2, count // 1600 + 1), 1600)[:count]
    return (rng.standard_normal(count) * level).clip(-1, 0.99).astype(np.float32)


def _per_segment(b: Bench) -> int:
    """The usual way: cut the recording's file, write a WAV file, read it again, encode it, delete it."""
    import soundfile

    for start, end in b.spans:
        piece, rate = soundfile.read(b.wav, start=round(start * SAMPLE_RATE), stop=round(end * SAMPLE_RATE), dtype="float32")
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            soundfile.write(file.name, piece, rate)
            again, _ = soundfile.read(file.name, dtype="float32")
        b.encoder.embed(again[None])
    return len(b.spans)


def _one_by_one(b: Bench) -> int:
    for span in b.spans:
        b.encoder.embed(b.cut(span)[None])
    return len(b.spans)


def _arrival_order(b: Bench) -> int:
    """Batches of 32 in arrival order, padded to the longest with relative lengths."""
    import torch

    mods = b.modules
    for i in range(0, len(b.spans), ARRIVAL_BATCH):
        pieces = [b.cut(span) for span in b.spans[i : i + ARRIVAL_BATCH]]
        longest = max(map(len, pieces))
        batch = np.zeros((len(pieces), longest), np.float32)
        for row, piece in zip(batch, pieces, strict=True):
            row[: len(piece)] = piece
        with torch.inference_mode():
            waves = torch.as_tensor(batch, device=b.encoder.device)
            lengths = torch.tensor([len(p) / longest for p in pieces], device=b.encoder.device)
            mods.embedding_model(mods.mean_var_norm(mods.compute_features(waves), lengths), lengths).cpu()
    return -(-len(b.spans) // ARRIVAL_BATCH)


def _ours(b: Bench) -> int:
    return b.extractor.extract(b.audio, b.spans, token=CancelToken()).batches


def _floor(b: Bench) -> int:
    """The same amount of audio in spans of one length: no cutting, sorting or waiting."""
    total = sum(len(b.cut(span)) for span in b.spans)
    length = total // len(b.spans)
    most = max(1, int((8.0 if b.encoder.device == "cpu" else BATCH_SECONDS) * SAMPLE_RATE / length))
    for i in range(0, len(b.spans), most):
        n = min(most, len(b.spans) - i)
        b.encoder.embed(np.stack([b.wave[k * 1600 : k * 1600 + length] for k in range(i, i + n)]))
    return -(-len(b.spans) // most)


WAYS: dict[str, Callable[[Bench], int]] = {
    "per_segment": _per_segment,
    "one_by_one": _one_by_one,
    "arrival_order": _arrival_order,
    "ours": _ours,
    "floor": _floor,
}
"""Each extracts all spans of the bench and returns the number of model calls."""

# -- in its own process ----------------------------------------------------------------------------------------------


def serve(way: str, segments: int, seed: int, device: str, requests: Iterable[str]) -> Iterator[dict[str, Any]]:
    """After a warm-up yield a first result, then the measurement for every line of ``requests`` (a slice as ``[first, end]``)."""
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        wave = noise(60 * MINUTES, seed)
        wav, pcm = Path(folder) / "audio.wav", Path(folder) / "audio.pcm"
        soundfile.write(wav, wave, SAMPLE_RATE)
        (wave * 32768).astype("<i2").tofile(pcm)
        encoder, modules = full_size(device, seed)
        extractor = VoiceExtractor(lambda: encoder, voice_batcher(lambda: encoder, lambda: BATCH_SECONDS))
        everything = Bench(encoder, modules, Audio(pcm, len(wave), "bench"), wave, wav, spans_of(segments, seed), extractor)
        encoder.embed(wave[None, : 2 * SAMPLE_RATE])
        yield {"device": _name(device)}
        for line in requests:
            first, end = json.loads(line)
            b = replace(everything, spans=everything.spans[first:end])
            began, at_work = time.perf_counter(), time.process_time()
            calls = WAYS[way](b)
            seconds, worked = time.perf_counter() - began, time.process_time() - at_work
            yield {"seconds": seconds, "cpu_seconds": worked, "batches": calls, "peak_mb": _peak_mb(device)}
        extractor.close()


def equality(count: int, seed: int) -> dict[str, Any]:
    """Compare random spans of real (synthetic) speech in random batches with each alone, with the bundled model."""
    rng = random.Random(seed)
    encoder = load_voice_encoder(find("voice", "demo:voice", None, Path(), download=False), "cpu")
    clips = [clip(name) for name in ("one_a", "other", "one_b")]
    wave = np.concatenate([clips[rng.randrange(3)] * rng.uniform(0.3, 1) for _ in range(40)])
    wave = (wave + 1e-3 * np.random.default_rng(seed).standard_normal(len(wave))).astype(np.float32)
    spans = []
    for _ in range(count):
        start = rng.uniform(0, len(wave) / SAMPLE_RATE - LONGEST_S)
        spans.append((start, start + rng.uniform(0.5, LONGEST_S)))
    with tempfile.TemporaryDirectory() as folder:
        pcm = Path(folder) / "audio.pcm"
        (wave.clip(-1, 0.99) * 32768).astype("<i2").tofile(pcm)
        audio = Audio(pcm, len(wave), "equality")
        extractor = VoiceExtractor(lambda: encoder, voice_batcher(lambda: encoder, lambda: BATCH_SECONDS, linger_s=0.0))
        try:
            together: list[NDArray[np.float32]] = []
            while len(together) < count:
                size = rng.randint(1, 64)
                together += _voices(extractor, audio, spans[len(together) : len(together) + size])
            alone = [v for span in spans for v in _voices(extractor, audio, [span])]
        finally:
            extractor.close()
        uncut = [encoder.embed(audio.read(*span)[None])[0] for span in spans]
    a, b, c = (np.stack(v) for v in (together, alone, uncut))
    return {"distance": _largest(a, b), "uncut": _largest(a, c)}


def _voices(extractor: VoiceExtractor, audio: Audio, spans: Sequence[Span]) -> list[NDArray[np.float32]]:
    return [v for v in extractor.extract(audio, spans, token=CancelToken()).voices if not isinstance(v, Refusal)]


def _largest(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return max(0.0, float(1 - np.einsum("ij,ij->i", a.astype(np.float64), b.astype(np.float64)).min()))


def _peak_mb(device: str) -> float:
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.max_memory_allocated()) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def _name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return f"{device} ({torch.cuda.get_device_name()})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("way", choices=[*WAYS, "equality"])
    parser.add_argument("--segments", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    quiet.hush()
    import torch

    torch.set_num_threads(args.threads)
    if args.way == "equality":
        print(json.dumps(equality(args.segments, args.seed)))
        return
    for answer in serve(args.way, args.segments, args.seed, args.device, sys.stdin):
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
