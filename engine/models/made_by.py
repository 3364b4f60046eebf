"""The versions that a result was made by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def made_by(*libraries: str) -> Sequence[str]:
    """gainstage and libraries with their versions: results of another one are not the same."""
    return tuple(f"{name} {_version(name)}" for name in ("gainstage", *libraries))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
