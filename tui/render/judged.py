"""The figures of a decision as text: ``.064`` and ``.58`` as cosines, ``2.4×`` and ``3.1σ`` in one voice's own deviation."""

from __future__ import annotations

from gainstage.engine.views.judged import Judged
from gainstage.tui.render import format as fmt


def variance(judged: Judged) -> str:
    return _figure(judged.variance, judged.calibrated, 3, "×")


def range_of(judged: Judged) -> str:
    return _figure(judged.range, judged.calibrated, 2, "σ")


def variance_limit(judged: Judged) -> str:
    return _figure(judged.variance_limit, judged.calibrated, 3, "×")


def range_limit(judged: Judged) -> str:
    return _figure(judged.range_limit, judged.calibrated, 2, "σ")


def _figure(value: float | None, calibrated: bool, digits: int, unit: str) -> str:
    if value is None or not fmt.known(value):
        return fmt.UNKNOWN
    if not calibrated:
        return fmt.decimal(value, digits)
    return f"{value:.1f}{unit}" if value < 9.95 else f"{fmt.brief(value)}{unit}"
