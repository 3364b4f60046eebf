"""Load the recogniser: a CTranslate2 Whisper model on a device that works."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gainstage.engine.errors import Misconfigured
from gainstage.engine.models import quiet
from gainstage.engine.models.resolve import ResolvedModel
from gainstage.engine.speech.listening import Listening, listening_of
from gainstage.engine.speech.recogniser_files import misfit
from gainstage.engine.speech.transcribe import Transcriber

CUBLAS = "libcublas.so.12"
"""CUDA version that CTranslate2 is built for; PyTorch may install another major version."""

TOGETHER = 1
"""Full windows, or their equal in short ones, decoded together on a CPU, where larger calls save little (Whisper base int8, processor
time of eight full windows: 16.3 s one by one, 14.7 s in twos, 15.4 s in fours, 15.9 s in one call; of five windows padded to ten
seconds: 2.8 s one by one, 2.3 s in twos, 2.0 s in threes and in one call; the bundled model is fastest one by one). What was decoded
is kept when the engine is killed, so a small call is also little to do again."""

CONTEXT_STEP_S = 5
"""Windows are padded to a multiple of so many seconds on a CPU, where the encoder's time counts and small calls cost little."""

UNDER_WAY_S = 30.0
"""Most audio of one recording in calls of a CPU at once, in seconds, but always a window for each call: what a killed engine does
again. With one of Whisper's windows at a time, a recording alone would leave half of the cores idle: a fifth to a third slower."""

CALLS = 2
"""Simultaneous calls of the recogniser: one decodes tokens while the other encodes or aligns."""


def under_way_s(rule: Listening) -> float:
    """Most seconds of audio of one recording in calls of a CPU at once, see :data:`UNDER_WAY_S`."""
    return max(UNDER_WAY_S, CALLS * rule.window_s)


def load_transcriber(
    resolved: ResolvedModel, device: str, compute: str, *, threads: int, workers: int, warn: Callable[[str], None]
) -> Transcriber:
    """The recogniser in ``found.folder``.

    ``device`` is "auto", "cpu" or "cuda"; ``compute`` "auto" is float16 on a GPU and int8 on a CPU. ``workers`` calls run
    at once, each on ``threads`` CPU threads. Raises :class:`Misconfigured`.
    """
    check_folder(resolved)
    with quiet.importing():
        import ctranslate2
        from faster_whisper import WhisperModel

        device = _device(device, ctranslate2.get_cuda_device_count(), warn)
        allowed = ctranslate2.get_supported_compute_types(device)
        if compute == "auto":
            compute = next(c for c in (("float16", "float32") if device == "cuda" else ("int8", "float32")) if c in allowed)
        elif compute not in allowed:
            raise Misconfigured(
                f"asr.compute {compute} does not work on {device}",
                cause="compute type not supported",
                hint=f"Set asr.compute to auto or one of: {', '.join(sorted(allowed))}.",
            )
        model = WhisperModel(
            str(resolved.folder),
            device=device,
            compute_type=compute,
            cpu_threads=threads,
            num_workers=workers,
            local_files_only=True,
        )
    label = f"{resolved.name}@{resolved.revision}" if resolved.revision else resolved.name
    weights = (resolved.folder / "model.bin").stat()
    listening, together = listening_of(resolved.folder), None
    if device == "cpu":
        listening, together = replace(listening, step_s=CONTEXT_STEP_S), TOGETHER
    identity = label if resolved.revision else f"{label} {weights.st_size} {weights.st_mtime_ns}"
    return Transcriber(model, label, device, compute, listening, together=together, identity=identity)


def check_folder(resolved: ResolvedModel) -> None:
    """Refuse a folder whose files do not belong to one recogniser, before anything is loaded: faster-whisper would download the
    tokenizer of another model. Raises :class:`Misconfigured`."""
    if (why := misfit(resolved.folder)) is not None:
        raise _unfit(resolved, why)


def _unfit(resolved: ResolvedModel, why: str) -> Misconfigured:
    return Misconfigured(
        f"recogniser {resolved.name}: {why}",
        cause="model files do not fit",
        hint="Take all files of one model: fetch it again, or choose another asr.model.",
    )


def _device(device: str, gpus: int, warn: Callable[[str], None]) -> str:
    if device == "cpu" or (device == "auto" and gpus == 0):
        return "cpu"
    if gpus == 0:
        raise Misconfigured(
            "asr.device is cuda and CTranslate2 sees no GPU", cause="no GPU", hint="Set asr.device to auto, or check the driver."
        )
    if cublas_found():
        return "cuda"
    hint = "Install it with `uv sync --extra gpu`, or put the CUDA 12 libraries on LD_LIBRARY_PATH."
    if device == "cuda":
        raise Misconfigured(f"CTranslate2 needs {CUBLAS} for the GPU", cause="CUDA library missing", hint=hint)
    warn(f"the recogniser runs on the CPU: {CUBLAS} is missing. {hint}")
    return "cpu"


def cublas_found() -> bool:
    """Whether cuBLAS 12 can be loaded; also loads it from this environment's nvidia package, which the system does not search."""
    places = [CUBLAS]
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        # cublasLt first, because cublas depends on it
        folder = Path(root) / "cublas" / "lib"
        places[:0] = [str(folder / CUBLAS)] if (folder / CUBLAS).exists() else []
    for place in places:
        try:
            light = Path(place).with_name("libcublasLt.so.12")
            if light.exists():
                ctypes.CDLL(str(light), mode=ctypes.RTLD_GLOBAL)
            ctypes.CDLL(place, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return True
    return False
