"""Five themes and the palette of tokens drawn from them. No colour is named anywhere else.

A token says what a thing means (``warn``, ``muted``, ``bar``), a theme says how that looks. Every coloured state also has a
glyph or a word, so the console reads the same without colour.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

from gainstage.tui.render.xterm import in_256_colours

TOKENS = (
    "text", "bright", "muted", "faint", "line", "line-focus", "title", "accent", "bar", "spark", "track", "limit",
    "band-ok", "band-warn", "band-crit", "band-info", "band-stale", "change",
    "voice-1", "voice-2", "voice-3", "voice-4",
)  # fmt: skip
"""Foreground colours. ``ground`` and ``cursor`` are backgrounds."""

GLYPHS = {"ok": "●", "warn": "▲", "crit": "■", "info": "•", "stale": "◌", "change": "◆", "done": "✓", "dead": "✗"}
"""The sign beside each band's colour."""


def _theme(name: str, dark: bool, colours: dict[str, str], *, ansi: bool = False) -> Theme:
    c = colours
    return Theme(
        name=name,
        dark=dark,
        ansi=ansi,
        primary=c["accent"],
        secondary=c["bar"],
        accent=c["accent"],
        foreground=c["text"],
        background=c["ground"],
        surface=c["ground"],
        panel=c["cursor"] if not ansi else "ansi_default",
        boost=c["ground"],
        success=c["band-ok"],
        warning=c["band-warn"],
        error=c["band-crit"],
        luminosity_spread=0.1,
        text_alpha=1.0,
        variables={
            **{f"gs-{key}": value for key, value in c.items()},
            "input-selection-background": c["cursor"],
            "block-cursor-background": c["cursor"],
            "block-cursor-foreground": c["bright"],
            "block-cursor-text-style": "bold" if not ansi else "reverse",
            "border": c["line-focus"],
            "border-blurred": c["line"],
            "input-cursor-background": c["accent"],
            "input-cursor-foreground": c["ground"] if not ansi else "ansi_default",
            **({"ansi-background": "ansi_default", "ansi-foreground": "ansi_default"} if ansi else {}),
        },
    )


DARK = _theme("gainstage-dark", True, {
    "ground": "#0f1318", "cursor": "#24364a", "text": "#c3ccd6", "bright": "#f2f6fa", "muted": "#96a3b1", "faint": "#738191",
    "line": "#29323d", "line-focus": "#4d7f8f", "title": "#9fb0c0", "accent": "#62c3d0", "bar": "#4f9fb3", "spark": "#35636f", "track": "#232c36",
    "limit": "#d3dae2", "band-ok": "#72c98a", "band-warn": "#e6b450", "band-crit": "#f0716f", "band-info": "#7aaef5",
    "band-stale": "#7a8693", "change": "#c79bf0", "voice-1": "#62c3d0", "voice-2": "#e0a572", "voice-3": "#b7a3ec", "voice-4": "#9ac27a",
})  # fmt: skip

LIGHT = _theme("gainstage-light", False, {
    "ground": "#fbfaf7", "cursor": "#cfe0e6", "text": "#2f3943", "bright": "#0c1116", "muted": "#4c5660", "faint": "#687077",
    "line": "#d5d8d6", "line-focus": "#3d8494", "title": "#4a5763", "accent": "#0f7585", "bar": "#3d8ea0", "spark": "#9cc4cc", "track": "#e2e5e3",
    "limit": "#39434d", "band-ok": "#24803f", "band-warn": "#99640a", "band-crit": "#c0302f", "band-info": "#2661b8",
    "band-stale": "#687077", "change": "#7a3fc0", "voice-1": "#0f7585", "voice-2": "#a55a14", "voice-3": "#6650b8", "voice-4": "#4d7a26",
})  # fmt: skip

DEUTERANOPIA = _theme("deuteranopia", True, {
    "ground": "#0f1318", "cursor": "#24364a", "text": "#c3ccd6", "bright": "#f2f6fa", "muted": "#96a3b1", "faint": "#738191",
    "line": "#29323d", "line-focus": "#5b83b8", "title": "#9fb0c0", "accent": "#7db4f0", "bar": "#5490cf", "spark": "#3a5f86", "track": "#232c36",
    "limit": "#d3dae2", "band-ok": "#6aaef2", "band-warn": "#f0a43a", "band-crit": "#ee6ad6", "band-info": "#a9c7ee",
    "band-stale": "#7a8693", "change": "#f5e08a", "voice-1": "#7db4f0", "voice-2": "#f0a43a", "voice-3": "#f5e08a", "voice-4": "#c9d1da",
})  # fmt: skip

CONTRAST = _theme("high-contrast", True, {
    "ground": "#000000", "cursor": "#00507a", "text": "#ffffff", "bright": "#ffffff", "muted": "#c8d0d8", "faint": "#8f99a3",
    "line": "#7f8992", "line-focus": "#ffffff", "title": "#ffffff", "accent": "#5fe6ff", "bar": "#5fe6ff", "spark": "#3f9aab", "track": "#3c444c",
    "limit": "#ffffff", "band-ok": "#5dff8f", "band-warn": "#ffd93b", "band-crit": "#ff7b7b", "band-info": "#9fc8ff",
    "band-stale": "#a5aeb7", "change": "#e3b8ff", "voice-1": "#5fe6ff", "voice-2": "#ffc48f", "voice-3": "#d8c6ff", "voice-4": "#c6ff9e",
})  # fmt: skip

MONO = _theme("mono", True, dict.fromkeys(("ground", "cursor", *TOKENS), "ansi_default"), ansi=True)

THEMES = {theme.name: theme for theme in (DARK, LIGHT, DEUTERANOPIA, CONTRAST, MONO)}


def themes_for(color_system: str | None) -> dict[str, Theme]:
    """The themes by name, for a terminal of a colour system as Rich names it; with 256 colours each has a palette of its own."""
    if color_system != "256":
        return THEMES
    return {name: theme if theme.ansi else _in_256_colours(theme) for name, theme in THEMES.items()}


def _in_256_colours(theme: Theme) -> Theme:
    colours = {key.removeprefix("gs-"): value for key, value in theme.variables.items() if key.startswith("gs-")}
    return _theme(theme.name, theme.dark, in_256_colours(colours))


DEFAULT = DARK.name

# Where there is no colour, weight carries the meaning.
_WEIGHTS = {
    "bright": "bold", "accent": "bold", "title": "bold", "line-focus": "bold", "band-warn": "bold", "band-crit": "bold reverse",
    "muted": "dim", "faint": "dim", "track": "dim", "line": "dim", "band-stale": "dim", "change": "bold",
}  # fmt: skip
_MODIFIERS = {
    "b": Style(bold=True),
    "d": Style(dim=True),
    "r": Style(reverse=True),
    "u": Style(underline=True),
    "i": Style(italic=True),
}


class Palette(dict[str, Style]):
    """Token -> style with the theme's background; ``"warn+b"`` adds bold, dim, reverse, underline or italic.

    ``band-`` may be left out. :meth:`on_cursor` is the same palette on the background of a selected row.
    """

    def __init__(self, styles: Mapping[str, Style], cursor: Style) -> None:
        super().__init__(styles)
        self._cursor = cursor
        self._on_cursor: Palette | None = None

    def __missing__(self, key: str) -> Style:
        token, _, modifiers = key.partition("+")
        style = self[f"band-{token}"] if not modifiers else self[token]
        for letter in modifiers:
            style += _MODIFIERS[letter]
        self[key] = style
        return style

    def on_cursor(self) -> Palette:
        """The palette of a row under the cursor."""
        if self._on_cursor is None:
            base = {token: self[token] + self._cursor for token in (*TOKENS, "ground")}
            base["muted"] = base["text"]
            base["faint"] = self["muted"] + self._cursor
            self._on_cursor = Palette(base, Style())
        return self._on_cursor


def palette(variables: Mapping[str, str], *, stale: bool = False) -> Palette:
    """The palette of a theme's variables; ``stale`` is the same, faded, for figures that have stopped moving."""
    mono = variables["gs-text"].startswith("ansi")
    styles: dict[str, Style] = {}
    if mono:
        styles["ground"] = Style()
        for token in TOKENS:
            weight = _WEIGHTS.get(token, "")
            styles[token] = Style.parse("dim" if stale and weight != "bold reverse" else weight)
        return Palette(styles, Style(reverse=True))
    ground = Color.parse(variables["gs-ground"])
    back = ground.rich_color
    styles["ground"] = Style(bgcolor=back)
    for token in TOKENS:
        colour = Color.parse(variables[f"gs-{token}"])
        if stale and token not in ("line", "track", "faint"):
            colour = ground.blend(colour, 0.5)
        styles[token] = Style(color=colour.rich_color, bgcolor=back)
    styles["band-crit"] += Style(bold=True)
    return Palette(styles, Style(bgcolor=Color.parse(variables["gs-cursor"]).rich_color))


def theme_for(wanted: str | None, *, colourless: bool) -> str:
    """The theme to start with: the wanted one where it exists; without colour ``mono``."""
    if wanted is None and colourless:
        return "mono"
    return wanted if wanted in THEMES else DEFAULT


class PaletteCache:
    """The palettes of the theme in use, each made once."""

    def __init__(self) -> None:
        self._made: dict[bool, Palette] = {}

    def of(self, variables: Mapping[str, str], stale: bool) -> Palette:
        """The palette of the theme with these variables; ``clear`` forgets it when the theme changes."""
        if stale not in self._made:
            self._made[stale] = palette(variables, stale=stale)
        return self._made[stale]

    def clear(self) -> None:
        """The theme has changed."""
        self._made.clear()


def no_palette() -> Palette:
    """A palette without any style, for text exports."""
    return Palette({token: Style() for token in (*TOKENS, "ground")}, Style())


__all__ = ["DEFAULT", "GLYPHS", "THEMES", "TOKENS", "Palette", "PaletteCache", "no_palette", "palette", "theme_for", "themes_for"]
