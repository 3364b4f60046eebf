"""The queue of the scripted story: its clock and calendar, its journal, and the status of each recording."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from gainstage.engine.desk.scripted.cast import Part
from gainstage.engine.desk.scripted.gate import SAMPLE_S, ScriptedGate
from gainstage.engine.desk.scripted.items import TERMINAL, Batches, Decided, Item, ScriptedPass
from gainstage.engine.stages import STAGES
from gainstage.engine.views.events import Event, Level

FIXED = {"segment": 4}
"""Slots of stages that have no setting."""


class Records(ABC):
    """The recordings of one world. Everything happens at a story time, in an order that only the seed and the commands determine.

    ``settings`` are values by dotted key; ``wall`` converts story seconds to wall time.
    """

    def __init__(
        self,
        seed: int,
        parts: list[Part],
        settings: dict[str, Any],
        wall: Callable[[float], float],
        engine: str,
        *,
        profiles: bool = True,
        events: int = 20_000,
    ) -> None:
        self.seed = seed
        self.settings = settings
        self.wall = wall
        self.engine = engine
        self.profiles = profiles
        self.now = 0.0
        self.random = Random(f"world {seed}")
        self.items: dict[str, Item] = {}
        self.waiting: list[tuple[int, int, str]] = []  # heap of (-priority, order, id) of queued recordings
        self.active: dict[str, Item] = {}
        self.gates = {name: ScriptedGate(name, self._capacity(name)) for name in STAGES}
        self.counts = dict.fromkeys(("queued", "running", *TERMINAL), 0)
        self.state = "starting"
        self.state_since = 0.0
        self.running_since: float | None = None
        self.by: str | None = None
        self.reason: str | None = None
        self.revision = 1
        self.decisions: list[Decided] = []
        self.tally = dict.fromkeys(("kept", "split", "massive", "unknown", "grey", "fast_path"), 0)
        self.voices = Batches(budget=float(settings["voice.batch_seconds"]))
        self.texts = Batches(budget=float(settings["embed.batch"]))
        self.events: deque[Event] = deque(maxlen=events)
        self.event_seq = 0
        self.audio_done_s = 0.0
        self.audio_total_s = 0.0
        self.audio_over_s = 0.0  # audio of recordings that ended without being stored
        self.finishes: deque[tuple[float, float]] = deque()  # (at, audio) of stored recordings
        self.errors: deque[float] = deque()
        self.throttles: deque[float] = deque()
        self.throttled_total = 0
        self.outcomes: deque[float] = deque()
        self.stored_segments = 0
        self.last_commit: float | None = None
        self.database_down: float | None = None
        self.reconnects = 0
        self.storm = False
        self.breaker: tuple[str, float | None] = ("closed", None)
        self.loaded: dict[str, float] = {}
        self.loading: tuple[str, float, float] | None = None  # (role, start, duration in seconds)
        self.wants: list[str] = []
        self.backing_off: set[str] = set()
        self.version = 0  # increases with every change that a page of recordings may show
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._n = 0
        for part in parts:
            self.add(part)
        self.at(SAMPLE_S, self._sample)

    # -- time -------------------------------------------------------------------------------------------------------------

    def at(self, when: float, what: Callable[[], None]) -> None:
        self._n += 1
        heapq.heappush(self._heap, (max(when, self.now), self._n, what))

    def run_to(self, when: float) -> None:
        """Run all events that are due up to and including ``when``."""
        while self._heap and self._heap[0][0] <= when:
            self.now, _, what = heapq.heappop(self._heap)
            what()
        self.now = max(self.now, when)

    def _sample(self) -> None:
        for gate in self.gates.values():
            gate.sample(self.now)
        self.at(self.now + SAMPLE_S, self._sample)

    # -- the journal ------------------------------------------------------------------------------------------------------

    def log_event(
        self, level: Level, kind: str, text: str, item: Item | None = None, stage: str | None = None, **rest: Any
    ) -> None:
        self.event_seq += 1
        trace = rest.pop("traceback", None)
        slot = rest.pop("slot", None)
        thread = f"{stage}-{slot}" if stage and slot is not None else "engine"
        self.events.append(
            Event(
                self.event_seq,
                round(self.wall(self.now), 3),
                level,
                kind,
                text,
                stage,
                item.id if item else None,
                self.engine,
                thread,
                rest,
                trace,
            )
        )

    # -- recordings -------------------------------------------------------------------------------------------------------

    def add(self, part: Part, priority: int = 0) -> Item:
        item = Item(part, len(self.items), priority=priority, added=self.now, changed=self.now)
        item.attempts = int(self.settings["retry.attempts"])
        item.haystack = f"{part.id} {part.title}".lower()
        self.items[part.id] = item
        self.counts["queued"] += 1
        self.version += 1
        self.audio_total_s += part.duration_s
        heapq.heappush(self.waiting, (-priority, item.order, part.id))
        return item

    def _set(self, item: Item, status: str) -> None:
        self.counts[item.status] -= 1
        self.counts[status] += 1
        item.status = status
        item.changed = self.now
        self.version += 1
        self.backing_off.discard(item.id)

    def requeue(self, item: Item) -> None:
        """Return a finished or interrupted recording to the queue."""
        if item.status in TERMINAL and item.status != "stored":
            self.audio_over_s -= item.part.duration_s
        self._set(item, "queued")
        heapq.heappush(self.waiting, (-item.priority, item.order, item.id))

    def finish(self, item: Item, status: str, cause: str | None = None) -> None:
        """End a recording with any status, and free its place in the engine."""
        for one in item.passes.values():
            self._freed(one)
            self.gates[one.stage].forget(one, self.now)
        item.passes.clear()
        self.active.pop(item.id, None)
        item.cause = cause
        item.next_try = None
        item.finished = self.now
        self._set(item, status)
        if status == "stored":
            self.audio_done_s += item.part.duration_s
            self.finishes.append((self.now, item.part.duration_s))
        else:
            self.audio_over_s += item.part.duration_s
        if status in ("stored", "failed"):
            self.outcomes.append(self.now)
        if status == "failed":
            self.errors.append(self.now)
        self.fill()

    def hand_back(self, item: Item) -> None:
        """Return a recording in flight to the queue; the attempt does not count."""
        for one in item.passes.values():
            self._freed(one)
            self.gates[one.stage].forget(one, self.now)
        item.passes.clear()
        self.active.pop(item.id, None)
        item.attempt -= 1
        item.admitted = None
        self.requeue(item)

    def retry_later(self, item: Item, stage: str, cause: str, wait_s: float) -> None:
        """Return a recording to the queue for ``wait_s`` seconds; after its last attempt it fails."""
        gate = self.gates[stage]
        gate.last_error = cause
        if item.attempt >= item.attempts:
            self.log_event("error", "failure", f"{item.id} failed at {stage}: {cause} ({item.attempt} attempts)", item, stage)
            self.finish(item, "failed", cause)
            return
        gate.retries += 1
        item.cause = cause
        item.next_try = self.now + wait_s
        item.through.clear()
        self.active.pop(item.id, None)
        self._set(item, "queued")
        self.backing_off.add(item.id)
        self.at(item.next_try, partial(self._again, item))
        self.fill()

    def _again(self, item: Item) -> None:
        if item.status == "queued" and item.next_try is not None and item.next_try <= self.now:
            item.next_try = None
            self.backing_off.discard(item.id)
            heapq.heappush(self.waiting, (-item.priority, item.order, item.id))
            self.fill()

    def fill(self) -> None:
        """Take recordings from the queue while there is room, then let the gates serve."""
        if self.state == "running":
            fetch = self.gates["fetch"]
            while self.waiting and len(self.active) < int(self.settings["in_flight"]) and len(fetch.line) < fetch.capacity:
                negative, _, key = heapq.heappop(self.waiting)
                item = self.items[key]
                if item.status != "queued" or item.next_try is not None or -negative != item.priority or key in self.active:
                    continue
                self._admit(item)
        for name in STAGES:
            self.serve(name)
        self._settle()

    def _admit(self, item: Item) -> None:
        self.active[item.id] = item
        item.attempt += 1
        item.admitted = self.now
        item.revision = self.revision
        item.rows.clear()
        item.speakers.clear()
        item.segments = 0
        item.note = None
        item.through.clear()
        self._set(item, "running")
        self.enter(item, "fetch")

    def _settle(self) -> None:
        if self.state == "draining" and not self.active:
            self.become("stopped" if self.counts["queued"] else "done", self.by, self.reason if self.counts["queued"] else None)
        elif self.state == "running" and not self.active and not self.counts["queued"] and self.items:
            self.become("done", None, None)

    def become(self, state: str, by: str | None, reason: str | None) -> None:
        if state == self.state:
            return
        self.state, self.state_since, self.by, self.reason = state, self.now, by, reason
        if state == "running" and self.running_since is None:
            self.running_since = self.now
        words = {"done": "done: the queue is empty and nothing is in flight", "stopped": "stopped; the queue is kept"}
        self.log_event("info", "state", words.get(state, state) + (f" ({by})" if by else "") + (f": {reason}" if reason else ""))

    # -- the gates ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    def serve(self, name: str) -> None:
        """Let a gate serve as many waiting passes as it can."""

    def _capacity(self, stage: str) -> int:
        return FIXED[stage] if stage in FIXED else int(self.settings[f"workers.{stage}"])

    def enter(self, item: Item, stage: str, behind: str | None = None) -> None:
        one = ScriptedPass(item, stage, self.now, behind=behind)
        if behind is not None:
            self.gates[behind].account(self.now)
            self.gates[behind].blocked_now += 1
        item.passes[stage] = one
        self._n += 1
        self.gates[stage].queue(one, item.priority, self._n)

    def _freed(self, one: ScriptedPass) -> None:
        """Mark that the stage before no longer waits for this pass."""
        if one.behind is not None:
            gate = self.gates[one.behind]
            gate.account(self.now)
            gate.blocked_now -= 1
            one.behind = None
