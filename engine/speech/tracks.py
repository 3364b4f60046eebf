"""Which tracks and channels of a file hold the speech: one person each, copies of each other, or nothing. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.speech.activity import Span, seconds_of, shared

Energies = NDArray[np.float32]
"""``(windows, lines)`` mean squares of lines (tracks or channels) in short windows of the same time."""

_DEAD = 1e-5
"""A line whose loud windows are 50 dB below those of the loudest line holds only cross-talk and noise."""

_SILENT = 1e-9
"""Mean square of -90 dBFS: lower energy is silence."""

_ACTIVE = 1e-3
"""A window is active when it is at most 30 dB below its line's loud windows."""

_ALONE = 30.0
"""A line is active alone when it is 15 dB louder than every other."""

_ALONE_SHARE = 0.6
"""Least share of its active windows in which a line with one person is active alone: two people sometimes interrupt each other."""

_CANCELLED = 0.1
"""The mean of ``n`` independent lines has 1/n of their energy; below this share of that they cancel each other."""

SPEAKS_S = 0.5
"""Least seconds of speech in a line; less is a cough."""

COVERED = 0.9
"""A track with this share of another's speech at the same times contains that speech too, or a translation of it."""


def loud(energies: Energies) -> NDArray[np.float32]:
    """The level of each line's loud windows (lines,): the 95th percentile of those that are not silent."""
    return np.array([np.percentile(line[line > _SILENT], 95) if (line > _SILENT).any() else 0.0 for line in energies.T], np.float32)


def alive(energies: Energies) -> list[int]:
    """Indexes of the lines that hold more than cross-talk of another."""
    levels = loud(energies)
    top = float(levels.max(initial=0.0))
    return [k for k, level in enumerate(levels) if level > max(_SILENT, _DEAD * top)]


def apart(energies: Energies, lines: Sequence[int], least_s: float, window_s: float) -> bool:
    """Whether each of ``lines`` is one person: mostly alone when it is active, and alone for at least ``least_s`` seconds."""
    if len(lines) < 2:
        return False
    chosen = energies[:, list(lines)]
    levels = loud(chosen)
    for k in range(len(lines)):
        active = chosen[:, k] > _ACTIVE * levels[k]
        others = np.delete(chosen, k, axis=1).max(axis=1)
        alone = active & (chosen[:, k] > _ALONE * others)
        if alone.sum() * window_s < least_s or alone.sum() < _ALONE_SHARE * active.sum():
            return False
    return True


def cancelled(energies: Energies, mean: NDArray[np.float32]) -> int | None:
    """Index of the loudest channel when the channels cancel each other in their mean (windows,); None when they do not."""
    total = float(energies.mean(axis=0).mean()) if len(energies) else 0.0
    if energies.shape[1] < 2 or total <= _SILENT or float(mean.mean()) >= _CANCELLED * total / energies.shape[1]:
        return None
    return int(loud(energies).argmax())


def covers(one: Sequence[Span], others: Sequence[Sequence[Span]]) -> bool:
    """Whether the speech of a track includes that of all ``others``."""
    return all(seconds_of(shared(one, other)) >= COVERED * seconds_of(other) for other in others)
