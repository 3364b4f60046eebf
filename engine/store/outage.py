"""Calls to a database that may be away for a while: waited for, so that an outage costs time and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from gainstage.engine.errors import Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.store.trouble import AWAY

T = TypeVar("T")

BUSY_S = 120.0
"""Patience with a database that answers but is busy or out of room: finished work is not thrown away at once."""

ENDING_S = 5.0
"""Patience of an engine that ends with a database that is away; its claims are found by the next engine."""

LONGEST_WAIT_S = 2.0

Tell = Callable[[Transient], object]


def retry_until(call: Callable[[], T], token: CancelToken, patience_s: float = float("inf"), tell: Tell = lambda _: None) -> T:
    """Call until it goes through; ``tell`` hears of every failure.

    Raises the last :class:`Transient` when patience is over (a database that answers gets :data:`BUSY_S` at most), and
    :class:`Cancelled` with the token.
    """
    wait_s, began = 0.25, time.monotonic()
    while True:
        try:
            return call()
        except Throttled:  # says nothing of the database: a host, or a twin that goes first
            raise
        except Transient as error:
            patience = patience_s if error.cause == AWAY else min(BUSY_S, patience_s)
            if time.monotonic() - began > patience:
                raise
            tell(error)
            token.wait(wait_s)
            token.check()
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s)


def insist(call: Callable[[], T], token: CancelToken, tell: Tell) -> T:
    """Call until it goes through, however long that takes; once the token is cancelled, for :data:`ENDING_S` more."""
    wait_s, ending = 0.25, None
    while True:
        try:
            return call()
        except Transient as error:
            tell(error)
            if not token.wait(wait_s):
                wait_s = min(LONGEST_WAIT_S, 2 * wait_s)
                continue
            ending = ending or time.monotonic() + ENDING_S
            if time.monotonic() > ending:
                raise
            time.sleep(0.25)
