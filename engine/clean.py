"""One function in front of everything untrusted: titles, names, log lines, exception texts.

Applied where a text enters the system, so that what is stored, logged and shown is already harmless to a terminal.
"""

from __future__ import annotations

import json
import re
import unicodedata

# C0 and C1 controls with DEL, bidi controls and overrides, zero-width and invisible format characters, line separators,
# tag characters, surrogates. ZWJ (200d) and variation selectors stay: emoji and Indic scripts need them. ZWNJ (200c) stays between
# letters of scripts whose letters join: Persian and Indic words are other words without it.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|\x9c|$)"  # OSC, DCS, SOS, PM, APC up to their end
    r"|\x1b[ -/]*[0-~]"
    r"|\x9b[0-?]*[ -/]*[@-~]",
    re.DOTALL,
)
_BREAKS = re.compile(r"[\t\n\x0b\x0c\r\x85\u2028\u2029]+")
_JOINING = "\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u18af\ufb50-\ufdff\ufe70-\ufefc"
_STRAY_JOINER = re.compile(f"(?<![{_JOINING}])\u200c|\u200c(?![{_JOINING}])")
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
_RAW = re.compile(f"[\u2028\u2029]|{_UNSAFE.pattern}")
"""What must not stand in a line of JSON as it is."""


def clean_text(text: str, limit: int = 2000) -> str:
    """One line of harmless text: terminal sequences, control characters, bidi overrides and invisible characters are taken
    out, white space is folded to single spaces, the rest normalised (NFC) and cut to ``limit`` characters with an ellipsis.
    """
    text = text[: 4 * limit + 400]  # bound the work on hostile megabytes before looking at them
    text = _STRAY_JOINER.sub("", _UNSAFE.sub("", _BREAKS.sub(" ", _ESCAPES.sub("", text))))
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return text if len(text) <= limit else text[: max(0, limit - 1)].rstrip() + "…"


def value_text(value: object) -> str:
    """The value of a setting as an operator types it: ``none``, ``on``, ``0.25``, ``pause=ctrl+p``, ``a, b``."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}={value_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(value_text, value)) or "none"
    return str(value)


def terminal_json(text: str) -> str:
    """A JSON text without any character a terminal acts on or no UTF-8 can hold: the same document, these written as escapes."""
    return _RAW.sub(lambda m: m[0] if m[0] in "\n\t" else json.dumps(m[0])[1:-1], text)


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 segment``, ``2 segments``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
