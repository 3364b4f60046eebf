"""CPU threads of PyTorch, divided among the calls that may run at once, and one thread for each call of a BLAS library.

What follows a change of slots: PyTorch, in every thread at its next call of a network (:func:`follow`), and the number of calls that one
diarizer makes side by side (:func:`cores_of_a_diarizer`), at its next step. What does not: CTranslate2
takes its threads when the recogniser is loaded; its number of calls does not depend on slots. The voice activity detector runs
on one thread in each slot of the recogniser.
"""

from __future__ import annotations

import sys
import threading

from gainstage.config.settings import Settings
from gainstage.engine.telemetry.cores import threads_of

BLAS_THREADS = 1
"""Products outside the networks are small, and every slot makes some: more threads would only wait for cores."""

_local = threading.local()
_threads: int | None = None
_diarizer_cores = 1


def callers_of(settings: Settings) -> int:
    """Calls of PyTorch that may run at once: one in each slot of the diarizer, and one of voices or texts beside them."""
    return settings.workers.diarize + 1


def divide(settings: Settings) -> int | None:
    """Give each caller its part of the cores; threads per call, None before PyTorch is loaded."""
    global _threads, _diarizer_cores
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=BLAS_THREADS, user_api="blas")
    _diarizer_cores = threads_of(settings.workers.diarize)
    if "torch" not in sys.modules:
        return None
    _threads = threads_of(callers_of(settings))
    follow()
    return _threads


def cores_of_a_diarizer() -> int:
    """Cores that the networks of one diarizer may use: diarizers share all cores, also with the recogniser, which is often done or
    waiting before them. One until :func:`divide` was called.
    """
    return _diarizer_cores


def keep_to(threads: int) -> None:
    """Use so many threads of PyTorch in the calling thread, whatever is divided later."""
    import torch

    _local.kept = True
    torch.set_num_threads(threads)


def follow() -> None:
    """Use the present number of threads in the calling thread: PyTorch keeps one for each, from its first call on."""
    if _threads is not None and not getattr(_local, "kept", False) and getattr(_local, "threads", None) != _threads:
        import torch  # another thread may be at it: this waits until it is whole

        torch.set_num_threads(_threads)
        _local.threads = _threads
