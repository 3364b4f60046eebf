"""What happens when the memory of a card does not suffice: nobody's work may be lost, and nothing may differ."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from gainstage.engine.flow.batcher import Batcher
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.oom import is_out_of_memory

SLOTS = 3
SHARE = 0.6
"""Of what a single slot takes beside the weights, for all slots together."""

ALIKE_S = 0.1
"""Edges of turns may lie this far apart: a card chooses its kernels by the size of a call, and with it the last digits."""


class Memory(Protocol):
    """The memory of a device in bytes; ``limit`` None lifts a limit."""

    def used(self) -> int: ...
    def peak(self) -> int: ...
    def limit(self, most: int | None) -> None: ...


class CudaMemory:
    """That of PyTorch's allocator on the first card."""

    def used(self) -> int:
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())

    def peak(self) -> int:
        import torch

        return int(torch.cuda.max_memory_allocated())

    def limit(self, most: int | None) -> None:
        import torch

        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(1.0 if most is None else min(1.0, most / total))


def shared_batch(device: str) -> dict[str, Any]:
    """A shared batch that does not fit: every item gets its result in smaller calls, and only the one that never fits is refused."""
    import torch

    fits, calls = 8, []

    def call(items: list[int]) -> list[int]:
        calls.append(len(items))
        size = 1 << 50 if len(items) > fits or -1 in items else 1  # bytes no machine has
        torch.empty(size, dtype=torch.uint8, device=device)
        return items

    batcher: Batcher[int, int] = Batcher("drill", call, cost=lambda _: 1.0, budget=64, linger_s=0.0, is_oom=is_out_of_memory)
    with batcher:
        items = [*range(40), -1]
        results = batcher.submit(items, token=CancelToken())
        after = batcher.submit(list(range(8)), token=CancelToken())
    lost = [item for item, result in zip(items, results, strict=True) if isinstance(result, Exception)]
    return {"items": len(items), "calls": len(calls), "refused": lost, "fine": lost == [-1] and after == list(range(8))}


def slots(device: str, folder: Path, seconds: float, memory: Memory, engine: str = "stacked") -> dict[str, Any]:
    """Slots of the diarizer beside each other with less memory than a single one takes: each finds the turns that one finds alone."""
    from gainstage.engine.bench.diarize import real_size, talk
    from gainstage.engine.bench.quality import demo_settings
    from gainstage.engine.speech.diarize import Diarizer

    audio, parts = talk(folder, seconds), real_size(0, device)
    settings = demo_settings({"diarization.engine": engine}).diarization
    refused: list[int] = []

    def edges(_: int) -> list[float]:
        turns = (
            Diarizer(parts).diarize(audio, settings, token=CancelToken(), on_oom=lambda step, chunks: refused.append(chunks)).turns
        )
        return sorted(edge for turn in turns for edge in (turn.start, turn.end))

    weights = memory.used()
    alone = edges(0)
    wanted = memory.peak() - weights
    memory.limit(weights + round(SHARE * wanted))
    try:
        with ThreadPoolExecutor(SLOTS) as pool:
            found = list(pool.map(edges, range(SLOTS)))
    finally:
        memory.limit(None)
    alike = [len(one) == len(alone) and all(abs(a - b) <= ALIKE_S for a, b in zip(one, alone, strict=True)) for one in found]
    return {
        "slots": SLOTS,
        "MB_of_one": round(wanted / 1e6),
        "MB_for_all": round(SHARE * wanted / 1e6),
        "calls_that_did_not_fit": len(refused),
        "fine": all(alike) and bool(refused),
    }


def drills(device: str, folder: Path, seconds: float) -> Iterator[dict[str, Any]]:
    yield shared_batch(device)
    if device == "cuda":  # the memory of a CPU has no limit that a process can set and lift
        yield slots(device, folder, seconds, CudaMemory())
