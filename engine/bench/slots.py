"""The best slots of this machine, by trying all of them, and what the autopilot comes to from the worst of them.

``gainstage bench slots``. One engine takes the demo's recordings, with the demo's models, over and over. First every configuration is
measured, in rounds, so that a load that comes and goes hits them all; then the autopilot starts from the worst; then what it came to
and the best are measured in turn. Three minutes on two cores; more rounds make it longer and surer.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gainstage.config.origins import load
from gainstage.config.paths import Paths
from gainstage.engine.advisor.measured_gain import Finished, measured_gain
from gainstage.engine.pipeline import ingest
from gainstage.engine.queue import changes
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.autopilot import MOVED, NAME
from gainstage.engine.runtime.change_effects import TOGETHER_S
from gainstage.engine.runtime.demo import demo_recordings, enrol_demo_voices
from gainstage.engine.runtime.engine import Engine, Flow
from gainstage.engine.store.database import Database
from gainstage.engine.telemetry.cores import cores
from gainstage.engine.terms import Recording

MATTER = ("workers.transcribe", "workers.diarize")
MOST = 4
"""Slots of a stage at most; fewer where there are fewer cores, but two."""

ROUNDS, WINDOW_S, SETTLE_S = 1, 8.0, 2.0
AHEAD = 40
"""Recordings that are kept queued."""

LONGEST_S = 600.0
"""Patience with the autopilot."""

_OVERRIDES = {"fetch.disk_floor": 0, "watch.record": False, "fetch.duplicates": "process", "in_flight": 8, "queue.heartbeat": 1}

Slots = tuple[int, ...]
"""Numbers of slots in the order of :data:`MATTER`."""

More = Callable[[int], Sequence[Recording]]
"""Recordings to queue, the n-th time."""


@dataclass(slots=True)
class SlotsMeasured:
    """What was finished with some slots: on a clock that runs only while they are measured."""

    seconds: float = 0.0
    finished: list[Finished] = field(default_factory=list)

    @property
    def rtfx(self) -> float:
        return sum(f.audio_s for f in self.finished) / self.seconds if self.seconds else 0.0


class DemoMachine:
    """An engine at work on a queue that never ends."""

    def __init__(self, engine: Engine, database: Database, more: More) -> None:
        self.engine, self.database, self._more = engine, database, more
        self._backlog, self._numbers = Backlog(database), itertools.count()

    def feed(self) -> None:
        """Queue all recordings once more where few are left."""
        while self._backlog.counts().queued < AHEAD:
            self._backlog.add(self._more(next(self._numbers)))

    def set(self, slots: Slots) -> None:
        for key, value in zip(MATTER, slots, strict=True):
            changes.set_value(self.database, key, value, "bench")
        self.until(lambda: self.slots == slots, 30.0)

    @property
    def slots(self) -> Slots:
        """In force."""
        return tuple(self.engine.context.stages[key.removeprefix("workers.")].capacity for key in MATTER)

    def until(self, holds: Callable[[], object], patience_s: float) -> None:
        end = time.monotonic() + patience_s
        while not holds():
            self.feed()
            if time.monotonic() > end:
                raise TimeoutError(f"not reached in {patience_s:.0f} s")
            time.sleep(0.1)

    def measure(self, slots: Slots, into: SlotsMeasured, window_s: float) -> None:
        """From the end of one recording to the end of another, about ``window_s`` later."""
        self.set(slots)
        since = time.time() + SETTLE_S
        self.until(lambda: any(f.at_s > since for f in self._finished()), LONGEST_S)
        first = next(f.at_s for f in self._finished() if f.at_s > since)
        self.until(lambda: self._finished()[-1].at_s >= first + window_s, LONGEST_S)
        rest = [f for f in self._finished() if f.at_s > first]
        into.finished += [replace(f, at_s=into.seconds + f.at_s - first) for f in rest]
        into.seconds += rest[-1].at_s - first

    def _finished(self) -> tuple[Finished, ...]:
        return self.engine.context.totals.finished()

    def tune(self, start: Slots, most: int) -> tuple[Slots, int]:
        """Let the autopilot search from ``start``; where it ends, and how many changes it tried."""
        self.set(start)
        settings = self.engine.context.settings
        fixed = {key: getattr(settings.workers, key.removeprefix("workers.")) for key in MOVED if key not in MATTER}
        bounds = {key: f"{n}-{n}" for key, n in fixed.items()} | {key: f"1-{most}" for key in MATTER}
        changes.set_value(self.database, "autopilot.bounds", bounds, "bench")
        changes.set_value(self.database, "autopilot.on", True, "bench")
        loop = self.engine.threads.autopilot
        self.until(lambda: (loop.doing or "").startswith("has nothing left"), LONGEST_S)
        changes.set_value(self.database, "autopilot.on", False, "bench")
        rows = changes.history(self.database, 1000)
        return self.slots, len({round(row.wall) for row in rows if row.by == NAME and row.undone_by is None})


Machine = Callable[[Path], AbstractContextManager[DemoMachine]]


def run(repeats: int = ROUNDS, *, machine: Machine | None = None) -> dict[str, Any]:
    """``repeats`` rounds of every configuration, on the demo or another ``machine``."""
    most, working = max(2, min(MOST, cores())), machine or demo_machine
    every = list(itertools.product(range(1, most + 1), repeat=len(MATTER)))
    with (
        tempfile.TemporaryDirectory(prefix="gainstage-slots-", ignore_cleanup_errors=True) as folder,
        working(Path(folder)) as engine,
    ):
        tried = {slots: SlotsMeasured() for slots in every}
        for n in range(repeats):
            for slots in every if n % 2 == 0 else reversed(every):
                engine.measure(slots, tried[slots], WINDOW_S)
        best, start = max(every, key=lambda s: tried[s].rtfx), min(every, key=lambda s: tried[s].rtfx)
        chosen, changed = engine.tune(start, most)
        sides = {chosen: SlotsMeasured(), best: SlotsMeasured()}
        for n in range(repeats + 1 if chosen != best else 0):
            for slots in (chosen, best) if n % 2 == 0 else (best, chosen):
                engine.measure(slots, sides[slots], WINDOW_S)
    gain = None
    if chosen != best:
        gain = measured_gain(sides[chosen].finished, sides[chosen].seconds, sides[best].finished, sides[best].seconds)
    return {
        "best": _named(best),
        "start": _named(start),
        "found": _named(chosen),
        "changes": changed,
        "start_of_best": round(tried[start].rtfx / tried[best].rtfx, 4),
        "found_of_best": 1.0 if gain is None else round(1 / (1 + gain.gain), 4),
        "between": [1.0, 1.0] if gain is None else [round(1 / (1 + gain.high), 4), round(1 / (1 + gain.low), 4)],
        "told_apart": gain is not None and gain.certain,
        "rtfx": {" ".join(map(str, slots)): round(measured.rtfx, 2) for slots, measured in tried.items()},
    }


def table(result: Mapping[str, Any]) -> str:
    low, high = result["between"]
    sure = "" if result["found"] == result["best"] else f" ({low:.0%} to {high:.0%}" + (")" if result["told_apart"] else ", noise)")
    return "\n".join(
        [
            *(f"{'transcribe diarize ' + slots:<28}{rtfx:7.1f}x" for slots, rtfx in result["rtfx"].items()),
            f"best      {_words(result['best'])}",
            f"start     {_words(result['start'])}, at {result['start_of_best']:.0%} of the best",
            f"autopilot {_words(result['found'])}, at {result['found_of_best']:.0%} of the best{sure}, after {result['changes']} changes",
        ]
    )


def _named(slots: Slots) -> dict[str, int]:
    return dict(zip(MATTER, slots, strict=True))


def _words(slots: Mapping[str, int]) -> str:
    return ", ".join(f"{key.removeprefix('workers.')} {value}" for key, value in slots.items())


def _again(n: int) -> list[Recording]:
    """The demo's recordings once more, as others."""
    return [replace(r, id=f"{r.id}-{n}", key=f"{r.key}#{n}") for r in demo_recordings()]


@contextmanager
def demo_machine(folder: Path, *, more: More = _again, flow: Flow = ingest, models: bool = True) -> Iterator[DemoMachine]:
    """The demo's engine with the windows of the autopilot cut to seconds: its recordings take seconds, not minutes."""
    folder.chmod(0o755)
    with Database.open(None, folder / "postgres") as database:
        loaded = load(profile="demo", environ={}, overrides=_OVERRIDES)
        prepare = enrol_demo_voices if models else None
        engine = Engine(loaded, Paths.of(folder / "home").ensure(), database, flow=flow, models=models, prepare=prepare)
        effects, pilot = engine.threads.change_effects, engine.threads.autopilot
        effects.window_s, effects.settle_s, effects.least_s = 14.0, SETTLE_S, 5.0
        pilot.baseline_s, pilot.patience_s = TOGETHER_S + 1.0, 20.0  # after what it took back, a change of its own
        machine = DemoMachine(engine, database, more)
        machine.feed()
        thread = threading.Thread(target=engine.run, name="engine")
        thread.start()
        try:
            machine.until(lambda: not thread.is_alive() or engine.context.totals.finished(), LONGEST_S)
            if not thread.is_alive():
                raise RuntimeError("the engine ended at once")
            yield machine
        finally:
            engine.run_state.stop("bench")
            thread.join(60)
            engine.close()
