"""What is worth calling somebody for, seen in frames: pure rules that the sender of alerts and the console share."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gainstage.engine.clean import clean_text, counted
from gainstage.engine.views.scopes import scope_of
from gainstage.engine.views.snapshot import ScopeView, Snapshot

LEAST_ENDED = 10
"""Recordings of a run that must have ended before a share of failures says anything."""

DISK_FULL_S = 3600.0
"""A disk that is full within this time is an alert, whatever is free now."""

DISK_EASY = 1.5
"""The alert about a disk is over when this many times ``fetch.disk_floor`` are free."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something to be told once. ``key`` names this occurrence: whoever sees the same one makes the same key."""

    key: str
    kind: str  # "stalled", "lost", "failed", "disk", "done"
    title: str
    text: str
    run: int | None = None


@dataclass(frozen=True, slots=True)
class SeenSoFar:
    """What was seen so far: enough to tell that something is new."""

    stalled: bool = False
    disk_low: bool = False
    engine: str | None = None  # that worked in the frame before
    open_runs: frozenset[int] = frozenset()  # runs that were seen with work left


def look(seen: SeenSoFar, frame: Snapshot, *, failed_share: float, disk_floor: int) -> tuple[SeenSoFar, tuple[Happening, ...]]:
    """What is new in a frame, and what is seen after it. ``failed_share`` 0 to 1: more of a run than this failed. Bytes for
    ``disk_floor``, below which the engine takes nothing new.
    """
    new: list[Happening] = []
    stalled = frame.verdict.health == "stalled"
    if stalled and not seen.stalled:
        key = f"stalled:{frame.engine}:{frame.verdict.since_wall or frame.wall:.0f}"
        new.append(Happening(key, "stalled", "gainstage: stalled", clean_text(frame.verdict.reason, 400)))
    disk_low = _disk_low(seen.disk_low, frame, disk_floor)
    if disk_low and not seen.disk_low:
        new.append(_disk(frame))
    offline = frame.verdict.health == "offline"
    if offline and seen.engine is not None and frame.run.state not in ("done", "stopped", "draining", "stopping"):
        new.append(lost(frame.engine, frame.host.name, "lost", frame.wall))
    run = scope_of(frame, "run")
    open_runs = seen.open_runs
    if run is not None and run.run is not None:
        new += _failed(run, failed_share)
        left = run.queued + run.running
        if left:
            open_runs |= {run.run}
        elif run.run in open_runs:
            open_runs -= {run.run}
            new.append(done(run.run, run.title, run.ended_wall, stored=run.stored, failed=run.failed, skipped=run.skipped))
    return replace(seen, stalled=stalled, engine=None if offline else frame.engine, disk_low=disk_low, open_runs=open_runs), tuple(
        new
    )


def done(run: int, title: str, ended_wall: float | None, *, stored: int, failed: int, skipped: int) -> Happening:
    """A run has nothing left."""
    parts = [counted(stored, "recording") + " stored"]
    parts += [f"{number:,} {word}" for number, word in ((failed, "failed"), (skipped, "skipped")) if number]
    name = clean_text(title, 80)
    return Happening(f"done:{run}:{ended_wall or 0:.0f}", "done", f"gainstage: {name} is done", ", ".join(parts), run)


def lost(engine: str, host: str, state: str, at_wall: float) -> Happening:
    """An engine that never signed off."""
    why = "died" if state == "died" else "has sent nothing since"
    text = f"engine {clean_text(engine, 120)} on {clean_text(host, 80)} {why}; another engine queues again what it held"
    return Happening(f"lost:{engine}:{at_wall:.0f}", "lost", "gainstage: an engine is lost", text)


def _failed(run: ScopeView, limit: float) -> list[Happening]:
    ended = run.stored + run.failed
    if ended < LEAST_ENDED or run.failed / ended <= limit:
        return []
    text = f"{run.failed:,} of {ended:,} recordings of {clean_text(run.title, 80)} failed ({run.failed / ended:.0%})"
    return [Happening(f"failed:{run.run}", "failed", "gainstage: many recordings fail", text, run.run)]


def _disk_low(was: bool, frame: Snapshot, floor: int) -> bool:
    free, full_in_s = frame.host.disk_free, frame.host.disk_full_in_s
    if full_in_s is not None and full_in_s < DISK_FULL_S:
        return True
    return free is not None and free < floor * (DISK_EASY if was else 1.0)


def _disk(frame: Snapshot) -> Happening:
    host = frame.host
    free = "·" if host.disk_free is None else f"{host.disk_free / 1e9:.1f} GB"
    soon = "" if host.disk_full_in_s is None else f", full in about {max(1, round(host.disk_full_in_s / 60))} min at this rate"
    text = f"{free} free on {clean_text(host.name, 80)}{soon}"
    return Happening(f"disk:{host.name}:{frame.wall // 3600:.0f}", "disk", "gainstage: the disk is nearly full", text)
