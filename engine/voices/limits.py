"""The numbers that speaker decisions depend on: taken from the settings and stored with every decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from gainstage.config.settings import Identify
from gainstage.engine.voices.calibration import Calibration

PREFIX = "identify."


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits in force; each number is the setting ``identify.<field>``. Similarities are cosines, ``smooth_below`` seconds.

    With a ``calibration``, scores are judged as probabilities; without one, as cosines.
    """

    range_limit: float = 0.5
    variance_limit: float = 0.05
    split_threshold: float = 0.65
    primary_threshold: float = 0.62
    other_threshold: float = 0.82
    margin: float = 0.05
    smooth_below: float = 1.0
    fast_path_mean: float = 0.72
    fast_path_low: float = 0.62
    probability: float = 0.99
    turn_probability: float = 0.25
    range_spreads: float = 7.5
    variance_spreads: float = 6.5
    fast_path_probability: float = 0.9
    calibration: Calibration | None = None

    @classmethod
    def from_settings(cls, identify: Identify, calibration: Calibration | None = None) -> Limits:
        """The limits that these settings give; ``calibration`` is used when ``identify.scale`` says so."""
        used = calibration if identify.scale == "calibrated" else None
        return cls(**{name: float(getattr(identify, name)) for name in _numbers()}, calibration=used)

    @classmethod
    def from_record(cls, record: Mapping[str, float]) -> Limits:
        """The limits stored with a decision (see :meth:`record`); other keys are ignored."""
        known = _numbers()
        given = {key.removeprefix(PREFIX): float(value) for key, value in record.items()}
        return cls(**{key: value for key, value in given.items() if key in known}, calibration=Calibration.from_record(record))

    def record(self) -> dict[str, float]:
        """The limits by setting key, in the form stored with a decision."""
        return {PREFIX + name: getattr(self, name) for name in _numbers()} | (self.calibration.record() if self.calibration else {})

    def changed(self, changes: Mapping[str, float]) -> Limits:
        """A copy with some settings changed, by key. Raises ``KeyError`` for a key that is not a limit."""
        known = {PREFIX + name for name in _numbers()}
        for key in changes:
            if key not in known:
                raise KeyError(key)
        values: dict[str, Any] = {key.removeprefix(PREFIX): float(value) for key, value in changes.items()}
        return replace(self, **values)

    def threshold(self, primary: bool, own: float | None) -> float:
        """The score a profile must reach: the primary's setting, a profile's ``own`` threshold, or the setting for others."""
        if primary:
            return self.primary_threshold
        return self.other_threshold if own is None else own


def _numbers() -> tuple[str, ...]:
    return tuple(f.name for f in fields(Limits) if f.name != "calibration")
