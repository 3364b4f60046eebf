"""Waiting for room in an engine: nobody is locked out and no wake-up is missed."""

from __future__ import annotations

import threading
import time

from gainstage.engine.runtime.in_flight import LOOK_EVERY_S, InFlight


def test_whoever_changes_the_run_is_not_locked_out_while_another_looks_for_room() -> None:
    in_flight = InFlight()
    woken: list[bool] = []

    def may_take() -> bool:
        other = threading.Thread(target=in_flight.wake)  # a command that changes the state of the run wakes the loop
        other.start()
        other.join(5.0)
        woken.append(not other.is_alive())
        return True

    in_flight.wait_for_room(may_take)
    assert woken == [True]


def test_a_wake_up_between_the_look_and_the_wait_is_not_missed() -> None:
    in_flight = InFlight()

    def may_take() -> bool:
        in_flight.wake()
        return False

    began = time.monotonic()
    for _ in range(40):
        in_flight.wait_for_room(may_take)
    assert time.monotonic() - began < 40 * LOOK_EVERY_S / 2
