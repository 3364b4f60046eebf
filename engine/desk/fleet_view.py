"""What a console sees of all engines of a database: one frame with one verdict."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from statistics import median

from gainstage.engine.advisor import forecast
from gainstage.engine.advisor.advice import cpu_full
from gainstage.engine.advisor.bottleneck import bottleneck
from gainstage.engine.advisor.verdict import Finding, health_findings
from gainstage.engine.desk.merged import merge
from gainstage.engine.views.scopes import refreshed, scoped
from gainstage.engine.views.snapshot import CLOCK_BACK_S, Advice, Forecast, Health, ScopeView, Snapshot, Verdict

KEEP_S = 900.0
FORECAST_S = 5.0
IDLE_S = 10.0
"""An engine without work for this long while recordings are queued is named."""

SLOW = 0.5
"""An engine below this part of the median rate of its like is named, where there are at least ``ENOUGH`` of them."""
ENOUGH = 3

MORE = 2
WORTH_S = 600.0
"""From this much time left on, what :data:`MORE` engines more would save is said."""


class FleetView:
    """Puts one verdict on the merged frames. Not thread-safe; ``forecast`` and history are kept between the calls."""

    def __init__(self) -> None:
        self._history: deque[Snapshot] = deque()
        self._idle_since: dict[str, float] = {}
        self._left: tuple[float, int, Forecast, str | None] | None = None
        self._left_run: tuple[float, tuple[int, int | None], Forecast] | None = None

    def frame(self, frames: Sequence[Snapshot], in_flight: int) -> Snapshot:
        """The fleet as one frame; that of a single engine as it is. ``in_flight`` is the setting, of each engine."""
        merged = merge(frames)
        if len(frames) == 1:
            return merged
        history = self._history
        if history and merged.wall < history[-1].wall - CLOCK_BACK_S:
            history.clear()
            self._idle_since.clear()
            self._left = self._left_run = None
        if history and merged.wall - history[-1].wall < 0.95:
            return replace(merged, verdict=history[-1].verdict, scopes=refreshed(history[-1].scopes, merged.scopes))
        while history and (history[0].wall < merged.wall - KEEP_S):
            history.popleft()
        history.append(merged)
        left, more = self._forecast(merged, len(frames), in_flight)
        wrong = troubles(frames, self._idle(frames))
        judged = replace(merged, verdict=fleet_verdict(history, frames, left, more, wrong))
        history[-1] = judged
        judged = history[-1] = replace(judged, scopes=self._scopes(frames, wrong, in_flight))
        return judged

    def _scopes(self, frames: Sequence[Snapshot], wrong: Sequence[str], in_flight: int) -> tuple[ScopeView, ...]:
        """The scopes of the newest frame with the judgement of all engines: each judges by itself alone."""
        *past, judged = self._history
        scopes = []
        for scope in judged.scopes:
            same = [s for f in frames for s in f.scopes if (s.name, s.run) == (scope.name, scope.run)]
            whole = replace(scope, errors_10m=sum(s.errors_10m for s in same), finished_10m=sum(s.finished_10m for s in same))
            seen = scoped(replace(judged, scopes=(replace(whole, health=None, left=None),)), scope.name)
            health, reason, why = _health(health_findings([*past, seen]), wrong)
            left = judged.verdict.forecast
            if scope.name == "run":
                left = self._of_run(judged, scope, len(frames), in_flight)
            scopes.append(replace(whole, health=health, reason=reason, why=why, left=left))
        return tuple(scopes)

    def _of_run(self, judged: Snapshot, scope: ScopeView, engines: int, in_flight: int) -> Forecast:
        if (scope.queued, scope.running) == (judged.run.queued, judged.run.running):
            return judged.verdict.forecast
        kept, key = self._left_run, (engines, scope.run)
        if kept is None or kept[1] != key or judged.wall - kept[0] >= FORECAST_S:
            run = replace(judged.run, queued=scope.queued, running=scope.running, audio_left_s=scope.audio_left_s)
            kept = self._left_run = (judged.wall, key, forecast.eta(replace(judged, run=run), in_flight * engines))
        return kept[2]

    def _forecast(self, merged: Snapshot, engines: int, in_flight: int) -> tuple[Forecast, str | None]:
        kept = self._left
        if kept is None or kept[1] != engines or merged.wall - kept[0] >= FORECAST_S:
            left = forecast.eta(merged, in_flight * engines)
            kept = self._left = (merged.wall, engines, left, more_engines(merged, engines, in_flight, left))
        return kept[2], kept[3]

    def _idle(self, frames: Sequence[Snapshot]) -> frozenset[str]:
        idle = {f.engine: f.wall for f in frames if f.run.state == "running" and not f.flights and f.run.queued > f.run.retrying}
        self._idle_since = {engine: self._idle_since.get(engine, wall) for engine, wall in idle.items()}
        return frozenset(engine for engine, wall in idle.items() if wall - self._idle_since[engine] >= IDLE_S)


def more_engines(merged: Snapshot, engines: int, in_flight: int, left: Forecast) -> str | None:
    """What two engines more would save, in words; None where it is little or not known."""
    if left.left_s is None or left.left_s < WORTH_S or bottleneck((merged,)).kind == "source":
        return None
    factor = (engines + MORE) / engines
    larger = tuple(replace(stage, capacity=ceil(stage.capacity * factor)) for stage in merged.stages)
    then = forecast.eta(replace(merged, stages=larger), in_flight * (engines + MORE)).left_s
    if then is None or then > 0.95 * left.left_s:
        return None
    return f"{MORE} more engines: done in {forecast.span(then)} instead of {forecast.span(left.left_s)}"


def troubles(frames: Sequence[Snapshot], idle: frozenset[str]) -> tuple[str, ...]:
    """What is wrong with single engines, as lines."""
    return (*_troubled(frames), *_named("idle", sorted(idle)), *_stragglers(frames), *_versions(frames))


def _health(findings: Sequence[Finding], wrong: Sequence[str]) -> tuple[Health, str, tuple[str, ...]]:
    """Health, reason and the rules looked at: of the whole, and of single engines where the whole is well."""
    first = next(f for f in findings if f.holds)
    wrong = [text for text in wrong if f" {first.health}: " not in text]  # said of the whole
    degraded = bool(wrong) and first.health in ("healthy", "degraded")
    reasons = [*([first.reason] if not degraded or first.health == "degraded" else []), *wrong[:4]]
    why = [f"{'→' if f is first and not degraded else '·'} {f.health}: {f.reason}" for f in findings]
    return "degraded" if degraded else first.health, "; ".join(reasons), (*(f"→ engines: {text}" for text in wrong), *why)


def fleet_verdict(
    history: Sequence[Snapshot], frames: Sequence[Snapshot], left: Forecast, more: str | None, wrong: Sequence[str]
) -> Verdict:
    """The verdict on the last of the merged frames in ``history``, with what is ``wrong`` with single engines named."""
    limiting = bottleneck(history)
    advice = next((a for f in frames if (a := _advice(f, frames)) and f.verdict.bottleneck.stage == limiting.stage), None)
    if advice is None and more is not None:
        advice = Advice("more-engines", more.partition(":")[0], expected=more.partition(": ")[2], evidence=left.basis)
    before = history[-2].verdict if len(history) > 1 else None
    health, reason, why = _health(health_findings(history), wrong)
    same = before is not None and before.health == health and before.since_wall is not None
    return Verdict(
        health=health,
        reason=reason,
        since_wall=before.since_wall if before is not None and same else history[-1].wall,
        bottleneck=limiting,
        advice=advice,
        forecast=left,
        why=(*why, *([f"· {more}"] if more else [])),
    )


def _advice(frame: Snapshot, frames: Sequence[Snapshot]) -> Advice | None:
    """What an engine advises. What others use of its CPU may be the work of the engines beside it, which it does not know."""
    advice, beside = frame.verdict.advice, [f for f in frames if f.host.name == frame.host.name]
    return cpu_full(merge(beside).host) if advice is not None and advice.id == "cpu-others" and len(beside) > 1 else advice


def _troubled(frames: Sequence[Snapshot]) -> list[str]:
    """What single engines say of themselves."""
    bad = [f for f in frames if f.verdict.health in ("failed", "stalled", "degraded")]
    return [f"{f.engine} {f.verdict.health}: {f.verdict.reason}" for f in bad]


def _named(word: str, engines: Sequence[str]) -> list[str]:
    return [f"{word}: {', '.join(engines[:3])}{f' and {len(engines) - 3} more' if len(engines) > 3 else ''}"] if engines else []


def _stragglers(frames: Sequence[Snapshot]) -> list[str]:
    """Engines far below the others with the same card."""
    like: dict[str, list[tuple[str, float]]] = {}
    for frame in frames:
        if frame.run.rtfx:
            like.setdefault(frame.devices[0].name if frame.devices else "", []).append((frame.engine, frame.run.rtfx))
    slow = []
    for rates in like.values():
        middle = median(rate for _, rate in rates)
        if len(rates) >= ENOUGH:
            slow += [f"slow: {engine} at {rate:.0f}x, the others {middle:.0f}x" for engine, rate in rates if rate < SLOW * middle]
    return slow


def _versions(frames: Sequence[Snapshot]) -> list[str]:
    versions: dict[str, int] = {}
    for frame in frames:
        versions[frame.version] = versions.get(frame.version, 0) + 1
    if len(versions) < 2:
        return []
    return ["versions differ: " + ", ".join(f"{v} in {n}" for v, n in sorted(versions.items()))]
