from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from gainstage.engine.errors import Permanent
from gainstage.engine.sources.selection import Selection, is_short, ordered, refusal, undecided
from gainstage.engine.terms import Recording


def item(id: str = "a", **values: Any) -> Recording:
    return Recording(
        **{"id": id, "key": f"youtube:{id}", "source": f"https://x/{id}", "title": "A talk", "extra": {"fetch": "ytdlp"}, **values}
    )


LONG = 6 * 3600.0


@pytest.mark.parametrize(
    ("options", "changes", "reason"),
    [
        ({}, {}, None),
        ({"match": "TALK"}, {}, None),
        ({"match": "^interview"}, {}, "title does not match"),
        ({"since": "2026-02-01"}, {"published": "2026-02-01"}, None),
        ({"since": "2026-02-01"}, {"published": "2026-01-31"}, "before 2026-02-01"),
        ({"until": "2026-02-01"}, {"published": "2026-02-01"}, None),
        ({"until": "2026-02-01"}, {"published": "2026-02-02"}, "after 2026-02-01"),
        ({"min_duration": 600}, {"duration": 599.0}, "shorter than 600 s"),
        ({"min_duration": 600}, {"duration": 600.0}, None),
        ({"min_duration": 600}, {"duration": None}, None),
        ({"max_duration": 600}, {"duration": 601.0}, "longer than 600 s"),
        ({}, {"duration": LONG + 1}, "longer than fetch.max_duration (21600 s)"),
        ({"skip_shorts": True}, {"duration": 30.0}, "a short"),
        ({"skip_shorts": True}, {"duration": 30.0, "extra": {"short": False}}, None),
        ({"skip_shorts": True}, {"duration": 170.0, "extra": {"short": True}}, "a short"),
        ({"skip_shorts": True}, {"duration": 400.0}, None),
        ({}, {"extra": {"live": True}}, "live"),
        ({"live": "include"}, {"extra": {"live": True}}, None),
        ({}, {"extra": {"refused": "members-only"}}, "members-only"),
    ],
)
def test_what_is_left_out_has_its_reason(options: dict[str, Any], changes: dict[str, Any], reason: str | None) -> None:
    assert refusal(item(**changes), Selection.of(options), LONG) == reason


@pytest.mark.parametrize(
    ("options", "changes", "unsure"),
    [
        ({}, {}, False),
        ({"since": "2026-01-01"}, {}, True),
        ({"since": "2026-01-01"}, {"published": "2026-02-01"}, False),
        ({"min_duration": 5}, {}, True),
        ({"min_duration": 5}, {"duration": 9.0}, False),
        ({"skip_shorts": True}, {"duration": 120.0}, True),
        ({"skip_shorts": True}, {"duration": 30.0}, False),
        ({"skip_shorts": True}, {"duration": 240.0}, False),
        ({"since": "2026-01-01"}, {"extra": {"fetch": "ytdlp", "looked_up": True}}, False),
        ({"since": "2026-01-01"}, {"extra": {"fetch": "http"}}, False),
    ],
)
def test_details_are_asked_for_only_where_a_filter_turns_on_them(
    options: dict[str, Any], changes: dict[str, Any], unsure: bool
) -> None:
    assert undecided(item(**changes), Selection.of(options)) is unsure


def test_a_file_of_two_minutes_is_no_short() -> None:
    assert is_short(item(duration=120.0, extra={"fetch": "http"})) is False


def test_days_may_be_told_from_today() -> None:
    today = date.today()
    assert Selection.of({"since": "30d"}).since == (today - timedelta(days=30)).isoformat()
    assert Selection.of({"until": "yesterday"}).until == (today - timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    "options",
    [
        {"since": "last week"}, {"until": "2026-13-01"}, {"since": "20260101.5"}, {"match": "("}, {"limit": 0}, {"limit": "some"},
        {"limit": True}, {"limit": 2.5}, {"order": "random"}, {"min_duration": "long"}, {"max_duration": "nan"},
        {"min_duration": -1}, {"min_duration": [60]}, {"skip_shorts": "perhaps"}, {"live": "yes"}, {"check": "some"},
    ],
)  # fmt: skip
def test_options_that_are_none_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Permanent):
        Selection.of(options)


def test_options_may_be_words_as_they_are_typed() -> None:
    typed = {"limit": "5", "min_duration": "10m", "max_duration": "7200", "skip_shorts": "yes", "force": 0, "match": 2026}
    found = Selection.of(typed)
    assert (found.limit, found.min_duration, found.max_duration) == (5, 600.0, 7200.0)
    assert (found.skip_shorts, found.force, found.match) == (True, False, "2026")


def test_a_misspelt_option_names_the_one_that_was_meant() -> None:
    with pytest.raises(Permanent, match="no option limt") as caught:
        Selection.check_names({"limt": 5})
    assert caught.value.hint == "Did you mean limit?"
    Selection.check_names({"limit": 5, "priority": 2}, "priority")


def test_options_of_others_are_left_alone_and_come_back_out() -> None:
    selection = Selection.of({"limit": 5, "priority": 3, "match": None, "skip_shorts": True})
    assert selection.options() == {"limit": 5, "skip_shorts": True}
    assert Selection.of(selection.options()) == selection


def test_order_by_date_with_unknown_dates_last() -> None:
    given = [
        item("a", published="2026-01-02"),
        item("b"),
        item("c", published="2026-03-01"),
        item("d"),
        item("e", published="2026-01-02"),
    ]

    def ids(order: Any) -> str:
        return "".join(r.id for r in ordered(given, order))

    assert ids("source") == "abcde"
    assert ids("newest") == "caebd"
    assert ids("oldest") == "aecdb"
    assert "".join(r.id for r in ordered([item("x"), item("y")], "oldest")) == "yx", "undated, the source is newest first"
