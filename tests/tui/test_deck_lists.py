"""The room below the recordings in flight: used where there is some, and only then asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.engine.views.commands import Command
from gainstage.engine.views.rows import Query
from gainstage.tui.render.theme import no_palette
from gainstage.tui.widgets.deck_lists import DeckLists, draw_lists, read_lists
from tests.tui.conftest import Bent

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def lists() -> DeckLists:
    desk = ScriptedDesk(0)
    desk.advance(STORY["throttled"])
    return read_lists(desk)


async def test_with_nothing_in_flight_the_room_shows_what_came_of_the_run(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("done")) as d:
        text = d.app.desk_screen.flights.as_text()
        for title in ("last stored", "failures by cause", "changes"):
            assert title in text
        assert "next in line" not in text, "the queue is empty"
        stored = d.desk.recordings(Query(status=("stored",), sort="changed", descending=True, limit=1)).rows[0]
        assert stored.title[:20] in text
        await d.press("exclamation_mark")
        assert "last stored" not in d.app.desk_screen.flights.as_text(), "a filtered table shows what matches, nothing else"


async def test_a_full_table_asks_for_no_lists(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck")) as d:
        deck = d.app.desk_screen
        assert not deck.flights.has_room
        assert deck.feeds() == ()
        assert deck.flights.lists is None


async def test_lists_go_when_the_table_fills_and_come_back(driven: Run, desk_at: Run) -> None:
    story = desk_at("bottleneck")
    bent = Bent(story, lambda s: replace(s, flights=s.flights[:3]))
    async with driven(bent) as d:
        flights = d.app.desk_screen.flights
        assert "next in line" in flights.as_text()
        bent._bend = None
        await d.wait(6)
        assert flights.lists is None
        assert "next in line" not in flights.as_text()
        bent._bend = lambda s: replace(s, flights=s.flights[:3])
        await d.wait(7)
        assert "next in line" in flights.as_text()


async def test_a_recording_stands_in_one_place_only(driven: Run, desk_at: Run) -> None:
    """Reproduced: lists read two seconds ago had in line what was in flight already, or had just left."""
    story = desk_at("bottleneck")
    bent = Bent(story, lambda s: replace(s, flights=s.flights[:3]))
    async with driven(bent) as d:
        flights = d.app.desk_screen.flights
        assert flights.lists is not None
        first, second = flights.lists.next_in_line[:2]
        assert first.title[:30] in flights.as_text()
        took = lambda s, *ids: tuple(replace(s.flights[n], id=id) for n, id in enumerate(ids))  # noqa: E731
        bent._bend = lambda s: replace(s, flights=took(s, first.id, second.id))
        await d.wait(0.25)
        drawn = flights.lists.without(flights._taken(flights.lists.wall)).next_in_line
        assert {first.id, second.id}.isdisjoint(row.id for row in drawn)
        bent._bend = lambda s: replace(s, flights=took(s, second.id))
        await d.wait(0.25)
        assert first.id in flights._taken(flights.lists.wall), "it left after the lists were read"
        assert first.id not in flights._taken(flights.now + 1.0), "newer lists are believed: it may wait for its next try"


def test_what_waits_for_its_next_try_is_not_next() -> None:
    row = read_lists(at_the_bottleneck := ScriptedDesk(start_at=STORY["throttled"])).next_in_line
    waits = [r.next_try_wall is not None and r.next_try_wall > at_the_bottleneck.now() for r in row]
    assert waits == sorted(waits)


def test_what_was_raised_comes_first_and_the_oldest_next() -> None:
    desk = ScriptedDesk(0)
    desk.advance(STORY["bottleneck"])
    before = read_lists(desk).next_in_line
    assert [r.added_wall for r in before] == sorted(r.added_wall for r in before)
    queued = desk.recordings(Query(status=("queued",), sort="added", descending=True, limit=100)).rows
    later = next(row for row in queued if row.id not in {r.id for r in before})
    desk.send(Command("priority", {"ids": [later.id], "to_front": True}))
    desk.advance(1.0)
    assert read_lists(desk).next_in_line[0].id == later.id


@given(width=st.integers(40, 200), rows=st.integers(0, 40))
def test_lists_stay_inside_their_room(lists: DeckLists, width: int, rows: int) -> None:
    lines = draw_lists(lists, width, rows, 0.0, no_palette())
    assert len(lines) <= rows
    assert all(line.used <= width for line in lines)


def test_one_list_alone_keeps_a_title_and_its_time_together(lists: DeckLists) -> None:
    alone = draw_lists(DeckLists(next_in_line=lists.next_in_line), 150, 10, 0.0, no_palette())
    assert max(len(line.text.rstrip()) for line in alone) <= 75


def test_nothing_to_list_takes_no_room() -> None:
    assert draw_lists(DeckLists(), 150, 30, 0.0, no_palette()) == []
