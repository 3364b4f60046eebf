"""The machine as a frame shows it: GPUs, processor, memory, disk, network. Units as in :mod:`gainstage.engine.views.snapshot`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CpuSplit:
    """Shares of all cores of the machine: the engine's, its embedded Postgres's (None where it is not ours), and the rest's."""

    engine: float
    postgres: float | None
    others: float

    @property
    def text(self) -> str:
        ours = "" if self.postgres is None else f", its Postgres {self.postgres:.0%}"
        return f"engine {self.engine:.0%}{ours}, others {self.others:.0%}"


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU, its memory there in bytes; ``ours`` is the engine that reports it."""

    pid: int
    name: str
    memory: int | None
    ours: bool


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A GPU as NVML reports it. Every reading may be unknown.

    ``sm`` is the share of SMs at work where ``sm_measured`` (GPM metrics, Hopper and newer), unknown while nobody looks at it;
    elsewhere it is ``busy``, the share of time in which any kernel ran, and is to be called so: :attr:`use_name`.
    """

    index: int
    name: str
    uuid: str | None = None
    sm: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    memory_ours: int | None = None
    memory_peak: int | None = None
    temperature: float | None = None
    slowdown_at: float | None = None
    shutdown_at: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    clock_sm_mhz: int | None = None
    clock_sm_max_mhz: int | None = None
    clock_memory_mhz: int | None = None
    pcie_rx: float | None = None  # bytes per second
    pcie_tx: float | None = None
    energy_j: float | None = None
    throttle: tuple[str, ...] | None = None
    ecc_errors: int | None = None
    processes: tuple[GpuProcess, ...] = ()
    driver: str | None = None
    sm_history: tuple[float | None, ...] = ()  # one per 5 s, oldest first, last 180
    memory_history: tuple[float | None, ...] = ()  # share used, likewise
    sm_measured: bool = False
    busy: float | None = None
    occupancy: float | None = None  # warps of the most the SMs can hold
    memory_bandwidth: float | None = None  # share of the most there is

    @property
    def use_name(self) -> str:
        """What ``sm`` is a share of: SM, or busy time."""
        return "SM" if self.sm_measured else "busy"


@dataclass(frozen=True, slots=True)
class HostView:
    """The machine of an engine. Shares are 0 to 1 (of one core above 1 with several), sizes are bytes; unknown is None."""

    name: str
    cpu: float | None = None  # share of all cores
    cores: int | None = None
    load: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    swap_used: int | None = None
    engine_cpu: float | None = None  # share of one core
    postgres_cpu: float | None = None  # of the embedded server, share of one core; None where the server is another's
    engine_rss: int | None = None
    engine_threads: int | None = None
    engine_handles: int | None = None
    disk_free: int | None = None
    disk_total: int | None = None
    disk_full_in_s: float | None = None
    work_bytes: int | None = None
    net_rx: float | None = None  # bytes per second
    net_tx: float | None = None
    gpu_note: str | None = None  # why no GPU can be read
    cpu_history: tuple[float | None, ...] = ()

    @property
    def split(self) -> CpuSplit | None:
        """Who uses the CPU now; None where it cannot be read."""
        if self.cpu is None or self.engine_cpu is None or not self.cores:
            return None
        engine = min(self.cpu, self.engine_cpu / self.cores)
        postgres = None if self.postgres_cpu is None else min(self.cpu - engine, self.postgres_cpu / self.cores)
        return CpuSplit(engine, postgres, max(0.0, self.cpu - engine - (postgres or 0.0)))
