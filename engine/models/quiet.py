"""Silence third-party libraries: telemetry is off before they are imported, their import warnings and log lines are suppressed.

Every late import of a model library goes through :func:`importing`, every call into one through :func:`working`.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

ENVIRONMENT = {
    "PYANNOTE_METRICS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # without it onnxruntime resolves its vendor's host name
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    # idle OpenMP threads sleep instead of spinning: several stages share the cores, and with spinning a diarizer of two
    # threads beside other work on two cores was 13 times slower (RTFx 2 against 26)
    "OMP_WAIT_POLICY": "PASSIVE",
    # a BLAS library that is loaded late is not reached by gainstage.engine.models.cpu_threads
    "OPENBLAS_NUM_THREADS": "1",
    # PyTorch and oneDNN keep a prepared primitive for each length of input, a thousand by default: over 14 recordings of different
    # length a diarizer grew from 972 to 1445 MB; with 16 of them it stays within 990-1049 MB and is no slower
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16",
    "LRU_CACHE_CAPACITY": "16",
    "TOKENIZERS_PARALLELISM": "false",  # without it, a fork after use of a tokenizer prints a warning
    "TRANSFORMERS_VERBOSITY": "error",
}
"""The libraries read these when they are imported, so they are set before."""

LOGGERS = (
    "faster_whisper",
    "huggingface_hub",
    "lightning",
    "lightning.fabric",
    "lightning.pytorch",
    "lightning_fabric",
    "pytorch_lightning",
    "pyannote",
    "sentence_transformers",
    "speechbrain",
    "torio",
    "torchaudio",
    "transformers",
)

_HARMLESS = (
    # the number of speakers is outside the requested bounds: the result reports how many there are
    (UserWarning, r"\s*The detected number of speakers"),
    # the variance of one frame, in the statistics layer of pyannote's own voice model
    (UserWarning, r"std\(\): degrees of freedom is <= 0"),
    # a recording too short for a single voice: pyannote takes the mean of none and does not use it
    (RuntimeWarning, r"Mean of empty slice"),
    (RuntimeWarning, r"invalid value encountered in (scalar )?divide"),
    # pyannote turns TensorFloat-32 off for reproducible results, and warns about it
    (UserWarning, r"\s*TensorFloat-32 \(TF32\) has been disabled"),
    # a line of a damaged subtitle file that may have been a time: what can be read of the file is used
    (UserWarning, r"Possible missed subtitle start"),
)

_import_lock = threading.RLock()
_lock = threading.Lock()
_holders = {"importing": 0, "working": 0}
_context: warnings.catch_warnings[None] | None = None


def hush() -> None:
    """Set the environment and the log levels. Cheap, and safe to call again."""
    os.environ.update(ENVIRONMENT)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if logger.level < logging.ERROR:
            logger.setLevel(logging.ERROR)


@contextmanager
def importing() -> Iterator[None]:
    """Context of a late import or a load: one at a time, without third-party warnings and telemetry."""
    with _import_lock, _filtered("importing"):
        hush()
        yield
        hush()  # some libraries set their log levels when imported
        _drop_placeholders()


def _drop_placeholders() -> None:
    """Remove speechbrain's placeholder modules. They import optional packages, which are not installed here, as soon as anything
    inspects them (``inspect``, a test runner). Without them, an import of such a part reports the missing package clearly."""
    for name, module in list(sys.modules.items()):
        if type(module).__module__ == "speechbrain.utils.importutils":
            del sys.modules[name]


@contextmanager
def working() -> Iterator[None]:
    """Context of a call into a model: warnings known to be harmless are suppressed."""
    with _filtered("working"):
        yield


@contextmanager
def _filtered(kind: str) -> Iterator[None]:
    _hold(kind, +1)
    try:
        yield
    finally:
        _hold(kind, -1)


def _hold(kind: str, by: int) -> None:
    """Enter or leave the shared filter. Warning filters belong to the process: overlapping threads must share one
    ``catch_warnings``, or the last to leave would restore a state that another had changed."""
    global _context
    with _lock:
        if _context is not None:
            _context.__exit__(None, None, None)
            _context = None
        _holders[kind] += by
        if not any(_holders.values()):
            return
        _context = warnings.catch_warnings()
        _context.__enter__()
        for category, message in _HARMLESS:
            warnings.filterwarnings("ignore", message, category)
        if _holders["importing"]:
            warnings.simplefilter("ignore")
