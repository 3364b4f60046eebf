"""Read untrusted weights as tensors and plain values; content that could run code is refused."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Forbidden(ValueError):
    """A model's folder requires something that is not on the lists; the message names it."""


def read_weights(file: Path, known: Sequence[type] = ()) -> Any:
    """The content of a PyTorch file, on the CPU; ``known`` are classes that may occur in it beside tensors and plain values.

    Raises :class:`Forbidden` for other classes and functions, ``ValueError`` for a broken file.
    """
    import torch

    try:
        with torch.serialization.safe_globals(list(known)):
            return torch.load(io.BytesIO(file.read_bytes()), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch's message advises to read the file without this protection
        if name := re.search(r"(?:GLOBAL|unrecognized function|instance of class) ([\w.]+)", str(error)):
            raise Forbidden(f"{file.name} holds more than weights: {name[1]}") from error
        raise ValueError(f"{file.name} holds no weights, or is broken") from error
    except (RuntimeError, EOFError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise ValueError(
            f"{file.name} holds no weights, or is broken: {str(error).splitlines()[0][:200] if str(error) else ''}"
        ) from error
