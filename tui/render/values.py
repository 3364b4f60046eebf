"""Reading a typed value for a setting, before it is sent. The engine checks it again; this catches what it would refuse."""

from __future__ import annotations

from math import isfinite
from typing import Any

from gainstage.engine.views.rows import SettingRow

_ON = {"on", "true", "yes", "1"}
_OFF = {"off", "false", "no", "0"}
_SIZES = {"k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


class BadValue(ValueError):
    """Not a value of this setting; the message says why."""


def read_value(row: SettingRow, text: str) -> Any:
    """The value ``text`` means for a setting. ``none`` (or nothing) empties an optional one."""
    text = text.strip()
    if row.optional and text.lower() in ("", "none", "-"):
        return None
    if not text:
        raise BadValue("nothing typed")
    if row.choices:
        if text not in row.choices:
            raise BadValue(f"one of {', '.join(row.choices)}")
        return text
    if isinstance(row.default, bool) or isinstance(row.value, bool):
        if text.lower() in _ON:
            return True
        if text.lower() in _OFF:
            return False
        raise BadValue("on or off")
    if row.low is None and row.high is None:
        return text
    return _number(row, text)


def _number(row: SettingRow, text: str) -> Any:
    factor = 1
    if row.unit == "bytes" and text[-1:].lower() in _SIZES:
        factor, text = _SIZES[text[-1].lower()], text[:-1]
    try:
        number = float(text.rstrip("%")) * factor
    except ValueError:
        raise BadValue(f"a number, not {text[:40]!r}") from None
    if not isfinite(number):
        raise BadValue(f"a number, not {text[:40]!r}")
    return bounded(row, number)


def bounded(row: SettingRow, number: float) -> Any:
    """A number inside the range of a setting, whole where the setting is; raises :class:`BadValue`."""
    whole = isinstance(row.default, int) or (
        row.default is None and isinstance(row.step, int | float) and float(row.step).is_integer()
    )
    if whole and number != int(number):
        raise BadValue("a whole number")
    if (row.low is not None and number < row.low) or (row.high is not None and number > row.high):
        raise BadValue(
            f"{number:g} is outside {row.low:g} to {row.high:g}" if row.low is not None and row.high is not None else "out of range"
        )
    return int(number) if whole else round(number, 6)


def stepped(row: SettingRow, value: Any, steps: int) -> Any:
    """The value some steps up or down, clamped to the range; choices and switches go round."""
    if row.choices:
        here = row.choices.index(str(value)) if str(value) in row.choices else 0
        return row.choices[(here + steps) % len(row.choices)]
    if isinstance(row.default, bool):
        return not value
    if row.step is None:
        raise BadValue("no steps: e types a value")
    start = value if value is not None else (row.low or 0)
    number = start + steps * row.step
    if row.low is not None:
        number = max(row.low, number)
    if row.high is not None:
        number = min(row.high, number)
    return bounded(row, round(number, 6))
