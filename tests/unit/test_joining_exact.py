"""How words are joined, sign by sign: where a space stands, which scripts have none, and how wide a line is."""

from __future__ import annotations

import pytest

from gainstage.engine.text.joining import columns, join, joint, runs_on, same_word
from gainstage.engine.text.sentences import clause_end, sentence_end, spaced


@pytest.mark.parametrize("sign", ["中", "あ", "カ", "ไ", "ລ", "ខ", "မ", "བ", "。", "！"])
def test_a_sign_of_a_script_without_spaces(sign: str) -> None:
    assert runs_on(sign)


@pytest.mark.parametrize("sign", ["a", "1", "é", "ß", "я", "한", "ع", "क", " ", "", "."])
def test_a_sign_of_a_script_with_spaces(sign: str) -> None:
    assert not runs_on(sign)


@pytest.mark.parametrize(
    ("left", "right", "one"),
    [
        ("i", "Phone", True),
        ("15", "Pro", True),
        ("a", "-", False),
        ("-", "a", False),
        ("a", "中", False),
        ("中", "a", False),
        ("中", "文", False),
        ("中a", "b中", True),  # the signs that meet decide
        ("a中", "中b", False),
        ("-a", "b-", True),
        ("", "a", False),
        ("a", "", False),
    ],
)
def test_a_piece_continues_a_word_where_two_letters_of_spaced_scripts_meet(left: str, right: str, one: bool) -> None:
    assert same_word(left, right) is one


@pytest.mark.parametrize(
    ("left", "right", "language", "separator"),
    [
        ("a", "b", "en", " "),
        ("a", "", "en", " "),
        ("中", "文", "zh", ""),
        ("中", " 文", "zh", " "),
        ("a", "b", "zh", " "),
        ("a ", "b", "zh", " "),  # what stands at the seam counts, not the space behind it
        ("", "b", "zh", ""),
        ("a", "", "zh", ""),
        ("   ", "b", "zh", ""),
        ("a", "。", "zh", ""),
    ],
)
def test_the_separator_of_two_words(left: str, right: str, language: str, separator: str) -> None:
    assert joint(left, right, language) == separator


def test_words_are_joined_and_empty_ones_left_out() -> None:
    assert join([], "en") == ""
    assert join(["  ", " so", "", " far "], "en") == "so far"
    assert join(["用", " ", "machine", "learning", "做"], "zh") == "用machine learning做"
    assert join(["", "用", " machine"], "zh") == "用 machine"


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("ab", 2), ("中", 2), ("中a", 3), ("Ａ", 2), ("e\u0301", 1), ("a\u20dd", 1), ("\u200d", 0), ("ｱ", 1)],
)
def test_wide_signs_take_two_columns_and_marks_none(text: str, width: int) -> None:
    assert columns(text) == width


@pytest.mark.parametrize(
    ("language", "is_spaced"), [("en", True), ("ko", True), ("zh", False), ("ja", False), ("yue", False), ("bo", False)]
)
def test_languages_with_spaces(language: str, is_spaced: bool) -> None:
    assert spaced(language) is is_spaced


@pytest.mark.parametrize(
    ("word", "ends"),
    [
        ("wall.", True),
        (' wall." ', True),
        ("wall", False),
        ("", False),
        ("Dr.", False),
        ("dr.", False),
        ('"Dr.', False),
        ("e.g.", False),
        ("J.", False),
        ("I.", True),  # the pronoun
        ("i.", True),
        ("J?", True),  # only a full stop is one of an abbreviation
        ("Dr!", True),
        ("ང.", True),  # no capitals, so no initial
        ("ab.", True),
        ("...", True),
        ("Ναι;", True),
        ("α;", True),
        ("xα;", True),
        ("yes;", False),
        (";", False),
        ("α", False),
        ("αβ;x", False),
    ],
)
def test_a_sentence_ends_here_or_not(word: str, ends: bool) -> None:
    assert sentence_end(word) is ends


@pytest.mark.parametrize(
    ("word", "ends"),
    [("yes,", True), ('yes," ', True), ("yes;", True), ("yes.", True), ("是，", True), ("yes", False), ("", False)],
)
def test_a_clause_ends_here_or_not(word: str, ends: bool) -> None:
    assert clause_end(word) is ends
