"""Tables: the cursor, pages, order, faults, what is copied, and what the mouse hits."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from gainstage.engine.stages import STAGES
from gainstage.engine.views.events import Event
from gainstage.engine.views.snapshot import FlightView
from gainstage.tui.widgets.flights import FlightCell
from tests.tui.conftest import SIZES, Bent

Run = Callable[..., Any]


async def test_the_cursor_stays_on_its_recording(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck")) as d:
        flights = d.app.desk_screen.flights
        await d.press("down", "down", "down", "down", "down", "down")
        key = flights.cursor_key
        for _ in range(20):
            await d.wait(1)
            if key in [flights.key_of(i) for i in flights.items]:
                assert flights.cursor_key == key
                assert flights.key_of(flights.selected) == key


async def test_rows_leave_five_seconds_after_they_are_done(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck")) as d:
        flights = d.app.desk_screen.flights
        for _ in range(60):
            await d.wait(0.5)
            left = [f for f in flights.items if f.left]
            if left:
                break
        assert left
        key = left[0].view.id
        await d.wait(1)
        assert any(f.view.id == key for f in flights.items)
        await d.wait(5.5)
        assert all(f.view.id != key for f in flights.items)


def test_a_row_that_leaves_has_the_counts_of_its_event() -> None:
    """The last stages may have passed between two frames: the last one then knows of no speakers or passages."""
    view = FlightView("talk-1", "A talk", "talk.wav", 60.0, "segment", False, None, 0.1, 1.0, None, 1, 5, 0, speakers=2)
    stored = FlightCell(view).ended(
        Event(1, 0.0, "info", "stored", "stored 9 segments", recording="talk-1", data={"segments": 9, "speakers": 3})
    )
    assert (stored.left, stored.view.segments, stored.view.speakers) == ("stored", 9, 3)
    older = FlightCell(view).ended(Event(1, 0.0, "info", "stored", "stored", recording="talk-1"))
    assert (older.view.segments, older.view.speakers) == (None, 2)
    assert FlightCell(view).ended(Event(2, 0.0, "error", "failure", "no audio", recording="talk-1")).left == "failed"


async def test_tables_move_by_keys_and_wheel(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("done"), size=SIZES["medium"]) as d:
        await d.press("2")
        rows = d.app.desk_screen.rows
        await d.press("end")
        await d.wait(1)
        assert rows.cursor == len(rows.items) - 1
        assert rows.selected is not None, "the last page was fetched"
        await d.press("home", "pagedown")
        assert rows.cursor == rows.rows_shown - 1
        await d.press("k", "j", "up", "down")
        assert rows.cursor == rows.rows_shown - 1
        top = rows.top
        rows._scroll(3)
        assert rows.top == top + 3


async def test_a_hundred_thousand_rows_are_only_asked_for_in_pages(driven: Run, desk_at: Run) -> None:
    from gainstage.engine.views.rows import Query, RecordingPage, RecordingRow

    asked: list[Query] = []

    class Vast(Bent):
        def recordings(self, query: Query) -> RecordingPage:
            asked.append(query)
            rows = tuple(
                RecordingRow(f"rec{i:08d}", f"Title {i}", "", "stored", 60.0, None, 1, 5, 0, 0.0, 0.0, 3, 1, None, None, None)
                for i in range(query.offset, min(100_000, query.offset + query.limit))
            )
            return RecordingPage(rows, 100_000, 100_000)

    async with driven(Vast(desk_at("burst"))) as d:
        await d.press("2")
        assert "100,000" in d.text
        d.app.desk_screen.rows.move_to(50_000)
        await d.wait(1)
        assert "rec00050000" in d.text
        assert max(q.limit for q in asked) <= 200


async def test_sorting_by_key_header_and_command(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("oom")) as d:
        await d.press("s")
        assert d.app.desk_screen.flights.sorted_by == ("age", False)
        await d.press("S")
        assert d.app.desk_screen.flights.sorted_by == ("age", True)
        await d.command("sort title")
        titles = [f.view.title.casefold() for f in d.app.desk_screen.flights.items]
        assert titles == sorted(titles)
        await d.pilot.click("#flights", offset=(50, 1))
        await d.settle()
        assert d.app.desk_screen.flights.sorted_by == ("title", False) or d.app.desk_screen.flights.sorted_by[0] in (
            "title",
            "length",
        )
        await d.press("2")
        await d.command("sort duration")
        lengths = [r.duration_s for r in d.app.desk_screen.rows.here()]
        assert lengths == sorted(lengths, reverse=True)


async def test_faults_only(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("throttled")) as d:
        await d.press("2", "exclamation_mark")
        await d.wait(1)
        assert {r.status for r in d.app.desk_screen.rows.here()} == {"failed"}
        await d.press("escape")
        await d.wait(1)
        assert len({r.status for r in d.app.desk_screen.rows.here()}) > 1


async def test_what_is_copied_and_exported(driven: Run, desk_at: Run, tmp_path: Any) -> None:
    async with driven(desk_at("oom")) as d:
        await d.press("2")
        row = d.app.desk_screen.rows.selected
        await d.press("y")
        assert d.app.clipboard.split("\t")[0] == row.id
        await d.press("Y")
        assert row.id in d.app.clipboard
        await d.command("export csv")
        path = next(tmp_path.glob("*.csv"))
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 321, "all that match, not only those in sight"
        assert rows[0]["id"]
        await d.command("export json")
        assert len(json.loads(next(tmp_path.glob("*.json")).read_text())) == 321
        await d.press("1", "E")
        assert "export this panel as" in d.text
        await d.press("down", "down", "enter")
        assert "in flight" in next(tmp_path.glob("*.txt")).read_text()
        await d.command("export pdf")
        assert "not 'pdf'" in d.noticed[-1]


@pytest.mark.parametrize("size", ["narrow", "medium", "wide"])
async def test_a_click_on_the_stage_table_chooses_the_stage_it_hits(driven: Run, desk_at: Run, size: str) -> None:
    """Every row in turn, the heading none."""
    async with driven(desk_at("bottleneck"), size=SIZES[size]) as d:
        panel = d.app.desk_screen.stages
        rows = [line[panel.region.x :] for line in d.text.splitlines()[: panel.region.bottom]]
        for name in STAGES:
            (row,) = [y for y, line in enumerate(rows) if y > panel.region.y + 1 and re.match(rf"\W*{name}\b", line)]
            await d.pilot.click(offset=(panel.region.x + 5, row))
            await d.settle()
            assert panel.current == name
        await d.pilot.click(offset=(panel.region.x + 5, panel.region.y + 1))
        await d.settle()
        assert panel.current == STAGES[-1]


async def test_lines_of_several_engines_name_their_engine(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("burst")) as d:
        await d.press("6")
        tail = d.app.desk_screen.log_tail
        assert "ENGINE" not in tail.as_text()
        newest, wall = tail.events[-1].seq, d.desk.now()
        tail.clear()
        tail.take_events([Event(newest + n, wall, "info", "state", f"line {n}", engine=e) for n, e in enumerate(("one", "two"))], 0)
        assert "ENGINE" in tail.as_text()
        await d.command("filter engine:two")
        assert "line 1" in tail.as_text()
        assert "line 0" not in tail.as_text()
