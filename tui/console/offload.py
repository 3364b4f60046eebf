"""Blocking questions off the thread that draws, on threads that never keep the console open.

Textual's thread workers share one small pool and are waited for at exit; a desk hanging in a connect would hold both. A
thread of its own per question costs less than the question.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def offload(call: Callable[[], T], name: str) -> T:
    """``call()`` in a daemon thread named ``console-<name>``; its result or exception here."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, problem: BaseException | None) -> None:
        if future.cancelled():
            return
        if problem is not None:
            future.set_exception(problem)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        problem: BaseException | None = None
        try:
            result = call()
        except Exception as error:  # handed over, raised where it is awaited
            problem = error
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(settle, result, problem)
            except RuntimeError:  # the loop closed in between: nobody waits any more
                return

    threading.Thread(target=run, name=f"console-{name}", daemon=True).start()
    return await future
