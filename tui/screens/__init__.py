"""The seven screens, each imported when it is first shown."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gainstage.tui.screens.base import DeskScreen


def make_screen(name: str) -> DeskScreen:
    """The screen of a name of :data:`gainstage.tui.state.actions.SCREENS`."""
    module = import_module(f"gainstage.tui.screens.{name}")
    screen: DeskScreen = getattr(module, f"{name.capitalize()}Screen")()
    return screen
