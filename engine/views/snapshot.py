"""The whole visible state of one engine as one frozen tree: what every screen, `status` and `watch` show.

Unknown is ``None``, never 0. Durations are seconds, sizes bytes, shares 0..1, temperatures degrees Celsius. ``wall`` times
are seconds since the epoch. Built by the engine's publisher, carried as JSON (see :mod:`gainstage.engine.views.frame_json`), read by the console.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from gainstage.engine.views.machine import CpuSplit, DeviceView, GpuProcess, HostView

__all__ = ["CpuSplit", "DeviceView", "GpuProcess", "HostView"]

SCHEMA = 1
"""Raised when a field changes meaning; a console that speaks another schema is read-only."""

CLOCK_BACK_S = 5.0
"""A frame that lies longer before the one before it comes of a clock that was put back: what is kept by wall time begins anew."""

RunState = Literal["starting", "running", "paused", "draining", "stopping", "stopped", "done"]
Health = Literal["healthy", "degraded", "stalled", "paused", "draining", "failed", "stale", "offline", "done", "starting"]


LEFT_WORTH_S = 30.0
"""Advice for less time than this helps nobody: its change needs half of it to act."""

NEAR_LIMIT = 0.1
"""A value within this share of its limit is near it: a small change of the setting would have decided otherwise."""


def near_limit(value: float | None, limit: float | None) -> bool:
    """Whether a known value is within :data:`NEAR_LIMIT` of a positive limit, on either side."""
    return value is not None and limit is not None and limit > 0 and abs(value - limit) <= NEAR_LIMIT * limit


@dataclass(frozen=True, slots=True)
class Run:
    """The run as a whole. Counts are recordings of this database, as are ``audio_stored_s`` (all that is stored, None in older
    records) and ``audio_left_s``; the rest is this engine's."""

    state: RunState
    source: str  # what the operator pointed at, for the title line
    started_wall: float
    state_since_wall: float
    by: str | None  # who paused or drained
    reason: str | None  # disk floor, stall, outage: a state always has its reason
    queued: int
    running: int
    stored: int
    failed: int
    skipped: int
    cancelled: int
    retrying: int  # of ``queued``: wait for their next try
    audio_done_s: float
    audio_left_s: float | None
    rtfx: float | None  # now: of the last minute with work, or as far back as three recordings need; None while idle
    rtfx_history: tuple[
        float | None, ...
    ] = ()  # one for each whole minute of the clock, oldest first, last 60; None for an idle one
    last_commit_wall: float | None = None
    errors_10m: int = 0
    finished_10m: int = 0
    throttled_10m: int = 0
    loading: tuple[str, ...] = ()  # "loading models 2/4 · asr tiny 8.1 s"
    audio_stored_s: float | None = None
    work_s: float | None = None  # in which recordings were in flight here; None in older records
    rtfx_trend: tuple[float | None, ...] = ()  # ``rtfx`` each 5 s, oldest first, last 60: the time axis of the stages' trends

    @property
    def rtfx_overall(self) -> float | None:
        """Audio seconds per second of all the time in which this engine had work; None without any."""
        return self.audio_done_s / self.work_s if self.work_s and self.audio_done_s else None


ScopeName = Literal["run", "today", "all"]
SCOPES: tuple[ScopeName, ...] = ("run", "today", "all")


@dataclass(frozen=True, slots=True)
class ScopeView:
    """What may be looked at: the run at hand, what ended today and is still to do, everything the database holds.

    Counts are recordings; seconds are of audio, but ``work_s``: in which any engine had work of this scope. Health, reason and
    forecast are the engine's judgement of this scope, None in a frame of an engine that judged none.
    """

    name: ScopeName
    title: str  # of the run, else "today", "all"
    run: int | None
    since_wall: float | None  # its first recording was claimed; midnight for today
    ended_wall: float | None
    queued: int
    running: int
    stored: int
    failed: int
    skipped: int
    cancelled: int
    retrying: int
    audio_done_s: float
    audio_left_s: float | None
    work_s: float | None
    errors_10m: int = 0
    finished_10m: int = 0
    health: Health | None = None
    reason: str = ""
    why: tuple[str, ...] = ()
    left: Forecast | None = None
    audio_taken_s: float | None = None  # with what a later run took again, which is work all the same; None in older frames


@dataclass(frozen=True, slots=True)
class SlotView:
    """One unit of a stage's capacity."""

    index: int
    recording: str | None  # None when idle
    state: str  # "busy", "idle", "retiring"
    for_s: float


@dataclass(frozen=True, slots=True)
class StageView:
    """A gate. ``busy_share`` is slot-seconds at work over capacity-seconds of the last 60 s, since the first work
    after an idle time at most; None until a few seconds of work are measured. A wait for others in a slot is no work."""

    name: str
    capacity: int
    busy: int
    depth: int  # waiting at the gate
    oldest_wait_s: float | None
    paused: bool
    done: int
    failed: int
    per_minute: float | None
    wait_p50_s: float | None
    wait_p95_s: float | None
    service_p50_s: float | None
    service_p95_s: float | None
    rtfx: float | None  # audio seconds per second of service: the speed of one slot
    busy_share: float | None
    starved_share: float | None  # free slots with nobody waiting
    blocked_share: float | None  # free slots, and what passed here waits at the next gate
    slots: tuple[SlotView, ...] = ()
    trend: tuple[float, ...] = ()  # busy_share, one per 5 s, oldest first, last 60
    last_error: str | None = None
    retries: int = 0
    note: str | None = None  # "batch 16", "pg 3 ms"


@dataclass(frozen=True, slots=True)
class BatcherView:
    """A batcher: items from every recording in flight, grouped into one model call."""

    name: str  # "voices", "texts"
    batches: int
    items: int
    waiting: int
    budget: float  # cost allowed in a batch now (may be below the setting after out of memory)
    unit: str  # "s of audio", "texts"
    items_p50: float | None
    items_p95: float | None
    items_max: int | None
    fill: float | None  # share of the budget used
    padding_waste: float | None
    per_second: float | None
    wait_p50_s: float | None
    wait_p95_s: float | None
    service_p50_s: float | None
    service_p95_s: float | None
    out_of_memory: int
    refused: int  # items without a result, with their reason in the journal
    cache_hits: int | None = None
    cache_misses: int | None = None
    sizes: tuple[int, ...] = ()  # histogram of items per batch, 8 log buckets
    fallbacks: int = 0  # batches that ran on the CPU instead


@dataclass(frozen=True, slots=True)
class FlightView:
    """A recording in flight."""

    id: str
    title: str
    source: str
    duration_s: float | None
    stage: str
    waiting: bool  # at the gate, or in its slot for others: a batch that fills, a host, a database
    progress: float | None  # of the stage
    in_stage_s: float
    in_engine_s: float
    expected_p95_s: float | None  # for this stage and length
    attempt: int
    attempts: int
    priority: int
    speakers: int | None = None
    segments: int | None = None
    rtfx: float | None = None
    note: str | None = None
    slot: int | None = None
    side_stage: str | None = None  # diarize runs beside transcribe
    side_progress: float | None = None


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One cluster decision in the feed; the full record is asked from the desk by ``id``."""

    id: int
    wall: float
    recording: str
    title: str
    cluster: str
    turns: int
    seconds: float
    mean: float | None
    variance: float | None
    low: float | None
    high: float | None
    range: float | None
    similarities: tuple[float, ...]
    split: bool
    massive: bool
    rule: str
    speakers: tuple[tuple[str, float], ...]  # (name, seconds)
    why: str
    revision: int
    threshold: float | None = None  # drawn in the strip
    variance_spreads: float | None = None  # in variances of one voice, where it was judged so
    range_spreads: float | None = None  # in standard deviations of one voice


@dataclass(frozen=True, slots=True)
class DecisionsView:
    """Counters over this run and the latest decisions, newest first."""

    clusters: int
    kept: int
    split: int
    massive: int
    unknown: int
    grey: int  # near a limit
    fast_path: int
    variance_limit: float
    range_limit: float
    variance_histogram: tuple[int, ...] = ()  # 16 buckets over 0 .. 2 x limit, the last is open
    split_share_24h: float | None = None
    latest: tuple[DecisionRow, ...] = ()
    variance_spreads: float | None = None  # limits of decisions in one voice's own deviation; None before the first of them
    range_spreads: float | None = None


CLOCKS_APART_S = 5.0
"""Clocks of an engine and its database that differ by more are reported; no time that is shown depends on the difference."""


@dataclass(frozen=True, slots=True)
class DatabaseView:
    """The database as the engine meets it: latencies of its statements in seconds, its pool, the size of the data in bytes."""

    up: bool
    where: str  # host and database, never a password
    embedded: bool
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    pool_size: int | None = None
    pool_busy: int | None = None
    down_since_wall: float | None = None
    segments: int | None = None
    size: int | None = None
    reconnects: int = 0
    index_phase: str | None = None  # of the build of a vector index that runs now, in Postgres's words
    index_share: float | None = None  # of that phase, 0 to 1
    clock_offset_s: float = 0.0  # the database's clock minus the engine's; times of a snapshot are the database's

    def clock_trouble(self, whose: str = "the engine's clock") -> str | None:
        """That the clocks are more than :data:`CLOCKS_APART_S` apart, in words; None where they agree."""
        if abs(self.clock_offset_s) <= CLOCKS_APART_S:
            return None
        side = "behind" if self.clock_offset_s > 0 else "ahead of"
        return f"{whose} is {abs(self.clock_offset_s):,.0f} s {side} the database's"


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model and where it is loaded; ``load_s`` in seconds, ``memory`` in bytes of the device."""

    role: str  # "asr", "diarization", "voice", "embed"
    name: str
    revision: str | None
    device: str | None
    state: str  # "loading", "ready", "failed", "not loaded"
    load_s: float | None = None
    memory: int | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class HostBudget:
    """Politeness towards one download host."""

    host: str
    used: int
    rate: int  # per hour
    state: str  # "closed" (fine), "open" (cooling down), "trial"
    until_wall: float | None = None
    throttled: int = 0


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What holds the run up, in words, and its busy share from 0 to 1."""

    stage: str | None  # None: no bottleneck, or the source is
    kind: Literal["stage", "source", "none", "unknown"]
    text: str  # "transcribe 2/2 busy for 11 m · 31 waiting (oldest 6m40s)"
    evidence: str = ""  # "GPU is not the limit: SM 61%, VRAM 44%"
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """One piece of advice. ``key`` is None when no setting helps."""

    id: str  # stable, so that it can be ignored for a while
    text: str
    key: str | None = None
    old: Any = None
    new: Any = None
    expected: str = ""
    evidence: str = ""
    confidence: Literal["low", "medium", "high"] = "low"
    also: tuple[tuple[str, Any, Any], ...] = ()  # (key, old, new) of a change that belongs to it: one alone brings nothing


@dataclass(frozen=True, slots=True)
class Forecast:
    """When it will finish: seconds left with an interval; ``None`` where nothing can be said, and ``basis`` says why."""

    left_s: float | None
    low_s: float | None
    high_s: float | None
    basis: str = ""

    @property
    def wide(self) -> bool:
        """Whether the interval says more than the time: it is wider than that."""
        return None not in (self.left_s, self.low_s, self.high_s) and self.high_s - self.low_s > self.left_s  # type: ignore[operator]

    @property
    def soon(self) -> bool:
        """Whether it is done before a change could act."""
        return self.high_s is not None and self.high_s < LEFT_WORTH_S


@dataclass(frozen=True, slots=True)
class Verdict:
    """Answers to the operator's four questions."""

    health: Health
    reason: str
    since_wall: float | None
    bottleneck: Bottleneck
    advice: Advice | None
    forecast: Forecast
    why: tuple[str, ...] = ()  # the rules looked at, for `w`


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One frame. ``seq`` rises by one with each frame of an engine."""

    schema: int
    seq: int
    engine: str  # engine id
    version: str
    pid: int
    wall: float
    monotonic: float
    revision: int
    run: Run
    verdict: Verdict
    stages: tuple[StageView, ...]
    batchers: tuple[BatcherView, ...]
    flights: tuple[FlightView, ...]
    decisions: DecisionsView
    devices: tuple[DeviceView, ...]
    host: HostView
    database: DatabaseView
    models: tuple[ModelView, ...] = ()
    budgets: tuple[HostBudget, ...] = ()
    counters: tuple[tuple[str, int], ...] = ()
    simulated: bool = False
    scopes: tuple[ScopeView, ...] = ()  # empty in older records
    autopilot: str | None = None  # what it does, None while it is off
    scope: ScopeName = "all"  # what ``run`` and ``verdict`` are about
