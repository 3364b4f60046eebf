"""A model is its content: the hash of the weights that its vectors depend on, whatever its folder or repository is called."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gainstage.engine.models.resolve import ResolvedModel

CACHE = "contents.json"
"""File of the models' folder that holds the hashes of files by path, size and time, and the hub names of contents."""

_VOICE = ("embedding_model.ckpt", "mean_var_norm_emb.ckpt")
_OTHER_RUNTIMES = {"onnx", "openvino"}


def weight_files(role: str, folder: Path) -> list[Path]:
    """The files whose numbers a model of this role computes with, in order; copies of them for other runtimes are left out."""
    if role == "voice":
        files = [folder / name for name in _VOICE if (folder / name).is_file()]
        return files or sorted(folder.glob("*.ckpt"))
    if role == "asr":
        return [folder / "model.bin"]
    weights = [path for path in sorted(folder.rglob("*")) if not _OTHER_RUNTIMES & set(path.relative_to(folder).parts[:-1])]
    for ending in (".safetensors", ".bin"):
        if files := [path for path in weights if path.suffix == ending and path.is_file()]:
            return files
    return []


def content_of(role: str, resolved: ResolvedModel, cache: Path) -> str:
    """``sha256:`` and 64 digits over the weights of a model; empty when its folder has none.

    A file is read once: ``cache`` (the folder of models) keeps its hash until its size or time changes.
    """
    known = _known(cache / CACHE)
    digest, changed = hashlib.sha256(), False
    files = weight_files(role, resolved.folder)
    for path in files:
        size, time_ns = (stat := path.stat()).st_size, stat.st_mtime_ns
        key = str(path.resolve())
        entry = known["files"].get(key)
        if not isinstance(entry, list) or entry[:2] != [size, time_ns]:
            with path.open("rb") as file:
                entry = [size, time_ns, hashlib.file_digest(file, "sha256").hexdigest()]
            known["files"][key], changed = entry, True
        digest.update(f"{path.name}\0{entry[2]}\0".encode())
    content = f"sha256:{digest.hexdigest()}" if files else ""
    if resolved.origin == "hub" and content and known["names"].get(content) != resolved.name:
        known["names"][content], changed = resolved.name, True
    if changed:
        _write(cache / CACHE, known)
    return content


def family_of(resolved: ResolvedModel, content: str, cache: Path) -> str:
    """The hub name of a text model that decides about its prompts: its own, that of the same content, or the one its files tell."""
    if resolved.origin == "hub":
        return resolved.name
    if isinstance(name := _known(cache / CACHE)["names"].get(content), str):
        return name
    places = [resolved.folder.name, resolved.folder.parent.parent.name.removeprefix("models--")]
    with suppress(OSError, ValueError, AttributeError, RecursionError):
        configured_name = str(json.loads((resolved.folder / "config.json").read_text("utf-8")).get("_name_or_path") or "")
        places.append(configured_name.rstrip("/").rsplit("/", 1)[-1])
    for place in places:
        if match := re.fullmatch(r"(?:BAAI[-_]+)?(bge-(?:small|base|large)-en(?:-v1\.5)?)", place, re.IGNORECASE):
            return f"BAAI/{match[1].lower()}"
    return resolved.name


def _known(path: Path) -> dict[str, dict[str, Any]]:
    content: Any = None
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(path.read_text("utf-8"))
    tables = content if isinstance(content, dict) else {}
    return {name: dict(tables[name]) if isinstance(tables.get(name), dict) else {} for name in ("files", "names")}


def _write(path: Path, known: Mapping[str, Any]) -> None:
    """Replace the file as a whole. A folder that cannot be written costs time at the next start, nothing else."""
    draft = path.with_name(f".{secrets.token_hex(6)}.part")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_text(json.dumps(known), "utf-8")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
