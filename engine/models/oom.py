"""Recognise out-of-memory errors of PyTorch, CTranslate2 and cuBLAS, each of which has its own messages."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from gainstage.engine.errors import OutOfMemory

_PHRASES = ("out of memory", "cublas_status_alloc_failed", "cudnn_status_alloc_failed", "cublas_status_not_initialized")
HINT = "Lower the batch of this stage or its workers, or choose a smaller model."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means that a device or the host had too little memory."""
    if isinstance(error, (OutOfMemory, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _PHRASES)


@contextmanager
def out_of_memory_named(what: str) -> Iterator[None]:
    """Turn a library's out-of-memory error into :class:`gainstage.engine.errors.OutOfMemory`; every other error passes.

    What the failed call held is let go, though its traceback lives on: on a device it would be missing for the next call.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, OutOfMemory) or not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)
        raise OutOfMemory(f"{what}: out of memory", cause="out of memory", hint=HINT) from error
