"""Calls to a database that may be away for a while: waited for, so that an outage costs time and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from gainstage.engine.backoff import Backoff
from gainstage.engine.errors import Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.store.trouble import AWAY

T = TypeVar("T")

BUSY_S = 120.0
"""Patience with a database that answers but is busy or out of room: finished work is not thrown away at once."""

STARTUP_PATIENCE_S = 60.0
"""Patience of a starting engine with a database that is there but takes no connection yet, or is away."""

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 2.0

Report = Callable[[Transient], object]


def retry_until(
    call: Callable[[], T],
    token: CancelToken,
    *,
    patience_s: float = float("inf"),
    busy_s: float = BUSY_S,
    ending_s: float = 0.0,
    report: Report = lambda _: None,
    waiting: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> T:
    """Call until it goes through; ``report`` gets every failure, ``waiting`` is entered between two calls.

    Raises the last :class:`Transient` when patience is over: ``patience_s`` seconds with a database that is away, ``busy_s`` at
    most with one that answers. A cancelled token ends the wait with :class:`Cancelled`; with ``ending_s`` the call is tried for
    that long after the cancel, and then its last error is raised.
    """
    backoff, began, cancelled_at = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S), time.monotonic(), None
    while True:
        try:
            return call()
        except Throttled:  # says nothing of the database: a host, or a twin that goes first
            raise
        except Transient as error:
            now = time.monotonic()
            if now - began > (patience_s if error.cause == AWAY else min(busy_s, patience_s)):
                raise
            report(error)
            with waiting():
                cancelled = token.wait(backoff.next())
            if not cancelled:
                continue
            if not ending_s:
                token.check()
            cancelled_at = now if cancelled_at is None else cancelled_at
            if now - cancelled_at > ending_s:
                raise
            time.sleep(FIRST_WAIT_S)
