"""The desk that tunes itself: tries numbers of slots on the live engine, keeps what brings something, takes the rest back.

Each step is a change of settings like any other, made by :data:`NAME`: acknowledged, stamped, measured by
:mod:`gainstage.engine.runtime.change_effects`, undone by an operator as any other. A change by anybody else pauses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gainstage.config.settings import SPECS, value_of
from gainstage.engine.advisor.measured_effects import has_work
from gainstage.engine.advisor.slot_search import KEEP, Bounds, SlotSearch
from gainstage.engine.queue import changes
from gainstage.engine.queue.autopilot_memory import Learned, recall, remember
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.stages import GPU_SLOT_STAGES
from gainstage.engine.views.rows import ChangeRow
from gainstage.engine.views.snapshot import Snapshot

NAME = "autopilot"

MOVED = ("workers.decode", "workers.diarize", "workers.identify", "workers.transcribe")
"""Settings it may change: they act at the next slot, so that nothing in flight is lost."""

MOST = 8
"""Slots it gives a stage at most where no bound is set."""

BASELINE_S = 90.0
"""Seconds with work under the same settings before a trial: its effect needs something to be compared with."""

LOOK_EVERY_S = 2.0

PAUSE_S = 900.0
"""Seconds it keeps its hands off after somebody else changed a setting."""

PATIENCE_S = 900.0
"""Longest trial: an effect that cannot be told by then is none."""


@dataclass(frozen=True, slots=True)
class SlotTrial:
    """A change being tried: what stood before, the revisions it made, and how often memory had run out until then."""

    change: Mapping[str, int]
    before: Mapping[str, int]
    revisions: tuple[int, ...]
    wall: float
    out_of_memory: int


def bounds_of(text: Mapping[str, str]) -> dict[str, Bounds]:
    """Bounds by setting, from ``{"workers.transcribe": "1-4"}``; others are those of the schema, at most :data:`MOST`."""
    bounds = {}
    for key in MOVED:
        spec = SPECS[key]
        low, high = int(spec.low or 1), min(MOST, int(spec.high or MOST))
        first, dash, last = text.get(key, "").partition("-")
        if first.strip().isdigit() and (not dash or last.strip().isdigit()):
            low, high = max(low, int(first)), min(int(spec.high or MOST), int(last) if dash else int(first))
        bounds[key] = Bounds(low, max(low, high))
    return bounds


class AutopilotLoop:
    """Stepped once a second by the publisher's thread. ``history`` holds this engine's frames, oldest first."""

    def __init__(self, context: EngineContext, history: Sequence[Snapshot], *, clock: Callable[[], float] | None = None) -> None:
        self.context = context
        self.history = history
        self.baseline_s, self.patience_s = BASELINE_S, PATIENCE_S
        self.doing: str | None = None  # for people; None while it is off
        self._clock = clock or context.wall
        self._search: SlotSearch | None = None
        self._trial: SlotTrial | None = None
        self._paused_until = 0.0
        self._began = 0.0
        self._looked_at = 0.0

    def step(self) -> None:
        """Look at what the trial did, or begin the next one."""
        now = self._clock()
        if not self.context.settings.autopilot.on:
            self._search = self._trial = self.doing = None
            return
        if now - self._looked_at < LOOK_EVERY_S or not self.history:
            return
        self._looked_at = now
        frame = self.history[-1]
        if not self._leads():
            self._search, self._trial, self.doing = None, None, "leaves it to the engine that runs for longest"
            return
        if self._search is None:
            self._begin(now)
        rows = changes.history(self.context.database, 20)
        if self._hand_on_the_desk(rows, now):
            return
        if now < self._paused_until:
            self.doing = f"paused for {self._paused_until - now:.0f} s: somebody else changes settings"
        elif frame.run.state != "running" or not has_work(frame):
            self.doing = "waits for work"
        elif self._trial is not None:
            self._judge(self._trial, rows, frame, now)
        else:
            self._try_next(rows, frame, now)

    def _leads(self) -> bool:
        """Whether this is the engine that tunes: settings are those of all engines, so only one may."""
        with self.context.database.connection() as connection:
            row = connection.execute(
                "select e.id from engine e join engine_alive a on a.id = e.id order by e.started, e.id limit 1"
            ).fetchone()
        return row is None or row[0] == self.context.id

    def _begin(self, now: float) -> None:
        """Start from what was learned of this machine and these models, else from the settings in force."""
        now_set = {key: int(value_of(self.context.settings, key)) for key in MOVED}
        bounds = bounds_of(self.context.settings.autopilot.bounds)
        learned = recall(self.context.database, *self._place())
        self._began = now
        self._search = SlotSearch(dict(now_set), bounds, frozenset(f"workers.{name}" for name in GPU_SLOT_STAGES))
        if learned is None or set(learned.best) != set(MOVED):
            return
        self._search.tried |= set(learned.tried)
        self._search.too_much += list(learned.too_much)
        best = {key: min(max(value, bounds[key].low), bounds[key].high) for key, value in learned.best.items()}
        if best != now_set:
            self._set({key: value for key, value in best.items() if now_set[key] != value})
            self._say(f"starts where it ended last on this machine: {_text(best)}")
            self._search.at = best

    def _hand_on_the_desk(self, rows: Sequence[ChangeRow], now: float) -> bool:
        """Whether somebody else changed a setting since it began; then it keeps its hands off for a while, and starts anew."""
        others = [
            r for r in rows if r.wall > self._began and r.by != NAME and r.state != "refused" and not r.key.startswith("autopilot.")
        ]
        if not others:
            return False
        self._say(f"pauses for {PAUSE_S / 60:.0f} minutes: {others[0].by} changed {others[0].key}")
        self._paused_until, self._search, self._trial, self._began = now + PAUSE_S, None, None, now
        self.doing = "paused: somebody else changes settings"
        return True

    def _try_next(self, rows: Sequence[ChangeRow], frame: Snapshot, now: float) -> None:
        search = self._search
        assert search is not None
        since = max([r.wall for r in rows if r.state != "refused"], default=0.0)
        worked_s = sum(1.0 for f in self.history if f.wall > since and f.run.state == "running" and has_work(f))
        if worked_s < self.baseline_s:
            self.doing = f"measures what there is: {worked_s:.0f} of {self.baseline_s:.0f} s"
            return
        change = search.next(self._proposals(frame))
        while change is not None and self._would_not_fit(change, frame):
            search.note(change, None, out_of_memory=True)
            change = search.next(self._proposals(frame))
        if change is None:
            self.doing = f"has nothing left to try: {_text(search.at)} is the best it knows"
            return
        before = {key: search.at[key] for key in change}
        self._trial = SlotTrial(change, before, self._set(change), now, _out_of_memory(frame))
        self.doing = f"tries {_text(change)}"
        self._say(self.doing)

    def _proposals(self, frame: Snapshot) -> list[dict[str, int]]:
        advice = frame.verdict.advice
        if advice is None or advice.key not in MOVED:
            return []
        proposed = {advice.key: int(advice.new)} | {key: int(new) for key, _, new in advice.also}
        return [proposed] if set(proposed) <= set(MOVED) else []

    def _would_not_fit(self, change: Mapping[str, int], frame: Snapshot) -> bool:
        """Whether GPU memory is at its limit already and the change would hold more of it."""
        search = self._search
        assert search is not None
        grows = any(key in search.holding and value > search.at[key] for key, value in change.items())
        used = [d.memory_used / d.memory_total for d in frame.devices if d.memory_used is not None and d.memory_total]
        return grows and bool(used) and max(used) >= self.context.settings.watch.memory_limit / 100

    def _judge(self, trial: SlotTrial, rows: Sequence[ChangeRow], frame: Snapshot, now: float) -> None:
        """Keep the change or take it back, once its effect can be told."""
        search = self._search
        assert search is not None
        row = next((r for r in rows if r.revision == trial.revisions[-1]), None)
        if row is None or row.undone_by is not None:
            self._trial = None
            return
        ran_out = _out_of_memory(frame) > trial.out_of_memory
        low, high = row.gain_low, row.gain_high
        certain = low is not None and high is not None and (low > 0 or high < 0)
        useless = high is not None and high < KEEP
        over = (row.effect_text is not None and not row.interim) or now - trial.wall > self.patience_s
        if not (ran_out or certain or useless or over):
            self.doing = f"tries {_text(trial.change)}: {row.effect_text or 'being measured'}"
            return
        outcome = search.note(trial.change, row.gain if certain else None, out_of_memory=ran_out)
        if outcome != "kept":
            self._set(trial.before)
        effect = "out of memory" if ran_out else row.effect_text or "its effect cannot be told"
        self._say(f"{_text(trial.change)} {outcome if outcome == 'kept' else 'taken back'}: {effect}")
        self._trial = None
        learned = Learned(dict(search.at), tuple(sorted(search.tried)), tuple(search.too_much))
        remember(self.context.database, *self._place(), learned)

    def _set(self, values: Mapping[str, int]) -> tuple[int, ...]:
        acks = [changes.set_value(self.context.database, key, value, NAME) for key, value in sorted(values.items())]
        return tuple(ack.revision for ack in acks if ack.revision is not None)

    def _place(self) -> tuple[str, str]:
        """The machine and the models that something was learned of."""
        frame = self.history[-1]
        devices = ", ".join(d.name for d in frame.devices) or "no GPU"
        models = ", ".join(f"{m.role} {m.name}" for m in frame.models) or "none"
        return f"{frame.host.name}, {frame.host.cores} cores, {devices}", models

    def _say(self, text: str) -> None:
        self.context.journal.log("info", f"autopilot {text}", kind="state")


def _out_of_memory(frame: Snapshot) -> int:
    return sum(b.out_of_memory for b in frame.batchers) + sum("out of memory" in (s.last_error or "") for s in frame.stages)


def _text(values: Mapping[str, int]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(values.items()))
