"""Snapshots of the scripted story: every figure is computed from the simulated world, so that all figures agree."""

from __future__ import annotations

from gainstage.engine.desk.scripted.gate import ScriptedGate, quantile
from gainstage.engine.desk.scripted.items import Batches, Decided, Item
from gainstage.engine.desk.scripted.machine import ENGINE_PID, Machine
from gainstage.engine.desk.scripted.world import MODELS, World
from gainstage.engine.stages import STAGES
from gainstage.engine.views.snapshot import (
    SCHEMA,
    BatcherView,
    Bottleneck,
    DecisionRow,
    DecisionsView,
    FlightView,
    Forecast,
    Run,
    SlotView,
    Snapshot,
    StageView,
    Verdict,
)

LATEST = 24
"""Number of decisions in a frame."""

PENDING = Verdict("starting", "", None, Bottleneck(None, "unknown", "not known yet"), None, Forecast(None, None, None))


class Frames:
    """Builds the frames of one world."""

    def __init__(self, world: World, source: str, *, devices: int = 1, gpu_note: str | None = None) -> None:
        self.world = world
        self.source = source
        self.machine = Machine(world, gpus=devices, gpu_note=gpu_note)
        self.minutes: list[float | None] = []
        self.trend: list[float | None] = []
        self._feed: tuple[tuple[int, float], tuple[int, ...], tuple[DecisionRow, ...]] | None = None
        self._minute = self._step = 0.0

    def tick(self) -> None:
        """Update histories to the world's time. Acts at whole seconds only, so that frames between them change nothing."""
        world, now = self.world, self.world.now
        self.machine.tick()
        while now - self._minute >= 60:
            self._minute += 60
            self.minutes = [*self.minutes, self.rate(60.0)][-60:]
        while now - self._step >= 5:
            self._step += 5
            self.trend = [*self.trend, self.rate(60.0)][-60:]
        for row in (world.errors, world.throttles, world.outcomes):
            while row and row[0] < now - 600:
                row.popleft()
        while world.finishes and world.finishes[0][0] < now - 600:
            world.finishes.popleft()

    def rate(self, window_s: float) -> float | None:
        """Audio seconds per second over the last ``window_s``; None before the first recording is stored."""
        w = self.world
        span = min(window_s, w.now - (w.now if w.running_since is None else w.running_since))
        if not w.finishes or span < 20:
            return None
        return round(sum(a for t, a in w.finishes if t > w.now - span) / span, 2)

    # -- parts of the frame -----------------------------------------------------------------------------------------------

    def frame(self, seq: int, version: str) -> Snapshot:
        self.tick()
        w = self.world
        wall = round(w.wall(w.now), 3)
        return Snapshot(
            schema=SCHEMA,
            seq=seq,
            engine=w.engine,
            version=version,
            pid=ENGINE_PID,
            wall=wall,
            monotonic=round(90_000 + w.now, 3),
            revision=w.revision,
            run=self._run(),
            verdict=PENDING,
            stages=tuple(self._stage(g) for g in w.gates.values()),
            batchers=(
                self._batcher("voices", w.voices, "s of audio", w.voices.hits, w.voices.misses),
                self._batcher("texts", w.texts, "texts", None, None),
            ),
            flights=self._flights(),
            decisions=self._decisions(),
            devices=self.machine.devices(),
            host=self.machine.host(),
            database=self.machine.database(),
            models=self.machine.models(),
            budgets=(self.machine.budget(),),
            counters=(("events", w.event_seq), ("reconnects", w.reconnects), ("stored_segments", w.stored_segments)),
            simulated=True,
        )

    def _run(self) -> Run:
        w = self.world
        loading: tuple[str, ...] = ()
        if w.loading:
            role, since, _ = w.loading
            name = next(m[1] for m in MODELS if m[0] == role).rsplit("/", 1)[-1]
            loading = (f"loading models {min(len(w.loaded) + 1, len(MODELS))}/{len(MODELS)} · {role} {name} {w.now - since:.1f} s",)
        left = max(0.0, w.audio_total_s - w.audio_done_s - w.audio_over_s)
        return Run(
            state=w.state,  # type: ignore[arg-type]
            source=self.source,
            started_wall=round(w.wall(0.0), 3),
            state_since_wall=round(w.wall(w.state_since), 3),
            by=w.by,
            reason=w.reason,
            **w.counts,
            retrying=len(w.backing_off),
            audio_done_s=round(w.audio_done_s, 1),
            audio_left_s=round(left, 1),
            rtfx=self.rate(600.0),
            rtfx_history=tuple(self.minutes),
            rtfx_trend=tuple(self.trend),
            last_commit_wall=None if w.last_commit is None else round(w.wall(w.last_commit), 3),
            errors_10m=len(w.errors),
            finished_10m=len(w.outcomes),
            throttled_10m=len(w.throttles),
            loading=loading,
        )

    def _stage(self, gate: ScriptedGate) -> StageView:
        now = self.world.now
        gate.account(now)
        busy, starved, blocked = gate.shares()
        recent = 0
        for at, _, _ in reversed(gate.services):
            if at <= now - 60:
                break
            recent += 1
        span = min(60.0, max(1.0, now))
        measured = gate.measured
        count = max(gate.capacity, max(gate.slots, default=-1) + 1)
        slots = []
        for i in range(count):
            one = gate.slots.get(i)
            if one is not None and one.start is not None:
                state = "busy" if i < gate.capacity else "retiring"
                slots.append(SlotView(i, one.item.id, state, round(now - one.start, 1)))
            elif i < gate.capacity:
                slots.append(SlotView(i, None, "idle", round(now - gate.idle_since.get(i, 0.0), 1)))
        return StageView(
            name=gate.name,
            capacity=gate.capacity,
            busy=len(gate.slots),
            depth=len(gate.line),
            oldest_wait_s=round(now - min(row[1] for row in gate.line), 1) if gate.line else None,
            paused=gate.paused,
            done=gate.done,
            failed=gate.failed,
            per_minute=round(recent * 60 / span, 1) if gate.done else None,
            wait_p50_s=measured.wait_p50_s,
            wait_p95_s=measured.wait_p95_s,
            service_p50_s=measured.service_p50_s,
            service_p95_s=measured.service_p95_s,
            rtfx=measured.rtfx,
            busy_share=None if busy is None else round(busy, 3),
            starved_share=None if starved is None else round(starved, 3),
            blocked_share=None if blocked is None else round(blocked, 3),
            slots=tuple(slots),
            trend=gate.trend,
            last_error=gate.last_error,
            retries=gate.retries,
            note=self._note(gate.name),
        )

    def _note(self, stage: str) -> str | None:
        w = self.world
        if stage == "transcribe":
            return f"batch {w.settings['asr.batch']}"
        if stage == "fetch" and w.breaker[0] != "closed":
            return f"breaker {w.breaker[0]}"
        if stage == "store":
            return "database down" if w.database_down is not None else "pg 3 ms"
        if stage == "identify" and w.voices.budget < float(w.settings["voice.batch_seconds"]):
            return f"batch {w.voices.budget:.0f} s after out of memory"
        return None

    def _batcher(self, name: str, b: Batches, unit: str, hits: int | None, misses: int | None) -> BatcherView:
        now = self.world.now
        sizes = [n for _, n, _ in b.recent]
        items_p50, items_p95 = quantile(sizes, 0.5, 0.95)
        service_p50, service_p95 = quantile((s for _, _, s in b.recent), 0.5, 0.95)
        minute = [n for at, n, _ in b.recent if at > now - 60]
        full = b.budget / 2.5 if name == "voices" else b.budget
        fill = min(1.0, sum(sizes) / len(sizes) / full) if sizes else None
        return BatcherView(
            name=name,
            batches=b.batches,
            items=b.items,
            waiting=sum(len(g.slots) for g in (self.world.gates["identify" if name == "voices" else "embed"],)) * 6,
            budget=b.budget,
            unit=unit,
            items_p50=items_p50,
            items_p95=items_p95,
            items_max=b.most or None,
            fill=None if fill is None else round(fill, 3),
            padding_waste=0.0 if name == "voices" and sizes else (0.06 if sizes else None),
            per_second=round(sum(minute) / min(60.0, max(1.0, now)), 1) if sizes else None,
            wait_p50_s=0.004 if sizes else None,
            wait_p95_s=0.061 if sizes else None,
            service_p50_s=service_p50,
            service_p95_s=service_p95,
            out_of_memory=b.out_of_memory,
            refused=b.refused,
            cache_hits=hits,
            cache_misses=misses,
            sizes=tuple(b.sizes),
        )

    def _flights(self) -> tuple[FlightView, ...]:
        rows = [self._flight(item) for item in self.world.active.values()]
        return tuple(sorted(rows, key=lambda f: (-STAGES.index(f.stage), f.waiting, -f.in_engine_s, f.id)))

    def _flight(self, item: Item) -> FlightView:
        w, now = self.world, self.world.now
        passes = item.passes
        stage = next((s for s in STAGES if s in passes), "fetch")
        one = passes.get(stage)
        waiting = one is None or one.start is None
        progress = None
        if one is not None and one.start is not None and one.end is not None:
            progress = round(min(1.0, (now - one.start) / max(0.01, one.end - one.start)), 3)
        since = now if one is None else (one.queued if one.start is None else one.start)
        length = item.part.duration_s
        per_audio = w.gates[stage].measured.per_audio_p95
        expected = None if per_audio is None else round(per_audio * max(30.0, length), 1)
        rtfx = None
        if stage in ("transcribe", "diarize") and progress and one is not None and one.start is not None and now > one.start + 1:
            rtfx = round(length * progress / (now - one.start), 1)
        return FlightView(
            id=item.id,
            title=item.part.title,
            source=item.part.url,
            duration_s=length,
            stage=stage,
            waiting=waiting,
            progress=progress,
            in_stage_s=round(now - since, 1),
            in_engine_s=round(now - (item.admitted or 0.0), 1),
            expected_p95_s=expected,
            attempt=item.attempt,
            attempts=item.attempts,
            priority=item.priority,
            speakers=len(item.speakers) or None,
            segments=item.segments or None,
            rtfx=rtfx,
            note=item.note,
            slot=None if one is None else one.slot,
            side_stage="diarize" if stage == "transcribe" and "diarize" in passes else None,
        )

    def _decisions(self) -> DecisionsView:
        w = self.world
        limit = float(w.settings["identify.variance_limit"])
        seen = (len(w.decisions), limit)
        if self._feed is None or self._feed[0] != seen:
            self._feed = (seen, self._histogram(limit), tuple(row(w, d) for d in reversed(w.decisions[-LATEST:])))
        return DecisionsView(
            clusters=len(w.decisions),
            **w.tally,
            variance_limit=limit,
            range_limit=float(w.settings["identify.range_limit"]),
            variance_histogram=self._feed[1],
            split_share_24h=0.09,
            latest=self._feed[2],
        )

    def _histogram(self, limit: float) -> tuple[int, ...]:
        counts = [0] * 16
        for d in self.world.decisions[-500:]:
            if d.statistics is not None:
                counts[15 if limit <= 0 else min(15, int(d.statistics[1] / (2 * limit) * 15))] += 1
        return tuple(counts)


def row(world: World, d: Decided) -> DecisionRow:
    """A decision of the story as the feed shows it."""
    known = d.statistics
    mean, variance, low, high = (None,) * 4 if known is None else (round(v, 4) for v in known)
    return DecisionRow(
        id=d.id,
        wall=round(world.wall(d.at), 3),
        recording=d.item.id,
        title=d.item.part.title,
        cluster=d.cluster.name,
        turns=d.cluster.turns,
        seconds=d.cluster.seconds,
        mean=mean,
        variance=variance,
        low=low,
        high=high,
        range=None if low is None or high is None else round(high - low, 4),
        similarities=d.cluster.similarities,
        split=d.conclusion.split,
        massive=d.cluster.massive,
        rule=d.conclusion.rule,
        speakers=d.conclusion.speakers,
        why=d.conclusion.why,
        revision=d.revision,
        threshold=d.threshold,
    )
