"""The next part is prepared while the present one is worked on."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from gainstage.engine.speech.ahead import ahead

PATIENCE_S = 60.0


def test_parts_come_in_order_and_the_next_is_prepared_meanwhile() -> None:
    begun = [threading.Event() for _ in range(4)]
    where: list[str] = []

    def prepare(part: int) -> int:
        begun[part].set()
        where.append(threading.current_thread().name)
        return 10 * part

    seen = []
    with closing(ahead(prepare, range(4))) as parts:
        for n, part in enumerate(parts):
            if n < 3:
                assert begun[n + 1].wait(PATIENCE_S), "it is prepared before it is asked for"
            seen.append(part)
    assert seen == [0, 10, 20, 30]
    assert {name.split("_")[0] for name in where} == {"ahead"}


def test_one_part_needs_no_thread_and_none_gives_nothing() -> None:
    assert list(ahead(lambda part: (part, threading.current_thread()), ["one"])) == [("one", threading.current_thread())]
    assert list(ahead(lambda part: part, [])) == []


def test_an_error_is_raised_where_its_part_is_due_and_an_end_leaves_no_thread() -> None:
    def prepare(part: int) -> int:
        if part == 2:
            raise ValueError("the third")
        return part

    seen = []
    with pytest.raises(ValueError, match="the third"):
        seen += [part for part in ahead(prepare, range(4)) if seen.append(part) is None]  # type: ignore[func-returns-value]
    assert seen == [0, 1]
    with closing(ahead(lambda part: part, range(100))) as parts:
        assert next(parts) == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
