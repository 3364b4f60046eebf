"""One piece of advice from a snapshot, its bottleneck and the settings: a table of rules, the first that holds wins.

Each rule is a pure function that answers with advice or None. What a change should bring comes from the forecast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import Any, Literal

from gainstage.config.settings import SPECS
from gainstage.engine.advisor import forecast
from gainstage.engine.advisor.bands import HARMLESS_THROTTLE, THROTTLED_WARN
from gainstage.engine.advisor.bottleneck import BUSY
from gainstage.engine.stages import GPU_SLOT_STAGES, OUTSIDE_STAGES
from gainstage.engine.views.machine import HostView
from gainstage.engine.views.snapshot import Advice, BatcherView, Bottleneck, DeviceView, Forecast, Snapshot

Confidence = Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True)
class Case:
    """What the rules read. ``history`` is oldest first, ``settings`` by dotted key."""

    history: Sequence[Snapshot]
    bottleneck: Bottleneck
    settings: Mapping[str, Any]

    @property
    def now(self) -> Snapshot:
        return self.history[-1]

    @property
    def sm(self) -> float | None:
        return forecast.gpu_share(self.now)

    @property
    def memory_limit(self) -> float:
        """Share of GPU memory that advice stays below."""
        return float(self.value("watch.memory_limit")) / 100

    @property
    def fullest(self) -> DeviceView | None:
        """The GPU with the least free memory, of those whose memory can be read."""
        known = [d for d in self.now.devices if d.memory_used is not None and d.memory_total]
        return max(known, key=lambda d: (d.memory_used or 0) / (d.memory_total or 1), default=None)

    def batcher(self, name: str) -> BatcherView | None:
        return next((b for b in self.now.batchers if b.name == name), None)

    def value(self, key: str) -> Any:
        return self.settings.get(key, SPECS[key].default)


def _moved(case: Case, key: str, wanted: float) -> int | float | None:
    """``wanted`` within the range of the setting; None when that is what it is already."""
    spec, old = SPECS[key], case.value(key)
    new = min(wanted, spec.high if spec.high is not None else wanted)
    new = max(new, spec.low if spec.low is not None else new)
    new = int(new) if isinstance(old, int) else new
    return None if new == old else new


def _memory_after(case: Case, slots: int) -> float | None:
    """Share of the fullest GPU's memory with ``slots`` more; None when it is unknown."""
    device, each = case.fullest, forecast.slot_memory(case.now)
    if device is None or each is None or not device.memory_total:
        return None
    return ((device.memory_used or 0) + slots * each) / device.memory_total


def _throttled_hardware(case: Case) -> tuple[str, ...]:
    return slowed(case.now)


def slowed(snapshot: Snapshot) -> tuple[str, ...]:
    """Why GPUs slow themselves down; a power cap under full load is not among the reasons."""
    return tuple(r for d in snapshot.devices for r in d.throttle or () if r not in HARMLESS_THROTTLE)


def more_gpu_slots(case: Case) -> Advice | None:
    """A GPU stage is the bottleneck while the GPU, its memory and the CPU have room: one slot more, two below 60 %."""
    stage = case.bottleneck.stage
    if case.bottleneck.kind != "stage" or stage not in GPU_SLOT_STAGES:
        return None
    sm, cpu = case.sm, case.now.host.cpu
    if (sm is not None and sm >= 0.85) or (cpu is not None and cpu >= 0.8) or _throttled_hardware(case):
        return None
    step = 2 if sm is not None and sm < 0.6 else 1
    while step and (after := _memory_after(case, step)) is not None and after >= case.memory_limit:
        step -= 1
    key = f"workers.{stage}"
    new = _moved(case, key, case.value(key) + step) if step else None
    if new is None:
        return None
    device = case.fullest
    room = []
    if sm is not None:
        room.append(forecast.gpu_words(case.now, sm))
    if device is not None and after is not None and device.memory_total:
        room.append(f"memory {(device.memory_used or 0) / device.memory_total:.0%} → about {after:.0%}")
    if cpu is not None:
        room.append(f"CPU {cpu:.0%}")
    return _setting(case, f"more-{stage}", key, new, ", ".join(room))


def smaller_asr_batch(case: Case) -> Advice | None:
    """GPU and its memory are both full: a smaller recogniser batch before out of memory makes one."""
    after = _memory_after(case, 1)
    if case.sm is None or case.sm < forecast.GPU_CEILING or after is None or after <= case.memory_limit:
        return None
    new = _moved(case, "asr.batch", floor(case.value("asr.batch") * 0.75))
    return (
        None
        if new is None
        else _setting(case, "smaller-asr-batch", "asr.batch", new, f"{forecast.gpu_words(case.now, case.sm)}, memory nearly full")
    )


def gpu_ceiling(case: Case) -> Advice | None:
    """The GPU is full: no setting helps, which ends the search."""
    if case.bottleneck.stage not in GPU_SLOT_STAGES or case.sm is None or case.sm < forecast.GPU_CEILING:
        return None
    return Advice(
        "gpu-bound",
        "GPU-bound: this is the ceiling of this machine",
        evidence=forecast.gpu_words(case.now, case.sm),
        confidence="high",
    )


def more_cpu_slots(case: Case) -> Advice | None:
    """A CPU stage is the bottleneck while the CPU has room."""
    stage = case.bottleneck.stage
    key = f"workers.{stage}"
    if case.bottleneck.kind != "stage" or key not in SPECS or stage in GPU_SLOT_STAGES | OUTSIDE_STAGES:
        return None
    cpu = case.now.host.cpu
    if cpu is not None and cpu >= 0.8:
        return None
    new = _moved(case, key, case.value(key) + 1)
    return None if new is None else _setting(case, f"more-{stage}", key, new, "" if cpu is None else f"CPU {cpu:.0%}")


def cpu_ceiling(case: Case) -> Advice | None:
    """The CPU is full and there is no GPU to move the work to: the engine's own work, or that of others."""
    cpu = case.now.host.cpu
    if case.bottleneck.kind != "stage" or case.bottleneck.stage in OUTSIDE_STAGES or cpu is None or cpu < 0.9 or case.now.devices:
        return None
    return cpu_full(case.now.host)


def cpu_full(host: HostView) -> Advice:
    """Whose work fills the CPU of a machine."""
    cpu, shares = host.cpu or 1.0, host.split
    if shares is None:
        return Advice("cpu-full", "The CPU is full; whose work fills it is not known", evidence=f"CPU {cpu:.0%}", confidence="low")
    evidence = f"CPU {cpu:.0%}: {shares.text}"
    if shares.others >= OTHERS_MATTER:
        text = f"Something else on this machine takes {shares.others:.0%} of its CPU: end it, or move the engine"
        return Advice("cpu-others", text, evidence=evidence, confidence="high")
    return Advice("cpu-bound", "CPU-bound: this is the ceiling of this machine", evidence=evidence, confidence="high")


def more_fetch_slots(case: Case) -> Advice | None:
    """Fetch is the bottleneck and its hosts do not complain."""
    if case.bottleneck.kind != "stage" or case.bottleneck.stage != "fetch" or case.now.run.throttled_10m:
        return None
    new = _moved(case, "workers.fetch", case.value("workers.fetch") + 2)
    return None if new is None else _setting(case, "more-fetch", "workers.fetch", new, "nothing throttled in 10 m")


def fewer_fetch_slots(case: Case) -> Advice | None:
    """Hosts throttle: ask them less."""
    times = case.now.run.throttled_10m
    if times < THROTTLED_WARN:
        return None
    new = _moved(case, "workers.fetch", floor(case.value("workers.fetch") * 0.75))
    if new is None:
        return None
    advice = _setting(case, "fewer-fetch", "workers.fetch", new, f"{times} throttled requests in 10 m")
    return replace(advice, text=advice.text + ", or set fetch.proxy")


def more_store_slots(case: Case) -> Advice | None:
    """Work waits for a slow database."""
    p95 = case.now.database.latency_p95_s
    store = next((s for s in case.now.stages if s.name == "store"), None)
    if store is None or store.depth == 0 or p95 is None or p95 <= 0.1:
        return None
    new = _moved(case, "workers.store", case.value("workers.store") + 1)
    if new is None:
        return None
    advice = _setting(case, "more-store", "workers.store", new, f"{store.depth} wait, database p95 {p95 * 1000:.0f} ms")
    return replace(advice, text=advice.text + ", or see whether an index is being built")


def smaller_voice_batch(case: Case) -> Advice | None:
    """Voice extraction ran out of memory twice in what history there is, and the setting has not been lowered since."""
    voices = case.batcher("voices")
    if voices is None or voices.out_of_memory < 2:
        return None
    before = [b for s in case.history for b in s.batchers if b.name == "voices"]
    times = voices.out_of_memory - before[0].out_of_memory if len(before) > 1 else voices.out_of_memory
    setting = float(case.value("voice.batch_seconds"))
    if times < 2 or setting < max(b.budget for b in before):
        return None
    new = _moved(case, "voice.batch_seconds", setting / 2)
    if new is None:
        return None
    return _setting(
        case, "smaller-voice-batch", "voice.batch_seconds", new, f"out of memory {times} times, {voices.budget:g} s fits now"
    )


def splits_moved(case: Case) -> Advice | None:
    """Far more clusters are split than on other days."""
    decisions = case.now.decisions
    usual = decisions.split_share_24h
    if not usual or decisions.clusters < 20 or decisions.split / decisions.clusters <= 2 * usual:
        return None
    share = decisions.split / decisions.clusters
    evidence = f"{share:.0%} of clusters split, {usual:.0%} over the last day; {decisions.grey} near a limit"
    return Advice("splits-moved", "Look at the grey zone on the Voices screen", evidence=evidence, confidence="medium")


def hardware_throttles(case: Case) -> Advice | None:
    """The GPU slows itself down."""
    reasons = _throttled_hardware(case)
    if not reasons:
        return None
    text = "The GPU slows itself down: check its cooling and power; no setting helps"
    return Advice("hardware-throttle", text, evidence=", ".join(dict.fromkeys(reasons)), confidence="high")


OTHERS_MATTER = 0.2
"""CPU share of other programs from which the engine is not at the ceiling of the machine."""

WORTH = 0.05
"""What more slots should bring at least, as a share of the throughput: less is lost in its noise, and memory is not."""

RULES: tuple[Callable[[Case], Advice | None], ...] = (
    more_gpu_slots,
    smaller_asr_batch,
    gpu_ceiling,
    more_cpu_slots,
    cpu_ceiling,
    more_fetch_slots,
    fewer_fetch_slots,
    more_store_slots,
    smaller_voice_batch,
    splits_moved,
    hardware_throttles,
)


def advice(
    case: Case, advise: Callable[[Advice, Case], Advice | None] | None = None, *, left: Forecast | None = None
) -> Advice | None:
    """The first rule that holds and is worth it, with what it should bring; None while paused and in the last seconds.

    ``advise`` fills that in, or answers None for advice that is not worth it; :func:`expected` where none is given.
    """
    if case.now.run.state != "running":
        return None
    if left is not None and left.soon:
        return None
    for rule in RULES:
        candidate = rule(case)
        worth = None if candidate is None else (advise or expected)(candidate, case)
        if worth is not None:
            return worth
    return None


def expected(advice: Advice, case: Case) -> Advice | None:
    """The same advice with what the forecast says it will bring; None when more slots would bring next to nothing."""
    if advice.key is None or not isinstance(advice.new, int | float):
        return advice
    then = forecast.expect(case.now, int(case.value("in_flight")), {advice.key: advice.new})
    if then is None:
        return advice
    if advice.id.startswith("more-") and then.gain < WORTH:
        return pair(advice, case)
    return replace(advice, expected=then.text)


def pair(advice: Advice, case: Case) -> Advice | None:
    """A slot more for another full stage as well, where that makes a change worth it which alone only moves the bottleneck."""
    full = [s for s in case.now.stages if (s.busy_share or 0.0) >= BUSY and not s.paused and f"workers.{s.name}" != advice.key]
    for stage in sorted(full, key=lambda s: -(s.busy_share or 0.0)):
        key = f"workers.{stage.name}"
        if key not in SPECS or stage.name in OUTSIDE_STAGES or (new := _moved(case, key, case.value(key) + 1)) is None:
            continue
        if stage.name in GPU_SLOT_STAGES and (after := _memory_after(case, 2)) is not None and after >= case.memory_limit:
            continue
        then = forecast.expect(case.now, int(case.value("in_flight")), {str(advice.key): advice.new, key: new})
        if then is not None and then.gain >= WORTH:
            old = case.value(key)
            return replace(
                advice,
                id=f"{advice.id}-{stage.name}",
                text=f"{advice.text} and {key} {old:g} → {new:g}: both are full, one alone brings little",
                expected=then.text,
                also=((key, old, new),),
            )
    return None


def _setting(case: Case, id: str, key: str, new: float, evidence: str) -> Advice:
    old = case.value(key)
    done = case.now.run.finished_10m
    sure: Confidence = "high" if done >= 50 else "medium" if done >= 10 else "low"
    return Advice(id, f"{key} {old:g} → {new:g}", key, old, new, evidence=evidence, confidence=sure)
