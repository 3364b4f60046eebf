"""CPU threads of PyTorch and of the BLAS libraries, divided among the calls that may run at once."""

from __future__ import annotations

import sys

from gainstage.config.settings import Settings
from gainstage.engine.telemetry.cores import threads_of


def callers_of(settings: Settings) -> int:
    """Calls of PyTorch that may run at once: one in each slot of the diarizer, and one of voices or texts beside them."""
    return settings.workers.diarize + 1


def divide(settings: Settings) -> int | None:
    """Give each caller its part of the cores; threads per call, None before PyTorch is loaded. Threads that begin later follow: a
    diarization under way keeps its number, as every recording has a thread of its own.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    from threadpoolctl import threadpool_limits

    threads = threads_of(callers_of(settings))
    torch.set_num_threads(threads)
    threadpool_limits(limits=threads, user_api="blas")
    return threads
