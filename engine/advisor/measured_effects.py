"""What a change of a setting did: the same figures before and after it, from the snapshots of both times.

Pure. "Not enough data" is an answer: a window must be long enough and hold enough finished recordings to be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from gainstage.engine.stages import STAGE_OF_SECTION
from gainstage.engine.views.rows import Figures
from gainstage.engine.views.snapshot import Snapshot, StageView

WINDOW_S = 600.0
"""Seconds compared on either side of a change."""

SETTLE_S = 30.0
"""Seconds after a change that are left out: what was under way still ran under the old value."""

LEAST_S = 60.0
LEAST_DONE = 3
NOT_ENOUGH = "not enough data"


@dataclass(frozen=True, slots=True)
class MeasuredEffect:
    """Figures before and after; None on a side without enough data, and then the text says so."""

    before: Figures | None
    after: Figures | None
    text: str


def stage_of(key: str) -> str | None:
    """The stage a setting acts on; None for those that act on the whole run."""
    head, _, tail = key.partition(".")
    return tail if head == "workers" else STAGE_OF_SECTION.get(head)


def effect(
    history: Sequence[Snapshot],
    at_wall: float,
    key: str,
    *,
    window_s: float = WINDOW_S,
    settle_s: float = SETTLE_S,
    since_wall: float = float("-inf"),
    until_wall: float = float("inf"),
    least_s: float = LEAST_S,
) -> MeasuredEffect:
    """The effect of a change of ``key`` applied at ``at_wall``. ``history`` is oldest first.

    ``since_wall`` and ``until_wall`` are the neighbouring changes: nothing from beyond them counts, as it would mix two effects.
    """
    stage = stage_of(key)
    past = [s for s in history if max(at_wall - window_s, since_wall) <= s.wall <= at_wall]
    first = at_wall + settle_s
    rest = [s for s in history if first <= s.wall <= min(first + window_s, until_wall)]
    before, after = figures(past, stage, least_s), figures(rest, stage, least_s)
    if before is None or after is None:
        return MeasuredEffect(before, after, NOT_ENOUGH)
    return MeasuredEffect(before, after, words(before, after, history[-1]))


def complete(at_wall: float, now_wall: float, *, window_s: float = WINDOW_S, settle_s: float = SETTLE_S) -> bool:
    """Whether the window after a change is over, so that its effect will not move any more."""
    return now_wall >= at_wall + settle_s + window_s


def figures(frames: Sequence[Snapshot], stage: str | None, least_s: float = LEAST_S) -> Figures | None:
    """Figures of a stretch of frames; None when it is shorter than ``least_s`` or too little was finished in it.

    Only the time counts in which the engine ran and work waited: a queue that runs empty is no effect of a setting. Service times are medians of what the frames say of the stage.
    """
    running = [s for s in frames if s.run.state == "running" and has_work(s)]
    took = audio_s = 0.0
    done = 0
    for first, last in pairwise(frames):
        if first.run.state == last.run.state == "running" and has_work(first) and has_work(last):
            took += last.wall - first.wall
            audio_s += last.run.audio_done_s - first.run.audio_done_s
            done += last.run.stored - first.run.stored
    if took < least_s or done < LEAST_DONE:
        return None
    views = [v for s in running if (v := _stage(s, stage)) is not None]
    memory = [max(used) for s in running if (used := [d.memory_used for d in s.devices if d.memory_used is not None])]
    return Figures(
        audio_hours_per_hour=round(audio_s / took, 2),
        service_p50_s=_median([v.service_p50_s for v in views]),
        service_p95_s=_median([v.service_p95_s for v in views]),
        errors=max(0, running[-1].run.failed - running[0].run.failed),
        gpu_memory=round(median(memory)) if memory else None,
    )


def has_work(frame: Snapshot) -> bool:
    """Whether more work waited than was being done: in the queue, or at a stage."""
    return frame.run.queued > 0 or any(s.depth for s in frame.stages)


def words(before: Figures, after: Figures, frame: Snapshot) -> str:
    """The difference in words: "+29% audio/h, p95 190s (=), memory 35 → 44%"."""
    parts = []
    if before.audio_hours_per_hour and after.audio_hours_per_hour is not None:
        parts.append(f"{(after.audio_hours_per_hour / before.audio_hours_per_hour - 1) * 100:+.0f}% audio/h")
    if before.service_p95_s is not None and after.service_p95_s is not None:
        parts.append(f"p95 {_change(before.service_p95_s, after.service_p95_s)}")
    total = max((d.memory_total for d in frame.devices if d.memory_total), default=None)
    if total and before.gpu_memory is not None and after.gpu_memory is not None:
        old, new = f"{before.gpu_memory / total:.0%}", f"{after.gpu_memory / total:.0%}"
        parts.append(f"memory {old} (=)" if old == new else f"memory {old[:-1]} → {new}")
    if before.errors is not None and after.errors is not None and (before.errors or after.errors):
        parts.append(f"failed {before.errors} → {after.errors}")
    return ", ".join(parts) or NOT_ENOUGH


def _change(old_s: float, new_s: float) -> str:
    digits = 0 if max(old_s, new_s) >= 20 else 1
    if abs(new_s - old_s) <= 0.03 * max(old_s, new_s):
        return f"{new_s:.{digits}f}s (=)"
    return f"{old_s:.{digits}f} → {new_s:.{digits}f}s"


def _stage(frame: Snapshot, name: str | None) -> StageView | None:
    return next((s for s in frame.stages if s.name == name), None)


def _median(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(median(known), 3) if known else None
