"""Actions on recordings: what is retried, cancelled, skipped, raised and added, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

Run = Callable[..., Any]


async def test_recordings_are_retried_cancelled_skipped_and_raised(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("oom")) as d:
        await d.press("2")
        screen = d.app.desk_screen
        await d.command("filter status:failed")
        first = screen.rows.selected.id
        await d.press("r")
        assert d.sent[-1] == ("retry", {"ids": [first]})
        await d.command("filter status:queued")
        first = screen.rows.selected.id
        await d.press("K")
        assert d.sent[-1][0] == "retry", "skipping asks first"
        await d.press("enter")
        assert d.sent[-1][0] == "retry", "No is the default"
        await d.press("K", "y")
        assert d.sent[-1] == ("skip", {"ids": [first]})
        await d.command("filter status:queued")
        first = screen.rows.selected.id
        await d.press("circumflex_accent")
        assert d.sent[-1] == ("priority", {"ids": [first], "to_front": True})
        await d.press("x", "enter")
        assert d.sent[-1][0] == "priority", "No is the default"
        await d.press("x", "y")
        assert d.sent[-1] == ("cancel", {"ids": [first]})
        await d.command("filter status:failed")
        await d.press("m", "m")
        assert len(screen.rows.marked) == 2
        await d.press("r")
        assert d.sent[-1] == ("retry", {"ids": sorted(screen.rows.marked)})
        await d.press("escape")
        assert screen.rows.marked, "the filter goes first"
        await d.press("escape")
        assert not screen.rows.marked
        await d.command("retry abc def")
        assert d.sent[-1] == ("retry", {"ids": ["abc", "def"]})


async def test_failures_filter_the_table_and_are_retried_by_cause(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("massive")) as d:
        await d.press("2")
        screen = d.app.desk_screen
        group = screen.failures.items[0]
        screen.set_focus(screen.failures)
        await d.press("enter")
        assert screen.rows.filter_text == f"cause:'{group.cause}'"
        await d.wait(1)
        assert len(screen.rows.items) == group.count
        await d.press("escape")
        assert screen.rows.filter_text == ""
        screen.set_focus(screen.failures)
        await d.press("R")
        assert f"what failed with {group.cause}" in d.text
        await d.press("y")
        assert d.sent[-1] == ("retry", {"cause": group.cause})


async def test_what_is_retried_is_what_the_filter_shows(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("massive")) as d:
        groups = d.desk.failures()
        await d.press("2", "R")
        assert f"Retry {sum(g.count for g in groups)} recording" in d.text
        assert "every failed recording" in d.text
        await d.press("escape")
        one = groups[0].ids[0]
        await d.command(f"filter {one}")
        await d.press("R")
        assert "Retry 1 recording?" in d.text
        assert f"1 × {groups[0].cause}" in d.text
        await d.press("y")
        assert d.sent[-1] == ("retry", {"ids": [one]})
        await d.command("filter status:stored")
        await d.press("R")
        assert "nothing has failed" in d.noticed[-1]
        assert len(d.sent) == 1


async def test_sources_are_added_only_after_a_preview(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.press("a")
        await d.type("https://www.youtube.com/@kitchentable limit=5")
        await d.press("enter")
        assert "taken" in d.text
        assert d.sent == []
        await d.press("enter")
        assert d.sent == [("add", {"sources": ["https://www.youtube.com/@kitchentable"], "options": {"limit": 5}})]
        await d.press("a", "escape")
        assert len(d.sent) == 1


async def test_a_folder_named_from_here_is_sent_by_its_whole_path(
    driven: Run, desk_at: Run, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "My talks").mkdir()
    monkeypatch.chdir(tmp_path)
    async with driven(desk_at("bottleneck")) as d:
        await d.press("a")
        d.app.screen.query_one(Input).value = "'My talks' https://example.org/feed"
        await d.press("enter")
        await d.press("enter")
        assert d.sent[-1] == ("add", {"sources": [str(tmp_path / "My talks"), "https://example.org/feed"], "options": {}})


@pytest.mark.parametrize(
    ("key", "verb"), [("x", "cancel"), ("K", "skip"), ("r", "retry"), ("circumflex_accent", "put to the front")]
)
async def test_what_is_stored_is_neither_asked_about_nor_sent(driven: Run, desk_at: Run, key: str, verb: str) -> None:
    async with driven(desk_at("oom")) as d:
        await d.press("2")
        await d.command("filter status:stored")
        stored = d.app.desk_screen.rows.selected.id
        await d.press(key)
        assert d.app.screen is d.app.desk_screen, "no dialog"
        assert d.noticed[-1] == f"{stored} is stored: nothing to {verb}"
        assert d.sent == []


async def test_of_marked_rows_those_that_have_ended_are_left_out(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("oom")) as d:
        await d.press("2")
        rows = d.app.desk_screen.rows
        stored = next(r.id for r in rows.here() if r.status == "stored")
        running = next(r.id for r in rows.here() if r.status == "running")
        rows.marked = frozenset({stored, running})
        await d.press("x", "y")
        assert d.sent == [("cancel", {"ids": [running]})]


async def test_a_filter_typed_again_replaces_the_one_before(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("oom")) as d:
        await d.press("2")
        await d.type("/garden")
        await d.press("enter")
        await d.type("/table")
        assert d.app.desk_screen.rows.filter_text == "table"
        await d.press("enter")
        await d.press("slash", "right", "s", "enter")
        assert d.app.desk_screen.rows.filter_text == "tables", "a cursor key keeps what was there"


@pytest.mark.parametrize("screen", ["1", "2", "3", "4", "6"])
async def test_a_field_that_a_table_does_not_have_is_named(driven: Run, desk_at: Run, screen: str) -> None:
    async with driven(desk_at("oom")) as d:
        await d.press(screen)
        table = d.app.desk_screen.main_table
        await d.command("filter colour:red")
        assert f"no field colour: {table.FIELDS[0]}" in table.as_text()
        await d.press("escape")
        assert "no field" not in table.as_text()
        assert not table.narrowed
