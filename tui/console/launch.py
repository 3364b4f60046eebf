"""Running the console on a desk until the operator leaves it."""

from __future__ import annotations

from typing import Any

from gainstage.engine.views.desk import Desk
from gainstage.tui.console.app import GainstageApp
from gainstage.tui.console.terminal_guard import remember_early_signals


def run_console(desk: Desk, **options: Any) -> int:
    """Run the console with the options of :class:`GainstageApp`; the exit status. The desk stays open: it is the caller's."""
    app = GainstageApp(desk, early_signals=remember_early_signals(), **options)
    result = app.run()
    if app.farewell:
        print(app.farewell)
    return result if result is not None else app.return_code or 0
