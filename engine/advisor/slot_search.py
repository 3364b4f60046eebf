"""The search for the best numbers of slots: one change or one pair at a time, kept or taken back by what it measurably did. Pure.

The advisor's proposals come first, then the neighbour steps that no rule knows. A configuration that ran out of memory, and every
one that holds at least as much, is not tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Values = Mapping[str, int]
"""Settings by key."""

KEEP = 0.01
"""Gain from which a change is kept; less is lost in noise, and memory is not."""

Outcome = Literal["kept", "taken back", "out of memory"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Least and most of a setting."""

    low: int
    high: int


@dataclass(slots=True)
class SlotSearch:
    """``at`` is the best configuration known, ``bounds`` name the settings that may move. ``holding`` are those of them whose slots
    hold memory of the device."""

    at: dict[str, int]
    bounds: Mapping[str, Bounds]
    holding: frozenset[str] = frozenset()
    tried: set[tuple[int, ...]] = field(default_factory=set)
    too_much: list[dict[str, int]] = field(default_factory=list)  # ran out of memory
    _last: dict[str, int] = field(default_factory=dict)  # the step that was kept last: the same again comes first

    def __post_init__(self) -> None:
        self.tried.add(self._key(self.at))

    def next(self, proposals: Sequence[Values] = ()) -> dict[str, int] | None:
        """The next change to try, as the new values of the keys it moves; None when nothing is left to try."""
        for change in (*proposals, *self._neighbours()):
            wanted = {**self.at, **change}
            if self._allowed(wanted) and self._key(wanted) not in self.tried:
                return {key: value for key, value in wanted.items() if value != self.at[key]}
        return None

    def note(self, change: Values, gain: float | None, *, out_of_memory: bool = False) -> Outcome:
        """What a change did: keep it from :data:`KEEP` on, else it is to be taken back. ``gain`` None could not be measured."""
        wanted = {**self.at, **change}
        self.tried.add(self._key(wanted))
        if out_of_memory:
            self.too_much.append(wanted)
            return "out of memory"
        if gain is None or gain < KEEP:
            return "taken back"
        self._last = {key: wanted[key] - self.at[key] for key in change}
        self.at = wanted
        return "kept"

    def _allowed(self, wanted: Values) -> bool:
        if any(not self.bounds[key].low <= value <= self.bounds[key].high for key, value in wanted.items()):
            return False
        return not any(all(wanted[key] >= known[key] for key in self.holding) for known in self.too_much)

    def _key(self, values: Values) -> tuple[int, ...]:
        return tuple(values[key] for key in sorted(self.bounds))

    def _neighbours(self) -> Iterator[Values]:
        """The same step again, one more of each, pairs, one fewer of each, exchanges, and larger steps: cheap ones first."""
        keys = sorted(self.bounds)
        if self._last:
            yield self._moved(self._last.items())
        yield from (self._moved([(key, 1)]) for key in keys)
        pairs = [(a, b) for n, a in enumerate(keys) for b in keys[n + 1 :]]
        yield from (self._moved([(a, 1), (b, 1)]) for a, b in pairs)
        yield from (self._moved([(key, -1)]) for key in keys)
        yield from (self._moved([(a, 1), (b, -1)]) for a, b in pairs)
        yield from (self._moved([(a, -1), (b, 1)]) for a, b in pairs)
        yield from (self._moved([(key, 2)]) for key in keys)
        yield from (self._moved([(a, -1), (b, -1)]) for a, b in pairs)
        yield from (self._moved([(a, 2), (b, 1)]) for a, b in pairs)
        yield from (self._moved([(a, 1), (b, 2)]) for a, b in pairs)
        yield self._moved([(key, 1) for key in keys])

    def _moved(self, steps: Iterable[tuple[str, int]]) -> Values:
        return {key: self.at[key] + step for key, step in steps}
