"""Whether the files of a recogniser's folder belong together, from their headers: nothing is loaded."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MELS, ROWS = "encoder/conv1/weight", "decoder/embeddings/weight"

DEFAULT_MELS = 80
"""Mel bands of faster-whisper without a preprocessor_config.json."""

SIBLING = 10
"""Tokenizers of the Whisper family differ by fewer tokens than this; a larger difference is padding, or a tokenizer without times."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the weights are made for; None where the file does not say."""

    mels: int | None = None
    tokens: int | None = None


def misfit(folder: Path) -> str | None:
    """Why the files do not belong to one recogniser: faster-whisper would take other files, or fail at the first recording. None
    when they do, as far as their headers show."""
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        return "it has no tokenizer.json"
    sizes = sizes_of(folder / "model.bin")
    mels = mels_of(folder / "preprocessor_config.json")
    if sizes.mels is not None and sizes.mels != mels:
        return f"its weights take {sizes.mels} mel bands and preprocessor_config.json makes {mels}"
    count = tokens_of(tokenizer)
    if count is None:
        return "tokenizer.json cannot be read"
    if sizes.tokens is not None and (count > sizes.tokens or 0 < sizes.tokens - count < SIBLING):
        return f"its weights know {sizes.tokens} tokens and tokenizer.json {count}: it is another model's"
    return None


def sizes_of(path: Path) -> Sizes:
    """The sizes in the header of CTranslate2 weights (binary version 6)."""
    sizes: dict[str, tuple[int, ...]] = {}
    try:
        with path.open("rb") as file:
            version = _number(file, "<I")
            _text(file)
            _number(file, "<I")
            if version != 6:
                return Sizes()
            for _ in range(_number(file, "<I")):
                name, rank = _text(file), _number(file, "<B")
                shape = struct.unpack(f"<{rank}I", file.read(4 * rank))
                _number(file, "<B")
                file.seek(_number(file, "<I"), 1)
                if name in (MELS, ROWS):
                    sizes[name] = shape
    except (OSError, struct.error, UnicodeDecodeError):
        return Sizes()
    return Sizes(sizes[MELS][1] if len(sizes.get(MELS, ())) > 1 else None, sizes[ROWS][0] if sizes.get(ROWS) else None)


def mels_of(path: Path) -> int:
    """The mel bands that the feature extractor makes."""
    try:
        return int(json.loads(path.read_text("utf-8"))["feature_size"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return DEFAULT_MELS


def tokens_of(path: Path) -> int | None:
    """The tokens of a tokenizer; None for a file that holds none."""
    try:
        content = json.loads(path.read_text("utf-8"))
        known = set(content["model"]["vocab"]) | {str(token["content"]) for token in content.get("added_tokens") or ()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return len(known)


def _number(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def _text(file: BinaryIO) -> str:
    return file.read(_number(file, "<H")).rstrip(b"\0").decode()
