"""The rows a console and a command line show: frozen values, as a desk answers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gainstage.engine.views.events import Event
from gainstage.engine.views.snapshot import DecisionRow, Forecast

if TYPE_CHECKING:
    from gainstage.config.settings import Spec
    from gainstage.engine.terms import RecordingWarning


@dataclass(frozen=True, slots=True)
class RecordingRow:
    """A recording in a list: its state in the queue and, once stored, the size of its result. Walls are seconds since 1970."""

    id: str
    title: str
    source: str
    status: str
    duration_s: float | None
    stage: str | None
    attempt: int
    attempts: int
    priority: int
    added_wall: float
    changed_wall: float
    segments: int | None
    speakers: int | None
    cause: str | None
    error: str | None
    hint: str | None
    engine: str | None = None
    next_try_wall: float | None = None
    url: str | None = None
    warning: str | None = None  # the cause of the first warning of a stored recording
    stored_wall: float | None = None


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One engine among the others: who and where it is, and what its newest frame says. Unknown is None."""

    engine: str
    host: str
    state: str
    heartbeat_age_s: float
    version: str
    alive: bool
    card: str | None = None
    rtfx: float | None = None
    bottleneck: str | None = None
    in_flight: int | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    temperature: float | None = None
    waiting_for: str | None = None


@dataclass(frozen=True, slots=True)
class RecordingPage:
    """A part of a list of recordings: ``total`` there are, of which ``matched`` match the query."""

    rows: tuple[RecordingRow, ...]
    total: int
    matched: int


@dataclass(frozen=True, slots=True)
class Query:
    """Filter of the recordings table. ``text`` matches id and title; ``invert`` turns the filter around (``!``)."""

    text: str = ""
    status: tuple[str, ...] = ()
    stage: str | None = None
    cause: str | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    invert: bool = False
    sort: str = "changed"
    descending: bool = True
    offset: int = 0
    limit: int = 200


@dataclass(frozen=True, slots=True)
class Span:
    """One pass of a stage: wall start of the wait, seconds waited, seconds served, outcome."""

    stage: str
    start_wall: float
    wait_s: float
    service_s: float | None
    outcome: str
    attempt: int = 1
    note: str | None = None


@dataclass(frozen=True, slots=True)
class RecordingDetail:
    """All a screen shows of one recording: its way through the stages, its decisions, its events, its speakers."""

    row: RecordingRow
    spans: tuple[Span, ...]
    decisions: tuple[DecisionRow, ...]
    events: tuple[Event, ...]
    speakers: tuple[tuple[str, float], ...]  # (name, seconds)
    facts: tuple[tuple[str, str], ...]  # models, language, settings revision ...
    traceback: str | None = None
    warnings: tuple[RecordingWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed recordings of one cause, with its hint; ``ids`` are all of them."""

    cause: str
    count: int
    hint: str
    retryable: bool
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A setting as the schema describes it, with the value in force and where that came from."""

    key: str
    value: Any
    default: Any
    origin: str  # "default", "profile demo", "file ...", "environment", "command line", "live"
    low: float | None
    high: float | None
    step: float | None
    unit: str
    effect: str
    help: str
    risk: str
    choices: tuple[str, ...] = ()
    optional: bool = False
    secret: bool = False
    revision: int | None = None
    scope: str = ""  # whom a new value is for: "" all engines, else "host" or "host/engine"

    @classmethod
    def of(cls, spec: Spec, value: Any, origin: str, revision: int | None = None) -> SettingRow:
        """A row of the schema's setting with the value in force; a secret's value is the caller's to mask."""
        return cls(
            key=spec.key,
            value=value,
            default=None if spec.secret else spec.default,
            origin=origin,
            low=spec.low,
            high=spec.high,
            step=spec.step,
            unit=spec.unit,
            effect=spec.effect.value,
            help=spec.help,
            risk=spec.risk,
            choices=spec.choices,
            optional=spec.optional,
            secret=spec.secret,
            revision=revision,
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over a window before or after a change; None is "not enough data"."""

    audio_hours_per_hour: float | None = None
    service_p50_s: float | None = None
    service_p95_s: float | None = None
    errors: int | None = None
    gpu_memory: int | None = None


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One change of a setting in the history."""

    revision: int
    wall: float
    by: str
    key: str
    old: Any
    new: Any
    state: Literal["applied", "refused", "pending"]
    text: str = ""
    applied_after_s: float | None = None
    before: Figures | None = None
    after: Figures | None = None
    effect_text: str | None = None  # "+29% audio/h, p95 190s (=), VRAM 35 → 44%" or "not enough data"
    undone_by: int | None = None
    predicted: str | None = None
    predicted_gain: float | None = None  # relative change of throughput: 0.1 is +10 %
    gain: float | None = None  # measured, with the interval that should hold it in four cases of five
    gain_low: float | None = None
    gain_high: float | None = None
    interim: bool = False  # measured after a minute of work; the final effect comes later


@dataclass(frozen=True, slots=True)
class PredictedEffect:
    """What a change of a setting should do, in words; ``gain`` is the relative change of throughput, None where it is not known."""

    text: str
    gain: float | None = None


@dataclass(frozen=True, slots=True)
class WhatIfDiff:
    """A cluster whose name would change, and how many seconds of speech it is."""

    recording: str
    title: str
    cluster: str
    before: str
    after: str
    seconds: float


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What other limits would decide over ``clusters`` that are stored: splits before and after, whose name changes, in how many recordings."""

    changes: dict[str, Any]
    clusters: int
    split_before: int
    split_after: int
    flips: tuple[WhatIfDiff, ...]
    seconds_moved: float
    recordings: int
    took_s: float


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A voice profile. ``cohesion`` is the mean cosine of its exemplars, ``threshold`` one set by hand, ``suggested`` the calibrated one."""

    id: int
    name: str
    version: int
    primary: bool
    exemplars: int
    seconds: float
    cohesion: float | None
    nearest: tuple[str, float] | None  # (name, cosine)
    threshold: float | None
    suggested: float | None
    model: str
    dimension: int
    created_wall: float
    provenance: str


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One recording a dry run of ``add`` would take or refuse."""

    id: str
    title: str
    duration_s: float | None
    take: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ModelNeed:
    """Memory of one model: what a running engine measured, else the size of its weights; None when unknown."""

    role: str
    name: str
    bytes: int | None
    measured: bool


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run would cost. Sizes in bytes, times in seconds. ``left`` is the wall time with its basis; unknown is None."""

    recordings: int
    audio_s: float
    unknown: int  # recordings whose length is a guess
    downloads: int
    download_bytes: int | None
    left: Forecast
    bottleneck: str | None
    rtfx: float | None
    disk_peak: int
    disk_stored: int
    models: tuple[ModelNeed, ...]
    memory: int | None = None  # bytes that may be used here: the machine's, or less in a container


@dataclass(frozen=True, slots=True)
class Preview:
    """What ``add`` would take, in the order of the run, then what it would not. ``plan`` is None where nothing can be planned."""

    rows: tuple[PreviewRow, ...]
    audio_s: float | None
    expected_s: float | None
    notes: tuple[str, ...] = ()
    plan: RunPlan | None = None


ENDED = frozenset({"stopped", "done", "died", "lost"})
"""States of an engine that serves no more."""


@dataclass(frozen=True, slots=True)
class EngineEnd:
    """How an engine that serves no more ended. ``state`` is done, stopped, died (known to be gone, never signed off) or lost (silent
    beyond its lease). ``at_wall`` is its end, for one that died or is lost its last heartbeat. ``trouble`` is the last warning or
    error it logged."""

    id: str
    host: str
    pid: int
    home: str
    state: str
    started_wall: float
    at_wall: float
    trouble: str | None = None

    @property
    def how(self) -> str:
        """In words."""
        return {
            "done": "it ended with nothing left to do",
            "stopped": "it was stopped",
            "died": "it died without signing off: killed, out of memory, or its machine went down",
            "lost": "it has sent nothing since: killed, or cut off from the database",
        }.get(self.state, f"it was {self.state} when it was last heard of")


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One engine of the database."""

    id: str
    host: str
    pid: int
    state: str
    heartbeat_age_s: float
    doing: str
    version: str

    @property
    def alive(self) -> bool:
        """Whether it serves: neither ended nor lost."""
        return self.state not in ENDED

    @property
    def name(self) -> str:
        """Its name in its home, "" for the only engine of a home."""
        return "-".join(self.id.removeprefix(f"{self.host}-").split("-")[:-2])  # between the host and the process

    @property
    def places(self) -> tuple[str, ...]:
        """The scopes of settings that hold for it, the wider before the narrower."""
        return (self.host, f"{self.host}/{self.name}") if self.name else (self.host,)
