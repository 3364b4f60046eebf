"""Subtitle cues: no word lost or doubled, one speaker each, within the limits of the guides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.engine.terms import Provenance, Segment, Word
from gainstage.engine.text.cues import Cue, CueStyle, cues, unstretched
from gainstage.engine.text.joining import columns, join

STYLE = CueStyle(speakers="never")


def passage(texts: Sequence[str], speaker: str = "Ada", start: float = 0.0, pace: float = 0.4, pause: float = 0.05) -> Segment:
    """A passage spoken evenly: ``pace`` seconds a word."""
    words, at = [], start
    for text in texts:
        words.append(Word(text, at, at + pace - pause, 0.9, speaker))
        at += pace
    return Segment(start, words[-1].end, speaker, None, None, Provenance.CLUSTER, " ".join(texts), tuple(words))


ENGLISH = [
    "The",
    "fertilizer",
    "was",
    "too",
    "dry",
    "for",
    "the",
    "golden",
    "tomatoes.",
    "The",
    "teacher",
    "picked",
    "two",
    "golden",
    "tomatoes",
    "behind",
    "the",
    "greenhouse.",
    "I",
    "think",
    "the",
    "story",
    "was",
    "beautiful,",
    "but",
    "the",
    "old",
    "man",
    "did",
    "not",
    "believe",
    "it.",
    "I",
    "never",
    "put",
    "fertilizer",
    "around",
    "the",
    "apples",
    "last",
    "autumn.",
]


def shown(found: Sequence[Cue]) -> str:
    return " ".join(line for cue in found for line in cue.lines)


def test_a_long_passage_becomes_readable_cues() -> None:
    found = cues([passage(ENGLISH)], "en", STYLE)
    assert shown(found).split() == ENGLISH
    for cue in found:
        assert len(cue.lines) <= 2
        assert all(len(line) <= 42 for line in cue.lines)
        assert 1 <= cue.end - cue.start <= 7
        assert len(" ".join(cue.lines)) / (cue.end - cue.start) <= 21
    assert sum(cue.lines[-1].endswith((".", ",")) for cue in found) >= len(found) / 2, "they end where phrases do"


def test_lines_break_at_phrases_and_not_after_an_article() -> None:
    texts = ["I", "think", "the", "story", "was", "beautiful,", "but", "the", "old", "man", "did", "not", "believe", "it."]
    (cue,) = cues([passage(texts, pace=0.3)], "en", STYLE)
    assert cue.lines == ("I think the story was beautiful,", "but the old man did not believe it.")


def test_a_cue_ends_with_its_speaker_and_in_a_pause() -> None:
    said = [passage(["Yes."], "Ada"), passage(["No,", "never."], "Ben", 0.6), passage(["Why?"], "Ben", 8.0)]
    found = cues(said, "en", STYLE)
    assert [(c.speaker, shown([c])) for c in found] == [("Ada", "Yes."), ("Ben", "No, never."), ("Ben", "Why?")]
    assert found[1].end < 3, "it does not stay through the pause"
    assert found[2].start == 8.0


def test_a_name_stands_where_another_begins() -> None:
    said = [passage(ENGLISH, "Ada"), passage(["No."], "Ben", 60), passage(ENGLISH, "Ben", 70)]
    change = cues(said, "en", CueStyle(speakers="change"))
    assert [c.lines[0].split()[0] for c in change if ":" in shown([c])] == ["Ada:", "Ben:"]
    assert all(columns(line) <= 42 for c in change for line in c.lines)
    always = cues(said, "en", CueStyle(speakers="always"))
    assert sum("Ben:" in shown([c]) for c in always) > 1
    (cue,) = cues([passage(["早上好"], "王")], "zh", CueStyle(speakers="change"))
    assert cue.lines == ("王: 早上好",)


def test_a_word_stretched_over_a_silence_is_shown_when_it_is_said() -> None:
    first = [Word("Well,", 0.0, 9.0, 0.9), Word("then.", 9.1, 9.5, 0.9)]
    assert unstretched(first)[0].start == pytest.approx(9.0 - 1.2)
    last = [Word("And", 0.0, 0.3, 0.9), Word("then", 0.3, 12.0, 0.9), Word("stop.", 12.1, 12.5, 0.9)]
    assert unstretched(last)[1].end == pytest.approx(0.3 + 1.12)
    segment = Segment(0.0, 12.5, "Ada", None, None, Provenance.CLUSTER, "And then stop.", tuple(last))
    assert [shown([c]) for c in cues([segment], "en", STYLE)] == ["And then", "stop."]


@pytest.mark.parametrize(
    ("language", "text", "width"),
    [
        (
            "zh",
            "我们用 machine learning 做 iPhone 15 Pro Max 的 测试。 今天 北京 的 天气 很 好， 我们 去 爬 长城， 然后 再 回来 吃 饭。",
            32,
        ),
        ("ja", "昨日 は 東京 で 会議 が ありました。 とても 長い 会議 でした が、 最後 に 良い 結論 が 出ました。", 26),
        ("th", "วันนี้ อากาศ ดี มาก เรา ไป เที่ยว ทะเล กัน และ กิน อาหาร ทะเล ที่ อร่อย มาก ๆ จน อิ่ม", 42),
        ("fa", "می\u200cخواهم کتاب\u200cها را بخوانم، اما وقت ندارم. شاید فردا؟", 42),
    ],
)
def test_other_scripts_hold_the_widths_of_their_guides(language: str, text: str, width: int) -> None:
    texts = text.split(" ")
    found = cues([passage(texts, pace=0.35)], language, STYLE)
    assert "".join(shown(found).split()) == "".join(texts)
    assert max(columns(line) for cue in found for line in cue.lines) <= width
    assert all(1 <= cue.end - cue.start <= 7 for cue in found)


def test_without_word_times_the_text_is_spread_over_the_passage() -> None:
    segment = Segment(10.0, 40.0, "Ada", None, None, Provenance.CLUSTER, " ".join(ENGLISH), ())
    found = cues([segment], "en", STYLE)
    assert shown(found).split() == ENGLISH
    assert found[0].start == 10.0
    assert found[-1].end <= 41.5


LETTERS = st.text(st.sampled_from("abcdefghijklmnop.,?!中文のไ한글ا\u0301"), min_size=1, max_size=12) | st.text(
    st.sampled_from("xyz"), min_size=30, max_size=120
)
TIMED = st.tuples(LETTERS, st.floats(0.0, 3.0), st.floats(0.01, 4.0), st.sampled_from(["Ada", "Ben"]))


@settings(max_examples=200)
@given(st.lists(TIMED, max_size=40), st.sampled_from(["en", "zh", "th"]), st.sampled_from(["change", "always", "never"]))
def test_no_word_is_lost_or_doubled_and_the_limits_hold(
    rows: list[tuple[str, float, float, str]], language: str, speakers: str
) -> None:
    at, said = 0.0, []
    for text, pause, length, who in rows:
        said.append(
            Segment(
                at + pause,
                at + pause + length,
                who,
                None,
                None,
                Provenance.CLUSTER,
                text,
                (Word(text, at + pause, at + pause + length, 0.9),),
            )
        )
        at += pause + length
    style = CueStyle(speakers=speakers)  # type: ignore[arg-type]
    found = cues(said, language, style)
    for who in ("Ada", "Ben"):
        words = "".join("".join(line.split()) for c in found if c.speaker == who for line in c.lines)
        assert words.replace(f"{who}:", "") == "".join(s.text for s in said if s.speaker == who)
    starts = [c.start for c in found]
    assert starts == sorted(starts)
    for one, following in pairwise(found):
        assert one.end <= following.start
    for cue in found:
        assert cue.lines
        assert len(cue.lines) <= style.lines
        assert all(line.strip() and columns(line) <= style.width_in(language) for line in cue.lines)
        assert 0 < cue.end - cue.start <= style.longest_s + 0.002
    for one, following in zip(found, [*found[1:], None], strict=False):
        room = following is None or following.start - one.end > style.gap_s + 0.002
        need = min(style.longest_s, max(style.shortest_s, columns(" ".join(one.lines)) / style.speed))
        assert not room or one.end - one.start >= need - 0.002, "what had time was shown long enough"


def test_an_hour_is_cut_in_no_time() -> None:
    said = [passage(ENGLISH, "Ada" if n % 2 else "Ben", 16.0 * n) for n in range(250)]
    found = cues(said, "en", STYLE)
    assert shown(found).split() == ENGLISH * 250


@given(
    st.lists(st.text(st.sampled_from("ab中文 ไ15."), min_size=1, max_size=5).filter(str.strip), max_size=10),
    st.sampled_from(["en", "zh"]),
)
def test_joined_words_keep_their_characters(words: list[str], language: str) -> None:
    text = join(words, language)
    assert re.sub(r"\s", "", text) == re.sub(r"\s", "", "".join(words))
    assert text == text.strip()
