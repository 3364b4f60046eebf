"""The pure parts: filters, values, drawings, columns, ranking, command log, alerts, exports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from gainstage.config.errors import SettingError
from gainstage.config.write_back import write_back
from gainstage.engine.views.commands import Ack, Command, DeskError
from gainstage.engine.views.rows import RecordingRow, SettingRow
from gainstage.engine.views.snapshot import Snapshot
from gainstage.tui.render import export, safe
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.filters import matches, read_filter, to_query
from gainstage.tui.render.theme import no_palette
from gainstage.tui.render.values import BadValue, read_value, stepped
from gainstage.tui.state.alerts import Alerts, lateness
from gainstage.tui.state.command_log import CommandLog, describe
from gainstage.tui.widgets.detail import bars
from gainstage.tui.widgets.distribution import ticks
from gainstage.tui.widgets.glyphs import braille, columns_of, meter, nice_top, similarity, spark
from gainstage.tui.widgets.recordings_table import Paged
from gainstage.tui.widgets.results import link_of
from gainstage.tui.widgets.table import LONGEST_ID, Column, Ranking, fitted

P = no_palette()
Run = Callable[..., Any]


# -- filters and values


def test_filter_grammar() -> None:
    f = read_filter("!stage:transcribe err:'too many' len>2h len<180m fibre gut", ("stage", "cause"))
    assert (f.invert, f.text, f.longer_s, f.shorter_s) == (True, "fibre gut", 7200.0, 10_800.0)
    assert f.fields == {"stage": "transcribe", "cause": "too many"}
    q = to_query(f, sort="title", descending=False, faults=True, limit=50)
    assert (q.text, q.stage, q.cause, q.status, q.invert, q.sort) == (
        "fibre gut",
        "transcribe",
        "too many",
        ("failed",),
        True,
        "title",
    )
    assert read_filter("", ()).empty
    assert read_filter("https://youtu.be/x", ("https",)).text == "https://youtu.be/x"


def test_a_word_with_a_colon_that_names_no_field_is_searched_for_as_it_stands() -> None:
    f = read_filter("colour:red stage:store Talk: 10:30 'a:b'", ("stage",))
    assert (f.text, f.fields, f.unknown) == ("colour:red Talk: 10:30 a:b", {"stage": "store"}, ("colour",))


def test_the_id_of_a_recording_is_looked_for_in_the_text() -> None:
    f = read_filter("rec:r0001 status:failed,skipped", ("recording", "status"))
    query = to_query(f, sort="id", descending=False, faults=False, limit=1)
    assert (query.text, query.status) == ("r0001", ("failed", "skipped"))


def test_filter_matches_lines() -> None:
    assert matches(read_filter("oom stage:identify", ("stage",)), "CUDA OOM", stage="identify")
    assert not matches(read_filter("stage:identify", ("stage",)), "x", stage=None)
    assert matches(read_filter("!oom", ()), "fine", stage=None)
    assert matches(read_filter("", ()), "anything")


def setting(**options: Any) -> SettingRow:
    base: dict[str, Any] = {
        "key": "k", "value": 2, "default": 2, "origin": "default", "low": 1, "high": 16, "step": 1, "unit": "", "effect": "now", "help": "", "risk": "",
    }  # fmt: skip
    return SettingRow(**{**base, **options})


def test_values_are_read_and_bounded() -> None:
    assert read_value(setting(), " 3 ") == 3
    assert read_value(setting(value=0.5, default=0.5, low=0, high=2, step=0.01), "0.25") == 0.25
    assert read_value(setting(default=True, value=True, low=None, high=None), "off") is False
    assert read_value(setting(default="auto", value="auto", low=None, high=None, choices=("auto", "cpu")), "cpu") == "cpu"
    for text in ("none", "None", "-", "", "  "):
        assert read_value(setting(optional=True, default=None, value=None), text) is None
    assert read_value(setting(default=1024, value=1024, low=0, high=1024**4, unit="bytes"), "4G") == 4 * 1024**3
    assert read_value(setting(default="x", value="x", low=None, high=None), "any text") == "any text"
    for row, text in (
        (setting(), "17"),
        (setting(), "2.5"),
        (setting(), "two"),
        (setting(), ""),
        (setting(), "inf"),
        (setting(), "nan"),
        (setting(), "9" * 5000),
        (setting(value=0.5, default=0.5, low=0, high=2, step=0.01), "1e999"),
        (setting(choices=("a",), default="a"), "b"),
    ):
        with pytest.raises(BadValue):
            read_value(row, text)


@given(st.integers(1, 16), st.integers(-40, 40))
def test_steps_stay_in_range(value: int, steps: int) -> None:
    assert 1 <= stepped(setting(value=value), value, steps) <= 16


def test_steps_go_round_choices_and_switches() -> None:
    row = setting(choices=("auto", "cpu", "cuda"), default="auto", value="auto", low=None, high=None, step=None)
    assert [stepped(row, "auto", n) for n in (1, -1, 3)] == ["cpu", "cuda", "auto"]
    assert stepped(setting(default=True, value=True, step=None), True, 1) is False
    assert stepped(setting(value=0.05, default=0.05, low=0, high=1, step=0.005), 0.05, 1) == 0.055
    with pytest.raises(BadValue):
        stepped(setting(default="x", value="x", low=None, high=None, step=None), "x", 1)


def test_write_back_keeps_comments(tmp_path: Path) -> None:
    path = tmp_path / "gainstage.toml"
    path.write_text("# mine\n[workers]\nfetch = 8 # polite\n", "utf-8")
    assert write_back(path, {"workers.fetch": 6, "identify.range_limit": 0.4, "in_flight": 12}) == 3
    text = path.read_text("utf-8")
    assert "# mine" in text
    assert "fetch = 6 # polite" in text
    assert "range_limit = 0.4" in text
    import tomllib

    assert tomllib.loads(text) == {"in_flight": 12, "workers": {"fetch": 6}, "identify": {"range_limit": 0.4}}
    path.write_text("not [ toml", "utf-8")
    with pytest.raises(SettingError, match="cannot write"):
        write_back(path, {"in_flight": 1})


# -- drawings


@given(st.floats(-1, 2) | st.none(), st.integers(1, 40), st.floats(0, 1) | st.none())
def test_meters_have_their_width(share: float | None, cells: int, limit: float | None) -> None:
    line = meter(Line(), share, cells, P, "bar", limit)
    assert line.used == cells == cell_len(line.text)
    if limit is not None:
        assert line.text.count("┊") == 1


def test_meters_show_the_least_and_the_most() -> None:
    assert meter(Line(), 0.0, 8, P).text == "────────"
    assert meter(Line(), 0.001, 8, P).text == "╸───────"
    assert meter(Line(), 1.0, 8, P).text == "━━━━━━━━"
    assert meter(Line(), None, 4, P).text == "────"


@given(st.lists(st.floats(0, 100) | st.none(), max_size=80), st.integers(1, 30), st.integers(1, 6))
@settings(max_examples=50)
def test_graphs_have_their_size_and_a_fixed_scale(values: list[float | None], cells: int, rows: int) -> None:
    assert len(spark(values, cells, 100.0)) == cells
    graph = braille(values, cells, rows, 100.0)
    assert len(graph) == rows
    assert all(len(row) == cells for row in graph)
    assert braille([v and v / 2 for v in values], cells, rows, 100.0) == braille([v and v / 2 for v in values], cells, rows, 100.0)


def test_a_small_step_is_a_small_step() -> None:
    assert spark([60, 61], 2, 100) == "▅▅", "no scale of its own makes a cliff of one point"
    assert braille([100, 100], 1, 2, 100) == ("⣿", "⣿")
    assert braille([0, 50], 1, 1, 100) == ("⢠",)


@given(st.floats(1e-6, 1e9))
def test_scales_hold_their_peak(peak: float) -> None:
    assert peak * 0.998 <= nice_top(peak) <= peak * 10


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(4, 40))
def test_similarity_strips_have_their_width(a: float, b: float, limit: float, cells: int) -> None:
    low, high = min(a, b), max(a, b)
    line = similarity(Line(), low, (a + b) / 2, high, limit, cells, P, "bar")
    assert line.used == cells
    assert line.text.count("●") == 1


def test_similarity_strip_reads_like_a_ruler() -> None:
    assert similarity(Line(), 0.0, 0.5, 1.0, 0.75, 21, P, "bar").text == "├─────────●────┼────┤"


def test_histograms_stack_their_columns() -> None:
    assert columns_of([0, 1, 4, 2], 2, each=2) == ["    █   ", "  ▄ █ █ "]


def test_bars_of_stages_follow_each_other() -> None:
    from gainstage.engine.views.rows import Span

    spans = (Span("fetch", 100.0, 0.0, 10.0, "ok"), Span("transcribe", 110.0, 20.0, 10.0, "ok"))
    assert bars(spans, 41) == [(0, 0, 10), (10, 20, 10)]
    assert bars((), 41) == []


# -- tables


def test_columns_give_way_by_importance() -> None:
    columns = (Column("a", "A", 10, keep=10), Column("b", "B", 10, keep=1), Column("c", "C", 4, grow=True, keep=5))
    assert [(f.column.key, f.width) for f in fitted(columns, 40)] == [("a", 10), ("b", 10), ("c", 16)]
    assert [f.column.key for f in fitted(columns, 20)] == ["a", "c"]
    assert sum(f.width for f in fitted(columns, 20)) + 2 == 20


def test_ranks_change_at_most_once_a_second() -> None:
    ranking = Ranking()
    first = ranking.order(["b", "a"], str, str, 10.0)
    assert first == ["a", "b"]
    assert ranking.order(["b", "a", "0"], str, str, 10.5) == ["a", "b", "0"], "new rows join at the end"
    assert ranking.order(["b", "a", "0"], str, str, 11.0) == ["0", "a", "b"]
    assert ranking.order(["b", "0"], str, lambda s: -ord(s), 11.1) == ["0", "b"]
    assert ranking.order(["b", "0"], str, lambda s: -ord(s), 11.2, at_once=True) == ["b", "0"]


def test_a_page_knows_where_its_rows_stand() -> None:
    rows = tuple(
        RecordingRow(f"r{i}", "", "", "queued", None, None, 0, 5, 0, 0, 0, None, None, None, None, None) for i in range(50, 60)
    )
    page = Paged(100_000, 50, rows)
    assert len(page) == 100_000
    assert page[55].id == "r55"  # type: ignore[union-attr]
    assert page[99_999] is None
    assert page.place("r59") == 59
    assert page.place("r1") is None
    assert [row.id for row in page[58:61] if row] == ["r58", "r59"]


# -- command log and alerts


def test_a_command_is_pending_until_it_is_acknowledged() -> None:
    box = CommandLog()
    sent = box.enqueue(Command("set", {"key": "k", "value": 3}), "k 2 → 3", 1.0)
    assert [s.state for s in box.pending] == ["pending"]
    box.answered(sent, Ack(7, "pending"))
    assert describe(box.pending[0]) == ("k 2 → 3 …", "pending")
    done = box.acknowledged(Ack(7, "done", "set", revision=4, applied_after_s=0.31, old=2, new=3))
    assert done is not None
    assert describe(done) == ("k 2 → 3 · applied in 0.3 s · revision 4", "ok")
    assert box.pending == []
    assert box.acknowledged(Ack(7, "done")) is None
    refused = box.answered(box.enqueue(Command("drain"), "drain", 2.0), Ack(8, "refused", "nothing to drain"))
    assert describe(refused) == ("drain refused: nothing to drain", "warn")


def test_staged_values_wait_for_their_moment() -> None:
    box = CommandLog()
    box.stage("a", 1, 2, due=10.0)
    box.stage("b", 1, 2)
    assert box.take_due(9.9) == []
    assert [s.key for s in box.take_due(10.0)] == ["a"]
    box.stage("b", 1, 1)
    assert box.take_staged() == [], "back to the old value is nothing staged"


def test_levels_wait_and_forgive_slowly(story: tuple[Snapshot, ...]) -> None:
    levels = Alerts()
    base = story[-1]
    hot = replace(base, devices=(replace(base.devices[0], memory_used=79 * 1024**3, memory_total=80 * 1024**3),))
    levels.step(hot, 0.92)
    assert levels.of("gpu0.memory") == "ok", "dwell"
    levels.step(replace(hot, wall=hot.wall + 6), 0.92)
    assert levels.of("gpu0.memory") == "crit"
    assert levels.sign("gpu0.memory") == "■"
    assert levels.of("no such metric") == "ok"
    assert [lateness(t, 10.0) for t in (14, 15, 30)] == ["ok", "warn", "crit"]
    assert lateness(1e9, None) == "ok"


# -- exports


def test_exports_escape_what_a_spreadsheet_would_run() -> None:
    rows = [["=HYPERLINK(1)", "-3.5", "a,b"], ["@x", "+cmd", 'q"uote']]
    read = list(csv.reader(io.StringIO(export.render("csv", ["a", "b", "c"], rows))))
    assert read == [["a", "b", "c"], ["'=HYPERLINK(1)", "-3.5", "a,b"], ["'@x", "'+cmd", 'q"uote']]
    assert json.loads(export.render("json", ["a"], [["ü"]])) == [{"a": "ü"}]


def test_exports_never_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.csv"
    assert export.write(path, "a") == path
    with pytest.raises(DeskError, match="there already"):
        export.write(path, "b")


def test_links_open_at_their_time() -> None:
    from gainstage.engine.views.search_rows import SearchHit

    hit = SearchHit("r", "t", 764.2, 770.0, "s", "x", 0.9, "https://www.youtube.com/watch?v=r", 1)
    assert link_of(hit) == "https://www.youtube.com/watch?v=r&t=764"
    assert link_of(replace(hit, url="file:///etc/passwd")) is None
    assert link_of(replace(hit, url=None)) is None


def test_a_cluster_and_a_share_of_audio_are_written_short() -> None:
    assert fmt.cluster("SPEAKER_02") == "S02"
    assert fmt.cluster("c1") == "c1"
    assert fmt.audio(7.2 * 3600, 40 * 3600) == "7/47 h"
    assert fmt.audio(90.0, 210.0) == "2/5 min"
    assert fmt.audio(90.0) == "2 min"


@pytest.mark.parametrize("top", [1, 3, 10, 245, 99_999])
def test_the_ticks_of_a_root_scale_are_round_and_apart(top: int) -> None:
    found = ticks(top, 10)
    assert found
    assert all(b - a > 1 for a, b in pairwise(sorted(found)))
    assert all(text.rstrip("k").replace(",", "").replace(".0", "")[0] in "125" for text in found.values())


async def test_ids_of_recordings_get_the_width_they_need_and_keep_it(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        table = d.app.desk_screen.flights
        before = next(f.width for f in table._fits(150) if f.column.ids)
        long = replace(table.items[0], view=replace(table.items[0].view, id="a-talk-about-birds-417d69c0"))
        table.set_items([long])
        assert next(f.width for f in table._fits(150) if f.column.ids) == LONGEST_ID > before
        table.set_items([])
        assert next(f.width for f in table._fits(150) if f.column.ids) == LONGEST_ID
        assert next(f.width for f in table._fits(70) if f.column.ids or f.column.key == "id") == before


def test_sources_with_spaces_are_held_together_by_quotes() -> None:
    from gainstage.tui.screens.modals.add import split

    assert split("'/data/My Talks' https://example.org/feed limit=50 oldest") == (
        ("/data/My Talks", "https://example.org/feed"),
        {"limit": 50, "order": "oldest"},
    )
    assert split("/data/Let's-talk.mp3") == (("/data/Let's-talk.mp3",), {})
    assert split("'/data/a=b c'") == (("/data/a=b c",), {})


@pytest.mark.parametrize(("age_s", "says"), [(60.0, "effect is being measured"), (7200.0, "effect was not measured")])
def test_an_effect_is_measured_only_as_long_as_its_window_lasts(age_s: float, says: str) -> None:
    from gainstage.engine.views.rows import ChangeRow
    from gainstage.tui.widgets.changes import effect_line

    change = ChangeRow(1, 1000.0, "operator", "identify.margin", 0.1, 0.2, "applied")
    assert says in effect_line(change, 80, no_palette(), 1000.0 + age_s).text


def test_text_that_fits_is_shown_whole_and_what_is_cut_ends_in_an_ellipsis() -> None:
    assert safe.wrapped("one two three", 7, 2) == ["one two", "three"]
    assert safe.wrapped("one two three four five", 7, 2) == ["one two", "three …"]
    assert safe.wrapped("one two abcdefg four five", 7, 2) == ["one two", "abcdef…"]
    assert safe.wrapped("one\ntwo\nthree", 7, 3) == ["one", "two", "three"]


async def test_settings_are_exported_and_copied_by_their_whole_key(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        await d.press("4")
        await d.settle()
        table = d.app.desk_screen.table
        names, rows = table.exported()
        assert names[0] == "setting"
        assert {"workers.fetch", "identify.range_limit"} <= {row[0] for row in rows}
        assert len(rows) == len(d.app.settings)
        assert table.cells_of(table.selected)[0] == table.setting.key
