"""Every setting as a console lists it: the schema, the value in force, and where that comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gainstage.config.settings import SPECS
from gainstage.engine.views.rows import SettingRow


def setting_rows(below: Mapping[str, tuple[Any, str]], live: Mapping[str, tuple[Any, int]]) -> tuple[SettingRow, ...]:
    """Rows in the order of the schema. ``below`` has (value, origin) of every key under the live layer, ``live`` (value,
    revision) of those set live.
    """
    rows = []
    for key, spec in SPECS.items():
        value, origin = below[key]
        revision = None
        if key in live:
            (value, revision), origin = live[key], "live"
        rows.append(SettingRow.of(spec, value, origin, revision))
    return tuple(rows)
