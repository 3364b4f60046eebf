"""What this machine offers the models: cores shared between stages, and the device a setting means."""

from __future__ import annotations

import os

from gainstage.config.defaults import CPUS
from gainstage.engine.errors import Misconfigured

MOST_THREADS = 8
"""More threads for one call gain little, and the stages beside it want cores too."""


def cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def budget() -> int:
    """Cores that are this engine's: all of :func:`cores`, or its part of them where several engines share the machine."""
    part = os.environ.get(CPUS, "")
    return max(1, min(cores(), int(part))) if part.isdecimal() and int(part) else cores()


def threads_of(callers: int) -> int:
    """CPU threads for each of ``callers`` that run at once: they share the cores, none gets more than is useful."""
    return max(1, min(MOST_THREADS, budget() // max(1, callers)))


def torch_device(device: str, key: str) -> str:
    """What a ``device`` setting means here, "cpu" or "cuda"; raises :class:`Misconfigured` for a GPU that PyTorch cannot use."""
    import torch

    if device == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        why = "this PyTorch is built without CUDA" if torch.version.cuda is None else "PyTorch sees no GPU"
        raise Misconfigured(
            f"{key} is cuda and {why}", cause="no GPU", hint=f"Set {key} to auto or cpu, or check the driver with nvidia-smi."
        )
    return "cpu"
