"""Find the folder of a model on this machine by its name: bundled, local, or a pinned snapshot of the hub."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from gainstage.engine.errors import EngineError, Misconfigured
from gainstage.engine.models import quiet
from gainstage.engine.models.download import MAIN_FILE, DownloadPlan, Progress, check_room, fetch
from gainstage.engine.models.download import plan as plan_download

DEMO = Path(__file__).parent / "demo"

PINS = {
    "distil-large-v3": "c3058b475261292e64a0412df1d2681c06260fab",
    "Systran/faster-distil-whisper-large-v3": "c3058b475261292e64a0412df1d2681c06260fab",
    "pyannote/speaker-diarization-community-1": "3533c8cf8e369892e6b79ff1bf80f7b0286a54ee",
    "speechbrain/spkrec-ecapa-voxceleb": "0f99f2d0ebe89ac095bcc5903c4dd8f72b367286",
    "BAAI/bge-small-en-v1.5": "5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
}
"""Hub commits of the default models, used when the setting names no revision."""

_RECOGNISER = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
"""Files of a repository that a recogniser needs."""

_NOT_NEEDED = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.md", ".git*", "*.png", "*.wav", "*.mp3")


_HASHED_BYTES = 256 * 1024**2


REACH_S = 10.0
"""Seconds within which the hub must respond."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model on this machine. ``revision`` is the hub commit, or ``sha256:`` and 12 digits of the folder's content."""

    name: str
    folder: Path
    revision: str | None
    origin: str  # "bundled", "folder", "hub"
    content: str = ""  # hash of its weights, where vectors are stored by it: see :mod:`gainstage.engine.models.content`


def find(
    role: str,
    name: str,
    revision: str | None,
    cache: Path,
    *,
    download: bool = True,
    stopped: Callable[[], bool] = lambda: False,
    report: Callable[[Progress], object] = lambda _: None,
) -> ResolvedModel:
    """The folder of a model; it is downloaded from the hub into ``cache`` only when it is not on this machine.

    ``report`` is called with the progress of a download, which ends soon after ``stopped`` returns True. Raises
    :class:`gainstage.engine.errors.Misconfigured`, which names the model and what to do, and :class:`Cancelled`.
    """
    if name.startswith("demo:"):
        return _local(role, name, DEMO / name.removeprefix("demo:"), "bundled")
    folder = Path(name).expanduser()
    if folder.is_dir() or name.startswith(("/", "./", "../", "~")):
        return _local(role, name, folder, "folder")
    cached = _cached(role, name, revision or PINS.get(name), cache)
    if cached is not None:
        return cached
    if not download:
        raise unreachable(role, name, revision or PINS.get(name))
    return _download(plan_of(role, name, revision), name, cache, stopped, report)


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


def _local(role: str, name: str, folder: Path, origin: str) -> ResolvedModel:
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
    # vectors must be distinguished by their exact model; for a large recogniser the name is enough
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    known = fingerprint(folder) if role in ("voice", "embed") or size < _HASHED_BYTES else None
    return ResolvedModel(name, folder.absolute(), known, origin)


def _cached(role: str, name: str, revision: str | None, cache: Path) -> ResolvedModel | None:
    """The snapshot on this machine: in our cache, or in the user's own hub cache."""
    repo = repository(name)
    if repo is None:
        return None
    with quiet.importing():
        import huggingface_hub

    for place in (str(cache), None):
        folder = _complete(
            role,
            lambda place=place: Path(  # type: ignore[misc]
                huggingface_hub.snapshot_download(repo, revision=revision, cache_dir=place, local_files_only=True)
            ),
        )
        if folder is not None:
            return ResolvedModel(name, folder, folder.name, "hub")
    return None


def plan_of(role: str, name: str, revision: str | None) -> DownloadPlan:
    """The files that the hub would send for a model. Raises :class:`Misconfigured` with a cause and a hint when it would not."""
    revision = revision or PINS.get(name)
    with quiet.importing():
        import huggingface_hub
        from huggingface_hub import constants
    repo = repository(name)
    try:
        if repo is None or not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
            raise ValueError("it is neither a folder, nor a name of the hub, nor a size of faster-whisper")
        # checked first with a short timeout: without a network the library retries for half a minute
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=REACH_S)
        plan = plan_download(role, repo, revision, _RECOGNISER if role == "asr" else None, () if role == "asr" else _NOT_NEEDED)
    except hub_errors() as error:
        raise explained(role, name, revision, error) from error
    if role == "embed" and any(file.path.endswith(".safetensors") for file in plan.files):  # no pickled weights beside safe ones
        plan = replace(plan, files=tuple(file for file in plan.files if not file.path.endswith(".bin")))
    if MAIN_FILE[role] not in {file.path for file in plan.files}:
        raise Misconfigured(
            f"{role} model {name}: the repository holds no {MAIN_FILE[role]}",
            cause="model not found",
            hint=f"Set {role}.model to a model of the right kind.",
        )
    return plan


def _download(
    plan: DownloadPlan, name: str, cache: Path, stopped: Callable[[], bool], report: Callable[[Progress], object]
) -> ResolvedModel:
    check_room([plan], cache)
    try:
        folder = fetch(plan, cache, stopped=stopped, report=report)
    except hub_errors() as error:
        raise explained(plan.role, name, plan.revision, error) from error
    return ResolvedModel(name, folder, folder.name, "hub")


def _complete(role: str, look: Callable[[], Path]) -> Path | None:
    try:
        folder = look()
    except (OSError, ValueError):  # not in this cache; the download reports an invalid name
        return None
    whole = (folder / MAIN_FILE[role]).is_file() and all(path.exists() for path in folder.rglob("*"))
    return folder if whole else None  # a dangling link is a file that was removed to be downloaded again


def hub_errors() -> tuple[type[Exception], ...]:
    """The exceptions of a call to the hub: those of its HTTP library (the base of its own), of the system, and for bad names."""
    from huggingface_hub.errors import HfHubHTTPError

    return (*HfHubHTTPError.__bases__, OSError, ValueError)


def repository(name: str) -> str | None:
    """The hub repository of a model name; None when there is none."""
    if "/" in name:
        return name
    with quiet.importing():
        from faster_whisper.utils import _MODELS

    repository_id: str | None = _MODELS.get(name)
    return repository_id


def hub_host() -> str:
    """The host of the hub: huggingface.co, or the one that HF_ENDPOINT names."""
    with quiet.importing():
        from huggingface_hub import constants
    return urlsplit(constants.ENDPOINT).netloc or constants.ENDPOINT


def unreachable(role: str, name: str, revision: str | None) -> Misconfigured:
    """The error for a model that is not on this machine while its hub cannot be reached."""
    pin = f" --revision {revision}" if revision else ""
    offline = "HF_HUB_OFFLINE is set: unset it. " if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
    command = f"`hf download {repo}{pin}`" if (repo := repository(name)) else "the same setting"
    return Misconfigured(
        f"{role} model {name} is not on this machine and {hub_host()} cannot be reached",
        cause="hub unreachable",
        hint=(
            f"{offline}Connect this machine (HF_ENDPOINT and HTTPS_PROXY are used), or run {command} on one that is"
            f" and set {role}.model to the folder, or use the demo profile, whose models are bundled."
        ),
    )


def explained(role: str, name: str, revision: str | None, error: Exception) -> EngineError:
    """The error for a failed download, with its cause and what to do."""
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
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None and status >= 400:
        return _answered(role, name, page, int(status), error)
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return Misconfigured(
            f"{role} model {name!r}: {error}", cause="model not found", hint=f"Check the spelling of {role}.model."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Misconfigured(
            f"{role} model {name}: no room on the disk for it",
            cause="disk full",
            hint="Free disk space, or choose another place with --home.",
        )
    return unreachable(role, name, revision)


def _answered(role: str, name: str, page: str, status: int, error: Exception) -> EngineError:
    """The error for a refusal by the hub, by HTTP status."""
    what = f"{role} model {name}"
    if status == 401:
        return Misconfigured(
            f"{what}: the hub does not take this machine's token",
            cause="hub token refused",
            hint="Run `hf auth login` with a valid token, or unset HF_TOKEN: models that are not gated need none.",
        )
    if status == 403:
        return Misconfigured(
            f"{what}: the hub refuses this account",
            cause="licence missing",
            hint=f"Visit {page} and accept the conditions; a fine-grained token needs read access to gated repositories.",
        )
    if status == 404:
        return Misconfigured(
            f"{what}: the hub has no such file", cause="model not found", hint=f"Check {role}.model and {role}.revision at {page}."
        )
    if status == 429:
        after = getattr(error, "response", None)
        wait = after.headers.get("Retry-After", "") if after is not None else ""
        return Misconfigured(
            f"{what}: the hub asks for a pause (too many requests{f', {wait} s' if wait.isdecimal() else ''})",
            cause="hub throttled",
            hint="Start again later; with `hf auth login` the hub allows more requests.",
        )
    return Misconfigured(
        f"{what}: the hub answers with an error of its own ({status})",
        cause="hub out of order",
        hint="Start again later (status.huggingface.co says how it is); what was fetched is kept.",
    )
