"""The machine of the scripted story: GPUs whose temperature follows the load, host, database, models, budget of the download
host."""

from __future__ import annotations

from math import exp, sin

from gainstage.engine.desk.scripted.world import MODELS, World
from gainstage.engine.views.snapshot import DatabaseView, DeviceView, GpuProcess, HostBudget, HostView, ModelView

GIB = 1024**3
ENGINE_PID = 41_207
OTHERS = int(0.62 * GIB)
"""Bytes of GPU memory used by another process, a notebook."""


def wobble(t: float, k: float) -> float:
    """Smooth noise in -1 .. 1 that depends only on the time."""
    return (sin(0.41 * t + 7 * k) * 0.5 + sin(1.37 * t + 3 * k) * 0.3 + sin(0.097 * t + k) * 0.2) if t >= 0 else 0.0


class Machine:
    """Readings of one world's machine, with temperatures, energy and histories."""

    def __init__(self, world: World, *, gpus: int, gpu_note: str | None) -> None:
        self.world = world
        self.gpus = gpus
        self.gpu_note = gpu_note
        self.temperature = [38.0] * gpus
        self.energy_j = [0.0] * gpus
        self.peak = [0] * gpus
        self.sm_history: list[list[float | None]] = [[] for _ in range(gpus)]
        self.memory_history: list[list[float | None]] = [[] for _ in range(gpus)]
        self.cpu_history: list[float | None] = []
        self._ticked = 0.0
        self._five = 0.0

    def tick(self) -> None:
        """Update temperatures, energy and histories; call it at every whole story second, between them it does nothing."""
        now = self.world.now
        dt = now - self._ticked
        if dt < 1:
            return
        self._ticked = now
        for i in range(self.gpus):
            sm = self.sm(i)
            goal = 36 + 44 * sm + wobble(now, i)
            self.temperature[i] += (goal - self.temperature[i]) * (1 - exp(-dt / 25))
            self.energy_j[i] += dt * self.power(i)
            self.peak[i] = max(self.peak[i], self.memory(i))
        while now - self._five >= 5:
            self._five += 5
            for i in range(self.gpus):
                self.sm_history[i] = [*self.sm_history[i], round(self.sm(i), 3)][-180:]
                self.memory_history[i] = [*self.memory_history[i], round(self.memory(i) / (80 * GIB), 3)][-180:]
            self.cpu_history = [*self.cpu_history, round(self.cpu(), 3)][-180:]

    def sm(self, i: int = 0) -> float:
        w = self.world
        if w.state == "starting":
            return 0.04 if w.loading else 0.0
        share = 1 / self.gpus
        jobs = {name: len(gate.slots) for name, gate in w.gates.items()}
        busy = 0.185 * jobs["transcribe"] + 0.052 * jobs["diarize"] + 0.03 * jobs["identify"]
        used = min(0.985, busy * share + 0.01 * jobs["embed"])
        return min(1.0, max(0.0, used + 0.035 * wobble(w.now, i + 1) * (1 if used else 0)))

    def memory(self, i: int = 0) -> int:
        w = self.world
        models = sum(m[4] for m in MODELS if m[0] in w.loaded)
        working = 4.6 * w.gates["transcribe"].capacity + 2.4 * w.gates["diarize"].capacity + w.voices.budget * 0.022
        busy = 0.9 * len(w.gates["transcribe"].slots) + 0.5 * len(w.gates["diarize"].slots)
        used = OTHERS + models + (working + busy) * GIB / self.gpus * (len(w.loaded) / len(MODELS))
        return int(used * (1 + 0.004 * wobble(w.now, 9 + i)))

    def power(self, i: int = 0) -> float:
        return 96 + 540 * self.sm(i) + 6 * wobble(self.world.now, 4 + i)

    def cpu(self) -> float:
        w = self.world
        busy = 0.05 + 0.09 * len(w.gates["decode"].slots) + 0.018 * len(w.gates["fetch"].slots)
        return min(0.99, busy + 0.03 * len(w.gates["transcribe"].slots) + 0.02 * abs(wobble(w.now, 6)))

    def devices(self) -> tuple[DeviceView, ...]:
        return tuple(self._device(i) for i in range(self.gpus))

    def _device(self, i: int) -> DeviceView:
        sm, used = self.sm(i), self.memory(i)
        return DeviceView(
            index=i,
            name="NVIDIA H100 80GB HBM3",
            uuid=f"GPU-5a1e0000-77c2-4d1b-9f1e-0000000000{i:02d}",
            sm=round(sm, 3),
            memory_used=used,
            memory_total=80 * GIB,
            memory_ours=max(0, used - OTHERS),
            memory_peak=self.peak[i],
            temperature=round(self.temperature[i]),
            slowdown_at=87.0,
            shutdown_at=92.0,
            power_w=round(self.power(i)),
            power_limit_w=700.0,
            clock_sm_mhz=1980 if sm > 0.02 else 345,
            clock_sm_max_mhz=1980,
            clock_memory_mhz=2619,
            pcie_rx=round(1e6 + 1.35e9 * sm),
            pcie_tx=round(1e6 + 0.3e9 * sm),
            energy_j=round(self.energy_j[i]),
            throttle=(),
            ecc_errors=0,
            processes=(
                GpuProcess(ENGINE_PID, "gainstage engine", max(0, used - OTHERS), True),
                GpuProcess(8841, "python3 notebook", OTHERS, False),
            ),
            driver="570.86.10",
            sm_history=tuple(self.sm_history[i]),
            memory_history=tuple(self.memory_history[i]),
            sm_measured=True,
            busy=round(min(1.0, sm * 1.15), 3),
        )

    def host(self) -> HostView:
        w = self.world
        work = int(sum(i.part.duration_s for i in w.active.values()) * 32_000 * 0.8)
        cpu = self.cpu()
        fetching = len(w.gates["fetch"].slots)
        return HostView(
            name="gpu-01",
            cpu=round(cpu, 3),
            cores=16,
            load=round(cpu * 16 * 1.04, 2),
            memory_used=int(24.5 * GIB) + work // 6,
            memory_total=128 * GIB,
            swap_used=0,
            engine_cpu=round(cpu * 16 * 0.72, 2),
            engine_rss=int(9.4 * GIB) + len(w.active) * 31_000_000,
            engine_threads=31 + len(w.active),
            engine_handles=142 + 3 * len(w.active),
            disk_free=812 * GIB - work - int(w.audio_done_s * 2100),
            disk_total=1800 * GIB,
            disk_full_in_s=778_000.0 if w.now > 120 else None,
            work_bytes=work,
            net_rx=round(fetching * 4.7e6 * (1 + 0.2 * wobble(w.now, 3))) + 12_000.0,
            net_tx=round(fetching * 90e3 + 9_000.0),
            gpu_note=self.gpu_note,
            cpu_history=tuple(self.cpu_history),
        )

    def database(self) -> DatabaseView:
        w = self.world
        down = w.database_down
        return DatabaseView(
            up=down is None,
            where="10.0.4.12:5432/speech",
            embedded=False,
            latency_p50_s=None if down is not None else round(0.003 + 0.0006 * wobble(w.now, 2), 4),
            latency_p95_s=None if down is not None else round(0.011 + 0.002 * wobble(w.now, 5), 4),
            pool_size=10,
            pool_busy=0 if down is not None else min(10, 1 + len(w.gates["store"].slots)),
            down_since_wall=None if down is None else round(w.wall(down), 3),
            segments=w.stored_segments,
            size=int(41e6 + w.stored_segments * 7_400),
            reconnects=w.reconnects,
        )

    def models(self) -> tuple[ModelView, ...]:
        w = self.world
        rows = []
        for role, name, revision, _, memory in MODELS:
            key = f"{role}.model"
            named = str(w.settings.get(key, name))
            if role in w.loaded:
                rows.append(ModelView(role, named, revision, "cuda:0", "ready", w.loaded[role], int(memory)))
            elif w.loading and w.loading[0] == role:
                rows.append(ModelView(role, named, revision, "cuda:0", "loading", round(w.now - w.loading[1], 1)))
            else:
                rows.append(ModelView(role, named, revision, None, "not loaded"))
        return tuple(rows)

    def budget(self) -> HostBudget:
        w = self.world
        state, until = w.breaker
        return HostBudget(
            "www.youtube.com",
            w.gates["fetch"].done + w.gates["fetch"].failed + len(w.gates["fetch"].slots),
            int(w.settings["fetch.rate"]),
            state,
            None if until is None else round(w.wall(until), 3),
            w.throttled_total,
        )
