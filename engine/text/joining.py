"""Join words as their scripts require, and measure the width of the result on a screen. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from gainstage.engine.text.sentences import spaced

_RUN_ON = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai to Khmer
    "\u2e80-\u303f\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U0001b000-\U0003ffff]"
)
"""Characters of scripts written without spaces between words, and their punctuation."""


def runs_on(text: str) -> bool:
    """Whether a character belongs to a script without spaces between words: Chinese, Japanese, Thai, Lao, Khmer, Burmese,
    Tibetan."""
    return bool(_RUN_ON.match(text))


def same_word(left: str, right: str) -> bool:
    """Whether the piece ``right``, which came without a space, continues the word ``left`` in a script with spaces."""
    return left[-1:].isalnum() and right[:1].isalnum() and not runs_on(left[-1]) and not runs_on(right[0])


def joint(left: str, right: str, language: str) -> str:
    """The separator between two words: a space, or nothing in scripts without spaces.

    In those scripts a word that comes with a space keeps it ("用 machine"), and words of another script are separated by one.
    """
    if spaced(language) or right[:1].isspace():
        return " "
    return " " if same_word(left.rstrip(), right) else ""


def join(words: Sequence[str], language: str) -> str:
    """The text of words of one language (a two-letter code)."""
    parts: list[str] = []
    last = ""
    for word in words:
        bare = word.strip()
        if not bare:
            continue
        if last:
            parts.append(joint(last, word, language))
        parts.append(bare)
        last = bare
    return "".join(parts)


def columns(text: str) -> int:
    """Width in terminal columns: wide and full-width characters (Unicode TR 11) count two, marks that combine none."""
    return sum(0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)
