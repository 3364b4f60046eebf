"""One hour with a GPU, prepared: install checks and figures of every model, on networks of real size with random weights.

Needs the card and the wheels alone: no download, no recordings but the bundled ones. Every part runs within its share of ``minutes``,
and one that fails is reported with its reason while the others go on. ``tiny`` runs the same parts on small networks, to try the script.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gainstage.engine.bench.gpu_memory import drills
from gainstage.engine.errors import EngineError
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models import quiet
from gainstage.engine.models.resolve import ResolvedModel
from gainstage.engine.telemetry.cores import torch_device
from gainstage.engine.terms import SAMPLE_RATE

MINUTES = 8.0
BATCHES = (1, 2, 4, 8, 16, 32, 64)
TEXT_BATCHES = (1, 16, 64, 256)
TEXT_LENGTH = 128
TINY_S = 11.0
"""Seconds of audio with small networks: more than one chunk of the diarizer, whose networks are of real size all the same."""
FULL = {"identify.scale": "cosine", "workers.transcribe": 2, "in_flight": 12, "embed.batch": 64}
"""What the workstation's profile sets; similarities of random voices have no scale of their own."""

LIBRARIES = ("torch", "ctranslate2", "faster-whisper", "pyannote-audio", "speechbrain", "sentence-transformers", "nvidia-ml-py")

Row = dict[str, Any]


class GpuRun:
    """What all parts need: the device, the size of the networks, and the end of the present part's time."""

    def __init__(self, device: str, tiny: bool, folder: Path, full: bool) -> None:
        self.device, self.tiny, self.folder, self.full = device, tiny, folder, full
        self.end = float("inf")

    @property
    def over(self) -> bool:
        return time.monotonic() > self.end

    def wait_for_device(self) -> None:
        """Wait for what the GPU still has to do, so that times are whole."""
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()

    def rate(self, call: Callable[[], object], amount: float, least_s: float = 0.5) -> float:
        """``amount`` per second of ``call``, after one warm-up call, over at least ``least_s`` seconds."""
        call()
        self.wait_for_device()
        began, calls = time.perf_counter(), 0
        while not calls or (time.perf_counter() - began < least_s and not self.tiny):
            call()
            calls += 1
            self.wait_for_device()
        return amount * calls / (time.perf_counter() - began)


def run(
    minutes: float = MINUTES, device: str = "auto", tiny: bool = False, full: bool | None = None, seed: int = 0
) -> dict[str, Any]:
    """``device``, ``card``, ``parts``: for each its rows or the error, seconds, and the highest use (of SMs where
    ``measured``, else of time) and memory while it ran.

    ``full``: end to end on networks of real size too; by default on a GPU, and with ``tiny`` on small ones.
    """
    with quiet.importing():
        import torch

        chosen = torch_device(device, "--device")
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory(prefix="gainstage-gpu-") as folder, Meter(chosen) as meter:
        one = GpuRun(chosen, tiny, Path(folder), full if full is not None else tiny or chosen == "cuda")
        end = time.monotonic() + 60 * minutes
        parts: dict[str, Any] = {}
        for n, (name, part) in enumerate(PARTS.items()):
            began = time.monotonic()
            one.end = began + max(0.0, end - began) / (len(PARTS) - n)
            meter.take()
            try:
                measured: Row = {"rows": list(part(one))}
            except (EngineError, OSError, RuntimeError, ValueError, ImportError, MemoryError, AttributeError) as error:
                measured = {"rows": [], "error": f"{type(error).__name__}: {error}"[:300]}
            parts[name] = {**measured, "seconds": round(time.monotonic() - began, 1), **meter.take()}
    card = torch.cuda.get_device_name() if chosen == "cuda" else "none"
    return {"device": chosen, "card": card, "tiny": tiny, "parts": parts}


class Meter:
    """The highest SM and memory use of the first card since the last reading; None where there is none."""

    def __init__(self, device: str) -> None:
        from gainstage.engine.telemetry.devices import Devices

        self._devices = Devices() if device == "cuda" else None

    def __enter__(self) -> Meter:
        if self._devices is not None:
            self._devices.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._devices is not None:
            self._devices.stop()

    def take(self) -> Row:
        views = self._devices.read()[0] if self._devices is not None else ()
        if not views:
            return {"sm": None, "measured": False, "memory": None}
        return {"sm": views[0].sm, "measured": views[0].sm_measured, "memory": views[0].memory_peak or views[0].memory_used}


# -- the parts ----------------------------------------------------------------------------------------------------------


def install(one: GpuRun) -> Iterator[Row]:
    """Versions, and what each library sees of the card."""
    import ctranslate2
    import torch

    from gainstage.engine.speech.recogniser import cublas_found

    for name in LIBRARIES:
        yield {"check": name, "value": importlib.metadata.version(name), "fine": True}
    gpu = one.device == "cuda"
    yield {"check": "torch CUDA", "value": str(torch.version.cuda), "fine": torch.cuda.is_available() or not gpu}
    yield {"check": "CTranslate2 GPUs", "value": str(ctranslate2.get_cuda_device_count()), "fine": _sees_gpu(gpu)}
    yield {"check": "cuBLAS 12 for CTranslate2", "value": str(cublas_found()), "fine": cublas_found() or not gpu}


def _sees_gpu(wanted: bool) -> bool:
    import ctranslate2

    return not wanted or int(ctranslate2.get_cuda_device_count()) > 0


def voices(one: GpuRun) -> Iterator[Row]:
    """Voices per second, one by one, padded, ours, and the floor without cutting or waiting."""
    from gainstage.engine.bench import voices_ways as ways
    from gainstage.engine.terms import Audio
    from gainstage.engine.voices.extract import VoiceExtractor, voice_batcher

    encoder, modules = ways.full_size(one.device)
    wave = ways.noise(60 * ways.MINUTES, 0)
    pcm = one.folder / "noise.pcm"
    (wave * 32768).astype("<i2").tofile(pcm)
    spans = ways.spans_of(4 if one.tiny else 256 if one.device == "cpu" else 512, 0)
    extractor = VoiceExtractor(lambda: encoder, voice_batcher(lambda: encoder, lambda: ways.BATCH_SECONDS))
    try:
        bench = ways.Bench(encoder, modules, Audio(pcm, len(wave), "noise"), wave, one.folder / "noise.wav", spans, extractor)
        encoder.embed(wave[None, : 2 * SAMPLE_RATE])
        alone = 0.0
        for name in ("one_by_one", "arrival_order", "ours", "floor"):
            per_s = one.rate(lambda name=name: ways.WAYS[name](bench), len(spans))  # type: ignore[misc]
            alone = alone or per_s
            yield {"way": name, "voices_per_s": round(per_s, 1), "to_one_by_one": round(per_s / alone, 2)}
    finally:
        extractor.close()


def texts(one: GpuRun) -> Iterator[Row]:
    """Texts of 128 tokens per second, by dtype and batch, through a network of the shape of bge-small."""
    import torch
    from transformers import BertConfig, BertModel

    layers = 2 if one.tiny else 12
    shape = BertConfig(hidden_size=384, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=1536)
    for name in ("float32", "bfloat16") if one.device == "cpu" else ("float32", "float16", "bfloat16"):
        network: Any = BertModel(shape)
        model = network.to(one.device, getattr(torch, name)).eval()
        for batch in TEXT_BATCHES[:2] if one.tiny else TEXT_BATCHES:
            if one.over:
                return
            ids = torch.randint(1000, 30_000, (batch, TEXT_LENGTH), device=one.device)

            def call(ids: Any = ids, model: Any = model) -> None:
                with torch.inference_mode():
                    model(ids)

            yield {"dtype": name, "batch": batch, "texts_per_s": round(one.rate(call, batch), 1)}


def recogniser(one: GpuRun) -> Iterator[Row]:
    """Seconds of audio per second of the recogniser, for windows of any recordings in calls of 1 to 64."""
    from gainstage.engine.bench.random_models import TOKENS, random_recogniser
    from gainstage.engine.speech.recogniser import load_transcriber
    from gainstage.engine.speech.recognition import Decoding, SpeechWindow, features_of

    folder = random_recogniser(one.folder / "recogniser", tiny=one.tiny)
    resolved = ResolvedModel("random", folder, "random", "folder")
    transcriber = load_transcriber(resolved, one.device, "auto", threads=2, workers=1, warn=lambda _: None)
    transcriber.together = None
    transcriber._model.max_length = TOKENS
    noise = np.random.default_rng(0).standard_normal(28 * 16_000).astype(np.float32) * 0.1
    window = SpeechWindow(features_of(transcriber._model, noise), 28.0, Decoding("en", 5))
    for batch in BATCHES[:2] if one.tiny else BATCHES:
        if one.over:
            return
        rtfx = one.rate(lambda batch=batch: transcriber.decode([window] * batch), 28.0 * batch)  # type: ignore[misc]
        yield {"batch": batch, "rtfx": round(rtfx, 1)}


def diarizer(one: GpuRun) -> Iterator[Row]:
    """Seconds of audio per second of the diarizer, in each of its three ways."""
    from gainstage.engine.bench.diarize import ENGINES, real_size, talk
    from gainstage.engine.bench.quality import demo_settings
    from gainstage.engine.speech.diarize import Diarizer

    audio = talk(one.folder, TINY_S if one.tiny else 300.0)
    slot, stock = Diarizer(real_size(0, one.device)), 0.0
    for engine in ENGINES:
        settings = demo_settings({"diarization.engine": engine}).diarization
        began = time.perf_counter()
        slot.diarize(audio, settings, token=CancelToken())
        one.wait_for_device()
        rtfx = audio.seconds / (time.perf_counter() - began)
        stock = stock or rtfx
        yield {"engine": engine, "rtfx": round(rtfx, 1), "to_stock": round(rtfx / stock, 2)}


def end_to_end(one: GpuRun) -> Iterator[Row]:
    """The engine with its database on bundled recordings and models: seconds of audio per second, words and turns found."""
    from gainstage.engine.bench.peers import MIXED, joined
    from gainstage.engine.bench.peers_ways import Weights, ours

    lot = np.random.default_rng(0)
    samples = [joined(one.folder / f"{n}.wav", k, lot) for n, k in enumerate(MIXED[: 1 if one.tiny else len(MIXED)])]
    wall_s, results = ours([s.path for s in samples], Weights(device=one.device).overrides)
    audio_s = sum(s.truth.duration for s in samples)
    words = sum(len(r["words"]) for r in results.values())
    yield {"recordings": len(samples), "rtfx": round(audio_s / wall_s, 1), "words": words}


def end_to_end_full(one: GpuRun) -> Iterator[Row]:
    """The engine with its database, and a plain script, on networks of the size of the default models with random weights: what they
    find means nothing, what it costs does. A recogniser with random weights does not end a window by itself: it is stopped after 96 tokens.
    """
    if not one.full:
        yield {"skipped": "takes minutes on a CPU; --full runs it"}
        return
    from gainstage.engine.bench.peers import MIXED, joined
    from gainstage.engine.bench.peers_ways import Phases, ours, plain
    from gainstage.engine.bench.random_models import random_models
    from gainstage.engine.runtime.context import EngineContext

    def stopped_early(context: EngineContext) -> None:
        context.models.transcriber()._model.max_length = weights.tokens

    lot = np.random.default_rng(1)
    samples = [joined(one.folder / f"full-{n}.wav", k, lot) for n, k in enumerate(MIXED[: 1 if one.tiny else len(MIXED)])]
    paths, audio_s = [s.path for s in samples], sum(s.truth.duration for s in samples)
    if one.tiny:
        audio_s = TINY_S
        _cut(paths[0], audio_s)
    weights = random_models(one.folder / "random", one.device, tiny=one.tiny)
    row: dict[str, Row] = {}
    for _ in range(1 if one.tiny or one.device == "cpu" else 2):  # a card compiles and loads its kernels at their first use
        phases = Phases()
        wall_s, results = ours(paths, {**weights.overrides, **FULL}, self_test=False, prepare=stopped_early)
        row["ours"] = {"recordings": len(results), "audio_s": round(audio_s), "rtfx": round(audio_s / wall_s, 2)}
        with quiet.working():
            plain_s, results = plain(paths, weights, phases)
        spent = {f"{name}_s": round(seconds, 1) for name, seconds in phases.seconds.items()}
        ratio = {"rtfx": round(audio_s / plain_s, 2), "ours": round(plain_s / wall_s, 2)}
        row["plain script"] = {"recordings": len(results), "audio_s": round(audio_s), **ratio, **spent}
    yield from ({"way": way, **measured} for way, measured in row.items())


def _cut(path: Path, seconds: float) -> None:
    import soundfile

    samples, rate = soundfile.read(path, frames=round(seconds * SAMPLE_RATE), dtype="int16")
    soundfile.write(path, samples, rate)


def out_of_memory(one: GpuRun) -> Iterator[Row]:
    """See :mod:`gainstage.engine.bench.gpu_memory`."""
    place = one.folder / "short"
    place.mkdir()
    yield from drills(one.device, place, 120.0)


PARTS: dict[str, Callable[[GpuRun], Iterator[Row]]] = {
    "install": install,
    "voices": voices,
    "texts": texts,
    "recogniser": recogniser,
    "diarizer": diarizer,
    "end to end": end_to_end,
    "end to end, real size": end_to_end_full,
    "out of memory": out_of_memory,
}


def table(result: dict[str, Any]) -> str:
    """The result as plain text."""
    lines = [f"{result['device']}: {result['card']}{'  (tiny networks)' if result['tiny'] else ''}"]
    for name, part in result["parts"].items():
        used = "" if part["sm"] is None else f", {'SM' if part.get('measured') else 'busy'} {part['sm']:.0%}"
        used += "" if part["memory"] is None else f", {part['memory'] / 2**30:.1f} GiB"
        lines += ["", f"{name}  ({part['seconds']:.0f} s{used})"]
        lines += ["  " + "  ".join(f"{key} {value}" for key, value in row.items()) for row in part["rows"]]
        if part.get("error"):
            lines.append(f"  FAILED: {part['error']}")
    return "\n".join(lines)


def failed(result: dict[str, Any]) -> Sequence[str]:
    """The parts that failed, and the checks that are not fine."""
    parts = result["parts"].items()
    return [name for name, part in parts if part.get("error") or any(row.get("fine") is False for row in part["rows"])]
