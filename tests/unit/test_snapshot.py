"""Snapshots as JSON: what goes in comes out, whatever version wrote it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.engine.views.events import Event
from gainstage.engine.views.frame_json import BadFrame, build, dumps, loads, tree
from gainstage.engine.views.snapshot import Advice, Snapshot, StageView


@pytest.fixture(scope="module")
def frame() -> Snapshot:
    found = ScriptedDesk(start_at=STORY["bottleneck"]).snapshot()
    assert found is not None
    return found


def test_a_frame_comes_back_as_it_was(frame: Snapshot) -> None:
    assert loads(dumps(frame)) == frame
    assert loads(json.loads(dumps(frame))) == frame
    assert hash(loads(dumps(frame))) == hash(frame)


def test_half_a_character_is_read_as_one_that_can_be_written(frame: Snapshot) -> None:
    """JSON may escape what no UTF-8 can hold; a whole pair stays the character it stands for."""
    written = dumps(replace(frame, engine="ENGINE")).replace("ENGINE", r"\ud800a\udfff \ud83d\ude00 \uD83D")
    read = loads(written)
    assert read.engine == "\ufffda\ufffd 😀 \ufffd"
    assert loads(dumps(read).encode()) == read


def test_fields_of_a_newer_engine_are_left_out(frame: Snapshot) -> None:
    grown = json.loads(dumps(frame))
    grown["weather"] = "fine"
    grown["run"]["mood"] = 3
    grown["stages"][0]["colour"] = [1]
    assert loads(grown) == frame


def test_fields_an_older_engine_did_not_have_take_their_defaults(frame: Snapshot) -> None:
    shrunk = json.loads(dumps(frame))
    del shrunk["counters"]
    for stage in shrunk["stages"]:
        del stage["trend"]
    found = loads(shrunk)
    assert found.counters == ()
    assert found.stages[0].trend == ()
    assert found.stages[0].busy == frame.stages[0].busy


@pytest.mark.parametrize("broken", ["{}", "[]", "7", "null", "no json", '{"schema": 1, "run": [3]}', "[" * 100_000])
def test_a_frame_of_another_make_is_refused_in_words(broken: str) -> None:
    with pytest.raises(BadFrame, match="cannot be read"):
        loads(broken)


def test_unknown_stays_unknown(frame: Snapshot) -> None:
    fields = json.loads(dumps(frame))["stages"][0]
    fields["rtfx"] = None
    assert build(StageView, fields).rtfx is None
    assert '"rtfx":null' in dumps(build(StageView, fields))


def test_a_number_that_is_none_is_refused(frame: Snapshot) -> None:
    with pytest.raises(ValueError, match="JSON"):
        dumps(Advice("x", "y", old=float("nan")))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
events = st.builds(
    Event,
    seq=st.integers(0),
    wall=st.floats(0, 2e9),
    level=st.sampled_from(["debug", "info", "warning", "error"]),
    kind=st.text(),
    text=st.text(),
    data=st.dictionaries(st.text(), values, max_size=3),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(events, max_size=4))
def test_events_with_any_text_come_back(rows: list[Event]) -> None:
    written = json.dumps(tree(tuple(rows)))
    assert build(tuple[Event, ...], json.loads(written)) == tuple(rows)
