"""What a batcher has done, for its view. Its batcher calls it under one lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gainstage.engine.telemetry.meters import Recent, RecentWindow, ranked
from gainstage.engine.views.passes import BatchRecord
from gainstage.engine.views.snapshot import BatcherView

SIZE_BUCKETS = 8
"""Items per batch: 1, 2, up to 4, 8, 16, 32, 64, and above."""


@dataclass(frozen=True, slots=True)
class _Sums:
    items: int = 0
    cost: float = 0.0
    budget: float = 0.0
    cells: float = 0.0  # length of calls times width, where items are padded to the longest
    padding: float = 0.0  # the part of the cells that is padding

    def __sub__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.items - other.items,
            self.cost - other.cost,
            self.budget - other.budget,
            self.cells - other.cells,
            self.padding - other.padding,
        )


class BatchStats:
    """Counts, sums and quantiles of one batcher."""

    def __init__(self, now: float) -> None:
        self.batches = 0
        self.out_of_memory = 0
        self.refused = 0
        self._sums = _Sums()
        self._recent = RecentWindow(_Sums(), now)
        self._minute = RecentWindow(_Sums(), now, 60.0, 5.0)
        self._sizes: dict[int, int] = {}
        self._waits = Recent(now)
        self._services = Recent(now)

    def waited(self, waits_s: Sequence[float]) -> None:
        """Items leave the queue of the batcher after these waits."""
        for wait_s in waits_s:
            self._waits.record(max(0.0, wait_s))

    def call(self, record: BatchRecord, results: int, cells: float) -> None:
        """A call has ended; ``results`` of its items got one, and it was ``cells`` large with its padding."""
        if record.outcome == "out of memory":
            self.out_of_memory += 1
        if record.outcome != "ok":
            return
        s = self._sums
        self.batches += 1
        self._services.record(record.service_s)
        self._sizes[record.items] = self._sizes.get(record.items, 0) + 1
        self._sums = _Sums(
            s.items + results,
            s.cost + record.cost,
            s.budget + max(record.budget, record.cost),
            s.cells + cells,
            s.padding + cells * (record.padding or 0.0),
        )

    @property
    def items(self) -> int:
        """Items that got a result."""
        return self._sums.items

    def view(self, name: str, unit: str, budget: float, waiting: int, now: float) -> BatcherView:
        _, recent = self._recent.since(now, self._sums)
        if recent.items == 0:
            recent = self._sums
        minute_s, minute = self._minute.since(now, self._sums)
        wait_p50_s, wait_p95_s = self._waits.read(now).quantiles(0.5, 0.95)
        service_p50_s, service_p95_s = self._services.read(now).quantiles(0.5, 0.95)
        sizes = [0] * SIZE_BUCKETS
        for size, n in self._sizes.items():
            sizes[min(SIZE_BUCKETS - 1, (size - 1).bit_length())] += n
        return BatcherView(
            name=name,
            batches=self.batches,
            items=self.items,
            waiting=waiting,
            budget=budget,
            unit=unit,
            items_p50=ranked(self._sizes, 0.5),
            items_p95=ranked(self._sizes, 0.95),
            items_max=max(self._sizes, default=None),
            fill=recent.cost / recent.budget if recent.budget > 0 else None,
            padding_waste=recent.padding / recent.cells if recent.cells > 0 else None,
            per_second=minute.items / minute_s if minute_s >= 1.0 else None,
            wait_p50_s=wait_p50_s,
            wait_p95_s=wait_p95_s,
            service_p50_s=service_p50_s,
            service_p95_s=service_p95_s,
            out_of_memory=self.out_of_memory,
            refused=self.refused,
            sizes=tuple(sizes),
        )
