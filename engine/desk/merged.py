"""One frame of a whole fleet: pure functions over the newest frame of each engine.

Counts, slots and rates add up; percentiles are means weighted by what they were taken over (an approximation: percentiles of parts
do not give the percentile of the whole); what one part alone says (an error, an outage) is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any, TypeVar

from gainstage.engine.views.snapshot import (
    BatcherView,
    DatabaseView,
    DecisionsView,
    DeviceView,
    HostBudget,
    HostView,
    Run,
    RunState,
    Snapshot,
    StageView,
)

T = TypeVar("T")

LATEST_DECISIONS = 50
STATES: tuple[RunState, ...] = ("running", "starting", "paused", "draining", "stopping", "done", "stopped")
"""The state of a fleet is the first of these that one of its engines is in."""


def merge(frames: Sequence[Snapshot]) -> Snapshot:
    """The frame of all engines together; ``frames`` is not empty, one for each engine. Its verdict is that of the first: see
    :class:`gainstage.engine.desk.fleet_view.FleetView`, which makes one for the whole.
    """
    first = frames[0]
    if len(frames) == 1:
        return first
    return replace(
        first,
        seq=sum(f.seq for f in frames),
        engine=f"{len(frames)} engines",
        version=", ".join(sorted({f.version for f in frames})),
        wall=max(f.wall for f in frames),
        monotonic=max(f.monotonic for f in frames),
        revision=min(f.revision for f in frames),
        run=_run([f.run for f in frames]),
        stages=tuple(_stage([s for f in frames for s in f.stages if s.name == name]) for name in _names(f.stages for f in frames)),
        batchers=tuple(
            _batcher([b for f in frames for b in f.batchers if b.name == name]) for name in _names(f.batchers for f in frames)
        ),
        flights=tuple(sorted((x for f in frames for x in f.flights), key=lambda x: -x.in_engine_s)),
        decisions=_decisions([f.decisions for f in frames]),
        devices=_devices(frames),
        host=_host(frames),
        database=_database([f.database for f in frames]),
        models=tuple({(m.role, m.name, m.revision, m.device, m.state): m for f in frames for m in f.models}.values()),
        budgets=_budgets(b for f in frames for b in f.budgets),
        counters=tuple(_totals(f.counters for f in frames).items()),
        simulated=any(f.simulated for f in frames),
    )


def _names(groups: Iterable[Sequence[Any]]) -> list[str]:
    """Names in the order of their first appearance."""
    return list(dict.fromkeys(item.name for group in groups for item in group))


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; None where nothing is."""
    known = [v for v in values if v is not None]
    return sum(known) if known else None


def _whole(values: Iterable[int | None]) -> int | None:
    total = _sum(values)
    return None if total is None else int(total)


def _most(values: Iterable[T | None]) -> T | None:
    return max((v for v in values if v is not None), default=None)  # type: ignore[type-var]


def _least(values: Iterable[T | None]) -> T | None:
    return min((v for v in values if v is not None), default=None)  # type: ignore[type-var]


def _mean(pairs: Iterable[tuple[float | None, float]]) -> float | None:
    """Mean of (value, weight) over what is known; without any weight each counts the same."""
    known = [(v, w) for v, w in pairs if v is not None]
    weight = sum(w for _, w in known)
    if not known:
        return None
    return sum(v * w for v, w in known) / weight if weight > 0 else sum(v for v, _ in known) / len(known)


def _totals(groups: Iterable[Iterable[tuple[str, int]]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for group in groups:
        for name, value in group:
            totals[name] = totals.get(name, 0) + value
    return totals


def _aligned(histories: Iterable[Sequence[float | None]], join: Callable[[list[float | None]], T]) -> tuple[T, ...]:
    """Histories joined place by place, the newest (the last) places together."""
    backwards = zip_longest(*(reversed(history) for history in histories))
    return tuple(join(list(column)) for column in backwards)[::-1]


def _run(runs: list[Run]) -> Run:
    state = min((r.state for r in runs), key=STATES.index)
    of_state = [r for r in runs if r.state == state]
    others = _totals([(r.state, 1)] for r in runs if r.state != state)
    reasons = list(dict.fromkeys(filter(None, (r.reason for r in of_state))))
    reasons += [f"{n} of {len(runs)} engines {name}" for name, n in others.items()]
    counts = max(runs, key=lambda r: r.stored + r.failed + r.skipped + r.cancelled)  # of the database: the newest look at it
    return replace(
        counts,
        state=state,
        source=", ".join(list(dict.fromkeys(filter(None, (r.source for r in runs))))[:3]),
        started_wall=min(r.started_wall for r in runs),
        state_since_wall=min(r.state_since_wall for r in of_state),
        by=next((r.by for r in of_state if r.by), None),
        reason="; ".join(reasons) or None,
        audio_done_s=sum(r.audio_done_s for r in runs),
        rtfx=_sum(r.rtfx for r in runs),
        rtfx_history=_aligned((r.rtfx_history for r in runs), _sum),
        rtfx_trend=_aligned((r.rtfx_trend for r in runs), _sum),
        last_commit_wall=_most(r.last_commit_wall for r in runs),
        errors_10m=sum(r.errors_10m for r in runs),
        finished_10m=sum(r.finished_10m for r in runs),
        throttled_10m=sum(r.throttled_10m for r in runs),
        # what an engine loads beside others that work is a reason; the fleet starts only where all do
        loading=tuple(dict.fromkeys(line for r in of_state for line in r.loading)),
        work_s=_most(r.work_s for r in runs),
    )


def _stage(views: list[StageView]) -> StageView:
    by_slots = [float(v.capacity) for v in views]
    by_passes = [float(v.done + v.failed) for v in views]
    slots = tuple(slot for v in views for slot in v.slots)
    paused = sum(v.paused for v in views)
    notes = dict.fromkeys(filter(None, (v.note for v in views)))
    note = f"paused in {paused} of {len(views)} engines" if 0 < paused < len(views) else next(iter(notes), None)
    widest = max(len(v.trend) for v in views)

    def share(values: Iterable[float | None]) -> float | None:
        return _mean(zip(values, by_slots, strict=True))

    def quantile(values: Iterable[float | None]) -> float | None:
        return _mean(zip(values, by_passes, strict=True))

    trends = [(None,) * (widest - len(v.trend)) + v.trend for v in views]
    return replace(
        views[0],
        capacity=sum(v.capacity for v in views),
        busy=sum(v.busy for v in views),
        depth=sum(v.depth for v in views),
        oldest_wait_s=_most(v.oldest_wait_s for v in views),
        paused=paused == len(views),
        done=sum(v.done for v in views),
        failed=sum(v.failed for v in views),
        per_minute=_sum(v.per_minute for v in views),
        wait_p50_s=quantile(v.wait_p50_s for v in views),
        wait_p95_s=quantile(v.wait_p95_s for v in views),
        service_p50_s=quantile(v.service_p50_s for v in views),
        service_p95_s=quantile(v.service_p95_s for v in views),
        rtfx=quantile(v.rtfx for v in views),
        busy_share=share(v.busy_share for v in views),
        starved_share=share(v.starved_share for v in views),
        blocked_share=share(v.blocked_share for v in views),
        slots=tuple(replace(slot, index=i) for i, slot in enumerate(slots)),
        trend=tuple(share(column) or 0.0 for column in zip(*trends, strict=True)),
        last_error=next((v.last_error for v in views if v.last_error), None),
        retries=sum(v.retries for v in views),
        note=note,
    )


def _batcher(views: list[BatcherView]) -> BatcherView:
    weights = [float(v.batches) for v in views]

    def mean(values: Iterable[float | None]) -> float | None:
        return _mean(zip(values, weights, strict=True))

    return replace(
        views[0],
        batches=sum(v.batches for v in views),
        items=sum(v.items for v in views),
        waiting=sum(v.waiting for v in views),
        budget=min(v.budget for v in views),
        items_p50=mean(v.items_p50 for v in views),
        items_p95=mean(v.items_p95 for v in views),
        items_max=_most(v.items_max for v in views),
        fill=mean(v.fill for v in views),
        padding_waste=mean(v.padding_waste for v in views),
        per_second=_sum(v.per_second for v in views),
        wait_p50_s=mean(v.wait_p50_s for v in views),
        wait_p95_s=mean(v.wait_p95_s for v in views),
        service_p50_s=mean(v.service_p50_s for v in views),
        service_p95_s=mean(v.service_p95_s for v in views),
        out_of_memory=sum(v.out_of_memory for v in views),
        refused=sum(v.refused for v in views),
        cache_hits=_whole(v.cache_hits for v in views),
        cache_misses=_whole(v.cache_misses for v in views),
        sizes=tuple(sum(column) for column in zip_longest(*(v.sizes for v in views), fillvalue=0)),
        fallbacks=sum(v.fallbacks for v in views),
    )


def _decisions(views: list[DecisionsView]) -> DecisionsView:
    latest = {d.id: d for v in views for d in v.latest}
    judging = next((v for v in views if v.variance_spreads is not None), views[0])  # the others have decided nothing yet
    return replace(
        judging,
        clusters=sum(v.clusters for v in views),
        kept=sum(v.kept for v in views),
        split=sum(v.split for v in views),
        massive=sum(v.massive for v in views),
        unknown=sum(v.unknown for v in views),
        grey=sum(v.grey for v in views),
        fast_path=sum(v.fast_path for v in views),
        variance_histogram=tuple(sum(c) for c in zip_longest(*(v.variance_histogram for v in views), fillvalue=0)),
        split_share_24h=_mean((v.split_share_24h, float(v.clusters)) for v in views),
        latest=tuple(sorted(latest.values(), key=lambda d: -d.wall))[:LATEST_DECISIONS],
    )


def _devices(frames: Sequence[Snapshot]) -> tuple[DeviceView, ...]:
    """Every card once; one that several engines share has the memory of them all. Where cards lie on several hosts, their name says
    on which, and they are numbered through.
    """
    cards: dict[tuple[str, object], list[DeviceView]] = {}
    for frame in frames:
        for device in frame.devices:
            cards.setdefault((frame.host.name, device.uuid or device.index), []).append(device)
    several = len({host for host, _ in cards}) > 1
    merged = []
    for number, ((host, _), views) in enumerate(cards.items()):
        ours = {p.pid for v in views for p in v.processes if p.ours}
        newest = views[-1]
        merged.append(
            replace(
                newest,
                index=number if several else newest.index,
                name=f"{host} gpu{newest.index} {newest.name}" if several else newest.name,
                memory_ours=_whole(v.memory_ours for v in views),
                memory_peak=_most(v.memory_peak for v in views),
                processes=tuple(replace(p, ours=p.pid in ours) for p in newest.processes),
            )
        )
    return tuple(merged if several else sorted(merged, key=lambda d: d.index))


def _host(frames: Sequence[Snapshot]) -> HostView:
    """The machine, or the machines together: memory and network add up, the disk that is nearest to full stands for all."""
    newest = {f.host.name: f.host for f in sorted(frames, key=lambda f: f.wall)}
    hosts = list(newest.values())
    by_cores = [float(h.cores or 1) for h in hosts]
    fullest = min(hosts, key=lambda h: (h.disk_full_in_s or float("inf"), h.disk_free or float("inf")))
    return replace(
        fullest,
        name=fullest.name if len(hosts) == 1 else f"{len(hosts)} hosts",
        cpu=_mean(zip((h.cpu for h in hosts), by_cores, strict=True)),
        cores=_whole(h.cores for h in hosts),
        load=_sum(h.load for h in hosts),
        memory_used=_whole(h.memory_used for h in hosts),
        memory_total=_whole(h.memory_total for h in hosts),
        swap_used=_whole(h.swap_used for h in hosts),
        engine_cpu=_sum(f.host.engine_cpu for f in frames),
        engine_rss=_whole(f.host.engine_rss for f in frames),
        engine_threads=_whole(f.host.engine_threads for f in frames),
        engine_handles=_whole(f.host.engine_handles for f in frames),
        work_bytes=_whole(f.host.work_bytes for f in frames),
        net_rx=_sum(h.net_rx for h in hosts),
        net_tx=_sum(h.net_tx for h in hosts),
        gpu_note=next((h.gpu_note for h in hosts if h.gpu_note), None) if not any(f.devices for f in frames) else None,
        cpu_history=_aligned((h.cpu_history for h in hosts), lambda column: _mean((v, 1.0) for v in column)),
    )


def _database(views: list[DatabaseView]) -> DatabaseView:
    up = all(v.up for v in views)
    return replace(
        views[0],
        up=up,
        latency_p50_s=_mean((v.latency_p50_s, 1.0) for v in views),
        latency_p95_s=_most(v.latency_p95_s for v in views),
        pool_size=_whole(v.pool_size for v in views),
        pool_busy=_whole(v.pool_busy for v in views),
        down_since_wall=None if up else _least(v.down_since_wall for v in views),
        segments=_most(v.segments for v in views),
        size=_most(v.size for v in views),
        reconnects=sum(v.reconnects for v in views),
        clock_offset_s=max((v.clock_offset_s for v in views), key=abs),
    )


def _budgets(budgets: Iterable[HostBudget]) -> tuple[HostBudget, ...]:
    """A host is asked politely by the fleet as a whole: its budget is one, kept in the database."""
    worst: dict[str, HostBudget] = {}
    for budget in budgets:
        known = worst.get(budget.host)
        if known is None or (budget.state != "closed", budget.used) > (known.state != "closed", known.used):
            worst[budget.host] = budget
    return tuple(worst.values())
