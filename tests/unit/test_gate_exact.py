"""A gate to the second: waits, pauses, what retires, who is next, what its free slots wait for."""

from __future__ import annotations

import pytest

from gainstage.engine.flow.gate import Gate, Visitor


def at_gate(gate: Gate, name: str, now: float, priority: int = 0, age: float = 0.0, audio_s: float | None = None) -> Visitor:
    visitor = Visitor(name, priority, age, audio_s)
    gate.arrive(visitor, now)
    return visitor


def inside(gate: Gate) -> dict[int, str]:
    return {slot.index: slot.recording for slot in gate.slots.values() if slot.recording is not None}


def line(gate: Gate) -> list[str]:
    return [v.recording for v in gate.waiters]


def test_a_visitor_begins_with_nothing() -> None:
    visitor = Visitor("a")
    assert (visitor.rank, visitor.audio_s, visitor.slot, visitor.waiting) == ((0, 0.0, 0), None, None, False)
    assert (visitor.entered, visitor.waited_s, visitor.paused_s, visitor.paused_before) == (0.0, 0.0, 0.0, 0.0)


def test_whoever_is_served_at_once_has_not_waited() -> None:
    gate = Gate(1, 5.0)
    visitor = Visitor("a")
    assert gate.arrive(visitor, 7.0)
    assert (visitor.entered, visitor.waited_s, visitor.paused_s) == (7.0, 0.0, 0.0)
    assert visitor.slot is gate.slots[0]
    assert gate.rates() == (1, 1, 0, 0, 0)


def test_a_wait_is_counted_from_arrival_to_the_free_slot() -> None:
    gate = Gate(1, 0.0)
    first, second = at_gate(gate, "a", 1.0), at_gate(gate, "b", 2.0)
    assert second.waiting
    assert gate.oldest_wait_s(4.0) == 2.0
    assert gate.leave(first, 7.0) is None
    assert (second.waited_s, second.paused_s, second.waiting) == (5.0, 0.0, False)
    second.await_end()  # returns: the wait has ended
    assert gate.oldest_wait_s(8.0) is None
    assert gate.busy == 1


def test_who_waits_is_blocked_until_the_wait_ends() -> None:
    gate = Gate(1, 0.0)
    first, second = at_gate(gate, "a", 1.0), at_gate(gate, "b", 1.0)
    assert second._bell.locked()
    gate.leave(first, 1.5)
    assert second.waited_s == 0.5
    assert not second._bell.locked()
    second.await_end()
    assert second._bell.locked(), "one wait, one end"


def test_the_pauses_of_a_wait_are_no_wait() -> None:
    gate = Gate(1, 0.0)
    gate.pause("x", 1.0)
    gate.resume("x", 3.0)  # before anybody waits
    first, second = at_gate(gate, "a", 4.0), at_gate(gate, "b", 10.0)
    gate.pause("x", 20.0)
    gate.pause("y", 22.0)
    assert gate.paused_of(second, 25.0) == 5.0
    assert gate.oldest_wait_s(25.0) == 10.0
    gate.resume("x", 30.0)
    gate.resume("nobody", 31.0)
    assert gate.paused_of(second, 32.0) == 12.0, "one of two still pauses"
    gate.resume("y", 35.0)
    assert gate.paused_of(second, 90.0) == 15.0
    gate.leave(first, 40.0)
    assert (second.waited_s, second.paused_s) == (15.0, 15.0)


def test_the_oldest_wait_is_the_longest_without_pauses() -> None:
    gate = Gate(1, 0.0)
    at_gate(gate, "a", 0.0)
    at_gate(gate, "b", 1.0, priority=-1)
    at_gate(gate, "c", 5.0)
    assert line(gate) == ["c", "b"]
    assert gate.oldest_wait_s(9.0) == 8.0


def test_a_higher_priority_goes_first_then_age_then_arrival() -> None:
    gate = Gate(1, 0.0)
    holder = at_gate(gate, "a", 0.0)
    for name, priority, age in (("late", 0, 9.0), ("first", 0, 1.0), ("second", 0, 1.0), ("urgent", 5, 99.0), ("low", -5, 0.0)):
        at_gate(gate, name, 1.0, priority, age)
    assert line(gate) == ["urgent", "first", "second", "late", "low"]
    gate.leave(holder, 2.0)
    assert inside(gate) == {0: "urgent"}


def test_a_changed_priority_moves_one_recording_and_keeps_its_age() -> None:
    gate = Gate(1, 0.0)
    at_gate(gate, "a", 0.0)
    for name in ("b", "c", "d"):
        at_gate(gate, name, 1.0, 0, 3.0)
    assert gate.reorder("d", 2)
    assert line(gate) == ["d", "b", "c"]
    assert gate.reorder("d", 0)
    assert line(gate) == ["b", "c", "d"], "by arrival again"
    assert not gate.reorder("a", 9), "it is served"
    assert not gate.reorder("nobody", 9)


def test_whoever_gives_up_leaves_the_line() -> None:
    gate = Gate(1, 0.0)
    first, second, third = (at_gate(gate, name, 0.0) for name in "abc")
    gate.withdraw(second, 4.0)
    assert (second.waited_s, second.waiting, line(gate)) == (4.0, False, ["c"])
    gate.withdraw(second, 9.0)
    assert second.waited_s == 4.0, "nothing happens the second time"
    gate.withdraw(first, 9.0)
    assert inside(gate) == {0: "a"}, "who is served does not wait"
    assert gate.leave(second, 9.0) is None
    gate.leave(first, 10.0)
    assert inside(gate) == {0: "c"}
    assert third.waited_s == 10.0


def test_the_lowest_free_slot_is_given() -> None:
    gate = Gate(3, 0.0)
    visitors = [at_gate(gate, name, 0.0) for name in "abc"]
    gate.leave(visitors[2], 1.0)
    gate.leave(visitors[0], 1.0)
    at_gate(gate, "d", 2.0)
    assert inside(gate) == {0: "d", 1: "b"}
    at_gate(gate, "e", 2.0)
    assert inside(gate) == {0: "d", 1: "b", 2: "e"}


def test_a_shrunk_gate_serves_nobody_until_fewer_than_its_slots_are_busy() -> None:
    gate = Gate(3, 0.0)
    a, b, c = (at_gate(gate, name, 0.0) for name in "abc")
    at_gate(gate, "d", 0.0)
    assert gate.resize(1, 1.0) == []
    assert sorted(gate.slots) == [0, 1, 2]
    retired = gate.leave(c, 2.0)
    assert retired is not None
    assert retired.index == 2
    assert sorted(gate.slots) == [0, 1]
    assert gate.rates() == (2, 2, 0, 0, 0)
    assert gate.leave(a, 3.0) is None
    assert line(gate) == ["d"], "b still holds the slot that retires"
    assert gate.rates() == (2, 1, 0, 0, 0), "a free slot held back is neither starved nor blocked"
    gate.leave(b, 4.0)
    assert inside(gate) == {0: "d"}
    assert sorted(gate.slots) == [0]


def test_free_slots_above_the_new_size_retire_at_once_and_a_wider_gate_serves_at_once() -> None:
    gate = Gate(4, 0.0)
    at_gate(gate, "a", 0.0)
    assert [slot.index for slot in gate.resize(2, 1.0)] == [2, 3]
    at_gate(gate, "b", 1.0)
    at_gate(gate, "c", 1.0)
    assert gate.resize(3, 5.0) == []
    assert inside(gate) == {0: "a", 1: "b", 2: "c"}
    assert gate.resize(5, 6.0) == []
    assert [s.index for s in gate.slots.values() if s.recording is None] == [3, 4]
    at_gate(gate, "d", 6.0)
    assert inside(gate)[3] == "d"


@pytest.mark.parametrize("capacity", [0, -1])
def test_no_slot_is_no_size(capacity: int) -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        Gate(capacity, 0.0)
    gate = Gate(1, 0.0)
    with pytest.raises(ValueError, match=f"not {capacity};"):
        gate.resize(capacity, 0.0)


def test_a_paused_gate_serves_nobody_until_the_last_resumes() -> None:
    gate = Gate(2, 0.0)
    gate.pause("x", 0.0)
    gate.pause("y", 0.0)
    at_gate(gate, "a", 1.0)
    assert gate.rates() == (2, 0, 0, 0, 2)
    gate.resume("x", 2.0)
    assert inside(gate) == {}
    gate.resume("y", 3.0)
    assert inside(gate) == {0: "a"}


def test_free_slots_starve_or_are_blocked_by_the_next_gate() -> None:
    gate = Gate(4, 0.0)
    at_gate(gate, "a", 0.0)
    assert gate.rates() == (4, 1, 3, 0, 0)
    gate.blocked = 2
    assert gate.rates() == (4, 1, 1, 2, 0)
    gate.blocked = 9
    assert gate.rates() == (4, 1, 0, 3, 0)
    gate.pause("x", 1.0)
    assert gate.rates() == (4, 1, 0, 0, 3)


def test_a_slot_in_which_a_recording_waits_for_others_is_not_at_work() -> None:
    gate = Gate(4, 0.0)
    for name in "abc":
        at_gate(gate, name, 0.0)
    gate.held_up = 1
    assert gate.rates() == (4, 2, 1, 0, 0)
    gate.lingering = 1
    assert gate.rates() == (4, 1, 1, 0, 0)
    gate.held_up = 0
    assert gate.rates() == (4, 2, 1, 0, 0)
    at_gate(gate, "d", 1.0)
    at_gate(gate, "e", 1.0)
    assert gate.rates() == (4, 4, 0, 0, 0), "a batch that fills keeps a slot from who waits"
    gate.pause("x", 2.0)
    assert gate.rates() == (4, 3, 0, 0, 1)


def test_after_sizes_came_and_went_the_lowest_free_slot_is_given() -> None:
    gate = Gate(3, 0.0)
    visitors = [at_gate(gate, name, 0.0) for name in "abc"]
    gate.leave(visitors[1], 1.0)
    gate.resize(1, 2.0)  # slot 2 is still in use
    gate.resize(3, 3.0)  # slot 1 is the youngest now
    gate.leave(visitors[2], 4.0)
    gate.resize(3, 5.0)
    at_gate(gate, "d", 6.0)
    assert inside(gate) == {0: "a", 1: "d"}


def test_renewed_slots_are_fresh_those_in_use_when_they_come_free() -> None:
    gate = Gate(3, 0.0)
    a, b = at_gate(gate, "a", 0.0), at_gate(gate, "b", 0.0)
    gate.leave(b, 1.0)
    used, idle, unused = (gate.slots[n] for n in range(3))
    for slot in (used, idle):
        slot.state["model"] = "loaded"
    assert gate.renew(2.0) == [idle]
    assert gate.slots[1] is not idle
    assert gate.slots[2] is unused, "nothing was loaded in it"
    assert gate.slots[0] is used
    assert gate.leave(a, 3.0) is used
    assert gate.slots[0] is not used
    again = at_gate(gate, "c", 4.0)
    assert again.slot is gate.slots[0]
    assert gate.leave(again, 5.0) is None, "it is renewed once"
