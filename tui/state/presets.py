"""Three starting points for the settings that act at once: safe, balanced, fast. They fit the machine that the engine runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gainstage.engine.views.rows import SettingRow
from gainstage.engine.views.snapshot import Snapshot
from gainstage.tui.render.format import value

MOST_SLOTS = 8
"""Slots of transcribe beyond which more of them wait for memory, not for cores."""


@dataclass(frozen=True, slots=True)
class Preset:
    """``values`` by setting; ``purpose`` says when an operator wants them. ``lowers`` and ``raises``: what it may do to a value."""

    name: str
    purpose: str
    values: Mapping[str, int]
    lowers: bool = True
    raises: bool = True


@dataclass(frozen=True, slots=True)
class PresetChange:
    """A setting that a preset changes."""

    row: SettingRow
    new: int

    @property
    def text(self) -> str:
        return f"{self.row.key} {value(self.row.value)} → {value(self.new)}"


def _values(fetch: int, decode: int, transcribe: int, rest: int, in_flight: int, voices_s: int, texts: int) -> dict[str, int]:
    """``rest``: slots of identify, embed and store; diarize gets half as many slots as transcribe, one at least."""
    return {
        "workers.fetch": fetch,
        "workers.decode": decode,
        "workers.transcribe": transcribe,
        "workers.diarize": max(1, transcribe // 2),
        "workers.identify": rest,
        "workers.embed": rest,
        "workers.store": rest,
        "in_flight": in_flight,
        "voice.batch_seconds": voices_s,
        "embed.batch": texts,
    }


def presets_for(snapshot: Snapshot | None) -> tuple[Preset, ...]:
    """The presets for the machine of a snapshot.

    With a GPU the models share the card; without one each slot of transcribe keeps about four cores busy, so their number
    follows the cores. An unknown machine counts as one of four cores.
    """
    cores = (snapshot.host.cores if snapshot is not None else None) or 4
    gpu = snapshot is not None and bool(snapshot.devices)
    by_cores = min(MOST_SLOTS, max(1, cores // 4))
    safe = _values(2, 1, 1, 1, 4, 30 if gpu else 20, 16)
    if gpu:
        balanced = _values(8, min(2, by_cores), 2, 2, 12, 120, 64)
        fast = _values(16, min(4, by_cores), 4, 2, 24, 240, 128)
    else:
        balanced = _values(4, 1, max(1, by_cores // 2), 1, 6, 20, 16)
        fast = _values(8, min(2, by_cores), by_cores, 2, 12, 60, 32)
    return (
        Preset("safe", "least memory, room for others", safe, raises=False),
        Preset("balanced", "for most runs", balanced),
        Preset("fast", "the whole machine for this run", fast, lowers=False),
    )


def changes_of(preset: Preset, rows: Mapping[str, SettingRow]) -> list[PresetChange]:
    """What a preset would change, each value inside the range of its setting."""
    changes = []
    for key, wanted in preset.values.items():
        row = rows.get(key)
        if row is None:
            continue
        low = wanted if row.low is None else row.low
        high = wanted if row.high is None else row.high
        new = int(min(max(wanted, low), high))
        if (preset.raises and new > row.value) or (preset.lowers and new < row.value):
            changes.append(PresetChange(row, new))
    return changes
