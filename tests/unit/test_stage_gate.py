"""The rules of a gate against a plain model: capacity, order, pauses, slots."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gainstage.engine.flow.gate import Gate, Visitor


class GateMachine(RuleBasedStateMachine):
    """Random arrivals, departures, withdrawals, sizes and pauses; the model keeps the line as a sorted list."""

    @initialize(capacity=st.integers(1, 4))
    def start(self, capacity: int) -> None:
        self.now = 0.0
        self.gate = Gate(capacity, self.now)
        self.capacity = capacity
        self.line: list[tuple[tuple[int, float, int], Visitor]] = []
        self.inside: list[Visitor] = []
        self.pausers: set[str] = set()
        self.number = 0

    def tick(self) -> float:
        self.now += 0.25
        return self.now

    def admit(self) -> None:
        """What the rules say happens after any change."""
        self.line.sort(key=lambda pair: pair[0])
        while self.line and not self.pausers and len(self.inside) < self.capacity:
            self.inside.append(self.line.pop(0)[1])

    @rule(priority=st.integers(-2, 2), age=st.integers(0, 3))
    def arrive(self, priority: int, age: int) -> None:
        self.number += 1
        visitor = Visitor(f"r{self.number}", priority, float(age))
        served = self.gate.arrive(visitor, self.tick())
        self.line.append(((-priority, float(age), self.number), visitor))
        self.admit()
        assert served == (visitor in self.inside)

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        visitor = data.draw(st.sampled_from(self.inside))
        slot = visitor.slot
        assert slot is not None
        retired = self.gate.leave(visitor, self.tick())
        assert (retired is slot) == (slot.index >= self.capacity)
        self.inside.remove(visitor)
        self.admit()

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        pair = data.draw(st.sampled_from(self.line))
        self.gate.withdraw(pair[1], self.tick())
        self.line.remove(pair)
        assert not pair[1].waiting
        assert pair[1].slot is None

    @rule(capacity=st.integers(1, 5))
    def resize(self, capacity: int) -> None:
        retired = self.gate.resize(capacity, self.tick())
        assert all(slot.index >= capacity for slot in retired)
        self.capacity = capacity
        self.admit()

    @rule(by=st.sampled_from(["operator", "reload"]))
    def pause(self, by: str) -> None:
        self.gate.pause(by, self.tick())
        self.pausers.add(by)

    @rule(by=st.sampled_from(["operator", "reload"]))
    def resume(self, by: str) -> None:
        self.gate.resume(by, self.tick())
        self.pausers.discard(by)
        self.admit()

    @precondition(lambda self: self.line)
    @rule(data=st.data(), priority=st.integers(-2, 2))
    def reorder(self, data: st.DataObject, priority: int) -> None:
        rank, visitor = pair = data.draw(st.sampled_from(self.line))
        assert self.gate.reorder(visitor.recording, priority)
        self.line.remove(pair)
        self.line.append(((-priority, *rank[1:]), visitor))
        self.line.sort(key=lambda pair: pair[0])

    @invariant()
    def agrees_with_the_model(self) -> None:
        gate = self.gate
        assert gate.busy == len(self.inside)
        assert [v.recording for v in gate.waiters] == [v.recording for _, v in self.line]
        held = {v.slot.index: v.recording for v in self.inside if v.slot is not None}
        assert len(held) == len(self.inside), "two recordings in one slot"
        assert {i: s.recording for i, s in gate.slots.items() if s.recording is not None} == held
        assert set(gate.slots) == set(range(self.capacity)) | {i for i in held if i >= self.capacity}

    @invariant()
    def slots_are_in_one_state(self) -> None:
        live, busy, starved, blocked, paused = self.gate.rates()
        assert live == len(self.gate.slots)
        assert min(busy, starved, blocked, paused) >= 0
        assert busy + starved + blocked + paused <= live


GateMachine.TestCase.settings = settings(deadline=None, max_examples=120, stateful_step_count=40)
TestGateAgainstTheModel = GateMachine.TestCase


def served(gate: Gate, recording: str, now: float = 0.0, **how: float) -> Visitor:
    visitor = Visitor(recording, int(how.get("priority", 0)), how.get("age", 0.0))
    gate.arrive(visitor, now)
    return visitor


def test_the_lowest_free_slot_is_given() -> None:
    gate = Gate(3, 0.0)
    a, b, c = (served(gate, name) for name in "abc")
    assert [v.slot and v.slot.index for v in (a, b, c)] == [0, 1, 2]
    gate.leave(c, 1.0)
    gate.leave(a, 1.0)
    again = served(gate, "d")
    assert again.slot is not None
    assert again.slot.index == 0


def test_a_slot_keeps_its_state_from_recording_to_recording() -> None:
    gate = Gate(1, 0.0)
    first = served(gate, "a")
    assert first.slot is not None
    first.slot.state["diarizer"] = "warm"
    gate.leave(first, 1.0)
    second = served(gate, "b")
    assert second.slot is not None
    assert second.slot.state == {"diarizer": "warm"}


def test_a_shrunk_gate_serves_nobody_until_enough_have_left() -> None:
    gate = Gate(3, 0.0)
    a, b, c = (served(gate, name) for name in "abc")
    waiting = served(gate, "d")
    assert gate.resize(1, 1.0) == []
    gate.leave(a, 2.0)
    gate.leave(b, 2.0)
    assert waiting.slot is None
    gate.leave(c, 3.0)
    assert waiting.slot is not None
    assert waiting.slot.index == 0
    assert set(gate.slots) == {0}


def test_growing_again_keeps_a_slot_that_had_not_come_free() -> None:
    gate = Gate(2, 0.0)
    served(gate, "a")
    b = served(gate, "b")
    assert b.slot is not None
    b.slot.state["diarizer"] = "warm"
    gate.resize(1, 1.0)
    gate.resize(2, 2.0)
    assert gate.leave(b, 3.0) is None
    assert gate.slots[1].state == {"diarizer": "warm"}


def test_renewed_slots_start_empty_and_hand_out_their_old_state() -> None:
    gate = Gate(2, 0.0)
    a, b = served(gate, "a"), served(gate, "b")
    assert a.slot is not None
    assert b.slot is not None
    a.slot.state["model"] = b.slot.state["model"] = "old"
    gate.leave(b, 1.0)
    assert [s.state for s in gate.renew(2.0)] == [{"model": "old"}]
    retired = gate.leave(a, 3.0)
    assert retired is not None
    assert retired.state == {"model": "old"}
    assert [s.state for s in gate.slots.values()] == [{}, {}]
    assert gate.leave(served(gate, "c", 4.0), 5.0) is None


def test_a_wait_is_told_apart_from_the_pause_in_it() -> None:
    gate = Gate(1, 0.0)
    first = served(gate, "a", 0.0)
    waiter = served(gate, "b", 10.0)
    gate.pause("operator", 20.0)
    gate.pause("reload", 30.0)
    assert gate.oldest_wait_s(40.0) == pytest.approx(10.0)
    gate.leave(first, 45.0)
    gate.resume("operator", 50.0)
    assert waiter.slot is None
    gate.resume("reload", 80.0)
    assert waiter.slot is not None
    assert waiter.paused_s == pytest.approx(60.0)
    assert waiter.waited_s == pytest.approx(10.0)


def test_a_gate_without_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        Gate(0, 0.0)
    with pytest.raises(ValueError, match="pause it"):
        Gate(1, 0.0).resize(0, 1.0)
