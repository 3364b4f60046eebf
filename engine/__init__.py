"""The engine. :func:`transcribe` and :func:`open` are all that a program needs of it: see :mod:`gainstage.engine.api`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gainstage.engine.api import Result, System, open, transcribe

__all__ = ["Result", "System", "open", "transcribe"]


def __getattr__(name: str) -> Any:
    """Loaded when first asked for: importing the engine has to stay cheap."""
    if name in __all__:
        return getattr(import_module("gainstage.engine.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
