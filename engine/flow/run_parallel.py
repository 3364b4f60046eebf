"""Run the branches of one recording side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from gainstage.engine.errors import Cancelled
from gainstage.engine.flow.cancel import CancelToken

A = TypeVar("A")
B = TypeVar("B")


def run_parallel(token: CancelToken, first: Callable[[CancelToken], A], second: Callable[[CancelToken], B]) -> tuple[A, B]:
    """Both results, with ``second`` on a thread of its own beside ``first``.

    When one branch fails the other is cancelled, both are waited for, and the failure that came first is raised: a
    recording never leaves a branch running behind it.
    """
    shared = token.child()
    results: dict[str, object] = {}
    failures: list[BaseException] = []

    def branch(name: str, work: Callable[[CancelToken], object]) -> None:
        try:
            results[name] = work(shared)
        except BaseException as error:  # handed to the caller's thread, which raises it
            failures.append(error)
            shared.cancel("the other branch failed")

    other = threading.Thread(target=branch, args=("second", second), name=f"{threading.current_thread().name}/b", daemon=True)
    other.start()
    branch("first", first)
    other.join()
    if failures:
        # a sibling's Cancelled is only the echo of the failure that caused it
        failure = next((f for f in failures if not isinstance(f, Cancelled)), failures[0])
        failures.clear()  # its traceback holds the frames that hold it: a circle, which would keep their arrays for long
        try:
            raise failure
        finally:
            del failure
    return results["first"], results["second"]  # type: ignore[return-value]
