"""Every setting as a console lists it: the schema, the value in force, and where that comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gainstage.config.origins import split_scope
from gainstage.config.settings import SPECS
from gainstage.engine.views.rows import SettingRow


def setting_rows(below: Mapping[str, tuple[Any, str]], live: Mapping[str, tuple[Any, int]]) -> tuple[SettingRow, ...]:
    """Rows in the order of the schema. ``below`` has (value, origin) of every key under the live layer, ``live`` (value,
    revision) of those set live; a value for one host or engine has a row of its own after that for all.
    """
    rows = []
    for key, spec in SPECS.items():
        value, origin = below[key]
        revision = None
        if key in live:
            (value, revision), origin = live[key], "live"
        rows.append(SettingRow.of(spec, value, origin, revision))
        for scoped in (k for k in live if split_scope(k) == (key, k.partition("@")[2]) and k != key):
            value, revision = live[scoped]
            row = SettingRow.of(spec, value, "live", revision)
            rows.append(replace(row, key=scoped, help=f"Of {split_scope(scoped)[1]} alone. {row.help}"))
    return tuple(rows)
