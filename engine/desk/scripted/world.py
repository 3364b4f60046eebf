"""The pipeline of the scripted story as a discrete-event simulation: stages, faults, decisions, models.

The same seed and commands give the same story, whatever the steps of the clock.
"""

from __future__ import annotations

from functools import partial
from random import Random

from gainstage.engine.backoff import doubled
from gainstage.engine.desk.scripted.cast import FAILURES, HOST, SKIPS
from gainstage.engine.desk.scripted.items import Decided, Item, ScriptedPass
from gainstage.engine.desk.scripted.records import Records
from gainstage.engine.desk.scripted.voices import clusters, conclude, statistics
from gainstage.engine.stages import FEEDERS, MODEL_OF_STAGE, feeds
from gainstage.engine.views.rows import Span

MODELS = (
    ("asr", "distil-large-v3", "a1b42c9", 8.1, 3.1e9),
    ("diarization", "pyannote/speaker-diarization-community-1", "5d8f201", 5.2, 1.9e9),
    ("voice", "speechbrain/spkrec-ecapa-voxceleb", "0f99f2d", 3.4, 0.4e9),
    ("embed", "BAAI/bge-small-en-v1.5", "5c38ec7", 2.1, 0.3e9),
)
"""Role, name, revision, seconds to load, bytes of GPU memory."""


class World(Records):
    """The simulated pipeline. Call :meth:`changed` after a setting got a new value."""

    # -- passing the stages -----------------------------------------------------------------------------------------------

    def serve(self, name: str) -> None:
        gate = self.gates[name]
        if name == "store" and self.database_down is not None:
            return
        if name == "fetch" and (self.breaker[0] == "open" or (self.breaker[0] == "trial" and gate.slots)):
            return
        if self.state == "starting" or (self.loading is not None and self.loading[0] == MODEL_OF_STAGE.get(name)):
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

    def _left(self, one: ScriptedPass) -> None:
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
                self.log_event("info", "breaker", "youtube.com: breaker closed, the trial request came through", stage="fetch")
            self._onward(item, one)
        self.fill()

    def _onward(self, item: Item, one: ScriptedPass) -> None:
        stage = one.stage
        if not feeds(stage):
            self._stored(item, one)
            return
        if stage == "decode":
            fast = item.part.monologue and self.profiles and self.settings["identify.fast_path"]
            if fast:
                item.through.add("diarize")
        item.through.add(stage)
        follow = [name for name in feeds(stage) if name not in item.through and item.through.issuperset(FEEDERS[name])]
        if stage == "identify":
            self._decide(item)
        elif stage == "segment":
            item.segments = max(1, round(item.part.duration_s / self.random.uniform(22, 34)))
        elif stage == "embed":
            self.texts.add(self.now, item.segments, max(1, int(self.settings["embed.batch"])), 0.0026)
        for i, name in enumerate(follow):
            self.enter(item, name, stage if i == 0 else None)

    def _stored(self, item: Item, one: ScriptedPass) -> None:
        self.stored_segments += item.segments
        self.last_commit = self.now
        people = len(item.speakers)
        plural = "" if people == 1 else "s"
        self.log_event(
            "info", "stored", f"{item.id} stored: {item.segments} segments, {people} speaker{plural}", item, "store", slot=one.slot
        )
        self.finish(item, "stored")

    # -- what goes wrong --------------------------------------------------------------------------------------------------

    def _fails(self, one: ScriptedPass) -> str | None:
        fate = one.item.part.fate
        if one.stage == "fetch":
            if fate.startswith("skipped:") or fate == "failed:connection timed out":
                return fate.split(":", 1)[1]
            if self.storm and (fate.startswith("failed:HTTP 429") or self._dice(one).random() < 0.8):
                return "HTTP 429 too many requests"
        if one.stage == "decode" and fate in ("failed:no audio stream", "failed:corrupt media"):
            return fate.split(":", 1)[1]
        return None

    def _fault(self, item: Item, one: ScriptedPass) -> None:
        cause = str(one.fails)
        gate = self.gates[one.stage]
        if cause in SKIPS:
            self.log_event("info", "skipped", f"{item.id} skipped: {cause}", item, one.stage, slot=one.slot)
            self.finish(item, "skipped", cause)
        elif FAILURES[cause][0] == "decode":
            gate.last_error = cause
            self.log_event("error", "failure", f"{item.id} failed at decode: {cause}", item, one.stage, slot=one.slot)
            self.finish(item, "failed", cause)
        else:
            if cause.startswith("HTTP 429"):
                self.throttles.append(self.now)
                self.throttled_total += 1
                self._trip()
                if item.part.fate.startswith("failed:HTTP 429"):
                    item.attempt = item.attempts
            wait = doubled(float(self.settings["retry.backoff"]), item.attempt - 1, 3600.0) * self._dice(one).uniform(0.9, 1.2)
            text = f"{item.id} {cause}, attempt {item.attempt}/{item.attempts}, again in {wait:.0f} s"
            self.log_event("warning", "retry", text, item, one.stage, slot=one.slot)
            self.retry_later(item, one.stage, cause, wait)

    def _trip(self) -> None:
        """Open the breaker of the host for 20 s after three throttles within a minute."""
        if self.breaker[0] == "closed" and sum(1 for t in self.throttles if t > self.now - 60) >= 3:
            until = self.now + 20
            self.breaker = ("open", until)
            self.log_event("warning", "breaker", "youtube.com: breaker open for 20 s after 3 throttled requests", stage="fetch")
            self.at(until, self._trial)
        elif self.breaker[0] == "trial":
            until = self.now + 20
            self.breaker = ("open", until)
            self.at(until, self._trial)

    def _trial(self) -> None:
        self.breaker = ("trial", None)
        self.fill()

    def _dice(self, one: ScriptedPass) -> Random:
        return Random(f"{self.seed} {one.item.id} {one.stage} {one.item.attempt}")

    # -- how long things take ---------------------------------------------------------------------------------------------

    def _service(self, one: ScriptedPass) -> float:
        """Seconds that this pass takes, determined at its start."""
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

    def _span_note(self, one: ScriptedPass) -> str | None:
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
        if not self.profiles:  # nobody is enrolled: no decision is made, and speakers keep numbers
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
            self.log_event("info", "decision", f"{item.id} fast path: 12 of 12 places are {HOST}", item, "identify")
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
            self.log_event(
                "info", "decision", text, item, "identify", decision=decided.id, split=end.split, massive=cluster.massive
            )

    def _voices(self, n: int) -> None:
        fresh = max(1, round(n * 0.63))
        self.voices.hits += n - fresh
        self.voices.misses += fresh
        self.voices.add(self.now, fresh, max(1, int(self.voices.budget / 2.5)), 0.0032)

    # -- settings ---------------------------------------------------------------------------------------------------------

    def changed(self, key: str) -> None:
        """Apply the new value of a setting."""
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
        role = key.removesuffix(".model") if key.endswith(".model") else None
        if role and self.state != "starting":
            self.load(role)
        self.fill()

    def load(self, role: str) -> None:
        """Load another model for a role: its stage serves nothing until it is loaded."""
        _, name, _, takes, _ = next(m for m in MODELS if m[0] == role)
        self.loaded.pop(role, None)
        self.loading = (role, self.now, takes)
        self.log_event("info", "model", f"loading {role} {name}", stage=None)
        self.at(self.now + takes, lambda: self._loaded(role, takes))

    def _loaded(self, role: str, takes: float) -> None:
        self.loaded[role] = takes
        self.loading = None
        self.log_event("info", "model", f"{role} ready in {takes:.1f} s on cuda:0, known-pair self-test passed", stage=None)
        self.fill()
