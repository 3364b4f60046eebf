"""Colours of a theme in the palette of 256-colour terminals.

Rounding each colour by itself makes neighbours equal: the cursor row vanishes in the ground, faint text in frames. Here every
token gets the nearest palette colour that keeps the contrast its part needs and is not yet taken by the ground or the cursor.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from rich.color import Color, ColorSystem

TEXT_CONTRAST = 4.5
"""Least WCAG 2 contrast of text."""
CURSOR_CONTRAST = 1.3
"""Least contrast of the cursor row against the ground."""
ON_CURSOR = frozenset({"text", "bright", "muted"})
"""Tokens of words on the cursor row; fainter ones are drawn there as muted."""
DRAWN = frozenset({"line", "line-focus", "bar", "spark", "track", "limit"})
"""Tokens that colour lines and bars, not words."""


def _linear(colour: str) -> tuple[float, float, float]:
    """Red, green and blue of ``#rrggbb`` as amounts of light, 0 to 1."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return r, g, b


@cache
def luminance(colour: str) -> float:
    """WCAG 2 relative luminance of ``#rrggbb``."""
    r, g, b = _linear(colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio of two colours ``#rrggbb``, 1 to 21."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def shown(colour: str) -> str:
    """What a 256-colour terminal shows for ``#rrggbb``, by Rich's rounding."""
    return Color.parse(colour).downgrade(ColorSystem.EIGHT_BIT).get_truecolor().hex


@cache
def palette_colours() -> dict[str, str]:
    """The colours of the palette, each with the one to ask Rich for: it rounds greys to a neighbour of theirs."""
    wanted = [Color.from_ansi(number).get_truecolor().hex for number in range(16, 256)]
    greys = [f"#{round(step * 255 / 25):02x}" for step in range(1, 25)]
    return {shown(colour): colour for colour in (*wanted, *(grey + 2 * grey[1:] for grey in greys))}


@cache
def _oklab(colour: str) -> tuple[float, float, float]:
    """Lightness and two hue axes of ``#rrggbb`` (Ottosson 2020, https://bottosson.github.io/posts/oklab)."""
    r, g, b = _linear(colour)
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    medium = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def distance(a: str, b: str) -> float:
    """How different two colours look; the hue counts more than the lightness."""
    (l1, a1, b1), (l2, a2, b2) = _oklab(a), _oklab(b)
    return (l1 - l2) ** 2 + 10 * ((a1 - a2) ** 2 + (b1 - b2) ** 2)


def in_256_colours(colours: Mapping[str, str]) -> dict[str, str]:
    """Every token's colour, such that Rich writes one of the palette. ``ground`` and ``cursor`` are backgrounds."""

    def nearest(colour: str, fits: list[str]) -> str:
        return min(fits, key=lambda candidate: distance(colour, candidate))

    palette = palette_colours()
    everything = list(palette)
    ground = nearest(colours["ground"], everything)
    cursor = nearest(colours["cursor"], [c for c in everything if contrast(c, ground) >= CURSOR_CONTRAST])
    made = {"ground": ground, "cursor": cursor}
    for token, colour in colours.items():
        if token in made:
            continue
        least = CURSOR_CONTRAST if token in DRAWN else TEXT_CONTRAST
        fits = [c for c in everything if c not in (ground, cursor) and contrast(c, ground) >= least]
        if token in ON_CURSOR:
            fits = [c for c in fits if contrast(c, cursor) >= TEXT_CONTRAST]
        made[token] = nearest(colour, fits)
    return {token: palette[made[token]] for token in colours}
