"""Freeze, scrub and back; moving about in tables; marks, sorts, copies, exports, the mouse."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gainstage.engine.views.rows import ENDED
from tests.tui.conftest import Bent

Run = Callable[..., Any]


async def test_a_frozen_view_holds_while_the_work_goes_on(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("burst")) as d:
        before = d.app.desk_screen.flights.as_text()
        await d.press("space")
        await d.wait(5)
        assert "❄ frozen 0:05" in d.text
        assert "newer" in d.text
        assert d.app.desk_screen.flights.as_text() == before
        await d.press("P")
        assert d.sent[-1] == ("pause", {}), "a frozen view still commands the live engine"
        await d.press("space")
        assert "frozen" not in d.text.splitlines()[0]
        assert d.app.desk_screen.flights.as_text() != before


async def test_scrubbing_shows_the_past_and_refuses_commands(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("burst")) as d:
        await d.wait(10)
        now = d.app.newest.wall
        await d.press("left_square_bracket", "left_square_bracket", "left_square_bracket")
        shown = d.app.frame.snapshot.wall
        assert 2 <= now - shown <= 4
        assert "ago" in d.text.splitlines()[0]
        await d.press("P")
        assert "in the past" in d.noticed[-1]
        await d.press("right_square_bracket")
        assert d.app.frame.snapshot.wall > shown
        await d.press("left_curly_bracket")
        assert now - d.app.frame.snapshot.wall >= 50, "history from before the console was there"
        await d.press("right_curly_bracket", "backslash")
        assert d.app.frame.mode == "live"
        assert d.app.frame.snapshot is d.app.newest


async def test_detail_shows_stages_speakers_and_the_way_on(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("done")) as d:
        await d.press("2")
        await d.command("filter status:stored")
        await d.wait(1)
        await d.wait(1)
        text = d.app.desk_screen.detail.as_text()
        for stage in ("fetch", "decode", "transcribe", "store"):
            assert stage in text
        assert "Dana Whitfield" in text
        await d.press("tab")
        assert d.app.screen.focused is d.app.desk_screen.detail
        await d.press("down", "o")
        assert "copied" in d.noticed[-1]
        assert d.app.clipboard.startswith("https://")
        id = d.app.desk_screen.rows.selected.id
        await d.press("L")
        assert d.app.desk_screen.NAME == "logs"
        assert id in d.text


async def test_opening_a_flight_leads_to_its_recording(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck")) as d:
        await d.press("down", "down", "down")
        id = d.app.desk_screen.flights.selected.view.id
        await d.press("enter")
        await d.wait(1)
        assert d.app.desk_screen.NAME == "recordings"
        assert d.app.desk_screen.rows.selected.id == id


async def test_panels_are_maximised_and_jumped_to(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("burst")) as d:
        await d.press("z")
        assert d.app.desk_screen.flights.size.height > 40
        await d.press("escape")
        assert d.app.desk_screen.flights.size.height < 30
        await d.press("ctrl+o")
        assert " a " in d.text
        await d.press("s")
        assert d.app.screen.focused is d.app.desk_screen.panels[1]
        await d.press("tab", "shift+tab")
        assert d.app.screen.focused is d.app.desk_screen.panels[1]


async def test_the_mouse_works_and_is_never_needed(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck")) as d:
        await d.pilot.click("#nav", offset=(25, 0))
        await d.settle()
        assert d.app.desk_screen.NAME == "voices"
        await d.pilot.click("#nav", offset=(3, 0))
        await d.settle()
        await d.pilot.click("#flights", offset=(20, 6))
        await d.settle()
        assert d.app.desk_screen.flights.cursor == 4
        await d.pilot.click("#stages", offset=(20, 5))
        await d.settle()
        assert d.app.desk_screen.stages.current == "diarize"
        await d.pilot.click("#footer", offset=(3, 0))
        await d.settle()
        assert d.app.desk_screen.prompt.open_now


async def test_voices_what_if_and_evidence(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("split")) as d:
        await d.press("3", "enter")
        assert "evidence" in d.text
        await d.press("escape", "n")
        view = d.app.desk_screen.decisions.view
        from gainstage.engine.views.judged import Judged

        assert Judged.of(d.app.desk_screen.decisions.selected, view).grey
        await d.command("try-limit range_limit 0.3")
        whatif = d.app.desk_screen.whatif
        assert whatif.result.split_after > whatif.result.split_before
        assert "0.3" in d.text
        await d.press("A")
        await d.wait(1)
        assert ("set", {"key": "identify.range_limit", "value": 0.3}) in d.sent
        assert not whatif.tried
        await d.press("right")
        assert whatif.tried
        await d.press("escape")
        assert not whatif.tried
        await d.command("try-limit nonsense 1")
        assert "what-if knows" in d.noticed[-1]


async def test_tune_stages_applies_and_undoes(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("after-change")) as d:
        await d.press("4")
        screen = d.app.desk_screen
        assert screen.settings.setting is not None, "headings are stepped over"
        screen.settings.move_to(screen.settings.find("workers.store"))
        await d.press("right", "right", "left")
        assert d.app.command_log.staged["workers.store"].new == 3
        assert d.sent == []
        assert "staged 1" in d.text
        await d.press("escape")
        assert not d.app.command_log.staged
        await d.press("e", "backspace", "5", "enter")
        assert d.app.command_log.staged["workers.store"].new == 5
        await d.press("e", *"99", "enter")
        assert "outside" in d.noticed[-1]
        await d.press("A")
        await d.wait(1)
        assert d.sent == [("set", {"key": "workers.store", "value": 5})]
        await d.wait(1)
        assert screen.changes.items[0].key == "workers.store"
        await d.press("U")
        assert "Undo" in d.text
        await d.press("y")
        await d.wait(1)
        assert d.sent[-1] == ("undo_to", {"revision": 2})
        await d.wait(2)
        assert d.app.settings["workers.store"].value == 2
        screen.set_focus(screen.changes)
        await d.press("enter")
        assert "BEFORE" in d.text
        await d.press("escape", "equals_sign")
        assert all(e.row is None or e.row.origin != "default" for e in screen.settings.items)
        await d.command("presets workstation")
        assert "no preset 'workstation': safe, balanced, fast" in d.noticed[-1]
        assert "stage a preset" in d.text
        await d.press("escape", "p")
        assert "workers.decode 2 → 1" in d.text, "what a preset changes is shown before it is chosen"
        await d.press("enter")
        assert d.app.command_log.staged["workers.decode"].new == 1
        assert not any(command == "set" and args["key"] == "workers.decode" for command, args in d.sent), "staged, not sent"
        await d.press("A")
        assert ("set", {"key": "workers.decode", "value": 1}) in d.sent


async def test_what_is_staged_shows_what_it_should_do_before_it_is_sent(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck")) as d:
        await d.press("4")
        screen = d.app.desk_screen
        screen.settings.move_to(screen.settings.find("workers.transcribe"))
        await d.press("right")
        await d.wait(1)
        assert re.search(r"predicted: \+\d+% audio/h, done in", d.text)
        shown = screen.staged.predicted["workers.transcribe"]
        screen.settings.move_to(screen.settings.find("asr.batch"))
        await d.press("right")
        await d.wait(1)
        assert "no model for this setting" in d.text
        screen.settings.move_to(screen.settings.find("identify.range_limit"))
        await d.press("left")
        await d.wait(1)
        assert re.search(r"split \d+% → \d+% of", d.text)
        assert d.sent == []
        await d.press("escape")
        assert "predicted" not in screen.staged.as_text()
        screen.settings.move_to(screen.settings.find("workers.transcribe"))
        await d.press("right", "A")
        await d.wait(1)
        kept = next(row for row in screen.changes.items if row.key == "workers.transcribe")
        assert kept.predicted_gain == pytest.approx(shown.gain, abs=0.03), "what was shown is kept beside what it did"


async def test_live_values_are_written_back(driven: Run, desk_at: Run, tmp_path: Any) -> None:
    path = tmp_path / "gainstage.toml"
    async with driven(desk_at("after-change"), settings_file=path) as d:
        await d.press("4", "W")
        assert "workers" in path.read_text()
        assert "transcribe = 4" in path.read_text()
    async with driven(desk_at("burst")) as d:
        await d.press("4", "W")
        assert "no settings file" in d.noticed[-1]


async def test_logs_filter_fold_and_follow(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("outage")) as d:
        await d.press("6")
        log = d.app.desk_screen.log_tail
        assert log.follow
        lines = len(log.entries)
        await d.wait(5)
        assert len(log.entries) >= lines
        await d.press("up")
        assert not log.follow
        key = log.cursor_key
        await d.wait(5)
        assert log.cursor_key == key, "held while lines come in"
        await d.press("f")
        assert log.follow
        await d.press("l")
        assert log.level == "warning"
        assert all(e.event.level in ("warning", "error") for e in log.entries)
        folded = len(log.entries)
        assert any(e.times > 1 for e in log.entries)
        await d.press("F")
        assert len(log.entries) > folded
        await d.command("level debug")
        await d.press("g")
        assert log.stage == "fetch"
        assert all(e.event.stage == "fetch" for e in log.entries)
        await d.command("level loud")
        assert "no level" in d.noticed[-1]
        await d.press("escape", "N", "N")
        await d.press("enter")
        assert d.app.desk_screen.line.whole
        await d.press("c")
        assert log.entries == []


async def test_search_by_meaning_words_and_speaker(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("done")) as d:
        await d.press("7")
        await d.type("city trees")
        await d.press("enter")
        screen = d.app.desk_screen
        assert screen.results.items
        assert "trees" in d.text
        first = screen.place.hit
        await d.press("down")
        assert screen.place.hit is not first
        await d.press("y")
        assert "“" in d.app.clipboard
        assert screen.results.selected.speaker in d.app.clipboard
        await d.press("m")
        assert screen.options.mode == "meaning"
        await d.press("s")
        assert screen.options.speaker == screen.speakers[0]
        assert all(h.speaker == screen.options.speaker for h in screen.results.items)
        await d.press("o")
        assert "t=" in d.app.clipboard
        await d.press("v")
        assert d.app.desk_screen.NAME == "recordings"


async def test_several_engines_are_counted(driven: Run, desk_at: Run) -> None:
    desk = desk_at("burst")
    row = desk.engines()[0]
    async with driven(Bent(desk, engines=(row, replace(row, id="b"), replace(row, id="c", state=min(ENDED))))) as d:
        assert "· 2 engines" in d.text, "an engine that has ended is not counted"


async def test_ascii_mode_draws_no_other_character(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck"), ascii=True) as d:
        for number in "123456":
            await d.press(number)
            foreign = {c for c in d.text if not c.isascii()} - set("".join(f.title for f in d.app.newest.flights))
            assert not {c for c in foreign if c in "─│╭╮╰╯━╸●◆▲■✓·…┊▸×→"}, foreign
