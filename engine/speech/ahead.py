"""The next part of a recording is prepared on a thread of its own while the present one is worked on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(prepare: Callable[[T], R], parts: Sequence[T]) -> Generator[R, None, None]:
    """``prepare(part)`` of each part in order, one ahead of the consumer; what it raises is raised here. A single part is prepared
    on the calling thread. Close it to end: a preparation under way is waited for.
    """
    if len(parts) < 2:
        yield from map(prepare, parts)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        following = pool.submit(prepare, parts[0])
        for part in parts[1:]:
            ready = following.result()
            following = pool.submit(prepare, part)
            yield ready
            del ready  # two parts in memory, not three
        yield following.result()
