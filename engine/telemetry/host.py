"""The machine as psutil sees it: processor, memory, disk, network, and what the engine's own process takes of them."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean

import psutil

from gainstage.engine.telemetry.cores import cores
from gainstage.engine.telemetry.limits import memory_in_use, memory_limit
from gainstage.engine.views.snapshot import HostView

DISK_SAMPLE_S = 5.0
DISK_WINDOW_S = 900.0
DISK_LEAST_S = 600.0
"""Free space is watched this long before a time until full is given."""

DISK_LONGEST_S = 30 * 86_400.0
"""A disk that lasts longer than this is not filling."""

HISTORY_S = 5.0
HISTORY = 180


def full_in_s(samples: Sequence[tuple[float, int]]) -> float | None:
    """Seconds until a disk is full at the least-squares slope of (time in seconds, bytes free).

    None when it is not filling, would last more than a month, or was watched for less than ten minutes.
    """
    if len(samples) < 3 or samples[-1][0] - samples[0][0] < DISK_LEAST_S:
        return None
    middle_t = fmean(t for t, _ in samples)
    middle_f = fmean(f for _, f in samples)
    spread = sum((t - middle_t) ** 2 for t, _ in samples)
    slope = sum((t - middle_t) * (f - middle_f) for t, f in samples) / spread
    if slope >= 0:
        return None
    left = max(0.0, samples[-1][1] / -slope)
    return left if left <= DISK_LONGEST_S else None


class Host:
    """Samples the machine; rates are since the call before. Belongs to one thread (the publisher's).

    ``folder`` is where work files lie: its disk is the one that counts. ``work_bytes`` gives their size, where it is known,
    ``postgres_pid`` the server process whose family is counted as the engine's Postgres.
    """

    def __init__(
        self,
        folder: Path,
        *,
        work_bytes: Callable[[], int | None] = lambda: None,
        postgres_pid: Callable[[], int | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._work_bytes = work_bytes
        self._postgres = Family(postgres_pid, clock)
        self._clock = clock
        self._name = socket.gethostname()
        self._process = psutil.Process()
        self._disk: deque[tuple[float, int]] = deque()
        self._cpu: deque[float | None] = deque(maxlen=HISTORY)
        self._noted_at = float("-inf")
        self._network: tuple[float, int, int] | None = None
        psutil.cpu_percent(None)  # the first answer of both is meaningless
        self._process.cpu_percent(None)

    def read(self, gpu_note: str | None = None) -> HostView:
        """The machine now. What the platform does not report is None; costs about a millisecond."""
        now = self._clock()
        cpu = psutil.cpu_percent(None) / 100
        if now - self._noted_at >= HISTORY_S:
            self._noted_at = now
            self._cpu.append(round(cpu, 3))
        memory = psutil.virtual_memory()
        in_group = memory_in_use()
        free, total = self._space(now)
        rx, tx = self._rates(now)
        with self._process.oneshot():
            engine_cpu = self._process.cpu_percent(None) / 100
            rss = self._process.memory_info().rss
            threads = self._process.num_threads()
            handles = self._process.num_fds() if hasattr(self._process, "num_fds") else None
        return HostView(
            name=self._name,
            cpu=cpu,
            cores=cores(),
            load=os.getloadavg()[0],
            memory_used=memory.total - memory.available if in_group is None else in_group,
            memory_total=memory.total if in_group is None else memory_limit(),
            swap_used=_swap(),
            engine_cpu=engine_cpu,
            engine_rss=rss,
            postgres_cpu=self._postgres.cpu(),
            engine_threads=threads,
            engine_handles=handles,
            disk_free=free,
            disk_total=total,
            disk_full_in_s=full_in_s(self._disk),
            work_bytes=self._work_bytes(),
            net_rx=rx,
            net_tx=tx,
            gpu_note=gpu_note,
            cpu_history=tuple(self._cpu),
        )

    def _space(self, now: float) -> tuple[int | None, int | None]:
        try:
            usage = psutil.disk_usage(str(self._folder))
        except OSError:  # the folder is not there yet, or its disk is gone
            return None, None
        if not self._disk or now - self._disk[-1][0] >= DISK_SAMPLE_S:
            self._disk.append((now, usage.free))
            while self._disk[0][0] < now - DISK_WINDOW_S:
                self._disk.popleft()
        return usage.free, usage.total

    def _rates(self, now: float) -> tuple[float | None, float | None]:
        counters = psutil.net_io_counters()
        if counters is None:
            return None, None
        before, self._network = self._network, (now, counters.bytes_recv, counters.bytes_sent)
        if before is None or now <= before[0]:
            return None, None
        took = now - before[0]
        return max(0.0, (counters.bytes_recv - before[1]) / took), max(0.0, (counters.bytes_sent - before[2]) / took)


CHILDREN_S = 2.0


class Family:
    """The processor time of a process and its children. One that ends between two looks is missed from its last look on, one that
    begins up to :data:`CHILDREN_S` after: a search for children reads the state of every process of the machine.
    """

    def __init__(self, pid: Callable[[], int | None], clock: Callable[[], float]) -> None:
        self._pid, self._clock = pid, clock
        self._members: list[psutil.Process] = []
        self._searched = float("-inf")
        self._used: dict[int, float] = {}
        self._at: float | None = None

    def cpu(self) -> float | None:
        """Share of one core since the call before; None without a process, and at the first call."""
        pid = self._pid()
        if pid is None:
            return None
        now, used = self._clock(), {}
        try:
            if now - self._searched >= CHILDREN_S or not self._members or self._members[0].pid != pid:
                parent = psutil.Process(pid)
                self._members, self._searched = [parent, *parent.children()], now
            for process in self._members:
                with suppress(psutil.Error):
                    times = process.cpu_times()
                    used[process.pid] = times.user + times.system
        except psutil.Error:
            return None
        before, at, self._used, self._at = self._used, self._at, used, now
        if at is None or now <= at:
            return None
        return max(0.0, sum(seconds - before.get(number, 0.0) for number, seconds in used.items())) / (now - at)


def _swap() -> int | None:
    try:
        return psutil.swap_memory().used
    except (OSError, RuntimeError):  # /proc/vmstat may be hidden in a container
        return None
