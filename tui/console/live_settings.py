"""The settings as the desk last gave them, and which of the console's own have changed."""

from __future__ import annotations

from typing import Any

from gainstage.config.defaults import MEMORY_LIMIT_PERCENT
from gainstage.engine.views.rows import SettingRow
from gainstage.tui.state.feeds import Feed

OWN = ("console.refresh", "console.theme", "console.keys")


class ShownSettings:
    """``rows`` by key; empty until the desk has answered."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Ask anew; an answer to what was asked before is not taken any more."""
        self.rows: dict[str, SettingRow] = {}
        self.feed = Feed("settings", lambda desk: desk.settings(), 2.0)

    def receive(self, rows: tuple[SettingRow, ...]) -> dict[str, Any]:
        """Keep the rows; the console's own settings that changed. The values it started with were given to it as options."""
        before, self.rows = self.rows, {row.key: row for row in rows}
        both = [(before[key], self.rows[key]) for key in OWN if key in before and key in self.rows]
        return {new.key: new.value for old, new in both if old.value != new.value}

    @property
    def memory_limit(self) -> float:
        """``watch.memory_limit`` as a share."""
        row = self.rows.get("watch.memory_limit")
        return (float(row.value) if row is not None else MEMORY_LIMIT_PERCENT) / 100
