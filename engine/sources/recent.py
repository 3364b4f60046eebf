"""A dictionary with a size limit, so that a process's memory does not grow forever."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(dict[K, V], Generic[K, V]):
    """A dictionary of the ``most`` entries stored last. Thread-safe for single operations."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._lock = threading.Lock()
        self._order: OrderedDict[K, None] = OrderedDict()

    def __setitem__(self, key: K, value: V) -> None:
        with self._lock:
            self._order[key] = None
            self._order.move_to_end(key)
            super().__setitem__(key, value)
            while len(self._order) > self._most:
                old, _ = self._order.popitem(last=False)
                super().pop(old, None)

    def clear(self) -> None:
        with self._lock:
            self._order.clear()
            super().clear()
