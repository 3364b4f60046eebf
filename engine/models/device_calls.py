"""Model calls share the memory of their device: beside each other as a rule, one alone when it did not fit beside the others."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class DeviceCalls:
    """Who calls a model at present. A call made within a call, on the same thread, belongs to it.

    Slots that run out of memory at the same moment would do so at each attempt. Whoever does not fit even in its smallest call waits
    here until the others' calls have ended, and has the device for one call.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._waiting = 0  # calls that are to be alone: while there is one, no other begins
        self._thread = threading.local()

    @contextmanager
    def beside(self) -> Iterator[None]:
        """For the time of a call that may have others beside it."""
        if getattr(self._thread, "calls", False):
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting)
            self._running += 1
        with self._called():
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For the time of a call that must have none beside it; not within a call."""
        if getattr(self._thread, "calls", False):
            raise RuntimeError("a call within a call cannot be alone")
        with self._changed:
            self._waiting += 1
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._running)
                self._running += 1
            with self._called():
                yield
        finally:
            with self._changed:
                self._waiting -= 1
                self._changed.notify_all()

    @contextmanager
    def _called(self) -> Iterator[None]:
        self._thread.calls = True
        try:
            yield
        finally:
            self._thread.calls = False
            with self._changed:
                self._running -= 1
                self._changed.notify_all()


DEVICE = DeviceCalls()
"""Those of this process, whose models share a device."""


def free_cached() -> None:
    """Give back what PyTorch keeps of a card for its next calls: other libraries get none of it."""
    torch = sys.modules.get("torch")  # not to be imported for this
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
