"""Keys of settings with a scope: ``workers.transcribe@gpu-07``. Nothing heavy is imported here: the console reads it at its start."""

from __future__ import annotations

from collections.abc import Sequence


def split_scope(key: str) -> tuple[str, str]:
    """(setting, scope) of ``workers.transcribe@gpu-07``: a value for the engines of one host, or for one of them by ``host/name``;
    the scope is "" for all.
    """
    name, _, scope = key.partition("@")
    return name, scope


def with_scope(key: str, scope: str) -> str:
    """The key of a value for ``scope`` alone; see :func:`split_scope`."""
    return f"{key}@{scope}" if scope else key


def scope_of(key: str, places: Sequence[str]) -> str:
    """The scope of a new value for an engine with these places: the narrowest; what consoles alone read has none."""
    return places[-1] if places and not key.startswith("console.") else ""
