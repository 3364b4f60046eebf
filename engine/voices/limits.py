"""The numbers that speaker decisions depend on: taken from the settings and stored with every decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from gainstage.config.settings import Identify

PREFIX = "identify."


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits in force; each field is the setting ``identify.<field>``. Similarities are cosines, ``smooth_below`` seconds."""

    range_limit: float = 0.5
    variance_limit: float = 0.05
    split_threshold: float = 0.65
    primary_threshold: float = 0.62
    other_threshold: float = 0.82
    margin: float = 0.05
    smooth_below: float = 1.0
    fast_path_mean: float = 0.72
    fast_path_low: float = 0.62

    @classmethod
    def from_settings(cls, identify: Identify) -> Limits:
        """The limits that these settings give."""
        return cls(**{f.name: float(getattr(identify, f.name)) for f in fields(cls)})

    @classmethod
    def from_record(cls, record: Mapping[str, float]) -> Limits:
        """The limits stored with a decision (see :meth:`record`); other keys are ignored."""
        known = {f.name for f in fields(cls)}
        given = {key.removeprefix(PREFIX): float(value) for key, value in record.items()}
        return cls(**{key: value for key, value in given.items() if key in known})

    def record(self) -> dict[str, float]:
        """The limits by setting key, in the form stored with a decision."""
        return {PREFIX + f.name: getattr(self, f.name) for f in fields(self)}

    def changed(self, changes: Mapping[str, float]) -> Limits:
        """A copy with some settings changed, by key. Raises ``KeyError`` for a key that is not a limit."""
        known = {PREFIX + f.name for f in fields(self)}
        for key in changes:
            if key not in known:
                raise KeyError(key)
        return replace(self, **{key.removeprefix(PREFIX): float(value) for key, value in changes.items()})

    def threshold(self, primary: bool, own: float | None) -> float:
        """The score a profile must reach: the primary's setting, a profile's ``own`` threshold, or the setting for others."""
        if primary:
            return self.primary_threshold
        return self.other_threshold if own is None else own
