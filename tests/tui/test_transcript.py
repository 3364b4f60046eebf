"""The transcript of a stored recording: read, searched, quoted, corrected, taken back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gainstage.engine.views.corrections import StoredTranscript, TranscriptLine
from gainstage.engine.views.rows import Query
from gainstage.tui.render import format as fmt
from gainstage.tui.screens.recordings import RecordingsScreen
from gainstage.tui.screens.transcript import TranscriptScreen
from tests.tui.conftest import SIZES, Bent


def stored_id(desk: Any) -> str:
    return str(desk.recordings(Query(status=("stored",), limit=1)).rows[0].id)


def open_screen(d: Any) -> TranscriptScreen:
    screen = d.app.desk_screen
    assert isinstance(screen, TranscriptScreen)
    return screen


async def reading(d: Any) -> TranscriptScreen:
    await d.command("recordings status:stored")
    await d.press("enter")
    return open_screen(d)


@pytest.mark.parametrize("size", [SIZES["wide"], SIZES["narrow"]], ids=["wide", "narrow"])
async def test_enter_opens_the_transcript_of_a_stored_recording(desk_at: Any, driven: Any, size: tuple[int, int]) -> None:
    async with driven(desk_at("split"), size=size) as d:
        screen = await reading(d)
        shown = d.desk.transcript(screen.recording)
        first = shown.lines[0]
        assert first.speaker[:11] in d.text
        assert first.text[:20] in d.text
        doubtful = next(x for x in shown.lines if x.doubtful)
        screen.lines.go_to(doubtful.start)
        await d.settle()
        assert "▲" in next(row for row in screen.lines.as_text().splitlines() if fmt.at(doubtful.start) in row)
        assert "▲ doubtful words" in screen.passage.as_text()
        await d.press("end")
        assert shown.lines[-1].text[:20] in d.text
        await d.press("escape")
        assert isinstance(d.app.desk_screen, RecordingsScreen)
        await d.press("enter", "1")
        assert d.app.desk_screen.NAME == "deck"
        await d.press("2")
        assert isinstance(d.app.desk_screen, RecordingsScreen)


async def test_what_is_not_stored_has_no_transcript(desk_at: Any, driven: Any) -> None:
    async with driven(desk_at("split")) as d:
        await d.command("recordings status:queued")
        await d.press("T")
        assert any("only what is stored" in text for text in d.noticed)
        await d.command("read nothing")
        assert "no passages are stored of nothing" in d.text


async def test_a_passage_is_searched_and_found_again(desk_at: Any, driven: Any) -> None:
    async with driven(desk_at("split")) as d:
        screen = await reading(d)
        word = max(d.desk.transcript(screen.recording).lines[3].text.split(), key=len).strip(".,?!")
        await d.press("slash")
        await d.type(word)
        await d.press("enter")
        wanted = [n for n, x in enumerate(screen.lines.items) if x is not None and word.lower() in x.text.lower()]
        assert list(screen.lines.matches) == wanted
        assert screen.lines.cursor in wanted
        for _ in wanted:
            await d.press("n")
        assert screen.lines.cursor in wanted
        await d.press("escape")
        assert not screen.lines.searched
        await d.press("n")
        assert screen.lines.selected is None or screen.lines.selected.doubtful


async def test_a_name_is_corrected_after_its_difference_was_seen_and_taken_back(desk_at: Any, driven: Any) -> None:
    async with driven(desk_at("split")) as d:
        screen = await reading(d)
        line = screen.lines.selected
        assert line is not None
        others = [x for x in screen.lines.items if x is not None and x.speaker == line.speaker and x is not line]
        await d.press("c")
        await d.type("Ada")
        await d.press("enter")
        assert f"{line.speaker} → Ada" in d.text
        assert "Ada is new" in d.text
        await d.press("enter")  # leave it is what is marked
        assert d.desk.transcript(screen.recording).lines[line.ordinal].speaker == line.speaker
        await d.press("c")
        await d.type("Ada")
        await d.press("enter", "a")
        named = [x for x in d.desk.transcript(screen.recording).lines if x.speaker == "Ada"]
        assert len(named) == 1 + len(others)
        assert screen.lines.selected is not None
        assert (screen.lines.selected.speaker, screen.lines.selected.provenance) == ("Ada", "manual")
        assert "set by hand" in d.text
        await d.press("u")
        assert screen.lines.selected.speaker == line.speaker
        assert any("taken back" in text for text in d.noticed)
        await d.press("u")
        assert any("no correction stands" in text for text in d.noticed)


async def test_nobody_and_one_turn_alone(desk_at: Any, driven: Any) -> None:
    async with driven(desk_at("split")) as d:
        screen = await reading(d)
        line = screen.lines.selected
        assert line is not None
        await d.press("c", "minus", "enter", "t")
        names = [x.speaker for x in d.desk.transcript(screen.recording).lines]
        assert names[line.ordinal].startswith("Speaker ")
        assert names.count(names[line.ordinal]) == 1


async def test_a_read_only_console_corrects_nothing(desk_at: Any, driven: Any) -> None:
    async with driven(desk_at("split"), read_only=True) as d:
        await reading(d)
        await d.press("c")
        assert any("read-only" in text for text in d.noticed)


async def test_quote_link_and_decision(desk_at: Any, driven: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with driven(desk_at("split")) as d:
        screen = await reading(d)
        line = screen.lines.selected
        assert line is not None
        copied: list[str] = []
        monkeypatch.setattr(d.app, "copy_to_clipboard", copied.append)
        await d.press("Y")
        assert copied[0].startswith(f"“{line.text}”\n{line.speaker}, ")
        assert f"t={int(line.start)}" in copied[0]
        await d.press("enter")
        assert d.app.desk_screen.NAME == "voices"
        assert screen.recording in d.text


class Long(Bent):
    """A recording of ten hours."""

    LINES = tuple(
        TranscriptLine(
            n, 1.8 * n, 1.8 * n + 1.7, f"Person {n % 5}", 0.7, "cluster", f"passage {n} of many", n % 50 == 0, n % 90 == 0
        )
        for n in range(20_000)
    )

    def transcript(self, id: str) -> StoredTranscript:
        return StoredTranscript(id, "A long day", "/a.wav", None, 36_000.0, self.LINES)


async def test_ten_hours_scroll_like_ten_minutes(desk_at: Callable[..., Any], driven: Any) -> None:
    async with driven(Long(desk_at("split"))) as d:
        screen = await reading(d)
        assert len(screen.lines.items) == 20_000
        asked = 0
        cell = screen.lines.cell

        def counted(*args: Any) -> Any:
            nonlocal asked
            asked += 1
            return cell(*args)

        screen.lines.cell = counted  # type: ignore[method-assign]
        await d.press("end")
        rows, columns = screen.lines.rows_shown, len(screen.lines.columns())
        assert "passage 19999 of many" in d.text
        assert asked <= 3 * rows * columns, "only the rows in sight are formatted"
        began = time.process_time()
        for _ in range(200):
            screen.lines.move_by(-40)
        per_page = (time.process_time() - began) / 200
        began = time.process_time()
        small = replace(screen.lines.transcript, lines=Long.LINES[:600])  # type: ignore[type-var]
        screen.lines.show(small)
        screen.lines.move_to(599)
        began = time.process_time()
        for step in range(200):
            screen.lines.move_by(-40 if step % 10 else 500)
        assert per_page < 5 * (time.process_time() - began) / 200, "the length of a recording costs nothing"
