"""From a model's name to a folder on this machine: bundled, local, or a pinned snapshot of the hub."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gainstage.engine.errors import EngineError, Misconfigured
from gainstage.engine.models import quiet

DEMO = Path(__file__).parent / "demo"

PINS = {
    "distil-large-v3": "c3058b475261292e64a0412df1d2681c06260fab",
    "Systran/faster-distil-whisper-large-v3": "c3058b475261292e64a0412df1d2681c06260fab",
    "pyannote/speaker-diarization-community-1": "3533c8cf8e369892e6b79ff1bf80f7b0286a54ee",
    "speechbrain/spkrec-ecapa-voxceleb": "0f99f2d0ebe89ac095bcc5903c4dd8f72b367286",
    "BAAI/bge-small-en-v1.5": "5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
}
"""Hub commits of the default models, used where the setting names no revision."""

_REPOSITORY = {"distil-large-v3": "Systran/faster-distil-whisper-large-v3"}  # of a short faster-whisper name, for messages

MAIN_FILE = {"asr": "model.bin", "diarization": "config.yaml", "voice": "hyperparams.yaml", "embed": "modules.json"}
"""A folder without it is no model of that role (or a download that did not finish)."""

_NOT_NEEDED = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.md", ".git*", "*.png", "*.wav", "*.mp3")


_HASHED_BYTES = 256 * 1024**2


REACH_S = 10.0
"""How long the hub may take to answer at all."""


@dataclass(frozen=True, slots=True)
class Found:
    """A model on this machine. ``revision`` is the hub commit, or ``sha256:`` and 12 digits of the folder's content."""

    name: str
    folder: Path
    revision: str | None
    origin: str  # "bundled", "folder", "hub"


def find(role: str, name: str, revision: str | None, cache: Path, *, download: bool = True) -> Found:
    """The folder behind a model's name; fetched from the hub into ``cache`` only when it is on this machine nowhere.

    Raises :class:`gainstage.engine.errors.Misconfigured`, which names the model and what to do.
    """
    if name.startswith("demo:"):
        return _local(role, name, DEMO / name.removeprefix("demo:"), "bundled")
    folder = Path(name).expanduser()
    if folder.is_dir() or name.startswith(("/", "./", "../", "~")):
        return _local(role, name, folder, "folder")
    return _from_hub(role, name, revision or PINS.get(name), cache, download)


def fingerprint(folder: Path) -> str:
    """``sha256:`` and 12 hex digits over the names and contents of a model folder (notes and hidden files left out)."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name.endswith(".md") or any(part.startswith((".", "__")) for part in name.split("/")):
            continue
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:12]}"


def _local(role: str, name: str, folder: Path, origin: str) -> Found:
    if not folder.is_dir():
        raise Misconfigured(
            f"{role} model {name}: there is no folder {folder}",
            cause="model not found",
            hint=f"Set {role}.model to a folder that holds {MAIN_FILE[role]}, or to a name on huggingface.co.",
        )
    if not (folder / MAIN_FILE[role]).is_file():
        raise Misconfigured(
            f"{role} model {name}: {folder} holds no {MAIN_FILE[role]}",
            cause="model not found",
            hint=f"Point {role}.model to a folder of the kind this role loads.",
        )
    # vectors must be told apart by who made them; of a large recogniser the name is identity enough
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    known = fingerprint(folder) if role in ("voice", "embed") or size < _HASHED_BYTES else None
    return Found(name, folder.absolute(), known, origin)


def _from_hub(role: str, name: str, revision: str | None, cache: Path, download: bool) -> Found:
    with quiet.importing():
        import huggingface_hub
        from faster_whisper.utils import available_models, download_model

    def snapshot(**options: Any) -> Path:
        if role == "asr":
            return Path(download_model(name, revision=revision, **options))
        if role != "embed":
            return Path(huggingface_hub.snapshot_download(name, revision=revision, ignore_patterns=list(_NOT_NEEDED), **options))
        # pickled weights only where there are no safetensors
        folder = Path(
            huggingface_hub.snapshot_download(name, revision=revision, ignore_patterns=[*_NOT_NEEDED, "*.bin"], **options)
        )
        if not any(folder.rglob("*.safetensors")):
            folder = Path(huggingface_hub.snapshot_download(name, revision=revision, ignore_patterns=list(_NOT_NEEDED), **options))
        return folder

    for place in (str(cache), None):  # ours first, then the user's own hub cache
        folder = _complete(role, lambda place=place: snapshot(cache_dir=place, local_files_only=True))  # type: ignore[misc]
        if folder is not None:
            return Found(name, folder, folder.name, "hub")
    if not download:
        raise unreachable(role, name, revision)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        known_size = role == "asr" and name in available_models()
        if known_size or re.fullmatch(r"[\w.-]+/[\w.-]+", name):  # another name is refused without asking
            # asked once before the download: that tries again for half a minute, which nobody wants to wait for without a network
            huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=REACH_S)
        folder = snapshot(cache_dir=str(cache))
    except hub_errors() as error:
        raise explained(role, name, revision, error) from error
    if not (folder / MAIN_FILE[role]).is_file():
        raise Misconfigured(
            f"{role} model {name}: the repository holds no {MAIN_FILE[role]}",
            cause="model not found",
            hint=f"Set {role}.model to a model of the right kind.",
        )
    return Found(name, folder, folder.name, "hub")


def _complete(role: str, look: Callable[[], Path]) -> Path | None:
    try:
        folder = look()
    except (OSError, ValueError):  # not in this cache; a name that cannot be one is explained by the download
        return None
    return folder if (folder / MAIN_FILE[role]).is_file() else None


def hub_errors() -> tuple[type[Exception], ...]:
    """What a call to the hub may raise: errors of its HTTP library (the base of its own), of the system, and of bad names."""
    from huggingface_hub.errors import HfHubHTTPError

    return (*HfHubHTTPError.__bases__, OSError, ValueError)


def repository(name: str) -> str | None:
    """The hub repository behind a model name; None for a short name whose repository only faster-whisper knows."""
    return name if "/" in name else _REPOSITORY.get(name)


def unreachable(role: str, name: str, revision: str | None) -> Misconfigured:
    pin = f" --revision {revision}" if revision else ""
    command = f"`hf download {repo}{pin}`" if (repo := repository(name)) else "the same setting"
    return Misconfigured(
        f"{role} model {name} is not on this machine and huggingface.co cannot be reached",
        cause="hub unreachable",
        hint=(
            f"Connect this machine (HF_ENDPOINT and HTTPS_PROXY are obeyed), or run {command} on one that is"
            f" and set {role}.model to the folder, or use the demo profile, whose models are bundled."
        ),
    )


def explained(role: str, name: str, revision: str | None, error: Exception) -> EngineError:
    """What a failed download means and what to do about it."""
    from huggingface_hub import errors as hub

    page = f"https://huggingface.co/{repository(name) or name}"
    if isinstance(error, hub.GatedRepoError):
        return Misconfigured(
            f"{role} model {name} is gated: its licence has not been accepted, or no token is set",
            cause="licence missing",
            hint=f"Visit {page} and accept the conditions, then run `hf auth login` with a token of that account.",
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return Misconfigured(
            f"{role} model {name} has no revision {revision}",
            cause="model not found",
            hint=f"Clear {role}.revision, or set it to a commit listed at {page}/commits/main.",
        )
    if isinstance(error, hub.RepositoryNotFoundError):
        return Misconfigured(
            f"{role} model {name} does not exist on huggingface.co, or is private",
            cause="model not found",
            hint=f"Check the spelling of {role}.model; for a private model run `hf auth login`.",
        )
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return Misconfigured(
            f"{role} model {name!r}: {error}", cause="model not found", hint=f"Check the spelling of {role}.model."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Misconfigured(
            f"{role} model {name}: no room on the disk for it", cause="disk full", hint="Free disk space, or set --home elsewhere."
        )
    return unreachable(role, name, revision)
