"""Nothing hostile reaches the terminal, and every text has exactly the cells it claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style

from gainstage.engine.views.events import Event
from gainstage.tui.render import safe
from gainstage.tui.render.cells import Line, sides

Run = Callable[..., Any]

HOSTILE = [
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07after", "\x9b2Jcleared", "a\x00b\x07c\x08d", "line\nbreak\rreturn\ttab",
    "\u202eright to left\u202c", "\u2066isolate\u2069", "zero\u200bwidth\ufeff", "[@click=app.quit]x[/]", "[/x]", "[bold red]B[/]",
    "e" + "\u0301" * 60, "👩🏽\u200d🔬\ufe0f family", "日本語のタイトル", "\ud800broken", "\U000e0041tag", "\x85\u2028\u2029", "=cmd|' /C calc'!A0",
    "‮ignore", "ａｂｃ", "\u3000ideographic", "नमस्ते", "مرحبا", "x" * 10_000, "", " ", "\x1b", "\x1b[", "\x1b]",
]  # fmt: skip

anything = st.one_of(
    st.text(), st.text(st.characters(categories=["Cc", "Cf", "Mn", "So", "Lo", "Zs", "Zl", "Co", "Cn"])), st.sampled_from(HOSTILE)
)


def harmless(text: str) -> bool:
    """Nothing a terminal would act on, nothing without a known width."""
    return (
        text.isprintable() and "\x1b" not in text and not any(c in "\u202a\u202b\u202d\u202e\u2066\u2067\u200d\ufe0f" for c in text)
    )


@given(anything)
def test_displayed_text_is_harmless_and_stays_so(text: str) -> None:
    shown = safe.display(text)
    assert harmless(shown)
    assert safe.display(shown) == shown
    assert cell_len(shown) == safe.width(shown)


@given(anything, st.integers(0, 60), st.sampled_from("<>^"), st.booleans())
def test_fitted_text_has_exactly_its_cells(text: str, cells: int, align: str, middle: bool) -> None:
    fitted = safe.fit(text, cells, align, middle=middle)
    assert harmless(fitted)
    assert cell_len(fitted) == cells


@given(anything, st.integers(1, 60))
def test_clipped_text_never_outgrows_its_cells(text: str, cells: int) -> None:
    assert cell_len(safe.clip(text, cells)) <= cells


@given(anything, st.integers(1, 60))
@settings(max_examples=60)
@example("no room for words", 3)
@example("  天気", 1)
def test_wrapped_lines_fit_and_lose_no_letter(text: str, cells: int) -> None:
    lines = safe.wrapped(text, cells)
    assert all(cell_len(line) <= cells and harmless(line) for line in lines)
    if cells >= 4 and len(text) < 500 and "…" not in text:
        kept = "".join(lines).replace(" ", "")
        whole = "".join(safe.display(part.strip()) for part in text.splitlines()).replace(" ", "")
        assert kept == whole or lines[-1] == "…"


@pytest.mark.parametrize("text", HOSTILE)
def test_known_attacks(text: str) -> None:
    assert harmless(safe.display(text))


def test_own_drawings_keep_their_spaces() -> None:
    assert safe.display("·   ┊  ├─●─┤") == "·   ┊  ├─●─┤"
    assert safe.display("  two  spaces  ") == "  two  spaces  "


def test_identifiers_are_cut_in_the_middle() -> None:
    assert safe.fit("dQw4w9WgXcQ", 7, middle=True) == "dQw…XcQ"
    assert safe.fit("日本語の長いタイトル", 7) == "日本語…"


@given(st.lists(st.tuples(anything, st.integers(0, 30)), max_size=6), st.integers(1, 80))
def test_lines_are_as_wide_as_the_screen_says(pieces: list[tuple[str, int]], cells: int) -> None:
    line = Line()
    for text, width in pieces:
        line.fit(text, width, Style())
    strip = line.strip(cells, Style())
    assert strip.cell_length == cells == sum(cell_len(s.text) for s in strip)


def test_what_is_cut_off_leaves_an_ellipsis_but_blanks_do_not() -> None:
    line = Line().add("first decision", Style()).add(" after the first", Style(bold=True))
    assert line.strip(20, Style()).text == "first decision afte…"
    assert line.strip(14, Style()).text == "first decisio…"
    assert Line().add("done", Style()).gap(8, Style()).strip(6, Style()).text == "done  "
    assert line.strip(1, Style()).text == "…"
    assert line.strip(0, Style()).text == ""


def test_two_ends_of_a_line_never_overlap() -> None:
    left, right = Line().add("a long left side", Style()), Line().add("right", Style())
    assert sides(left, right, 12, Style()).text == "a long…right"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:hunter2@db/prod",
        "password=hunter2",
        'token: "hunter2"',
        "Authorization=hunter2",
        "api_key='hunter2'",
        "COOKIE = hunter2",
    ],
)
def test_secrets_are_concealed(text: str) -> None:
    assert "hunter2" not in safe.conceal(text)


def test_ordinary_text_is_not_concealed() -> None:
    for text in ("https://host:8080/path", "10.0.4.12:5432/speech", "the token budget", "user@example.org"):
        assert safe.conceal(text) == text


async def test_hostile_text_in_every_row_changes_nothing_but_its_cells(driven: Run, desk_at: Run) -> None:
    """Through the widgets themselves: titles, notes, verdicts, events, errors."""
    async with driven(desk_at("throttled")) as d:
        app, deck = d.app, d.app.desk_screen
        base = app.newest

        @given(anything)
        @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        def check(text: str) -> None:
            verdict = replace(
                base.verdict,
                reason=text,
                bottleneck=replace(base.verdict.bottleneck, text=text, evidence=text),
                advice=replace(base.verdict.advice, text=text, expected=text, evidence=text) if base.verdict.advice else None,
            )
            frame = replace(
                app.frame,
                label=text,
                snapshot=replace(
                    base,
                    run=replace(base.run, source=text),
                    verdict=verdict,
                    flights=tuple(replace(f, title=text, note=text, id=text[:11] or "x") for f in base.flights[:3]),
                    stages=tuple(replace(s, note=text, last_error=text) for s in base.stages),
                    devices=tuple(replace(g, name=text, throttle=(text,)) for g in base.devices),
                ),
            )
            deck.show(frame)
            deck.ticker.take_events([Event(1, base.wall, "warning", "retry", text)])
            for widget in (deck.flights, deck.stages, deck.verdict, deck.machine, deck.ticker, deck._status, deck._nav):
                width, height = widget.size
                for y in range(height):
                    strip = widget.render_line(y)
                    assert strip.cell_length == width == sum(cell_len(s.text) for s in strip)
                    for segment in strip:
                        assert harmless(segment.text), segment.text
                        assert segment.style is None or not segment.style.meta

        check()
        assert not app.reported


async def test_markup_in_a_title_is_only_text(driven: Run, desk_at: Run) -> None:
    async with driven(desk_at()) as d:
        deck = d.app.desk_screen
        base = d.app.newest
        hostile = "[@click=app.quit]quit[/] [/x] [bold]"
        deck.show(replace(d.app.frame, snapshot=replace(base, flights=(replace(base.flights[0], title=hostile),))))
        await d.pilot.pause()
        assert "[@click=app.quit]quit[/] [/x] [bold]" in d.text
        d.app.notice(hostile, "warn")
        await d.pilot.pause()
        await d.pilot.click("#flights", offset=(20, 2))
        assert d.app.is_running
        await d.press("2")
        await d.command("goto [/x]")
        assert d.app.is_running
