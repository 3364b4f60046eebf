"""Every action by key, by palette and by command line, and what it sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.widgets import Input

from gainstage.tui.console.global_actions import GlobalActions
from gainstage.tui.console.past_actions import PastActions
from gainstage.tui.screens import make_screen
from gainstage.tui.state.actions import ACTIONS, BY_ID, SCREENS, UnknownCommand, actions_on, bindings, key_name, parse, refusal
from gainstage.tui.state.completion import completion
from gainstage.tui.state.frame import Contact, Frame
from gainstage.tui.state.setting_scope import SetWords, set_words

Run = Callable[..., Any]


def test_ids_are_unique_and_every_action_has_help() -> None:
    assert len(BY_ID) == len(ACTIONS)
    assert all(a.title and a.help.endswith(".") for a in ACTIONS)


@pytest.mark.parametrize("screen", SCREENS)
def test_no_key_means_two_things_on_a_screen(screen: str) -> None:
    own = [key for b in bindings(screen) for key in b.key.split(",")]
    assert len(own) == len(set(own))
    everywhere = [key for b in bindings(None) for key in b.key.split(",")]
    assert len(everywhere) == len(set(everywhere))
    assert not set(own) & set(everywhere)


@pytest.mark.parametrize("screen", SCREENS)
def test_every_action_has_a_handler_where_it_is_offered(screen: str) -> None:
    made = make_screen(screen)
    for action in actions_on(screen):
        assert hasattr(made, action.handler) or hasattr(GlobalActions, action.handler) or hasattr(PastActions, action.handler), (
            action.id
        )


def test_keys_are_written_for_people() -> None:
    assert [key_name(k) for k in ("ctrl+p", "colon", "question_mark", "shift+left", "P", "space")] == [
        "Ctrl+P", ":", "?", "Shift+←", "P", "space",
    ]  # fmt: skip


def test_command_line_names_the_nearest() -> None:
    assert parse(":set workers.store 3") == (BY_ID["set"], "workers.store 3")
    assert parse("dra")[0] is BY_ID["drain"]
    with pytest.raises(UnknownCommand, match="pause"):
        parse("pausee")
    with pytest.raises(UnknownCommand, match="nothing"):
        parse(":")


def test_refusals_say_why(desk_at: Run) -> None:
    snapshot = desk_at("burst").snapshot()
    live = Frame(snapshot, 0.0, 0.1, Contact.LIVE)
    pause = BY_ID["pause"]
    assert refusal(pause, live) is None
    cases = {
        "no engine": Frame(None, 0.0, None, Contact.NONE),
        "no snapshot": Frame(snapshot, 0.0, 9.0, Contact.OFFLINE),
        "stopped": Frame(snapshot, 0.0, 9.0, Contact.STOPPED),
        "replay": Frame(snapshot, 0.0, 0.1, Contact.LIVE, live=False),
        "read-only": Frame(snapshot, 0.0, 0.1, Contact.LIVE, read_only=True),
        "past": Frame(snapshot, 0.0, 0.1, Contact.LIVE, mode="scrub"),
        "schema": Frame(snapshot, 0.0, 0.1, Contact.FOREIGN),
    }
    for words, frame in cases.items():
        assert words in (refusal(pause, frame) or ""), words
    assert refusal(BY_ID["help"], cases["no engine"]) is None
    assert refusal(BY_ID["retry"], cases["no snapshot"]) is None, "a desk without an engine still takes commands for the queue"


async def test_screens_by_key_palette_and_command_line(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        for number, name in enumerate(SCREENS, 1):
            await d.press("escape", "escape", str(number)) if d.app.desk_screen.NAME != "search" else await d.press(
                "escape", str(number)
            )
            assert name == d.app.desk_screen.NAME
        await d.press("escape")
        await d.command("host")
        assert d.app.desk_screen.NAME == "host"
        await d.palette("voices")
        assert d.app.desk_screen.NAME == "voices"
        await d.press("backspace")
        assert d.app.desk_screen.NAME == "host"


async def test_pause_and_resume_by_key_palette_and_command(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.press("P")
        assert d.sent == [("pause", {})]
        assert d.app.newest.run.state == "running", "nothing changes before the engine has acknowledged"
        assert "pause intake …" in d.text
        await d.wait(1)
        assert d.app.newest.run.state == "paused"
        assert any(t.startswith("pause intake") and "…" not in t for t in d.noticed)
        await d.palette("pause or resume intake")
        await d.wait(1)
        assert d.app.newest.run.state == "running"
        await d.command("pause")
        await d.wait(1)
        assert [name for name, _ in d.sent] == ["pause", "resume", "pause"]


async def test_slots_are_staged_then_sent_once(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        deck = d.app.desk_screen
        deck.stages.current = "transcribe"
        await d.press("plus", "plus", "plus", "minus")
        assert d.sent == []
        assert "2/2→4" in d.text
        await d.wait(2)
        assert d.sent == [("set", {"key": "workers.transcribe", "value": 4})]
        await d.wait(1)
        assert next(s for s in d.app.newest.stages if s.name == "transcribe").capacity == 4


async def test_a_stage_without_slots_of_its_own_says_so(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        d.app.desk_screen.stages.current = "segment"
        await d.press("plus")
        assert d.noticed[-1].startswith("segment has no slots")


async def test_slots_stay_in_their_range(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        d.app.desk_screen.stages.current = "transcribe"
        await d.press("minus", "minus")
        assert "outside 1 to 16" in d.noticed[-1]


async def test_pausing_a_stage(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.press("p")
        await d.wait(1)
        await d.press("p")
        assert d.sent == [("pause_stage", {"stage": "transcribe"}), ("resume_stage", {"stage": "transcribe"})]
        await d.command("pause-stage fetch")
        assert d.sent[-1] == ("pause_stage", {"stage": "fetch"})
        await d.command("pause-stage nothing")
        assert "no stage" in d.noticed[-1]


async def test_drain_asks_first_and_no_is_the_default(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.press("D", "enter")
        assert d.sent == []
        await d.press("D", "escape")
        assert d.sent == []
        await d.press("D", "right", "enter")
        assert d.sent == [("drain", {})]
        await d.palette("drain")
        await d.press("y")
        assert [n for n, _ in d.sent] == ["drain", "drain"]


async def test_stop_takes_a_typed_word(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.press("Q")
        assert "queued again, from its start." in d.text
        await d.press(*"yes", "enter")
        assert d.sent == []
        await d.press(*"stop", "enter")
        assert d.sent == [("stop", {})]
        await d.press("Q", *"drain", "enter")
        assert d.sent[-1] == ("drain", {})
        await d.press("Q", "escape")
        assert len(d.sent) == 2


async def test_set_by_command_line_shows_the_acknowledgement(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.command("set workers.store 3")
        await d.wait(1)
        assert d.sent == [("set", {"key": "workers.store", "value": 3})]
        assert "workers.store 2 → 3 · applied in" in d.noticed[-1]
        assert "revision" in d.noticed[-1]
        await d.command("set workers.stor 3")
        assert "did you mean workers.store" in d.noticed[-1]
        await d.command("set workers.store 99")
        assert "outside 1 to 16" in d.noticed[-1]
        await d.command("set")
        assert "KEY VALUE" in d.noticed[-1]
        assert len(d.sent) == 1


async def test_a_setting_is_set_for_one_host(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.command("set workers.store=3 --host gpu-07")
        await d.wait(1)
        await d.command("set workers.store@gpu-08 4")
        await d.wait(1)
        assert d.sent == [
            ("set", {"key": "workers.store@gpu-07", "value": 3}),
            ("set", {"key": "workers.store@gpu-08", "value": 4}),
        ]
        await d.command("set workers.store 99 --host gpu-07")
        assert "outside 1 to 16" in d.noticed[-1]
        await d.command("set workers.store 3 --engine nobody")
        await d.wait(1)
        assert "engine nobody is not running" in d.noticed[-1]
        assert len(d.sent) == 2


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("in_flight 4", SetWords("in_flight", "4")),
        ("in_flight=4", SetWords("in_flight", "4")),
        ("in_flight --host a 4", SetWords("in_flight", "4", "a")),
        ("in_flight 4 --host=a --engine gpu1", SetWords("in_flight", "4", "a", "gpu1")),
        ('console.keys {"a": "b=c"}', SetWords("console.keys", '{"a": "b=c"}')),
        ("asr.hotwords Kea = bird, Wanaka", SetWords("asr.hotwords", "Kea = bird, Wanaka")),
        ("in_flight", None),
        ("--host a", None),
        ("", None),
    ],
)
def test_what_is_typed_after_set(typed: str, read: SetWords | None) -> None:
    assert set_words(typed) == read


async def test_a_refused_command_says_why_and_stays_in_the_history(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("done")) as d:
        await d.command("set asr.model nothing-like-it")
        await d.wait(1)
        await d.press("u")
        await d.wait(1)
        await d.press("H")
        states = {s.state for s in d.app.command_log.history}
        assert states <= {"done", "refused"}
        assert "commands sent from here" in d.text
        for sent in d.app.command_log.history:
            assert sent.label.split()[0] in d.text


async def test_undo(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.command("set workers.decode 4")
        await d.wait(1)
        await d.press("u")
        await d.wait(1)
        assert d.sent[-1] == ("undo", {})
        assert d.app.settings["workers.decode"].value == 2


async def test_advice_is_previewed_then_applied_or_ignored(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        advice = d.app.newest.verdict.advice
        assert advice.key is not None
        await d.press("T")
        assert "Try this?" in d.text
        await d.press("enter")
        assert d.sent == []
        await d.press("T", "y")
        assert d.sent == [("set", {"key": advice.key, "value": advice.new})]
        await d.press("i")
        assert "ignored" in d.text


async def test_read_only_refuses_everything_that_changes(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at(), read_only=True) as d:
        for key in ("P", "D", "Q", "plus", "T", "r", "x", "a", "u"):
            await d.press(key)
            assert "read-only" in d.noticed[-1], key
            assert len(d.app.screen_stack) == 1
        assert d.sent == []
        assert "read-only" in d.text


async def test_keys_can_be_rebound(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at(), keymap={"pause": "f5", "nonsense": "f6"}) as d:
        await d.press("P")
        assert d.sent == []
        await d.press("f5")
        assert d.sent == [("pause", {})]
        assert "f5 pause" in d.text


async def test_help_lists_every_action_of_the_screen(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.press("question_mark")
        dialog = d.app.screen
        said = "\n".join(line.text for line in dialog.lines(110, d.app.palette_of(False)))
        for action in actions_on("deck"):
            assert action.title in said
        await d.press("escape")
        assert len(d.app.screen_stack) == 1


async def test_help_is_searched(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.press("question_mark", "slash", *"drain")
        assert "Finish what is in flight" in d.text
        assert "Retry" not in d.app.screen.panel.as_text()
        await d.press("enter", "escape")
        assert "Retry" in d.app.screen.panel.as_text(), "Esc leaves the search first"
        await d.press("slash", *"xyzzy")
        assert "nothing here matches xyzzy" in d.text
        await d.press("escape", "escape")
        assert len(d.app.screen_stack) == 1


async def test_the_command_line_completes_commands_settings_and_their_values(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.press("4", "colon", *"set", "space", *"workers.tra", "tab")
        line = d.app.desk_screen.prompt.query_one(Input)
        assert line.value == "set workers.transcribe "
        await d.press("3", "enter")
        await d.wait(1)
        assert d.sent[-1] == ("set", {"key": "workers.transcribe", "value": 3})
    rows = d.app.settings
    for typed, whole in (
        ("rec", "recordings"),
        ("scope t", "scope today"),
        ("theme deu", "theme deuteranopia"),
        ("set asr.vad o", "set asr.vad on"),
        ("set asr.compute fl", "set asr.compute float16"),
        ("export j", "export json"),
        ("pause-stage di", "pause-stage diarize"),
        ("nonsense a", None),
        ("set nothing.here 1", None),
        ("goto abc", None),
        ("", None),
    ):
        assert completion(typed, rows) == whole, typed


async def test_command_line_keeps_its_history_and_complains_about_nonsense(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.command("host")
        await d.command("hots")
        assert "no command 'hots'" in d.noticed[-1]
        await d.press("colon", "up", "up")
        assert d.app.desk_screen.prompt.query_one("Input").value == "host"
        await d.press("down")
        assert d.app.desk_screen.prompt.query_one("Input").value == "hots"
        await d.press("escape")
        assert not d.app.desk_screen.prompt.open_now


async def test_detach_says_that_the_engine_goes_on(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.pilot.press("q")
        assert "engine goes on" in d.app.farewell
        assert d.sent == []


async def test_themes_go_round_and_can_be_named(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        seen = set()
        for _ in range(5):
            seen.add(d.app.theme)
            await d.press("t")
        assert len(seen) == 5
        await d.command("theme mono")
        assert d.app.theme == "mono"
        await d.command("theme pink")
        assert "no theme" in d.noticed[-1]


@pytest.mark.parametrize("size", [(160, 48), (120, 36), (80, 24)])
async def test_the_stage_that_plus_and_minus_act_on_is_marked_wherever_the_focus_is(
    driven: Run, desk_at: Run, size: tuple[int, int]
) -> None:
    async with driven(desk_at("bottleneck"), size=size) as d:
        stages = d.app.desk_screen.stages
        assert not stages.has_focus
        await d.press("right")
        pointed = [line for line in stages.as_text().splitlines() if "▸" in line]
        assert len(pointed) == 1
        assert stages.current in pointed[0].partition("▸")[2]


async def test_pages_of_the_palette(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck")) as d:
        await d.press("ctrl+p")
        palette = d.app.screen
        await d.press("pagedown")
        assert palette.chosen > 10
        await d.press("pagedown", "pagedown", "pagedown", "pagedown", "pagedown")
        assert palette.chosen == len(palette.matching) - 1
        await d.press("pageup", "pageup", "pageup", "pageup", "pageup", "pageup")
        assert palette.chosen == 0


async def test_leaving_names_the_command_that_comes_back(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck"), attach="gainstage attach --home /data/talks") as d:
        await d.press("q")
        assert d.app.farewell == "The engine goes on. Back with: gainstage attach --home /data/talks"
