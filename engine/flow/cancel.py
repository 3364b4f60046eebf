"""Cancellation as a value: a token handed down the flow, checked at every gate, batch and chunk loop."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from functools import partial
from itertools import count

from gainstage.engine.errors import Cancelled


class CancelToken:
    """Says once that something is to end, and why; the first reason stays.

    A :meth:`child` ends with its parent, never the other way round. A parent holds its children weakly, so a token per
    recording leaves nothing behind. Every method may be called from any thread and from a signal handler: whoever registers
    does so first and looks second, so a cancel in between is never lost.
    """

    __slots__ = ("__weakref__", "_callbacks", "_children", "_lock", "_numbers", "_reason")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._reason: str | None = None
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._children: weakref.WeakSet[CancelToken] = weakref.WeakSet()
        self._numbers = count()

    @property
    def cancelled(self) -> bool:
        return self._reason is not None

    @property
    def reason(self) -> str | None:
        """The reason given to :meth:`cancel`; None before it."""
        return self._reason

    def cancel(self, reason: str) -> None:
        """End this token and all its children; callbacks run in this thread. A second cancel does nothing.

        Every callback and every child is served even when a callback raises; then an ``ExceptionGroup`` of what was raised
        follows.
        """
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
            children = list(self._children)
        calls: list[Callable[[], object]] = [*callbacks, *(partial(child.cancel, reason) for child in children)]
        failures: list[Exception] = []
        for call in calls:
            try:
                call()
            except Exception as error:  # raised below, once every callback has run
                failures.append(error)
        if failures:
            raise ExceptionGroup("cancel callbacks failed", failures)

    def check(self) -> None:
        """Raises :class:`gainstage.engine.errors.Cancelled` with the reason once cancelled."""
        if self._reason is not None:
            raise Cancelled(self._reason)

    def child(self) -> CancelToken:
        """A token that ends with this one and can end earlier on its own."""
        child = CancelToken()
        with self._lock:
            self._children.add(child)
        if self._reason is not None:
            child.cancel(self._reason)
        return child

    def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call ``callback`` once, in the cancelling thread, or now when it has happened already.

        Returns a remover. The callback may still be running in the other thread when the remover returns.
        """
        with self._lock:
            number = next(self._numbers)
            self._callbacks[number] = callback

        def remove() -> None:
            with self._lock:
                self._callbacks.pop(number, None)

        if self._reason is not None:
            with self._lock:
                mine = self._callbacks.pop(number, None)
            if mine is not None:
                mine()
        return remove

    def wait(self, timeout_s: float | None = None) -> bool:
        """Sleep for ``timeout_s`` seconds (None: for ever) or until cancelled; True when cancelled."""
        if self._reason is None:
            bell = threading.Lock()
            bell.acquire()
            remove = self.on_cancel(bell.release)
            try:
                if timeout_s is None:
                    bell.acquire()
                else:
                    bell.acquire(timeout=max(0.0, timeout_s))
            finally:
                remove()
        return self._reason is not None
