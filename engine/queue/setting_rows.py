"""Every setting as a console lists it: the schema, the value in force, and where that comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gainstage.config.setting_keys import scope_of, split_scope, with_scope
from gainstage.config.settings import SPECS
from gainstage.engine.views.rows import SettingRow


def setting_rows(
    below: Mapping[str, tuple[Any, str]], live: Mapping[str, tuple[Any, int]], places: Sequence[str] = ()
) -> tuple[SettingRow, ...]:
    """Rows in the order of the schema. ``below`` has (value, origin) of every key under the live layer, ``live`` (value,
    revision) of those set live; a value for one host or engine has a row of its own after that for all.

    With the ``places`` of one engine (the wider before the narrower): its settings alone, with the value that holds there.
    """
    rows = []
    for key, spec in SPECS.items():
        value, origin = below[key]
        revision = None
        for place in ("", *places):
            if (at := with_scope(key, place)) in live:
                (value, revision), origin = live[at], f"live for {place}" if place else "live"
        rows.append(replace(SettingRow.of(spec, value, origin, revision), scope=scope_of(key, places)))
        for scoped in () if places else (k for k in live if k != key and split_scope(k)[0] == key):
            value, revision = live[scoped]
            row = SettingRow.of(spec, value, "live", revision)
            rows.append(replace(row, key=scoped, help=f"Of {split_scope(scoped)[1]} alone. {row.help}"))
    return tuple(rows)
