"""The last two hours of snapshots, one a second, in a few megabytes.

Neighbouring frames differ in a handful of figures, so they are kept as JSON in blocks of thirty, each block compressed as one
piece: about a kilobyte a frame where the frame itself has forty.
"""

from __future__ import annotations

import lzma
import threading
from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass

from gainstage.engine.views.frame_json import dumps, loads
from gainstage.engine.views.snapshot import Snapshot

BLOCK = 30
LARGE, LARGE_EVERY_S = 200_000, 4.75
"""Frames of many engines, in bytes: writing and packing one each second would cost more than drawing it."""
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1 << 22}]


@dataclass(frozen=True, slots=True)
class _Block:
    walls: tuple[float, ...]
    lengths: tuple[int, ...]
    packed: bytes

    def texts(self) -> list[bytes]:
        raw = lzma.decompress(self.packed, lzma.FORMAT_RAW, filters=_FILTERS)
        texts, start = [], 0
        for length in self.lengths:
            texts.append(raw[start : start + length])
            start += length
        return texts


def _pack(frames: list[tuple[float, bytes]]) -> _Block:
    return _Block(
        tuple(wall for wall, _ in frames),
        tuple(len(text) for _, text in frames),
        lzma.compress(b"".join(text for _, text in frames), lzma.FORMAT_RAW, filters=_FILTERS),
    )


class Ring:
    """Frames by wall time, oldest dropped beyond ``seconds``. Safe to write in one thread and read in another."""

    def __init__(self, seconds: float = 7200.0) -> None:
        self._seconds = seconds
        self._blocks: deque[_Block] = deque()
        self._open: list[tuple[float, bytes]] = []
        self._large = False
        self._lock = threading.Lock()
        self._unpacked: tuple[_Block, list[bytes]] | None = None

    def __len__(self) -> int:
        with self._lock:
            return sum(len(block.walls) for block in self._blocks) + len(self._open)

    @property
    def bytes(self) -> int:
        """Memory that the frames take."""
        with self._lock:
            return sum(len(b.packed) for b in self._blocks) + sum(len(text) for _, text in self._open)

    def add(self, snapshot: Snapshot) -> bool:
        """Keep a snapshot unless one of the same second (of a large fleet: of the same seconds) is kept; says whether it was kept."""
        with self._lock:
            last = self._open[-1][0] if self._open else self._blocks[-1].walls[-1] if self._blocks else None
            if last is not None and 0 <= snapshot.wall - last < (LARGE_EVERY_S if self._large else 0.95):
                return False
            self._open.append((snapshot.wall, dumps(snapshot).encode()))
            self._large = len(self._open[-1][1]) > LARGE
            full = self._open if len(self._open) >= BLOCK else None
        if full is not None:
            block = _pack(full)
            with self._lock:
                self._blocks.append(block)
                self._open = []
                while self._blocks and self._blocks[0].walls[-1] < snapshot.wall - self._seconds:
                    self._blocks.popleft()
        return True

    def prepend(self, older: tuple[Snapshot, ...]) -> int:
        """Frames from before the console was there; those not older than the ones here are left out. Returns how many were taken."""
        walls = self.walls()
        until = walls[0] if walls else float("inf")
        taken, last = [], float("-inf")
        for snapshot in older:
            if last + 0.95 <= snapshot.wall < until:
                taken.append((snapshot.wall, dumps(snapshot).encode()))
                last = snapshot.wall
        blocks = [_pack(taken[i : i + BLOCK]) for i in range(0, len(taken), BLOCK)]
        with self._lock:
            self._blocks.extendleft(reversed(blocks))
        return len(taken)

    def walls(self) -> list[float]:
        """Times of all frames, oldest first."""
        with self._lock:
            return [w for block in self._blocks for w in block.walls] + [wall for wall, _ in self._open]

    def at(self, wall: float) -> Snapshot | None:
        """The last frame at or before a time, else the oldest; None when empty."""
        with self._lock:
            blocks, tail = list(self._blocks), list(self._open)
        if tail and (wall >= tail[0][0] or not blocks):
            return loads(tail[max(0, bisect_right([w for w, _ in tail], wall) - 1)][1])
        if not blocks:
            return None
        block = blocks[max(0, bisect_right([b.walls[0] for b in blocks], wall) - 1)]
        if self._unpacked is None or self._unpacked[0] is not block:
            self._unpacked = (block, block.texts())
        return loads(self._unpacked[1][max(0, bisect_right(block.walls, wall) - 1)])

    def step(self, wall: float, frames: int) -> float | None:
        """The time ``frames`` frames away from a time, clamped to the frames here; None when empty."""
        walls = self.walls()
        if not walls:
            return None
        here = bisect_left(walls, wall) if frames < 0 else bisect_right(walls, wall) - 1
        return walls[min(len(walls) - 1, max(0, here + frames))]
