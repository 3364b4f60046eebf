"""Every theme can be read, in true colour and in 256."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gainstage.config.settings import SPECS
from gainstage.tui.render.theme import THEMES, TOKENS, palette, themes_for
from gainstage.tui.render.xterm import CURSOR_CONTRAST, DRAWN, contrast, shown


@pytest.mark.parametrize("name", list(THEMES))
def test_every_theme_has_every_token(name: str) -> None:
    variables = THEMES[name].variables
    for stale in (False, True):
        p = palette(variables, stale=stale)
        for token in (*TOKENS, "ground", "warn", "crit+b", "text+r"):
            assert p[token] is not None
            assert p.on_cursor()[token] is not None
    assert {f"gs-{t}" for t in (*TOKENS, "ground", "cursor")} <= variables.keys()


COLOURED = [n for n in THEMES if n != "mono"]


WORDS = [t for t in TOKENS if t not in DRAWN]


@pytest.mark.parametrize("seen", [str, shown], ids=["true colour", "256 colours"])
@pytest.mark.parametrize("name", COLOURED)
def test_text_can_be_read_on_its_ground(name: str, seen: Callable[[str], str]) -> None:
    theme = themes_for("256" if seen is shown else "truecolor")[name]
    v = {key.removeprefix("gs-"): seen(value) for key, value in theme.variables.items() if key.startswith("gs-")}
    too_faint = {token: round(contrast(v[token], v["ground"]), 2) for token in WORDS if contrast(v[token], v["ground"]) < 4.5}
    assert too_faint == {}
    assert contrast(v["text"], v["ground"]) >= 7
    assert contrast(v["cursor"], v["ground"]) >= CURSOR_CONTRAST, "the cursor row is seen"
    on_cursor = palette(theme.variables).on_cursor()
    for token in ("text", "bright", "muted", "faint"):
        colour = on_cursor[token].color
        assert colour is not None
        assert contrast(seen(colour.get_truecolor().hex), v["cursor"]) >= 4.5, token


@pytest.mark.parametrize("name", COLOURED)
def test_on_256_colours_what_is_told_apart_by_colour_stays_apart(name: str) -> None:
    v = themes_for("256")[name].variables
    apart = ("ground", "cursor", "line", "faint", "muted", "text")
    assert len({shown(v[f"gs-{t}"]) for t in apart}) == len(apart)
    assert len({shown(v[f"gs-band-{t}"]) for t in ("ok", "warn", "crit", "info")}) == 4


def test_without_256_colours_nothing_is_rounded() -> None:
    assert themes_for("truecolor") is THEMES
    assert themes_for(None) is THEMES
    assert themes_for("256")["mono"] is THEMES["mono"]


def test_the_settings_name_every_theme() -> None:
    assert set(SPECS["console.theme"].choices) == set(THEMES)
