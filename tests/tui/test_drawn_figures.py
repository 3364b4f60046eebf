"""Figures as they are drawn: of a short run, of an idle engine, of the machine; nothing twice, nothing cut that has room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gainstage.engine.desk.scripted.desk import STORY, ScriptedDesk
from gainstage.engine.views.snapshot import Run, Snapshot
from gainstage.tui.render.theme import no_palette
from gainstage.tui.state.actions import actions_on
from gainstage.tui.widgets.changes import effect_line
from gainstage.tui.widgets.deck_lists import DeckLists, draw_lists, read_lists
from gainstage.tui.widgets.gauges import gauges_of
from gainstage.tui.widgets.throughput import ThroughputPanel
from tests.tui.conftest import SIZES, Bent

Driver = Callable[..., Any]

SHORT = (None,) * 10 + (20.0, 31.0) + (None,) * 8
"""A run of ten seconds, between an idle minute and another."""


def done(**changes: Any) -> Callable[[Snapshot], Snapshot]:
    return lambda s: replace(s, run=replace(s.run, rtfx=None, **changes))


def dots(panel: ThroughputPanel) -> list[str]:
    """The rows of the graph, without its scale."""
    return [line.text.split("┤", 1)[1] for line in panel.body(46, 7, no_palette()) if "┤" in line.text]


@pytest.fixture(scope="module")
def run() -> Run:
    snapshot = ScriptedDesk(start_at=STORY["done"]).snapshot()
    assert snapshot is not None
    return snapshot.run


def test_a_run_of_half_a_minute_is_a_picture_too(run: Run) -> None:
    panel = ThroughputPanel()
    panel.run, panel.wall, panel.now = replace(run, rtfx=None, rtfx_history=(None,), rtfx_trend=SHORT), 6000.0, 6000.0
    rows = dots(panel)
    assert any(c not in "⠀ " for row in rows for c in row)
    assert "01:35" in panel.body(46, 7, no_palette())[-2].text, "five minutes before 01:40"


def test_idle_minutes_are_gaps(run: Run) -> None:
    panel = ThroughputPanel()
    history = (40.0,) * 4 + (None,) * 6 + (40.0,) * 5
    panel.run, panel.wall, panel.now = replace(run, rtfx=40.0, rtfx_history=history), 6000.0, 6000.0
    bottom = dots(panel)[-1].rstrip("⠀ ")
    middle = bottom[len(bottom) * 4 // 10 : len(bottom) * 6 // 10]
    assert set(middle) <= set("⠀ ")
    assert bottom[:3].strip("⠀ ")
    assert bottom[-3:].strip("⠀ ")
    panel.run = replace(run, rtfx=None, rtfx_history=(None,) * 15, rtfx_trend=(None,) * 60)
    assert not any(c not in "⠀ " for row in dots(panel) for c in row)


def test_the_row_of_throughput_says_what_it_knows(run: Run) -> None:
    snapshot = ScriptedDesk(start_at=STORY["done"]).snapshot()
    assert snapshot is not None

    def words(**changes: Any) -> tuple[str, str]:
        gauge = gauges_of(replace(snapshot, run=replace(snapshot.run, **changes)))[-1]
        assert gauge.name == "audio/h"
        return gauge.words, gauge.more

    assert words(rtfx=None, running=0, audio_done_s=288.0, work_s=13.0, rtfx_trend=SHORT) == ("idle", "22× in all · scale to 50×")
    assert words(rtfx=None, running=2, audio_done_s=0.0, work_s=2.0, rtfx_trend=()) == ("measuring", "")
    assert words(rtfx=30.0, running=2, audio_done_s=60.0, work_s=2.0, rtfx_trend=())[0] == "now 30×"


async def test_the_use_of_the_processor_stands_once_on_the_deck_and_is_split(driven: Driver, desk_at: Driver) -> None:
    def busy(s: Snapshot) -> Snapshot:
        host = replace(s.host, cpu=0.9, cores=4, load=7.5, engine_cpu=2.0, postgres_cpu=0.2, cpu_history=(0.9,) * 30)
        return replace(s, devices=(), host=host)

    for name, columns in SIZES.items():
        async with driven(Bent(desk_at("bottleneck"), busy), size=columns) as d:
            rows = [line for line in d.text.splitlines() if "CPU " in line and "90%" in line]
            assert len(rows) == 1, (name, rows)
            if name == "wide":
                assert "engine 50 pg 5 other 35" in rows[0]
                assert "7.5  on 4 cores" in d.app.desk_screen.machine.as_text()
            await d.press("w")
            said = "\n".join(line.text for line in d.app.screen.lines(110, d.app.palette_of(False)))
            assert "engine 50%, its Postgres 5%, others 35%" in said


async def test_why_nothing_is_tried_is_said(driven: Driver, desk_at: Driver) -> None:
    async with driven(desk_at("done")) as d:
        await d.press("T")
        assert d.noticed[-1] == "no advice to try: everything is done"

    def no_setting(s: Snapshot) -> Snapshot:
        advice = s.verdict.advice
        assert advice is not None
        return replace(s, verdict=replace(s.verdict, advice=replace(advice, key=None, text="End the other program")))

    async with driven(Bent(desk_at("bottleneck"), no_setting)) as d:
        await d.press("T")
        assert d.noticed[-1] == "no setting to try: End the other program"
    ceiling = Bent(desk_at("bottleneck"), lambda s: replace(s, verdict=replace(s.verdict, advice=None)))
    async with driven(ceiling) as d:
        await d.press("T")
        assert d.noticed[-1] == "no advice to try: no setting would help"


async def test_the_journal_fills_its_screen_from_the_first_picture(driven: Driver, desk_at: Driver) -> None:
    """Seen at 80x24: the lines read before the narrow layout left the lower third empty."""
    async with driven(desk_at("done"), size=SIZES["narrow"]) as d:
        await d.press("6")
        tail = d.app.desk_screen.log_tail
        assert len(tail.items) > tail.rows_shown > 10
        drawn = tail.as_text().splitlines()[2:]  # below the edge and the titles
        assert len([line for line in drawn if line.strip()]) == tail.rows_shown


async def test_help_cuts_no_sentence(driven: Driver, desk_at: Driver) -> None:
    async with driven(desk_at("burst"), size=SIZES["narrow"]) as d:
        await d.press("question_mark")
        dialog = d.app.screen
        said = " ".join(" ".join(line.text.split()) for line in dialog.lines(dialog.panel.inner[0], d.app.palette_of(False)))
        for action in actions_on("deck"):
            assert " ".join(action.help.split()[-2:]) in said, action.id


def test_what_was_stored_last_is_told_by_when_it_was_stored() -> None:
    """A correction changes a recording; it is not stored by that."""
    desk = ScriptedDesk(start_at=STORY["done"])
    row = read_lists(desk).last_stored[0]
    again = replace(row, stored_wall=1000.0, changed_wall=1290.0)
    lines = draw_lists(DeckLists(last_stored=(again,)), 100, 6, 1300.0, no_palette())
    assert "5m00s ago" in lines[2].text or "5m ago" in lines[2].text


def test_a_gain_that_rounds_to_nothing_has_no_minus() -> None:
    change = next(c for c in ScriptedDesk(start_at=STORY["done"]).changes(10) if c.state == "applied")
    line = effect_line(replace(change, predicted_gain=-0.002, effect_text=None), 80, no_palette(), change.wall + 10)
    assert "predicted +0%" in line.text
