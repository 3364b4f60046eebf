"""How much cost a call may have: the setting, or less after running out of memory."""

from __future__ import annotations

PATIENCE = 16
"""Batches in a row that must fit before a larger one is tried; doubles with each attempt that fails."""

MOST_PATIENCE = 1024
GROWTH = 1.5


class AdaptiveBudget:
    """Halved when a batch does not fit, grown again step by step towards the setting."""

    def __init__(self, setting: float) -> None:
        self.reset(setting)

    def reset(self, setting: float) -> None:
        """A new setting is tried at once. Raises ``ValueError`` unless it is above 0."""
        if not setting > 0:
            raise ValueError(f"a batch needs a budget above 0, not {setting}")
        self.setting = setting
        self.now = setting
        self._fits = 0
        self._patience = PATIENCE
        self._grown = False

    def ran_out(self, cost: float, items: int) -> None:
        """A call of this cost did not fit. A single item says nothing about batches."""
        if items > 1:
            self.now = min(self.now, cost / 2)
            self._fits = 0
            if self._grown:  # the last step up was one too many
                self._patience = min(MOST_PATIENCE, 2 * self._patience)
                self._grown = False

    def fitted(self, cost: float) -> None:
        """A call of this cost fitted; calls far below the budget prove nothing."""
        if self.now < self.setting and cost >= 0.5 * self.now:
            self._fits += 1
            if self._fits >= self._patience:
                self.now = min(self.setting, self.now * GROWTH)
                self._fits = 0
                self._grown = True
