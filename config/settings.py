"""The one schema of every setting: type, default, range, step, unit, effect and help.

From it come the TOML file, the environment variables, the command line, the Tune screen, validation and the
documentation. A setting is named by its dotted key (``workers.transcribe``). Nothing here touches a file: see
:mod:`gainstage.config.origins` for the layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from gainstage.config.defaults import MEMORY_LIMIT_PERCENT
from gainstage.config.identify import Identify as Identify
from gainstage.config.knobs import Effect as Effect
from gainstage.config.knobs import Section as Section
from gainstage.config.knobs import knob as knob


def workers(default: int, most: int, what: str, risk: str = "") -> Any:
    return knob(default, f"Slots of {what}: how many recordings it serves at once.", ge=1, le=most, step=1, risk=risk)


Device = Literal["auto", "cpu", "cuda"]


class Workers(Section):
    fetch: int = workers(12, 64, "fetch", "more requests at once: throttling by the host above the polite rate")
    decode: int = workers(2, 16, "decode")
    transcribe: int = workers(2, 16, "transcribe", "more memory in use")
    diarize: int = workers(1, 8, "diarize", "one diarizer instance per slot: more memory in use")
    identify: int = workers(2, 16, "identify")
    embed: int = workers(2, 16, "embed")
    store: int = workers(2, 16, "store", "one database connection per slot")


class Asr(Section):
    model: str = knob("distil-large-v3", "Recogniser: a faster-whisper name, hub id or local folder.", effect=Effect.RELOAD)
    revision: str | None = knob(None, "Pinned hub revision of the recogniser.", effect=Effect.RELOAD)
    compute: Literal["auto", "int8", "int8_float16", "float16", "bfloat16", "float32"] = knob(
        "auto", "Arithmetic of the recogniser.", effect=Effect.RELOAD
    )
    device: Device = knob("auto", "Where the recogniser runs.", effect=Effect.RELOAD)
    language: str = knob("auto", "Spoken language as a two-letter code, or auto to detect it.", effect=Effect.RELOAD)
    batch: int = knob(
        16,
        "Windows of speech per recogniser call, of all recordings in flight.",
        ge=1,
        le=64,
        step=1,
        risk="GPU memory grows with it",
    )
    beam: int = knob(5, "Beam width of the search.", effect=Effect.ITEM, ge=1, le=10, step=1)
    vad: bool = knob(True, "Skip silence before recognition.", effect=Effect.ITEM)
    task: Literal["transcribe", "translate"] = knob(
        "transcribe", "Write what is said, or its English translation.", effect=Effect.ITEM
    )
    multilingual: bool = knob(False, "Tell the language of every window, not of the recording.", effect=Effect.ITEM)
    hotwords: str = knob("", "Names and terms the recogniser should expect.", effect=Effect.ITEM)
    prompt: str = knob("", "Text put before every window: its style and spelling are followed.", effect=Effect.ITEM)


class Diarization(Section):
    model: str = knob("pyannote/speaker-diarization-community-1", "Diarizer: hub id or local folder.", effect=Effect.RELOAD)
    revision: str | None = knob(None, "Pinned hub revision of the diarizer.", effect=Effect.RELOAD)
    device: Device = knob("auto", "Where the diarizer runs.", effect=Effect.RELOAD)
    min_speakers: int | None = knob(None, "Fewest speakers to find.", effect=Effect.ITEM, ge=1, le=20, step=1)
    max_speakers: int | None = knob(None, "Most speakers to find.", effect=Effect.ITEM, ge=1, le=20, step=1)
    clustering_threshold: float | None = knob(
        None, "Clustering threshold; empty takes the model's own.", effect=Effect.ITEM, ge=0, le=1, step=0.05
    )
    engine: Literal["stacked", "once", "stock"] = knob(
        "stacked",
        "Speaker network: once per chunk (the same turns as stock), once per recording (faster, turns may differ), or pyannote's own way.",
        effect=Effect.ITEM,
    )
    batch: int | None = knob(
        None,
        "Chunks per call of the diarizer's networks; empty takes what suits the device.",
        ge=1,
        le=256,
        step=8,
        risk="GPU memory grows with it",
    )
    step: float | None = knob(
        None,
        "Step between chunks as a share of a chunk; empty takes the model's own. Larger is faster and less exact.",
        effect=Effect.ITEM,
        ge=0.02,
        le=0.5,
        step=0.05,
    )


class VoiceModel(Section):
    model: str = knob("speechbrain/spkrec-ecapa-voxceleb", "Speaker-embedding model: hub id or local folder.", effect=Effect.RELOAD)
    revision: str | None = knob(None, "Pinned hub revision of the voice model.", effect=Effect.RELOAD)
    device: Device = knob("auto", "Where voices are extracted.", effect=Effect.RELOAD)
    batch_seconds: float = knob(
        120, "Audio per batch of voice extraction.", ge=5, le=3600, step=10, unit="s", risk="GPU memory grows with it"
    )
    cache: bool = knob(True, "Keep extracted voices, so that changed thresholds extract nothing again.", effect=Effect.ITEM)


class Segmentation(Section):
    merge_gap: float = knob(
        3, "Join neighbours of one speaker when the gap is at most this.", effect=Effect.ITEM, ge=0, le=60, step=0.5, unit="s"
    )
    min_chars: int = knob(400, "Aim for passages of at least this.", effect=Effect.ITEM, ge=0, le=10000, step=50, unit="chars")
    max_chars: int = knob(1200, "Longest passage.", effect=Effect.ITEM, ge=50, le=20000, step=50, unit="chars")
    max_seconds: float = knob(60, "Longest passage in time.", effect=Effect.ITEM, ge=5, le=600, step=5, unit="s")


class Embed(Section):
    model: str = knob("BAAI/bge-small-en-v1.5", "Text-embedding model: hub id or local folder.", effect=Effect.RELOAD)
    revision: str | None = knob(None, "Pinned hub revision of the text model.", effect=Effect.RELOAD)
    device: Device = knob("auto", "Where text vectors are made.", effect=Effect.RELOAD)
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = knob("auto", "Arithmetic of the text model.", effect=Effect.RELOAD)
    batch: int = knob(64, "Texts per batch, formed across recordings.", ge=1, le=1024, step=16)
    linger: float = knob(0.5, "Longest wait for a batch to fill.", ge=0, le=10, step=0.1, unit="s")


class Fetch(Section):
    rate: int = knob(
        300, "Most requests per hour and host.", ge=1, le=100000, step=10, unit="/h", risk="hosts throttle above about 300/h"
    )
    sleep: float = knob(1, "Least seconds between two requests to one host.", ge=0, le=600, step=0.5, unit="s")
    cookies: SecretStr | None = knob(None, "Netscape cookies file for sites that ask for a login.")
    cookies_browser: str | None = knob(
        None, "Browser whose cookies yt-dlp sends, with a profile after a colon: firefox, chrome:Default."
    )
    audio_language: str | None = knob(
        None, "Language of the audio where a video has several, as in de or pt-BR; empty takes the original one."
    )
    player_client: str | None = knob(None, "YouTube clients that yt-dlp plays, by comma, when the default ones are refused.")
    po_token_provider: str | None = knob(
        None, "Address of a provider of YouTube's proof-of-origin tokens (bgutil), as in http://127.0.0.1:4416."
    )
    visitor_data: SecretStr | None = knob(None, "YouTube's visitor data of a browser without a login.")
    impersonate: str | None = knob(
        None, "Browser whose handshake yt-dlp imitates, for sites that refuse others: chrome, firefox, safari. Needs curl_cffi."
    )
    proxy: SecretStr | None = knob(None, "Proxy for downloads: http://host:port.")
    max_duration: float = knob(6 * 3600, "Longest recording taken.", ge=1, le=7 * 86400, step=1800, unit="s")
    max_bytes: int = knob(4 * 1024**3, "Largest download.", ge=1024, le=1024**4, step=1024**3, unit="bytes")
    disk_floor: int = knob(
        5 * 1024**3, "Take no new recording below this much free disk.", ge=0, le=1024**5, step=1024**3, unit="bytes"
    )
    timeout: float = knob(30, "A connection silent for this long is given up.", ge=1, le=600, step=5, unit="s")
    least_speed: float = knob(
        512, "A download slower than this over a minute is given up and tried again.", ge=0, le=10**9, step=512, unit="B/s"
    )
    time_limit: float = knob(12 * 3600, "Longest one download may take.", ge=60, le=7 * 86400, step=3600, unit="s")
    allow_private: bool = knob(
        False, "Allow private, loopback and link-local addresses.", risk="a hostile link can then reach this network"
    )
    tracks: Literal["auto", "first", "mix", "separate"] = knob(
        "auto",
        "Several audio tracks, or channels of one: auto takes what holds speech and keeps separate people apart; first hears the"
        " first track only; mix hears all of them together; separate makes each one speaker.",
        effect=Effect.ITEM,
    )
    captions: Literal["never", "prefer", "beside"] = knob(
        "never",
        "Captions and transcripts that the publisher made by hand: prefer takes their words in place of recognition, beside keeps"
        " them next to it.",
        effect=Effect.ITEM,
        risk="prefer: words as they were edited, with times interpolated within a line",
    )
    shared: dict[str, str] = knob(
        {}, "Folders that have another path on the machine where files are added: path there = path here.", effect=Effect.ITEM
    )
    duplicates: Literal["link", "process"] = knob(
        "link", "Same audio under a second address: link it, or process it again.", effect=Effect.ITEM
    )


class Retry(Section):
    attempts: int = knob(5, "Most attempts of one recording.", ge=1, le=50, step=1)
    backoff: float = knob(10, "First wait before a retry; doubles with each attempt.", ge=0, le=3600, step=5, unit="s")


class Autopilot(Section):
    on: bool = knob(False, "The engine tries numbers of slots, keeps what brings something, takes the rest back.")
    bounds: dict[str, str] = knob(
        {}, "Bounds per setting: workers.transcribe=1-4. It moves slots of decode, transcribe, diarize, identify."
    )


class Queue(Section):
    heartbeat: float = knob(10, "An engine says it lives this often.", effect=Effect.RUN, ge=0.5, le=300, step=1, unit="s")
    stalled: float = knob(
        30,
        "An engine silent for this long is dead; its recordings are queued again.",
        effect=Effect.RUN,
        ge=1,
        le=3600,
        step=5,
        unit="s",
    )


class Engines(Section):
    gpus: str = knob(
        "one",
        "GPUs of this machine that get an engine each: all, numbers by comma as in 0,2, none, or one for a single engine that"
        " sees them all.",
        effect=Effect.RUN,
    )
    count: int = knob(
        1,
        "Engines per GPU, or in all where none gets one of its own; they share the processor cores.",
        effect=Effect.RUN,
        ge=1,
        le=64,
        step=1,
        risk="each engine loads models of its own",
    )


class Store(Section):
    database: SecretStr | None = knob(None, "Postgres URL; empty starts the embedded server.", effect=Effect.RUN)
    index_rows: int = knob(
        50_000, "Build the vector index when a table has this many rows.", ge=1000, le=10**9, step=10_000, unit="rows"
    )
    keep_audio: Literal["never", "opus", "original"] = knob(
        "never",
        "Keep the audio of what is stored, to redo a stage or hear a passage: opus takes 11 MB per hour, original what was fetched.",
        effect=Effect.ITEM,
    )


class Watch(Section):
    memory_limit: float = knob(
        MEMORY_LIMIT_PERCENT, "GPU memory above this is a warning; advice stays below it.", ge=10, le=100, step=1, unit="%"
    )
    prometheus_port: int = knob(
        0, "Port of the Prometheus endpoint on loopback; 0 is off.", effect=Effect.RUN, ge=0, le=65535, step=1
    )
    record: bool = knob(True, "Record the run for replay.", effect=Effect.RUN)
    runs_bytes: int = knob(
        2 * 1024**3, "Recorded runs of this home in all; the oldest go first.", ge=0, le=1024**4, step=1024**3, unit="bytes"
    )
    runs_days: float = knob(30, "Recorded runs older than this are removed.", ge=0.01, le=3650, step=5, unit="days")
    log_bytes: int = knob(
        16 * 1024**2, "Longest engine.log; one earlier file is kept beside it.", ge=1024, le=1024**4, step=1024**2, unit="bytes"
    )
    log_days: float = knob(
        30,
        "engine.log begins anew after this time; the earlier file goes when it is as old.",
        ge=0.01,
        le=3650,
        step=5,
        unit="days",
    )


class Notify(Section):
    urls: SecretStr | None = knob(
        None,
        "Where alerts go: addresses of the apprise library, with spaces between them, as in ntfy://topic or"
        " mailto://user:password@example.org.",
        risk="what they are sent leaves this machine",
    )
    failed_share: float = knob(20, "More of a run than this failed: an alert.", ge=0, le=100, step=5, unit="%")
    per_hour: int = knob(20, "Most alerts sent in an hour.", ge=1, le=1000, step=5, unit="/h")


class Console(Section):
    refresh: float = knob(4, "Screens per second.", ge=1, le=10, step=1, unit="Hz")
    theme: Literal["gainstage-dark", "gainstage-light", "deuteranopia", "high-contrast", "mono"] = knob(
        "gainstage-dark", "Colour theme."
    )
    alerts: Literal["off", "bell", "desktop"] = knob(
        "desktop", "What the terminal does on an alert: ring, or ring and show a notification where it can."
    )
    keys: dict[str, str] = knob({}, "Rebound keys: action id to key.")


class Settings(Section):
    """Every setting. Immutable: a change makes a new object (see :func:`changed`)."""

    workers: Workers = Workers()
    in_flight: int = knob(24, "Recordings in the engine at once; bounds memory and disk.", ge=1, le=512, step=1)
    asr: Asr = Asr()
    diarization: Diarization = Diarization()
    voice: VoiceModel = VoiceModel()
    identify: Identify = Identify()
    segment: Segmentation = Segmentation()
    embed: Embed = Embed()
    fetch: Fetch = Fetch()
    retry: Retry = Retry()
    autopilot: Autopilot = Autopilot()
    queue: Queue = Queue()
    engines: Engines = Engines()
    store: Store = Store()
    watch: Watch = Watch()
    notify: Notify = Notify()
    console: Console = Console()


@dataclass(frozen=True, slots=True)
class Spec:
    """What the schema says of one key."""

    key: str
    annotation: Any
    default: Any
    low: float | None
    high: float | None
    step: float | None
    unit: str
    effect: Effect
    help: str
    risk: str
    choices: tuple[str, ...]

    @property
    def secret(self) -> bool:
        return SecretStr in (self.annotation, *get_args(self.annotation))

    @property
    def optional(self) -> bool:
        return type(None) in get_args(self.annotation)


def _bound(field: FieldInfo, name: str) -> float | None:
    return next((getattr(m, name) for m in field.metadata if hasattr(m, name)), None)


def _specs(model: type[BaseModel], prefix: str = "") -> dict[str, Spec]:
    specs: dict[str, Spec] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            specs |= _specs(kind, f"{prefix}{name}.")
            continue
        extra = field.json_schema_extra
        if not isinstance(extra, dict):
            raise TypeError(f"{prefix}{name} is not made by knob()")
        key = prefix + name
        specs[key] = Spec(
            key=key,
            annotation=kind,
            default=field.default,
            low=_bound(field, "ge"),
            high=_bound(field, "le"),
            step=extra["step"],  # type: ignore[arg-type]
            unit=str(extra["unit"]),
            effect=Effect(str(extra["effect"])),
            help=field.description or "",
            risk=str(extra["risk"]),
            choices=tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else (),
        )
    return specs


SPECS: dict[str, Spec] = _specs(Settings)


def value_of(settings: Settings, key: str) -> Any:
    """The value behind a dotted key. ``KeyError`` for an unknown one."""
    if key not in SPECS:
        raise KeyError(key)
    node: Any = settings
    for part in key.split("."):
        node = getattr(node, part)
    return node


def changed(settings: Settings, key: str, value: Any) -> Settings:
    """A copy with one key changed and validated; raises ``KeyError`` or ``pydantic.ValidationError``."""
    if key not in SPECS:
        raise KeyError(key)
    tree = settings.model_dump()
    node = tree
    *parents, leaf = key.split(".")
    for part in parents:
        node = node[part]
    node[leaf] = value
    return Settings.model_validate(tree)
