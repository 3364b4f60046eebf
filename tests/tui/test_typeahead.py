"""Keys that arrive in one burst reach what the first of them opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.events import Key, Paste
from textual.keys import _character_to_key
from textual.widgets import Input

Run = Callable[..., Any]


def burst(app: Any, text: str) -> None:
    """All keys at once, as a slow line delivers them; ``\\n`` is Enter."""
    for c in text:
        app.post_message(Key("enter", "\r") if c == "\n" else Key(_character_to_key(c), c))


async def until(d: Any, condition: Callable[[], bool]) -> None:
    for _ in range(200):
        await d.pilot.pause(0.01)
        if condition():
            break
    await d.settle()


async def test_a_command_in_one_packet_runs_as_a_command(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        burst(d.app, ":set workers.transcribe 3\n")
        await until(d, lambda: bool(d.desk.sent))
        assert d.sent == [("set", {"key": "workers.transcribe", "value": 3})]
        assert d.app.screen.NAME == "deck"


async def test_two_commands_in_one_packet_are_two_commands(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        burst(d.app, ":set workers.transcribe 3\n:set workers.embed 4\n")
        await until(d, lambda: len(d.desk.sent) > 1)
        assert [args["value"] for _, args in d.sent] == [3, 4]


async def test_what_is_pasted_behind_a_key_reaches_the_prompt(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        burst(d.app, ":")
        d.app.post_message(Paste("set workers.transcribe 3"))
        burst(d.app, "\n")
        await until(d, lambda: bool(d.desk.sent))
        assert d.sent == [("set", {"key": "workers.transcribe", "value": 3})]


async def test_a_filter_and_a_search_take_what_was_typed_behind_them(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        burst(d.app, "2/table\n")
        await until(d, lambda: d.app.desk_screen.NAME == "recordings" and d.app.desk_screen.rows.filter_text == "table")
        assert d.app.desk_screen.rows.filter_text == "table"
        burst(d.app, "7fibre")
        await until(d, lambda: isinstance(d.app.focused, Input) and d.app.focused.value == "fibre")
        assert d.app.focused.value == "fibre"
        assert d.app.desk_screen.NAME == "search"


async def test_a_refused_action_keeps_keys_only_for_a_moment(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at(), read_only=True) as d:
        burst(d.app, "a3")
        await until(d, lambda: d.app.screen.NAME == "voices")
        assert d.app.screen.NAME == "voices"
        assert "read-only" in d.noticed[-1]


async def test_screens_in_one_packet_are_gone_through_in_order(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        burst(d.app, "2345")
        await until(d, lambda: d.app.screen.NAME == "host")
        assert d.app.trail == ["deck", "recordings", "voices", "tune"]


@pytest.mark.parametrize("keys", ["jjkk", "gg", "+-+-"])
async def test_keys_that_open_nothing_are_passed_on_at_once(driven: Run, desk_at: Run, keys: str) -> None:
    async with driven(desk_at()) as d:
        burst(d.app, keys)
        await d.settle()
        assert not d.app._typeahead._waiting
