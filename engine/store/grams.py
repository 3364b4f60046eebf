"""Search in scripts without spaces between words, and in Korean: by pairs of neighbouring signs (see migration 036). Pure."""

from __future__ import annotations

import re

_SIGNS = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u19e0-\u19ff\u1a20-\u1aaf\u2e80-\u2fdf\u3005-\u3007\u3021-\u302f\u3031-\u303c\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u318f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uac00-\ud7af\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff]+"
)
"""The signs of ``has_grams`` in migration 036."""


def has_grams(text: str) -> bool:
    """Whether a text has signs of a script that is searched by pairs of signs."""
    return bool(_SIGNS.search(text))


def runs_of(text: str) -> tuple[str, ...]:
    """The runs of such signs in a query."""
    return tuple(_SIGNS.findall(text))


def query_of(text: str, *, every: bool) -> str:
    """The tsquery over ``text_grams`` that finds every run (or some pair of signs) and every (some) other word of a query; "" for none.

    A run of one sign is the beginning of a pair, or the last sign of a run.
    """
    text = text.lower()
    terms: list[str] = []
    for run in _SIGNS.findall(text):
        pairs = [_quoted(run[k : k + 2]) for k in range(len(run) - 1)] or [f"{_quoted(run)}:*"]
        terms += pairs
    terms += [_quoted(word) for word in re.findall(r"[^\W_]+", _SIGNS.sub(" ", text))]
    return (" & " if every else " | ").join(dict.fromkeys(terms))


def _quoted(lexeme: str) -> str:
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"
