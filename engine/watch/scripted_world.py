"""The pipeline of the scripted story as a discrete-event simulation: recordings, gates, faults and counters.

Everything happens at a story time (seconds since the story began), in an order that depends on the seed and the commands
alone: however the clock is sliced, the same story comes out.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from engine.desk import Event, Level, Span
from engine.terms import STAGES
from engine.watch.scripted_cast import FAILURES, HOST, SKIPS, Part
from engine.watch.scripted_gate import SAMPLE_S, Gate, Pass
from engine.watch.scripted_voices import Cluster, Conclusion, clusters, conclude, statistics

GPU_STAGES = ("transcribe", "diarize", "identify", "embed")
MODELS = (
    ("asr", "distil-large-v3", "a1b42c9", 8.1, 3.1e9),
    ("diarization", "pyannote/speaker-diarization-community-1", "5d8f201", 5.2, 1.9e9),
    ("voice", "speechbrain/spkrec-ecapa-voxceleb", "0f99f2d", 3.4, 0.4e9),
    ("embed", "BAAI/bge-small-en-v1.5", "5c38ec7", 2.1, 0.3e9),
)
FIXED = {"segment": 4}
TERMINAL = ("stored", "failed", "skipped", "cancelled")


@dataclass(slots=True, eq=False)
class Item:
    """A recording and all that happened to it."""

    part: Part
    order: int
    status: str = "queued"
    priority: int = 0
    attempt: int = 0
    attempts: int = 5
    added: float = 0.0
    changed: float = 0.0
    admitted: float | None = None
    passes: dict[str, Pass] = field(default_factory=dict)
    after: set[str] = field(default_factory=set)  # of transcribe and diarize: which are done
    spans: list[Span] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # decision ids
    speakers: dict[str, float] = field(default_factory=dict)
    segments: int = 0
    cause: str | None = None
    next_try: float | None = None
    finished: float | None = None
    note: str | None = None
    revision: int = 0

    haystack: str = ""  # what a text filter looks at

    @property
    def id(self) -> str:
        return self.part.id


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision of the story with all that what-if needs."""

    id: int
    at: float
    item: Item
    cluster: Cluster
    conclusion: Conclusion
    revision: int
    unknown: str
    threshold: float  # of the primary profile, at the time
    statistics: tuple[float, float, float, float] | None  # mean, variance, lowest, highest


@dataclass(slots=True)
class Batches:
    """Counters of a batcher."""

    batches: int = 0
    items: int = 0
    waiting: int = 0
    budget: float = 0.0
    out_of_memory: int = 0
    refused: int = 0
    hits: int = 0
    misses: int = 0
    sizes: list[int] = field(default_factory=lambda: [0] * 8)
    recent: deque[tuple[float, int, float]] = field(default_factory=lambda: deque(maxlen=100))  # (at, items, seconds)
    most: int = 0

    def add(self, at: float, items: int, per_batch: int, each_s: float) -> None:
        while items > 0:
            n = min(items, per_batch)
            items -= n
            self.batches += 1
            self.items += n
            self.most = max(self.most, n)
            self.sizes[min(7, max(0, n.bit_length() - 1))] += 1
            self.recent.append((at, n, n * each_s))


class World:
    """See the module. ``settings`` are values by dotted key; :meth:`changed` tells the world that one moved."""

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
        self.gates = {name: Gate(name, self._capacity(name)) for name in STAGES}
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
        self.audio_over_s = 0.0  # audio of recordings that ended otherwise
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
        self.loading: tuple[str, float, float] | None = None  # role, since, takes
        self.wants: list[str] = []
        self.backing_off: set[str] = set()
        self.version = 0  # rises with whatever a page of recordings may show
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
        """Let everything happen that is due up to and including ``when``."""
        while self._heap and self._heap[0][0] <= when:
            self.now, _, what = heapq.heappop(self._heap)
            what()
        self.now = max(self.now, when)

    def _sample(self) -> None:
        for gate in self.gates.values():
            gate.sample(self.now)
        self.at(self.now + SAMPLE_S, self._sample)

    # -- the journal ------------------------------------------------------------------------------------------------------

    def tell(self, level: Level, kind: str, text: str, item: Item | None = None, stage: str | None = None, **rest: Any) -> None:
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
        """A terminal or interrupted recording goes back into the queue."""
        if item.status in TERMINAL and item.status != "stored":
            self.audio_over_s -= item.part.duration_s
        self._set(item, "queued")
        heapq.heappush(self.waiting, (-item.priority, item.order, item.id))

    def finish(self, item: Item, status: str, cause: str | None = None) -> None:
        """The end of a recording, whatever it is; frees its place in the engine."""
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
        """A recording in flight returns to the queue as if it had never been taken."""
        for one in item.passes.values():
            self._freed(one)
            self.gates[one.stage].forget(one, self.now)
        item.passes.clear()
        self.active.pop(item.id, None)
        item.attempt -= 1
        item.admitted = None
        self.requeue(item)

    def retry_later(self, item: Item, stage: str, cause: str, wait_s: float) -> None:
        """Back to the queue for ``wait_s``; its last attempt fails it."""
        gate = self.gates[stage]
        gate.last_error = cause
        if item.attempt >= item.attempts:
            self.tell("error", "failure", f"{item.id} failed at {stage}: {cause} ({item.attempt} attempts)", item, stage)
            self.finish(item, "failed", cause)
            return
        gate.retries += 1
        item.cause = cause
        item.next_try = self.now + wait_s
        item.after.clear()
        self.active.pop(item.id, None)
        self._set(item, "queued")
        self.backing_off.add(item.id)
        self.at(item.next_try, lambda: self._again(item))
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
        item.after.clear()
        self._set(item, "running")
        self._enter(item, "fetch")

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
        self.tell("info", "state", words.get(state, state) + (f" ({by})" if by else "") + (f": {reason}" if reason else ""))

    # -- passing the stages -----------------------------------------------------------------------------------------------

    def _enter(self, item: Item, stage: str, behind: str | None = None) -> None:
        one = Pass(item, stage, self.now, behind=behind)
        if behind is not None:
            self.gates[behind].account(self.now)
            self.gates[behind].blocked_now += 1
        item.passes[stage] = one
        self._n += 1
        self.gates[stage].queue(one, item.priority, self._n)

    def serve(self, name: str) -> None:
        gate = self.gates[name]
        if name == "store" and self.database_down is not None:
            return
        if name == "fetch" and (self.breaker[0] == "open" or (self.breaker[0] == "trial" and gate.slots)):
            return
        if self.state == "starting" or (self.loading is not None and self.loading[0] == _role(name)):
            return
        while gate.ready():
            one = gate.take(self.now)
            self._freed(one)
            one.fails = self._fails(one)
            service = self._service(one)
            one.end = self.now + service
            self.at(one.end, partial(self._left, one))
            if name == "fetch" and self.breaker[0] == "trial":
                break

    def _left(self, one: Pass) -> None:
        if not one.alive:
            return
        item, gate = one.item, self.gates[one.stage]
        well = one.fails is None
        gate.leave(one, self.now, item.part.duration_s, well)
        one.alive = False
        item.passes.pop(one.stage, None)
        start = self.now if one.start is None else one.start
        item.spans.append(
            Span(
                one.stage,
                round(self.wall(one.queued), 3),
                round(start - one.queued, 3),
                round(self.now - start, 3),
                "ok" if well else str(one.fails),
                item.attempt,
                self._span_note(one),
            )
        )
        if one.fails:
            self._fault(item, one)
        else:
            if one.stage == "fetch" and self.breaker[0] == "trial":
                self.breaker = ("closed", None)
                self.tell("info", "breaker", "youtube.com: breaker closed, the trial request came through", stage="fetch")
            self._onward(item, one)
        self.fill()

    def _onward(self, item: Item, one: Pass) -> None:
        stage = one.stage
        if stage == "decode":
            fast = item.part.monologue and self.profiles and self.settings["identify.fast_path"]
            follow = ["transcribe"] if fast else ["transcribe", "diarize"]
            item.after = {"transcribe", "diarize"} - set(follow)
        elif stage in ("transcribe", "diarize"):
            item.after.add(stage)
            follow = ["identify"] if item.after >= {"transcribe", "diarize"} else []
        elif stage == "store":
            self._stored(item, one)
            return
        else:
            follow = [STAGES[STAGES.index(stage) + 1]]
        if stage == "identify":
            self._decide(item)
        elif stage == "segment":
            item.segments = max(1, round(item.part.duration_s / self.random.uniform(22, 34)))
        elif stage == "embed":
            self.texts.add(self.now, item.segments, max(1, int(self.settings["embed.batch"])), 0.0026)
        for i, name in enumerate(follow):
            self._enter(item, name, stage if i == 0 else None)

    def _freed(self, one: Pass) -> None:
        """The stage before no longer waits for this pass to be served."""
        if one.behind is not None:
            gate = self.gates[one.behind]
            gate.account(self.now)
            gate.blocked_now -= 1
            one.behind = None

    def _stored(self, item: Item, one: Pass) -> None:
        self.stored_segments += item.segments
        self.last_commit = self.now
        people = len(item.speakers)
        plural = "" if people == 1 else "s"
        self.tell(
            "info", "stored", f"{item.id} stored: {item.segments} segments, {people} speaker{plural}", item, "store", slot=one.slot
        )
        self.finish(item, "stored")

    # -- what goes wrong --------------------------------------------------------------------------------------------------

    def _fails(self, one: Pass) -> str | None:
        fate = one.item.part.fate
        if one.stage == "fetch":
            if fate.startswith("skipped:") or fate == "failed:connection timed out":
                return fate.split(":", 1)[1]
            if self.storm and (fate.startswith("failed:HTTP 429") or self._dice(one).random() < 0.8):
                return "HTTP 429 too many requests"
        if one.stage == "decode" and fate in ("failed:no audio stream", "failed:corrupt media"):
            return fate.split(":", 1)[1]
        return None

    def _fault(self, item: Item, one: Pass) -> None:
        cause = str(one.fails)
        gate = self.gates[one.stage]
        if cause in SKIPS:
            self.tell("info", "skipped", f"{item.id} skipped: {cause}", item, one.stage, slot=one.slot)
            self.finish(item, "skipped", cause)
        elif FAILURES[cause][0] == "decode":
            gate.last_error = cause
            self.tell("error", "failure", f"{item.id} failed at decode: {cause}", item, one.stage, slot=one.slot)
            self.finish(item, "failed", cause)
        else:
            if cause.startswith("HTTP 429"):
                self.throttles.append(self.now)
                self.throttled_total += 1
                self._trip()
                if item.part.fate.startswith("failed:HTTP 429"):
                    item.attempt = item.attempts
            wait = float(self.settings["retry.backoff"]) * 2 ** (item.attempt - 1) * self._dice(one).uniform(0.9, 1.2)
            text = f"{item.id} {cause}, attempt {item.attempt}/{item.attempts}, again in {wait:.0f} s"
            self.tell("warning", "retry", text, item, one.stage, slot=one.slot)
            self.retry_later(item, one.stage, cause, wait)

    def _trip(self) -> None:
        """Three throttlings in a minute open the breaker of the host for 20 s."""
        if self.breaker[0] == "closed" and sum(1 for t in self.throttles if t > self.now - 60) >= 3:
            until = self.now + 20
            self.breaker = ("open", until)
            self.tell("warning", "breaker", "youtube.com: breaker open for 20 s after 3 throttled requests", stage="fetch")
            self.at(until, self._trial)
        elif self.breaker[0] == "trial":
            until = self.now + 20
            self.breaker = ("open", until)
            self.at(until, self._trial)

    def _trial(self) -> None:
        self.breaker = ("trial", None)
        self.fill()

    def _dice(self, one: Pass) -> Random:
        return Random(f"{self.seed} {one.item.id} {one.stage} {one.item.attempt}")

    # -- how long things take ---------------------------------------------------------------------------------------------

    def _service(self, one: Pass) -> float:
        """Seconds this pass will take, decided as it starts."""
        dice, length, stage = self._dice(one), one.item.part.duration_s, one.stage
        if one.fails:
            return dice.uniform(4, 9) if one.fails == "connection timed out" else dice.uniform(0.5, 1.4)
        jitter = dice.lognormvariate(0, 0.12)
        crowd = 1 + 0.05 * max(0, len(self.gates["transcribe"].slots) - 2) + 0.03 * max(0, len(self.gates["diarize"].slots) - 2)
        if stage == "fetch":
            return (1.2 + length / 260) * dice.lognormvariate(0, 0.35)
        if stage == "decode":
            return (0.25 + length / 900) * jitter
        if stage == "transcribe":
            batch: float = 0.55 + 0.45 * min(1.4, float(self.settings["asr.batch"]) / 16) ** 0.6
            beam = 1 + 0.06 * (float(self.settings["asr.beam"]) - 5)
            return (1.0 + length / (92 * batch)) * beam * crowd * jitter
        if stage == "diarize":
            return (0.6 + length / 96) * crowd * jitter
        if stage == "identify":
            return (0.35 + length / 900) * jitter * (1.6 if self.voices.budget < 100 else 1.0)
        if stage == "segment":
            return 0.06 + length / 24_000
        if stage == "embed":
            return (0.18 + length / 3600) * jitter
        return (0.05 + length / 9000) * jitter

    def _span_note(self, one: Pass) -> str | None:
        length = one.item.part.duration_s
        if one.fails:
            return None
        if one.stage == "fetch":
            return f"{length * 0.0163:.0f} MB opus"
        if one.stage in ("transcribe", "diarize") and one.start is not None and self.now > one.start:
            return f"{length / (self.now - one.start):.0f}x"
        return None

    # -- who is speaking --------------------------------------------------------------------------------------------------

    def _decide(self, item: Item) -> None:
        part = item.part
        if not self.profiles:  # nobody is enrolled: no decision is made, everybody keeps a number
            for i in range(part.speakers):
                item.speakers[f"Speaker {i + 1}"] = round(part.duration_s * 0.93 / part.speakers, 1)
            return
        want = self.wants[0] if self.wants and part.speakers >= 2 and not part.monologue else None
        if want:
            self.wants.pop(0)
        if part.monologue and self.settings["identify.fast_path"]:
            self.tally["fast_path"] += 1
            item.speakers[HOST] = round(part.duration_s * 0.93, 1)
            item.note = "fast path"
            self._voices(12)
            self.tell("info", "decision", f"{item.id} fast path: 12 of 12 places are {HOST}", item, "identify")
            return
        unknown = 0
        for cluster in clusters(self.seed, part, massive=want == "massive", mixed=want == "split"):
            label = f"Speaker {unknown + 1}"
            end = conclude(cluster, self.settings, label)
            unknown += any(name == label for name, _ in end.speakers)
            known = statistics(cluster.similarities) if cluster.seconds >= 3 and len(cluster.similarities) >= 3 else None
            threshold = float(self.settings["identify.primary_threshold"])
            decided = Decided(len(self.decisions) + 1, self.now, item, cluster, end, self.revision, label, threshold, known)
            self.decisions.append(decided)
            item.rows.append(decided.id)
            for name, seconds in end.speakers:
                item.speakers[name] = round(item.speakers.get(name, 0.0) + seconds, 1)
            self.tally["split" if end.split else "kept"] += 1
            self.tally["massive"] += cluster.massive
            self.tally["unknown"] += any(name == label for name, _ in end.speakers)
            self.tally["grey"] += end.grey
            self._voices(cluster.turns if end.split else len(cluster.similarities))
            if cluster.massive:
                item.note = "1 massive cluster"
            elif end.split and item.note is None:
                item.note = "split cluster"
            head = "massive cluster, " if cluster.massive else ""
            verdict = "SPLIT" if end.split else "kept"
            text = f"{item.id} {cluster.name} {head}{verdict}: {end.why}"
            self.tell("info", "decision", text, item, "identify", decision=decided.id, split=end.split, massive=cluster.massive)

    def _voices(self, n: int) -> None:
        fresh = max(1, round(n * 0.63))
        self.voices.hits += n - fresh
        self.voices.misses += fresh
        self.voices.add(self.now, fresh, max(1, int(self.voices.budget / 2.5)), 0.0032)

    # -- settings ---------------------------------------------------------------------------------------------------------

    def _capacity(self, stage: str) -> int:
        return FIXED[stage] if stage in FIXED else int(self.settings[f"workers.{stage}"])

    def changed(self, key: str) -> None:
        """A setting has a new value: let it act."""
        if key.startswith("workers."):
            gate = self.gates[key.removeprefix("workers.")]
            gate.account(self.now)
            gate.capacity = self._capacity(gate.name)
        elif key == "voice.batch_seconds":
            self.voices.budget = float(self.settings[key])
        elif key == "embed.batch":
            self.texts.budget = float(self.settings[key])
        elif key == "retry.attempts":
            for item in self.items.values():
                item.attempts = int(self.settings[key])
        role = {"asr.model": "asr", "diarization.model": "diarization", "voice.model": "voice", "embed.model": "embed"}.get(key)
        if role and self.state != "starting":
            self.load(role)
        self.fill()

    def load(self, role: str) -> None:
        """Swap the model of a role: its stage serves nobody until it is there."""
        _, name, _, takes, _ = next(m for m in MODELS if m[0] == role)
        self.loaded.pop(role, None)
        self.loading = (role, self.now, takes)
        self.tell("info", "model", f"loading {role} {name}", stage=None)
        self.at(self.now + takes, lambda: self._loaded(role, takes))

    def _loaded(self, role: str, takes: float) -> None:
        self.loaded[role] = takes
        self.loading = None
        self.tell("info", "model", f"{role} ready in {takes:.1f} s on cuda:0, known-pair self-test passed", stage=None)
        self.fill()


def _role(stage: str) -> str | None:
    return {"transcribe": "asr", "diarize": "diarization", "identify": "voice", "embed": "embed"}.get(stage)


def limits_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings a decision rests on."""
    return {key: value for key, value in settings.items() if key.startswith("identify.")}
