"""What batch extraction of voices is worth: five ways through one full-size ECAPA-TDNN, each in a process of its own.

``python -m engine.bench.voices`` prints it. The network has the shape of the published one (14.7 million parameters, 192
numbers) and random weights, which take as long as trained ones; equality is measured with the bundled trained model.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.flow.cancel import CancelToken
from engine.models import quiet
from engine.models.resolve import Found, find
from engine.models.selftest import clip
from engine.models.voice import VoiceEncoder, load_voice_encoder
from engine.terms import SAMPLE_RATE, Audio
from engine.voices.evidence import Refusal
from engine.voices.extract import VoiceExtractor, voice_batcher

SEGMENTS = 281
MINUTES = 10
SHORTEST_S, LONGEST_S = 1.0, 8.0
BATCH_SECONDS = 120.0
ARRIVAL_BATCH = 32
WAYS = ("per_segment", "one_by_one", "arrival_order", "ours", "floor")
WORDS = {
    "per_segment": "a temporary wav for each",
    "one_by_one": "one by one from memory",
    "arrival_order": "batches of 32 as they come, padded",
    "ours": "batches of equal length",
    "floor": "the same frames, perfectly equal",
}
GOAL_TO_FLOOR = 1.15
GOAL_SPEEDUP = 26.0
"""Over the usual way, on a GPU."""

GOAL_DISTANCE = 0.001

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Bench:
    """What every way is given: the same spans of the same audio."""

    encoder: VoiceEncoder
    modules: Any  # the encoder's own: features, their normalisation, the network
    audio: Audio
    wave: NDArray[np.float32]
    wav: Path
    spans: Sequence[Span]

    def cut(self, span: Span) -> NDArray[np.float32]:
        return self.wave[round(span[0] * SAMPLE_RATE) : round(span[1] * SAMPLE_RATE)]


def run(
    segments: int = SEGMENTS,
    seed: int = 0,
    *,
    ways: Sequence[str] = WAYS,
    repeats: int | None = None,
    device: str | None = None,
    threads: int = 1,
    equality: int = 1000,
) -> dict[str, Any]:
    """Measure ``ways`` over spans of 1 to 8 s from ten minutes of audio; medians of ``repeats`` passes (GPU 3, CPU 1).

    ``threads`` is for the CPU. ``equality`` random spans are extracted in batches and alone: ``max_cosine_distance`` is the
    largest difference, ``max_cosine_distance_uncut`` that to the same spans as they are, before they are brought to a grid
    length. ``peak_mb`` is the memory of the process, on a GPU that of the device.
    """
    device = device or _device()
    repeats = repeats or (3 if device.startswith("cuda") else 1)
    children = {way: _child(way, segments, seed, repeats, device, threads) for way in ways}
    seconds, worked = ({way: statistics.median(c[of]) for way, c in children.items()} for of in ("seconds", "cpu_seconds"))
    for figures in (seconds, worked):
        if "one_by_one" in figures and "floor" in figures:
            figures["floor"] = min(figures["floor"], figures["one_by_one"])
    same = _child("equality", equality, seed, 1, device, threads) if equality else {}
    return {
        "device": next((c["device"] for c in children.values()), device),
        "segments": segments,
        "audio_seconds": round(sum(end - start for start, end in spans_of(segments, seed)), 1),
        "threads": threads if device == "cpu" else None,
        "repeats": repeats,
        "seconds": {way: round(s, 3) for way, s in seconds.items()},
        "cpu_seconds": {way: round(s, 3) for way, s in worked.items()},
        "peak_mb": {way: round(child["peak_mb"]) for way, child in children.items()},
        "batches": children["ours"].get("batches") if "ours" in children else None,
        "max_cosine_distance": same.get("distance"),
        "max_cosine_distance_uncut": same.get("uncut"),
    }


def table(result: Mapping[str, Any]) -> str:
    """The result of :func:`run` as plain text, with the goals. On a CPU the ratios are of processor time, which other programs
    on the machine disturb less than the clock."""
    on_gpu = str(result["device"]).startswith("cuda")
    seconds, peak = result["seconds"], result["peak_mb"]
    figure = seconds if on_gpu else result["cpu_seconds"]
    threads = "" if on_gpu else f", {result['threads']} thread"
    lines = [
        f"{result['segments']} segments of {SHORTEST_S:.0f}-{LONGEST_S:.0f} s ({result['audio_seconds']:.0f} s of audio), full-size "
        f"ECAPA-TDNN on {result['device']}{threads}, median of {result['repeats']}",
        "",
        f"{'way':36s} {'seconds':>8s} {'cpu s':>8s} {'segments/s':>11s} {'x usual':>8s} {'x floor':>8s} {'peak MB':>8s}",
    ]
    for way in seconds:
        usual = f"{figure['per_segment'] / figure[way]:8.2f}" if "per_segment" in figure else f"{'·':>8s}"
        floor = f"{figure[way] / figure['floor']:8.2f}" if "floor" in figure else f"{'·':>8s}"
        rate = result["segments"] / figure[way]
        cpu = result["cpu_seconds"][way]
        lines.append(f"{WORDS[way]:36s} {seconds[way]:8.2f} {cpu:8.2f} {rate:11.1f} {usual} {floor} {peak[way]:8d}")
    lines.append("")
    if "floor" in figure and "ours" in figure:
        lines.append(_goal("ours to the floor", figure["ours"] / figure["floor"], GOAL_TO_FLOOR, "x", below=True))
    if "per_segment" in figure and "ours" in figure and on_gpu:
        lines.append(_goal("ours over the usual way", figure["per_segment"] / figure["ours"], GOAL_SPEEDUP, "x", below=False))
    elif "per_segment" in figure and "ours" in figure:
        gain = 100 * (1 - figure["ours"] / figure["per_segment"])
        lines.append(
            f"{'ours over the usual way':34s} {gain:.0f} % less: one by one is a CPU's floor; files and padding are what is saved"
        )
    if result["max_cosine_distance"] is not None:
        lines.append(_goal("cosine distance, batched to alone", result["max_cosine_distance"], GOAL_DISTANCE, "", below=True))
        uncut = result["max_cosine_distance_uncut"]
        lines.append(
            f"{'cosine distance, cut to the grid':34s} {uncut:.3f} at most from the span as it is (see engine/voices/windows.py)"
        )
    return "\n".join(lines)


def _goal(what: str, value: float, goal: float, unit: str, *, below: bool) -> str:
    reached = value <= goal if below else value >= goal
    return f"{what:34s} {value:.4g}{unit} (goal {'<=' if below else '>='} {goal:g}{unit}: {'reached' if reached else 'missed'})"


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


# -- what is measured -----------------------------------------------------------------------------------------------


def spans_of(count: int, seed: int) -> list[Span]:
    """Spans as a diarizer gives them: log-normal lengths around 3 s, anywhere in the recording, in arrival order."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        length = min(LONGEST_S, max(SHORTEST_S, rng.lognormvariate(1.1, 0.6)))
        start = rng.uniform(0, 60 * MINUTES - length)
        found.append((round(start, 3), round(start + length, 3)))
    return found


def full_size(device: str, seed: int = 0) -> tuple[VoiceEncoder, Any]:
    """An encoder of the published shape with random weights and sane batch-norm statistics, built in memory; its modules."""
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
    found = Found("full-size ECAPA-TDNN, random weights", Path(), str(seed), "memory")
    return VoiceEncoder(SimpleNamespace(mods=mods), found, device), mods


def noise(seconds: float, seed: int) -> NDArray[np.float32]:
    """Audio with the level of speech; what it says does not matter to the clock."""
    rng = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE)
    level = np.repeat(rng.uniform(0.02, 0.2, count // 1600 + 1), 1600)[:count]
    return (rng.standard_normal(count) * level).clip(-1, 0.99).astype(np.float32)


def _per_segment(b: Bench) -> int:
    """The usual way: cut the recording's file, write a wav, read it again, encode it, delete it."""
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
    extractor = VoiceExtractor(lambda: b.encoder, voice_batcher(lambda: b.encoder, lambda: BATCH_SECONDS))
    try:
        return extractor.extract(b.audio, b.spans, token=CancelToken()).batches
    finally:
        extractor.close()


def _floor(b: Bench) -> int:
    """As much audio in spans of one length: nothing to cut, to sort, or to wait for."""
    total = sum(len(b.cut(span)) for span in b.spans)
    length = total // len(b.spans)
    most = max(1, int((8.0 if b.encoder.device == "cpu" else BATCH_SECONDS) * SAMPLE_RATE / length))
    for i in range(0, len(b.spans), most):
        n = min(most, len(b.spans) - i)
        b.encoder.embed(np.stack([b.wave[k * 1600 : k * 1600 + length] for k in range(i, i + n)]))
    return -(-len(b.spans) // most)


_WAYS: dict[str, Callable[[Bench], int]] = {
    "per_segment": _per_segment,
    "one_by_one": _one_by_one,
    "arrival_order": _arrival_order,
    "ours": _ours,
    "floor": _floor,
}


# -- in a process of its own ----------------------------------------------------------------------------------------


def _child(way: str, segments: int, seed: int, repeats: int, device: str, threads: int) -> dict[str, Any]:
    arguments = ["--child", way, "--segments", str(segments), "--seed", str(seed), "--repeats", str(repeats)]
    arguments += ["--device", device, "--threads", str(threads)]
    done = subprocess.run([sys.executable, "-m", "engine.bench.voices", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{way} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(way: str, segments: int, seed: int, repeats: int, device: str) -> dict[str, Any]:
    """One way, timed after a warm-up."""
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        wave = noise(60 * MINUTES, seed)
        wav, pcm = Path(folder) / "audio.wav", Path(folder) / "audio.pcm"
        soundfile.write(wav, wave, SAMPLE_RATE)
        (wave * 32768).astype("<i2").tofile(pcm)
        b = Bench(*full_size(device, seed), Audio(pcm, len(wave), "bench"), wave, wav, spans_of(segments, seed))
        b.encoder.embed(wave[None, : 2 * SAMPLE_RATE])
        took, worked, calls = [], [], 0
        for _ in range(repeats):
            began, at_work = time.perf_counter(), time.process_time()
            calls = _WAYS[way](b)
            took.append(time.perf_counter() - began)
            worked.append(time.process_time() - at_work)
    return {"seconds": took, "cpu_seconds": worked, "batches": calls, "peak_mb": _peak_mb(device), "device": _name(device)}


def _equality(count: int, seed: int) -> dict[str, Any]:
    """Random spans of real (synthetic) speech among random batch mates, against each alone, with the bundled model."""
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
    parser.add_argument("--segments", type=int, default=SEGMENTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--device", default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--equality", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is None:
        result = run(
            args.segments, args.seed, repeats=args.repeats, device=args.device, threads=args.threads, equality=args.equality
        )
        print(json.dumps(result) if args.json else table(result))
        return
    quiet.hush()
    import torch

    torch.set_num_threads(args.threads)
    if args.child == "equality":
        found = _equality(args.segments, args.seed)
    else:
        found = _measure(args.child, args.segments, args.seed, args.repeats or 1, args.device or _device())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
