"""The estimated cost of a run: audio, downloads, time, disk, model memory. For dry runs and previews."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from gainstage.config.settings import Settings
from gainstage.engine.advisor.forecast import plan as forecast
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.sources.budget import BURST, even_gap_s
from gainstage.engine.sources.hosts import EVEN
from gainstage.engine.sources.local import path_of
from gainstage.engine.sources.policy import YOUTUBE, host_of
from gainstage.engine.stages import STAGES
from gainstage.engine.store.database import Database
from gainstage.engine.store.kept_audio import opus_bytes
from gainstage.engine.telemetry.limits import memory_limit
from gainstage.engine.terms import Recording
from gainstage.engine.views.rows import ModelNeed, RunPlan
from gainstage.engine.views.snapshot import Forecast, Snapshot

MEASURED = 3
"""Stored recordings from which on service times count as measured."""
LATEST = 200
USUAL_S = 1200.0
"""Assumed length, in seconds, of a recording of unknown length, when no other length is known either."""
PROBED = 500
AUDIO_BYTES_S = 16_000.0
"""Bytes per second of audio-only downloads (128 kbit/s)."""
PCM_BYTES_S = 32_000.0
STORED_BYTES_S = 300.0
"""Bytes of database per second of speech: passages of half a minute with words and two vectors."""

USUAL_SPEEDS: Mapping[str, Mapping[str, float]] = {
    "cuda": {"decode": 300, "transcribe": 50, "diarize": 40, "identify": 150, "embed": 1500, "store": 2000},
    "cpu": {"decode": 200, "transcribe": 3, "diarize": 2, "identify": 15, "embed": 300, "store": 1500},
}
"""Audio seconds per second of one slot before anything was measured: a rough guess for models of the default size."""
USUAL_FETCH = 60.0
TOLD_S = 5400.0
"""A budget that takes at least this many seconds is shown in hours, even when another part takes longer."""

PARAMETERS: Mapping[str, float] = {
    "tiny": 39e6, "base": 74e6, "small": 244e6, "medium": 769e6, "large-v2": 1550e6, "large-v3": 1550e6, "turbo": 809e6,
    "large-v3-turbo": 809e6, "distil-large-v3": 756e6, "pyannote/speaker-diarization-community-1": 8e6,
    "speechbrain/spkrec-ecapa-voxceleb": 21e6, "BAAI/bge-small-en-v1.5": 33e6,
}  # fmt: skip
"""Parameters of well-known models, from their model cards."""


def plan_run(recordings: Sequence[Recording], settings: Settings, database: Database, snapshot: Snapshot | None = None) -> RunPlan:
    """The plan for these recordings on an idle system. ``snapshot`` of a running engine gives the memory of the models."""
    known = [r.duration for r in with_lengths(recordings)]
    typical = fmean(lengths_known) if (lengths_known := [s for s in known if s]) else typical_seconds(database)
    lengths = [s or typical for s in known]
    remote = [(r, s) for r, s in zip(recordings, lengths, strict=True) if "://" in r.source]
    sizes = [int(r.extra.get("bytes") or s * AUDIO_BYTES_S) for r, s in remote]
    speeds, basis = speeds_of(settings, database, remote=bool(remote))
    workers = {name: getattr(settings.workers, name, settings.in_flight) for name in STAGES}
    estimate = forecast(lengths, speeds, workers, settings.in_flight)
    left, bottleneck = estimate.left, estimate.bottleneck
    polite_s = polite_time(remote, settings.fetch.rate)
    if left.left_s is not None and polite_s > left.left_s:
        left, bottleneck = Forecast(polite_s, polite_s, polite_s * 1.1, _budget_words(remote, settings.fetch.rate)), "fetch.rate"
    elif left.left_s is not None:
        words = f"; {_budget_words(remote, settings.fetch.rate)}" if polite_s >= TOLD_S else ""
        left = Forecast(left.left_s, left.low_s, left.high_s, f"{basis}{words}")
    largest = sorted((PCM_BYTES_S * s for s in lengths), reverse=True)[: settings.in_flight]
    media = sorted(sizes, reverse=True)[: settings.in_flight]
    audio_s = sum(lengths)
    return RunPlan(
        recordings=len(recordings),
        audio_s=audio_s,
        unknown=sum(1 for s in known if not s),
        downloads=len(remote),
        download_bytes=sum(sizes) if remote else None,
        left=left,
        bottleneck=bottleneck,
        rtfx=audio_s / left.left_s if left.left_s else None,
        disk_peak=int(sum(largest) + sum(media)),
        disk_stored=int(STORED_BYTES_S * audio_s) + kept_bytes(settings.store.keep_audio, lengths, sum(sizes)),
        models=models_of(settings, snapshot),
        memory=snapshot.host.memory_total if snapshot is not None else memory_limit(),
    )


def kept_bytes(how: str, lengths: Sequence[float], fetched: int) -> int:
    """What ``store.keep_audio`` adds to the disk; ``fetched`` are the bytes of the downloads."""
    if how == "never":
        return 0
    return opus_bytes(sum(lengths)) if how == "opus" else max(fetched, int(AUDIO_BYTES_S * sum(lengths)))


def with_lengths(recordings: Sequence[Recording]) -> tuple[Recording, ...]:
    """The recordings, local files with the length from their header; of a great many, only the first ones."""
    return tuple(
        r if r.duration or n >= PROBED or (seconds := probe(r)) is None else replace(r, duration=seconds)
        for n, r in enumerate(recordings)
    )


def probe(recording: Recording) -> float | None:
    """Length of a local file from its header, in seconds; None for anything else."""
    if "://" in recording.source:
        return None
    from gainstage.engine.speech.media import looked_into

    return looked_into(path_of(recording))[1]


def polite_time(remote: Sequence[tuple[Recording, float]], rate: int) -> float:
    """Least seconds that the hosts' budgets allow: the requests of the first hour go at once, the others at the rate. An evenly
    paced site has its rate for all but the first ones.
    """
    hosts = Counter(host_of(r.source) for r, _ in remote)
    return max((_host_time(host, n, rate) for host, n in hosts.items()), default=0.0)


def _host_time(host: str, n: int, rate: int) -> float:
    if host in EVEN:
        return max(0, n - BURST) * even_gap_s(rate)
    return 3600.0 * (math.ceil(n / rate) - 1)


def _budget_words(remote: Sequence[tuple[Recording, float]], rate: int) -> str:
    """The budget of the slowest host in words: "1,200 videos: 5 h of downloading at fetch.rate 300/h"."""
    hosts = Counter(host_of(r.source) for r, _ in remote)
    host, n = max(hosts.items(), key=lambda each: _host_time(each[0], each[1], rate))
    hours = _host_time(host, n, rate) / 3600
    kind = "videos" if host == YOUTUBE else "recordings"
    return (
        f"{n:,} {kind}: {hours:.0f} h of downloading at fetch.rate {rate}/h" if hours * 3600 >= TOLD_S else f"fetch.rate {rate}/h"
    )


def speeds_of(settings: Settings, database: Database, *, remote: bool) -> tuple[dict[str, float], str]:
    """(audio seconds per second of one slot by stage, source of these figures)."""
    with database.connection() as connection:
        rows = connection.execute(
            """
            with latest as (
              select duration, spans, source like 'http%%' as remote from recording
              where status = 'stored' and duration > 0 order by stored desc limit %s)
            select s->>'stage', count(*), sum(duration), sum((s->>'service_s')::float8)
            from latest, jsonb_array_elements(spans) s
            where s->>'outcome' = 'ok' and s->>'service_s' is not null and (remote or s->>'stage' <> 'fetch') group by 1
            """,
            [LATEST],
        ).fetchall()
    measured = {stage: audio / service for stage, n, audio, service in rows if n >= MEASURED and service > 0}
    device = settings.asr.device if settings.asr.device != "auto" else "cuda" if os.path.exists("/dev/nvidiactl") else "cpu"
    usual = dict(USUAL_SPEEDS[device])
    speeds = {**usual, **measured}
    if not remote:
        speeds.pop("fetch", None)
    else:
        speeds.setdefault("fetch", USUAL_FETCH)
    if not measured:
        return speeds, f"usual service times on {'a GPU' if device == 'cuda' else 'CPUs'}, nothing measured here yet"
    guessed = sorted(set(speeds) - set(measured))
    return speeds, "service times measured here" + (f"; usual ones for {', '.join(guessed)}" if guessed else "")


def typical_seconds(database: Database) -> float:
    """Mean length of what is stored, in seconds."""
    with database.connection() as connection:
        row = connection.execute(
            "select sum(seconds) / nullif(sum(recordings - unknown), 0) from recording_tally where status = 'stored'"
        ).fetchone()
    return float(row[0]) if row and row[0] else USUAL_S


def models_of(settings: Settings, snapshot: Snapshot | None) -> tuple[ModelNeed, ...]:
    """Memory of the four models."""
    now = {(m.role, m.name): m.memory for m in snapshot.models} if snapshot else {}
    needs = []
    for role, name, width in (
        (
            "asr",
            settings.asr.model,
            1 if settings.asr.compute.startswith("int8") else 4 if settings.asr.compute == "float32" else 2,
        ),
        ("diarization", settings.diarization.model, 4),
        ("voice", settings.voice.model, 4),
        ("embed", settings.embed.model, 4 if settings.embed.dtype == "float32" else 2),
    ):
        measured = now.get((role, name))
        weights = PARAMETERS.get(name)
        guess = _folder_bytes(_folder_of(name)) if weights is None else int(weights * width)
        needs.append(ModelNeed(role, name, measured or guess, measured is not None))
    return tuple(needs)


def _folder_of(name: str) -> Path:
    return DEMO / name.removeprefix("demo:") if name.startswith("demo:") else Path(name)


def _folder_bytes(folder: Path) -> int | None:
    if not folder.is_dir():
        return None
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
