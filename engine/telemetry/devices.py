"""GPUs as NVML reports them, read on a thread of their own.

Every reading may be unknown: not supported by this card, not permitted, or the driver is gone. A missing library and a lost
driver are states with a note, tried again with backoff; nothing here ever raises into the engine.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import psutil
import pynvml

from gainstage.engine.advisor.bands import POWER_CAP
from gainstage.engine.backoff import Backoff
from gainstage.engine.telemetry.gpm import GpmSampler, GpmShares
from gainstage.engine.views.snapshot import DeviceView, GpuProcess

Reading = TypeVar("Reading")

HISTORY_S = 5.0
HISTORY = 180
"""Points kept of SM (or busy time) and memory, one every :data:`HISTORY_S` seconds."""

_REASONS = (
    (0x4, POWER_CAP),
    (0x8, "hardware slowdown"),
    (0x10, "sync boost"),
    (0x20, "thermal slowdown (driver)"),
    (0x40, "thermal slowdown (hardware)"),
    (0x80, "power brake"),
    (0x200, "board limit"),
    (0x400, "reliability limit"),
)
"""Clock event reasons in words. Idle, application clocks and display clocks are left out: they slow no work down."""

_GONE = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_RESET_REQUIRED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)


class Lost(Exception):
    """A GPU or the whole driver does not answer any more; the text is a note for the screen."""


def read_cards() -> tuple[tuple[int, str], ...]:
    """(index, UUID) of every GPU of this machine, without using any of them. Raises :class:`Lost` when none can be read."""
    try:
        pynvml.nvmlInit()
        try:
            handles = ((i, pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount()))
            return tuple((i, _text(pynvml.nvmlDeviceGetUUID(handle)) or str(i)) for i, handle in handles)
        finally:
            _known(pynvml.nvmlShutdown)
    except pynvml.NVMLError as error:
        raise Lost(_words(error)) from error


def pinned() -> frozenset[str] | None:
    """UUIDs of the GPUs this process was given by CUDA_VISIBLE_DEVICES; None where it sees all, or names them otherwise."""
    words = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return frozenset(words) if all(word.startswith("GPU-") for word in words) else None


@dataclass(slots=True)
class _Memory:
    """What is kept of one GPU between readings."""

    peak: int | None = None
    energy_mj: int | None = None  # the counter at the last reading
    used_mj: int = 0
    sm: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY))
    memory: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY))
    gpm: GpmSampler = field(default_factory=GpmSampler)


class Devices:
    """Reads every GPU (of an engine that was given one: that one) each ``interval_s`` seconds on a daemon thread; :meth:`read` gives
    the newest views at once.

    ``pids`` says which processes are ours (the engine's own by default), ``wanted`` whether somebody looks at SM activity now. After a loss the next try comes after
    ``first_retry_s``, doubling up to ``last_retry_s``.
    """

    def __init__(
        self,
        interval_s: float = 1.0,
        *,
        pids: Callable[[], Set[int]] | None = None,
        wanted: Callable[[], bool] = lambda: True,
        first_retry_s: float = 2.0,
        last_retry_s: float = 60.0,
    ) -> None:
        self.interval_s = interval_s
        self.first_retry_s = first_retry_s
        self.last_retry_s = last_retry_s
        self._pids = pids or (lambda: {os.getpid()})
        self._wanted = wanted
        self._latest: tuple[tuple[DeviceView, ...], str | None] = ((), "GPU: not read yet")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._kept: dict[str, _Memory] = {}
        self._noted_at = float("-inf")
        self._open = False
        self._opened_at = 0.0

    def start(self) -> None:
        """Begin to read. Call once."""
        self._thread = threading.Thread(target=self._run, name="devices", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread; a driver call that hangs is left behind."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def read(self) -> tuple[tuple[DeviceView, ...], str | None]:
        """The newest views, and why there are none or fewer than there should be (None when all is well)."""
        return self._latest

    def _run(self) -> None:
        backoff = Backoff(self.first_retry_s, self.last_retry_s)
        while not self._stop.is_set():
            try:
                self._latest = self.take()
                backoff.reset()
                wait_s = self.interval_s
            except Lost as lost:
                gone = tuple(_unknown(view) for view in self._latest[0])
                self._latest = (gone, f"{lost}; it is tried again by itself")
                wait_s = backoff.next()
            self._stop.wait(wait_s)
        self._close()

    def take(self) -> tuple[tuple[DeviceView, ...], str | None]:
        """One reading now, on the calling thread. Raises :class:`Lost` when nothing can be read; the next call starts anew."""
        try:
            if not self._open:
                pynvml.nvmlInit()
                self._open = True
                self._opened_at = time.monotonic()
            driver = _known(pynvml.nvmlSystemGetDriverVersion)
            views, notes = [], []
            ours, mine = self._pids(), pinned()
            note_history = time.monotonic() - self._noted_at >= HISTORY_S
            for index in range(pynvml.nvmlDeviceGetCount()):
                try:
                    if mine is None or _uuid(index) in mine:
                        views.append(self._device(index, driver, ours, note_history))
                except pynvml.NVMLError as error:
                    if error.value != pynvml.NVML_ERROR_GPU_IS_LOST:
                        raise
                    if mine is not None and all(v.index != index for v in self._latest[0]):
                        continue  # a card of another engine
                    notes.append(f"GPU {index} is lost")
                    views.append(_unknown(self._before(index)))
            if len(notes) == len(views) > 0:
                raise Lost(", ".join(notes))
            if notes and time.monotonic() - self._opened_at >= self.last_retry_s:
                self._close()  # a GPU that came back is only seen by a fresh start
            if note_history:
                self._noted_at = time.monotonic()
        except pynvml.NVMLError as error:
            self._close()
            raise Lost(_words(error)) from error
        except Lost:
            self._close()
            raise
        return tuple(views), ", ".join(notes) or (None if views else "GPU: the driver knows none")

    def _before(self, index: int) -> DeviceView:
        return next((v for v in self._latest[0] if v.index == index), DeviceView(index, f"GPU {index}"))

    def _close(self) -> None:
        if self._open:
            self._open = False
            for kept in self._kept.values():
                with contextlib.suppress(pynvml.NVMLError):
                    kept.gpm.forget()
            _known(pynvml.nvmlShutdown)

    def _device(self, index: int, driver: Any, ours: Set[int], note_history: bool) -> DeviceView:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = _known(pynvml.nvmlDeviceGetUUID, handle)
        kept = self._kept.setdefault(uuid or f"#{index}", _Memory())
        use = _known(pynvml.nvmlDeviceGetUtilizationRates, handle)
        memory = _known(pynvml.nvmlDeviceGetMemoryInfo, handle)
        processes = _processes(handle, ours)
        busy = None if use is None else use.gpu / 100
        gpm = _gpm(kept.gpm, handle, self._wanted())
        sm = gpm.sm if kept.gpm.supported else busy
        used = None if memory is None else int(memory.used)
        total = None if memory is None else int(memory.total)
        if used is not None:
            kept.peak = max(used, kept.peak or 0)
        if note_history:
            kept.sm.append(sm)
            kept.memory.append(None if used is None or not total else round(used / total, 4))
        mine = [p.memory for p in processes or () if p.ours]
        return DeviceView(
            index=index,
            name=_text(_known(pynvml.nvmlDeviceGetName, handle)) or f"GPU {index}",
            uuid=_text(uuid),
            sm=sm,
            memory_used=used,
            memory_total=total,
            memory_ours=sum(m for m in mine if m is not None) if any(m is not None for m in mine) else None,
            memory_peak=kept.peak,
            temperature=_known(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
            slowdown_at=_known(pynvml.nvmlDeviceGetTemperatureThreshold, handle, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
            shutdown_at=_known(pynvml.nvmlDeviceGetTemperatureThreshold, handle, pynvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN),
            power_w=_scaled(_known(pynvml.nvmlDeviceGetPowerUsage, handle), 1e-3),
            power_limit_w=_scaled(_known(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle), 1e-3),
            clock_sm_mhz=_known(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
            clock_sm_max_mhz=_known(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM),
            clock_memory_mhz=_known(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
            pcie_rx=_scaled(_known(pynvml.nvmlDeviceGetPcieThroughput, handle, pynvml.NVML_PCIE_UTIL_RX_BYTES), 1024),
            pcie_tx=_scaled(_known(pynvml.nvmlDeviceGetPcieThroughput, handle, pynvml.NVML_PCIE_UTIL_TX_BYTES), 1024),
            energy_j=_energy_j(kept, _known(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle)),
            throttle=_throttle(handle),
            ecc_errors=_known(
                pynvml.nvmlDeviceGetTotalEccErrors,
                handle,
                pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                pynvml.NVML_VOLATILE_ECC,
            ),
            processes=tuple(processes or ()),
            driver=_text(driver),
            sm_history=tuple(kept.sm),
            memory_history=tuple(kept.memory),
            sm_measured=bool(kept.gpm.supported),
            busy=busy,
            occupancy=gpm.occupancy,
            memory_bandwidth=gpm.memory_bandwidth,
        )


def _known(call: Callable[..., Reading], *args: Any) -> Reading | None:
    """The reading, or None where this card, driver or user has none. Errors that mean the driver is gone pass through."""
    try:
        return call(*args)
    except pynvml.NVMLError as error:
        if error.value in _GONE and call is not pynvml.nvmlShutdown:
            raise
        return None


def _gpm(sampler: GpmSampler, handle: Any, wanted: bool) -> GpmShares:
    return _known(lambda: sampler.take(handle, wanted=wanted)) or GpmShares()


def _uuid(index: int) -> str | None:
    return _text(_known(pynvml.nvmlDeviceGetUUID, pynvml.nvmlDeviceGetHandleByIndex(index)))


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value * by


def _text(value: Any) -> str | None:
    """Older bindings answer in bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _energy_j(kept: _Memory, counter_mj: int | None) -> float | None:
    """Joules since the first reading; a counter that fell was reset with the driver."""
    if counter_mj is None:
        return None
    if kept.energy_mj is not None:
        kept.used_mj += counter_mj - kept.energy_mj if counter_mj >= kept.energy_mj else counter_mj
    kept.energy_mj = counter_mj
    return kept.used_mj / 1000


def _throttle(handle: Any) -> tuple[str, ...] | None:
    """Why the clocks are held down, in words; empty when they are not, None when it is unknown."""
    mask = _known(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if mask is None:  # drivers before 535 know only the older name
        mask = _known(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
    return None if mask is None else tuple(word for bit, word in _REASONS if mask & bit)


def _processes(handle: Any, ours: Set[int]) -> list[GpuProcess] | None:
    """The processes on this GPU; None when they may not be read. Memory of a process may be unknown (containers, old drivers)."""
    running = _known(pynvml.nvmlDeviceGetComputeRunningProcesses_v3, handle)
    if running is None:
        running = _known(pynvml.nvmlDeviceGetComputeRunningProcesses_v2, handle)
    if running is None:
        return None
    return [GpuProcess(p.pid, _name(p.pid), p.usedGpuMemory, p.pid in ours) for p in running]


def _name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return f"pid {pid}"


def _words(error: Any) -> str:
    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return "GPU: not readable (libnvidia-ml.so.1 not found)"
    if error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
        return "GPU: not readable (the NVIDIA driver is not loaded)"
    return f"GPU: lost ({error})"


def _unknown(view: DeviceView) -> DeviceView:
    """The same GPU with nothing known of it now: only what it is, and its past."""
    bare = DeviceView(view.index, view.name, view.uuid, memory_total=view.memory_total, memory_peak=view.memory_peak)
    return replace(
        bare,
        driver=view.driver,
        power_limit_w=view.power_limit_w,
        slowdown_at=view.slowdown_at,
        shutdown_at=view.shutdown_at,
        energy_j=view.energy_j,
        sm_history=view.sm_history,
        memory_history=view.memory_history,
        sm_measured=view.sm_measured,
    )
