"""Scripts that write no spaces between words: what the recogniser gives becomes text as it is written."""

from __future__ import annotations

import pytest

from gainstage.config.settings import Segmentation
from gainstage.engine.clean import clean_text
from gainstage.engine.speech.recognition import _words
from gainstage.engine.terms import Transcript, Word
from gainstage.engine.text.joining import columns
from gainstage.engine.text.segments import cut
from gainstage.engine.text.sentences import clause_end, sentence_end, spaced


def transcript(words: tuple[Word, ...], language: str) -> Transcript:
    return Transcript(words, ((0, len(words)),), language, 0.99, -0.1, "x", ())


def text_of(heard: list[str], language: str) -> str:
    """Pieces as faster-whisper gives them, through the recogniser's side and the passages."""
    pieces = [{"word": t, "start": i * 0.3, "end": i * 0.3 + 0.25, "probability": 0.9, "tokens": []} for i, t in enumerate(heard)]
    said = _words(pieces, 30.0, joined_up=not spaced(language))
    (passage,) = cut(said, (), transcript(said, language), Segmentation())
    return passage.text


@pytest.mark.parametrize(
    ("language", "heard", "text"),
    [
        (
            "zh",
            ["我们", "用", " machine", " learning", "做", " iPhone", " 15", " Pro", " Max", "的", "测试", "。"],
            "我们用 machine learning做 iPhone 15 Pro Max的测试。",
        ),
        ("zh", ["我", "用", "i", "Phone", " 15", "。"], "我用iPhone 15。"),
        ("ja", ["これ", "は", " deep", " learn", "ing", "です"], "これは deep learningです"),
        ("th", ["วันนี้", "อากาศดี", " เรา", "ใช้", " machine", " learning"], "วันนี้อากาศดี เราใช้ machine learning"),
        ("km", ["ថ្ងៃ", "នេះ", " Wi", "-", "Fi", " 6"], "ថ្ងៃនេះ Wi-Fi 6"),
        ("ko", [" 번역을", " 부탁해"], "번역을 부탁해"),
        ("en", [" twenty", "-one", " apples"], "twenty-one apples"),
    ],
)
def test_words_of_other_scripts_keep_their_spaces(language: str, heard: list[str], text: str) -> None:
    assert text_of(heard, language) == text


def test_words_stored_without_their_spaces_are_kept_apart_too() -> None:
    words = tuple(Word(t, i, i + 0.5, 0.9) for i, t in enumerate(["用", "machine", "learning", "做"]))
    (passage,) = cut(words, (), transcript(words, "zh"), Segmentation())
    assert passage.text == "用machine learning做"


@pytest.mark.parametrize(
    "word",
    [
        "好。",
        "です」。",
        "吗？",
        "چرا؟",
        "ہے۔",
        "है।",
        "နော်။",
        "ណា។",
        "ነው።",
        "'Ναι.'",
        "Ինչ։",
        "ཡིན།",
        "好？”",
        "です．",
        "네.",
        "Τι;",
    ],
)
def test_sentences_end_in_every_script(word: str) -> None:
    assert sentence_end(word)


@pytest.mark.parametrize("word", ["但是，", "اما،", "ናቸው፣", "ပြီး၊", "でも、"])
def test_clauses_too(word: str) -> None:
    assert clause_end(word)
    assert not sentence_end(word)


@pytest.mark.parametrize(("language", "end"), [("zh", "。"), ("hi", "।"), ("ur", "۔"), ("km", "។"), ("my", "။")])
def test_passages_are_cut_at_them(language: str, end: str) -> None:
    letters = {"zh": "天气很好", "hi": "मौसम", "ur": "موسم", "km": "អាកាស", "my": "ရာသီ"}[language]
    words = tuple(Word(letters + (end if i % 10 == 9 else ""), i, i + 0.9, 0.9) for i in range(60))
    passages = cut(words, (), transcript(words, language), Segmentation(min_chars=20, max_chars=120))
    assert len(passages) > 1
    assert all(p.text.endswith(end) for p in passages)


def test_thai_is_cut_where_a_space_ends_a_phrase() -> None:
    words = tuple(Word((" " if i % 8 == 0 and i else "") + "อากาศ", i, i + 0.9, 0.9) for i in range(64))
    passages = cut(words, (), transcript(words, "th"), Segmentation(min_chars=20, max_chars=120))
    assert len(passages) > 1
    assert all(p.words[0].text.startswith(" ") for p in passages[1:])


def test_joiners_of_persian_and_hindi_stay_and_stray_ones_go() -> None:
    assert clean_text("می\u200cخواهم") == "می\u200cخواهم"
    assert clean_text("क्\u200cष") == "क्\u200cष"
    assert clean_text("pay\u200cpal \u200c\u200cx\u200c") == "paypal x"


def test_a_wide_sign_takes_two_columns() -> None:
    assert columns("東京 ab") == 7
    assert columns("e\u0301می\u200cخ") == 4
