"""Every designed state that is not the ordinary one: empty, starting, stale, offline, stopped, foreign, replayed, broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.events import Events
from gainstage.engine.views.rows import RecordingPage
from gainstage.engine.views.search_rows import IndexHealth
from gainstage.engine.views.snapshot import DecisionsView, Snapshot
from gainstage.tui.render.theme import no_palette
from tests.tui.conftest import SIZES, Bent

Run = Callable[..., Any]


async def test_without_a_gpu_work_goes_on(driven: Run, desk_at: Run) -> None:
    def bare(s: Any) -> Any:
        return replace(s, devices=(), host=replace(s.host, gpu_note="libnvidia-ml.so not found"))

    async with driven(Bent(desk_at("burst"), bare)) as d:
        assert "libnvidia-ml.so not found" in d.text
        assert "Work goes on" in d.text
        await d.press("5")
        assert "GPU: not readable" in d.text
        await d.press("g")
        assert "no GPU can be read" in d.noticed[-1]


async def test_many_gpus_take_turns(driven: Run, desk_at: Run) -> None:
    def many(s: Any) -> Any:
        return replace(s, devices=tuple(replace(s.devices[0], index=i) for i in range(4)))

    async with driven(Bent(desk_at("burst"), many)) as d:
        assert "GPU 0 of 4" in d.text
        await d.press("5", "g")
        assert "GPU 1" in d.text


async def test_unknown_readings_are_dots_never_zero(driven: Run, desk_at: Run) -> None:
    def blind(s: Any) -> Any:
        device = replace(
            s.devices[0], sm=None, memory_used=None, memory_total=None, temperature=None, power_w=None, power_limit_w=None, throttle=None,
            clock_sm_mhz=None, pcie_rx=None, pcie_tx=None, sm_history=(), memory_history=(), slowdown_at=None, shutdown_at=None, ecc_errors=None,
            energy_j=None, memory_ours=None, memory_peak=None, clock_memory_mhz=None, clock_sm_max_mhz=None,
        )  # fmt: skip
        stages = tuple(
            replace(
                x,
                per_minute=None,
                wait_p50_s=None,
                wait_p95_s=None,
                service_p50_s=None,
                service_p95_s=None,
                rtfx=None,
                busy_share=None,
                trend=(),
            )
            for x in s.stages
        )
        host = type(s.host)(name="dark")
        return replace(
            s, devices=(device,), stages=stages, host=host, run=replace(s.run, rtfx=None, rtfx_history=(), audio_left_s=None)
        )

    async with driven(Bent(desk_at("burst"), blind)) as d:
        machine = [line for line in d.app.desk_screen.machine.as_text().splitlines() if "SM" in line or "PWR" in line]
        assert all("·" in line and " 0%" not in line for line in machine)
        await d.press("5")
        assert "·" in d.app.desk_screen.gpu.as_text()


async def test_the_database_down_is_told_where_it_matters(driven: Run, desk_at: Run) -> None:
    down = DeskError("Postgres: connection refused (3 tries, next in 8 s)")
    desk = Bent(desk_at("burst"), search=down, index_health=down, recordings=down, profiles=down, failures=down)
    async with driven(desk) as d:
        await d.press("2")
        assert "connection refused" in d.text
        await d.press("7")
        assert "connection refused" in d.text
        await d.type("fibre")
        await d.press("enter")
        assert d.text.count("connection refused") >= 2


async def test_voices_without_decisions_or_profiles(driven: Run, desk_at: Run) -> None:
    none = DecisionsView(0, 0, 0, 0, 0, 0, 0, 0.05, 0.5)
    desk = Bent(desk_at("warm-up"), lambda s: replace(s, decisions=none), decisions=(), profiles=())
    async with driven(desk) as d:
        await d.press("3")
        assert "First decision comes after the first diarized recording" in d.text
        assert "No voice profile" in d.text


async def test_filters_that_hide_everything_say_so(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("oom")) as d:
        await d.press("slash", *"zzzz", "enter")
        assert "match  zzzz" in d.text
        await d.press("escape")
        assert "match  zzzz" not in d.text
        await d.press("2", "slash", *"zzzz", "enter")
        await d.wait(1)
        assert "0 of 321 match" in d.text
        await d.press("escape", "3", "slash", *"zzzz", "enter")
        assert "match  zzzz" in d.text
        await d.press("escape", "4", "slash", *"zzzz", "enter")
        assert "no setting matches" in d.text
        await d.press("escape", "6", "slash", *"zzzz", "enter")
        assert "lines match  zzzz" in d.text


async def test_no_recordings_at_all(driven: Run, desk_at: Run) -> None:
    async with driven(Bent(desk_at("burst"), recordings=RecordingPage((), 0, 0), failures=())) as d:
        await d.press("2")
        assert "No recordings yet." in d.text
        assert "nothing has failed" in d.text


async def test_dropped_log_lines_are_counted(driven: Run, desk_at: Run) -> None:
    desk = desk_at("burst")
    real = desk.events(0)
    async with driven(Bent(desk, events=Events(real.items[:5], real.cursor, 1204))) as d:
        await d.press("6")
        assert "dropped, the file has all" in d.text


async def test_a_fresh_index_has_unknowns(driven: Run, desk_at: Run) -> None:
    async with driven(Bent(desk_at("burst"), index_health=IndexHealth(0, 0, 0, None, "exact scan", None))) as d:
        await d.press("7")
        assert "embedded ·" in d.text


async def test_a_fault_of_the_console_shows_its_id_and_spares_the_engine(driven: Run, desk_at: Run, tmp_path: Any) -> None:
    async with driven(desk_at("burst")) as d:
        app = d.app

        def fall(_: str) -> None:
            password = "hunter2-local"  # noqa: F841
            raise RuntimeError("postgresql://me:hunter2@db/x fell over")

        app.desk_screen.do_faults = fall
        await app.workers.wait_for_complete()
        await d.pilot.press("exclamation_mark")
        await d.pilot.pause()
        number = next(iter(app.reported))
        assert f"fault {number}" in d.text
        assert "engine is not affected" in d.text
        log = app.log_path.read_text()
        assert number in log
        assert "RuntimeError" in log
        assert "hunter2" not in log
        assert d.sent == [] if hasattr(d.desk, "sent") else True
        await d.pilot.press("escape")
        await d.pilot.pause()
        assert app.is_running
        assert len(app.screen_stack) == 1


async def test_a_panel_that_cannot_be_drawn_takes_no_other_with_it(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("burst")) as d:
        d.app.desk_screen.voices.body = lambda *_: 1 / 0
        d.app.desk_screen.voices.redraw()
        await d.pilot.pause()
        await d.pilot.press("escape")
        await d.pilot.pause()
        assert "this panel could not be drawn" in d.text
        assert "in flight" in d.text


async def test_secrets_never_reach_the_screen(driven: Run, desk_at: Run) -> None:
    desk = desk_at("burst")
    rows = tuple(replace(r, value="https://user:hunter2@proxy:8080") if r.key == "fetch.proxy" else r for r in desk.settings())
    async with driven(Bent(desk, settings=rows), size=SIZES["wide"]) as d:
        await d.press("4", "slash", *"proxy", "enter")
        assert "fetch.proxy" in d.text
        assert "hunter2" not in d.text
        await d.press("e")
        assert "hunter2" not in d.text
        await d.press("escape")
        d.app.desk_screen.set_focus(d.app.desk_screen.settings)
        await d.press("Y", "E")
        assert "hunter2" not in str(d.app.desk_screen.settings.exported())


async def test_a_tiny_terminal_says_the_size_it_needs(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("burst"), size=(50, 12)) as d:
        assert "HEALTHY" in d.text
        assert "60 × 16" in d.text
        await d.pilot.resize_terminal(160, 48)
        await d.settle()
        assert "60 × 16" not in d.text
        assert "BOTTLENECK" in d.text or "bottleneck" in d.text


async def test_before_the_desk_has_answered_nothing_is_claimed(desk_at: Run, tmp_path: Any) -> None:
    from gainstage.tui.console.app import GainstageApp

    app = GainstageApp(desk_at(0.0), manual=True, log=tmp_path / "console.log")
    async with app.run_test(size=SIZES["wide"]) as pilot:
        app.tick()
        await pilot.pause()
        text = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
        assert "CONNECTING" in text
        assert "Connecting to pg:prod" in text
        assert "NO ENGINE" not in text
        assert not re.search(r"\d\d:\d\d:\d\d", text.splitlines()[0]), "no time of day before the desk has said one"


async def test_the_ticker_knows_what_happened_while_another_screen_was_shown(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.press("5")
        d.desk.advance(20.0)
        await d.wait(0.5)
        newest = next(e for e in reversed(d.app.events) if e.kind == "stored")
        await d.press("1")
        await d.settle()
        assert newest.text in d.text


async def test_the_picture_goes_on_moving_under_a_dialog(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck")) as d:
        await d.press("question_mark")
        before = d.text.splitlines()[0]
        await d.wait(5)
        assert d.text.splitlines()[0] != before


async def test_the_rate_of_the_log_falls_when_nothing_is_written(driven: Run, desk_at: Run) -> None:
    desk = desk_at("bottleneck")
    quiet: list[Any] = []
    bent = Bent(desk)
    bent.events = lambda after, limit=500: Events((), 0, after) if quiet else desk.events(after, limit)
    async with driven(bent) as d:
        await d.press("6")
        await d.wait(1)
        assert d.app.desk_screen.log_tail.per_second > 0.5
        quiet.append(True)
        await d.wait(90)
        assert d.app.desk_screen.log_tail.per_second < 0.05
        assert " 0.0/s" in d.text


async def test_why_says_what_is_known_of_the_time_left(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("done")) as d:
        await d.press("w")
        assert "Nothing is left." in d.text
        assert "between 0s" not in d.text
    async with driven(desk_at("warm-up")) as d:
        await d.press("w")
        assert "three finished recordings" not in d.text


async def test_why_follows_what_it_explains(driven: Run, desk_at: Run) -> None:
    waiting: list[str] = ["asr is loading"]

    def reasoned(s: Any) -> Any:
        return replace(s, verdict=replace(s.verdict, health="starting" if waiting else "healthy", reason="".join(waiting)))

    async with driven(Bent(desk_at("bottleneck"), reasoned)) as d:
        await d.press("w")
        assert "STARTING  asr is loading" in d.text
        waiting.clear()
        await d.wait(1)
        assert "asr is loading" not in d.text
        assert "Rules, in the order they are asked" in d.text


async def test_while_a_line_is_typed_the_footer_says_how_to_leave_it(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck"), size=(80, 24)) as d:
        for key in ("7", "slash"):
            await d.press(*(("2",) if key == "slash" else ()), key)
            await d.wait(0.25)
            assert "Esc leaves the line, then the keys work again" in d.text.splitlines()[-1]
            await d.press("escape")
            await d.wait(0.25)
            assert "? help" in d.text.splitlines()[-1]


async def test_nothing_left_has_no_time_left(driven: Run, desk_at: Run) -> None:
    def paused(s: Any) -> Any:
        forecast = replace(s.verdict.forecast, left_s=0.0, low_s=0.0, high_s=0.0)
        return replace(s, verdict=replace(s.verdict, health="paused", forecast=forecast), run=replace(s.run, state="paused"))

    async with driven(Bent(desk_at("burst"), paused)) as d:
        assert "ETA" not in d.text.splitlines()[0]


async def test_long_ids_that_begin_alike_are_told_apart(driven: Run, desk_at: Run) -> None:
    desk = desk_at("bottleneck")

    def long(query: Any) -> Any:
        page = desk.recordings(query)
        rows = tuple(replace(row, id=f"{'channel-' * 4}{i:08}") for i, row in enumerate(page.rows))
        return replace(page, rows=rows)

    bent = Bent(desk)
    bent.recordings = long
    async with driven(bent) as d:
        await d.press("2")
        await d.wait(1)
        shown = [line.split()[2] for line in d.text.splitlines() if "channel-" in line and "…" in line][:10]
        assert len(shown) > 5
        assert len(set(shown)) == len(shown)


async def test_a_replay_without_recordings_offers_none_to_add(driven: Run, desk_at: Run) -> None:
    page = RecordingPage((), 0, 0)
    async with driven(Bent(desk_at("warm-up"), live=False, recordings=page)) as d:
        await d.press("2")
        await d.wait(1)
        assert "a recorded run holds no other recordings" in d.text
        assert "adds sources" not in d.text


async def test_a_change_mark_never_covers_a_time_of_the_axis(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("after-change")) as d:
        panel = d.app.desk_screen.throughput
        p = no_palette()
        for seconds_ago in (0.0, 1.0, 20.0, 800.0, 890.0, 899.0):
            panel.changes = ((panel.wall - seconds_ago, "changed"),)
            axis = panel._axis(900.0, 40, 6, p).text
            assert axis.count("◆") == 1, axis
            assert len(re.findall(r"\d\d:\d\d", axis)) == 2, axis


@pytest.mark.parametrize("columns", [80, 90, 100])
async def test_the_time_left_is_shown_before_the_time_of_day(driven: Run, desk_at: Run, columns: int) -> None:
    async with driven(desk_at("bottleneck"), size=(columns, 24)) as d:
        await d.press("space")
        first = d.text.splitlines()[0]
        assert re.search(r"ETA \d+m ±\d+[ms]", first), first
        assert "frozen" in first


async def test_the_detail_of_a_running_recording_says_where_it_is(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck")) as d:
        await d.press("2")
        serving = [f for f in d.app.newest.flights if f.stage == "transcribe" and not f.waiting]
        flight = next(f for f in serving if f.progress and f.expected_p95_s is not None)
        await d.command(f"filter rec:{flight.id}")
        await d.press("down")
        text = d.app.desk_screen.detail.as_text()
        assert re.search(r"transcribe +[━╸─]+ +\d+%", text), text
        assert "for its length" in text
        await d.command("filter status:stored")
        await d.press("up")
        assert "for its length" not in d.app.desk_screen.detail.as_text()


async def test_narrow_tables_show_titles(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at("bottleneck"), size=(80, 24)) as d:
        item = d.app.desk_screen.flights.items[0]
        assert item.view.title[:12] in d.text
        await d.press("2")
        row = d.app.desk_screen.rows.selected
        assert row.title[:12] in d.text


async def test_decisions_in_one_voices_deviation_are_shown_with_the_limits_they_were_made_by(driven: Run, desk_at: Run) -> None:
    """As cosines they would seem above limits that did not decide: a similarity of a short passage may lie further away."""
    story = desk_at("split")
    rows = tuple(replace(d, variance_spreads=1.8, range_spreads=4.1) for d in story.decisions(500))

    def bend(frame: Snapshot) -> Snapshot:
        view = replace(frame.decisions, variance_spreads=6.5, range_spreads=7.5, latest=rows[:5])
        return replace(frame, decisions=view)

    async with driven(Bent(story, bend, decisions=rows)) as d:
        assert "limits 6.5×, 7.5σ" in d.text
        assert "1.8×, 4.1σ" in d.text
        await d.press("3")
        assert " 1.8× " in d.text
        assert " 4.1σ " in d.text
        assert "13×+" in d.text, "the axis ends at twice the limit"
        await d.press("enter")
        assert "variance 1.8×/6.5×" in d.text
        assert "range 4.1σ/7.5σ" in d.text
