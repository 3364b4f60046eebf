"""What a change of a setting did: the same figures before and after it, from the snapshots of both times.

Pure. "Not enough data" is an answer: a window must be long enough and hold enough finished recordings to be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from gainstage.engine.advisor.measured_gain import Finished, Gain, measured_gain
from gainstage.engine.stages import STAGE_OF_SECTION
from gainstage.engine.views.rows import Figures
from gainstage.engine.views.snapshot import Snapshot, StageView

WINDOW_S = 600.0
"""Seconds compared on either side of a change."""

SETTLE_S = 30.0
"""Seconds after a change that are left out: what was under way still ran under the old value."""

LEAST_S = 60.0
LEAST_DONE = 3
LEAST_DECIDED = 10
"""Clusters that must be decided on either side of a change of a limit."""

NOT_ENOUGH = "not enough data"


@dataclass(frozen=True, slots=True)
class MeasuredEffect:
    """Figures before and after; None on a side without enough data, and then the text says so."""

    before: Figures | None
    after: Figures | None
    text: str
    gain: Gain | None = None


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
    before_wall: float | None = None,
    until_wall: float = float("inf"),
    least_s: float = LEAST_S,
    finished: Sequence[Finished] = (),
) -> MeasuredEffect:
    """The effect of a change of ``key`` applied at ``at_wall``. ``history`` is oldest first.

    ``before_wall`` is the first of a group of changes of which ``at_wall`` is the last. ``since_wall`` and ``until_wall`` are the neighbouring changes: nothing from beyond them counts, as it would mix two effects.
    ``finished`` are recordings by the wall time of their end: with enough of them the effect has an interval. Limits of identify
    are judged by decisions, not by throughput.
    """
    stage = stage_of(key)
    began = at_wall if before_wall is None else before_wall
    past = [s for s in history if max(began - window_s, since_wall) <= s.wall <= began]
    first = at_wall + settle_s
    rest = [s for s in history if first <= s.wall <= min(first + window_s, until_wall)]
    before, after = figures(past, stage, least_s), figures(rest, stage, least_s)
    if before is None or after is None:
        return MeasuredEffect(before, after, NOT_ENOUGH)
    if key.startswith("identify."):
        return MeasuredEffect(before, after, decided(past, rest))
    sides = [_of_window(frames, finished) for frames in (past, rest)]
    gain = measured_gain(sides[0][0], sides[0][1], sides[1][0], sides[1][1])
    return MeasuredEffect(before, after, words(before, after, history[-1], gain), gain)


def _of_window(frames: Sequence[Snapshot], finished: Sequence[Finished]) -> tuple[list[Finished], float]:
    """Recordings that ended while work waited in these frames, by the clock of that time, and how long it is in seconds."""
    clock, walls, worked = 0.0, [], []
    ended: list[Finished] = []
    for first, last in pairwise(frames):
        if first.run.state == last.run.state == "running" and has_work(first) and has_work(last):
            walls.append((first.wall, last.wall, clock))
            clock += last.wall - first.wall
    worked = sorted(finished, key=lambda f: f.at_s)
    place = 0
    for start, end, before in walls:
        while place < len(worked) and worked[place].at_s <= start:
            place += 1
        while place < len(worked) and worked[place].at_s <= end:
            ended.append(replace(worked[place], at_s=before + worked[place].at_s - start))
            place += 1
    return ended, clock


def decided(before: Sequence[Snapshot], after: Sequence[Snapshot]) -> str:
    """What a limit of identify did to decisions: shares of the clusters decided on either side that were split or left unknown."""
    parts, numbers = [], []
    for name in ("clusters", "split", "unknown"):
        pairs = [getattr(side[-1].decisions, name) - getattr(side[0].decisions, name) for side in (before, after)]
        numbers.append(pairs)
    (old_n, new_n), *shares = numbers
    if old_n < LEAST_DECIDED or new_n < LEAST_DECIDED:
        return f"{NOT_ENOUGH}: {old_n} and {new_n} clusters decided"
    for name, (old, new) in zip(("split", "unknown"), shares, strict=True):
        parts.append(f"{name} {old / old_n:.0%} → {new / new_n:.0%}")
    return f"{', '.join(parts)} of {old_n} and {new_n} clusters"


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
    """Whether more work waited than was being done, in the queue or at a stage, and none was held back by hand."""
    if any(s.paused for s in frame.stages):
        return False
    return frame.run.queued > 0 or any(s.depth for s in frame.stages)


def words(before: Figures, after: Figures, frame: Snapshot, gain: Gain | None = None) -> str:
    """The difference in words: "+29% audio/h, p95 190s (=), memory 35 → 44%"; with its interval where there is one."""
    parts = []
    if gain is not None:
        parts.append(gain.text)
    elif before.audio_hours_per_hour and after.audio_hours_per_hour is not None:
        parts.append(f"{round((after.audio_hours_per_hour / before.audio_hours_per_hour - 1) * 100):+d}% audio/h")
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
