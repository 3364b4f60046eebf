"""Nothing untrusted reaches a terminal with its teeth."""

from __future__ import annotations

import json
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from gainstage.engine.clean import clean_text, terminal_json

HOSTILE = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x202E, 0x2066, 0x2028, 0xFEFF, 0xE0001]))


@given(st.text(st.characters() | st.sampled_from(HOSTILE)))
@example("\x1b]8;;http://evil\x07click\x1b]8;;\x07")
@example("\x1b[2Jgone")
@example("\x9b31mred")
@example("a\u202egnp.exe")
def test_no_control_or_bidi_character_survives(text: str) -> None:
    clean = clean_text(text)
    assert not [c for c in clean if unicodedata.category(c) in ("Cc", "Zl", "Zp")]
    assert not set(clean) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\x1b\x9b")
    assert clean_text(clean) == clean


@given(st.text(), st.integers(1, 50))
def test_the_limit_holds(text: str, limit: int) -> None:
    assert len(clean_text(text, limit)) <= limit


def test_markup_stays_as_text_and_scripts_stay_whole() -> None:
    assert clean_text("[red]x[/] [@click=app.quit]y[/]") == "[red]x[/] [@click=app.quit]y[/]"
    assert clean_text("日本語 héllo 👩‍🚀 नमस्ते") == "日本語 héllo 👩‍🚀 नमस्ते"
    assert clean_text("two\nlines\tand\r\nmore") == "two lines and more"


def test_an_escape_sequence_goes_whole() -> None:
    assert clean_text("\x1b[31mred\x1b[0m") == "red"
    assert clean_text("\x1b]0;title\x07rest") == "rest"


def test_megabytes_are_bounded() -> None:
    assert len(clean_text("\x1b]" + "x" * 10_000_000)) <= 2000


@given(
    st.recursive(
        st.text(st.characters() | st.sampled_from(HOSTILE)), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
@example("\x9b31mred\x1b[2J\u202e\U000e0041\ud800")
def test_json_for_a_terminal_is_the_same_document_without_teeth(value: object) -> None:
    for indent in (None, 2):
        text = terminal_json(json.dumps(value, ensure_ascii=False, indent=indent))
        text.encode("utf-8")  # nothing in it that no UTF-8 can hold
        assert json.loads(text) == value
        assert not [c for c in text if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") and c != "\n"]
        assert not set(text) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\x9b")
