"""Questions that a screen wants asked again and again, and their answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gainstage.engine.views.desk import Desk


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """A question that the poller asks while its screen is shown. ``every_s`` 0 asks once."""

    name: str
    ask: Callable[[Desk], Any]
    every_s: float = 1.0


@dataclass(frozen=True, slots=True)
class FeedResult:
    """The answer to a feed: a value, or the error message of the desk."""

    feed: Feed
    value: Any = None
    error: str | None = None
