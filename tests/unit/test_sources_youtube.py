"""yt-dlp's YouTube extractor on pages in the shape its source documents (see tests/youtube_kit.py), through our listing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gainstage.config.settings import Settings
from gainstage.engine.errors import EngineError, Permanent, Rejected, Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.selection import Selection, refusal
from gainstage.engine.sources.ytdlp import AGES_DAYS, MINIMUM, ytdlp_age
from gainstage.engine.sources.ytdlp_entries import identity, to_recording
from gainstage.engine.sources.ytdlp_errors import CAUSES, classify
from gainstage.engine.sources.ytdlp_list import list_with_ytdlp, look_up, refused, video_of
from gainstage.engine.terms import Recording
from tests.youtube_kit import (
    CHANNEL,
    UPLOADS,
    YouTube,
    channel_page,
    continuation,
    deleted,
    live,
    lockup,
    members_only,
    more,
    more_hits,
    player,
    playing,
    playlist,
    playlist_video,
    private,
    search_page,
    search_video,
    short,
    shorts_lockup,
    upcoming,
    video_id,
)

SETTINGS = Settings()


@pytest.fixture
def youtube(monkeypatch: pytest.MonkeyPatch) -> Iterator[YouTube]:
    with playing(YouTube(), monkeypatch) as youtube:
        yield youtube


def listed(url: str) -> list[Recording]:
    return list(list_with_ytdlp(url, SETTINGS, token=CancelToken()))


def uploads(youtube: YouTube) -> None:
    """Two hundred videos over two continuations, then one of each kind that cannot be had."""
    youtube.playlists[UPLOADS] = playlist([*(playlist_video(n) for n in range(100)), continuation("second")])
    youtube.continuations["second"] = more([*(playlist_video(n) for n in range(100, 200)), continuation("third")])
    odd = [members_only(200), upcoming(201), live(202), short(203), private(204), deleted(205)]
    youtube.continuations["third"] = more(odd)


@pytest.mark.parametrize(
    "url",
    [
        f"https://www.youtube.com/channel/{CHANNEL}",
        f"https://youtube.com/channel/{CHANNEL}/videos?view=0",
        f"https://m.youtube.com/channel/{CHANNEL}/featured",
        "https://www.youtube.com/@somebody",
        "https://www.youtube.com/@somebody/videos",
    ],
)
def test_a_channel_is_listed_whole_through_its_uploads_playlist(youtube: YouTube, url: str) -> None:
    uploads(youtube)
    youtube.pages["/@somebody/videos"] = channel_page([lockup(1), continuation("never")])
    found = listed(url)
    assert [r.id for r in found] == [f"yt-{video_id(n)}" for n in range(206)]
    assert found[0].key == f"youtube:{video_id(0)}"
    assert (found[0].title, found[0].duration, found[0].channel) == ("Talk 0", 1800.0, "Somebody")
    assert "more never" not in youtube.asked


def test_a_listing_is_a_stream_and_asks_for_no_page_it_does_not_need(youtube: YouTube) -> None:
    uploads(youtube)
    listing = list_with_ytdlp(f"https://www.youtube.com/channel/{CHANNEL}", SETTINGS, token=CancelToken())
    for _ in range(50):
        next(listing)
    listing.close()  # type: ignore[attr-defined]
    assert not any(asked.startswith("more") for asked in youtube.asked)


def test_what_cannot_be_had_is_known_from_the_listing(youtube: YouTube) -> None:
    uploads(youtube)
    found = listed(f"https://www.youtube.com/playlist?list={UPLOADS}")[199:]
    reasons = [refusal(r, Selection(skip_shorts=True), 1e6) for r in found]
    assert reasons == [None, "members-only", "upcoming", "live", "a short", "private", "removed"]


def test_the_newer_shape_of_channel_pages(youtube: YouTube) -> None:
    youtube.pages["/@somebody/streams"] = channel_page([lockup(1), lockup(2, members=True)], "streams")
    first, second = listed("https://www.youtube.com/@somebody/streams")
    assert (first.title, first.duration, first.extra.get("refused")) == ("Talk 1", 1200.0, None)
    assert second.extra["refused"] == "members-only"


@pytest.mark.parametrize(("answer", "kind"), [(429, Throttled), (403, Transient), (500, Transient), ({}, Transient)])
def test_a_list_that_breaks_off_is_an_error_and_not_a_short_list(youtube: YouTube, answer: Any, kind: type[EngineError]) -> None:
    uploads(youtube)
    youtube.continuations["third"] = answer
    with pytest.raises(kind):
        listed(f"https://www.youtube.com/channel/{CHANNEL}")


def test_a_tab_of_a_channel_is_followed_through_its_continuations(youtube: YouTube) -> None:
    youtube.pages["/@somebody/streams"] = channel_page([*(lockup(n) for n in range(30)), continuation("b")], "streams")
    youtube.continuations["b"] = more([*(lockup(n) for n in range(30, 60)), continuation("c")])
    youtube.continuations["c"] = more([lockup(60), lockup(61, members=True)])
    found = listed("https://www.youtube.com/@somebody/streams")
    assert [r.id for r in found] == [f"yt-{video_id(n)}" for n in range(62)]
    assert [asked for asked in youtube.asked if asked.startswith("more")] == ["more b", "more c"]
    assert found[61].extra["refused"] == "members-only"


def test_a_tab_of_shorts_is_one_of_shorts(youtube: YouTube) -> None:
    youtube.pages["/@somebody/shorts"] = channel_page([shorts_lockup(1), shorts_lockup(2)], "shorts")
    found = listed("https://www.youtube.com/@somebody/shorts")
    assert [(r.id, r.title, r.extra["short"]) for r in found] == [(f"yt-{video_id(n)}", f"Talk {n}", True) for n in (1, 2)]
    assert {refusal(r, Selection(skip_shorts=True), 1e6) for r in found} == {"a short"}


def test_a_search_gives_as_many_as_it_is_asked_for(youtube: YouTube) -> None:
    youtube.searches["gut bacteria"] = search_page([search_video(n) for n in range(20)], "next")
    youtube.continuations["next"] = more_hits([search_video(n) for n in range(20, 40)])
    found = listed("ytsearch5:gut bacteria")
    assert [r.id for r in found] == [f"yt-{video_id(n)}" for n in range(5)]
    assert (found[0].title, found[0].duration, found[0].channel) == ("Talk 0", 1800.0, "Somebody")
    assert youtube.asked == ["search gut bacteria"]
    assert len(listed("ytsearch25:gut bacteria")) == 25
    assert youtube.asked[1:] == ["search gut bacteria", "search next"]


def test_a_single_video_is_listed_with_its_details_and_needs_no_look_up(youtube: YouTube) -> None:
    youtube.players[video_id(3)] = player(3)
    (found,) = listed(f"https://www.youtube.com/watch?v={video_id(3)}")
    assert (found.id, found.duration, found.published) == (f"yt-{video_id(3)}", 1800.0, "2026-05-04")
    assert found.extra["looked_up"] is True


def test_a_channel_that_is_none(youtube: YouTube) -> None:
    with pytest.raises(EngineError):
        listed("https://www.youtube.com/@nobody")


# -- one video --------------------------------------------------------------------------------------------------------------


def looked_up(youtube: YouTube, answer: Any) -> Recording:
    youtube.players[video_id(7)] = answer
    recording = video_of(f"https://youtu.be/{video_id(7)}")
    assert recording is not None
    return look_up(recording, SETTINGS.fetch, token=CancelToken())


def test_a_look_up_tells_title_length_and_day(youtube: YouTube) -> None:
    found = looked_up(youtube, player(7))
    assert (found.title, found.duration, found.published) == ("Talk 7", 1800.0, "2026-05-04")
    assert isinstance(found.extra.pop("counted"), int), "its page counts for its download as well"
    assert found.extra == {"fetch": "ytdlp", "short": False, "looked_up": True}
    assert found.id == f"yt-{video_id(7)}"
    assert looked_up(youtube, player(7, isShort=True)).extra["short"] is True


@pytest.mark.parametrize(
    ("status", "kind", "cause"),
    [
        ({"status": "UNPLAYABLE", "reason": "Join this channel to get access to members-only content like this video."}, Rejected, "members-only"),
        ({"status": "LOGIN_REQUIRED", "reason": "Private video"}, Rejected, "private"),
        ({"status": "LOGIN_REQUIRED", "reason": "Sign in to confirm your age", "desktopLegacyAgeGateReason": 1}, Rejected, "age-gated"),
        ({"status": "UNPLAYABLE", "reason": "The uploader has not made this video available in your country"}, Rejected, "geo-blocked"),
        ({"status": "UNPLAYABLE", "reason": "This video requires payment to watch"}, Rejected, "paid"),
        ({"status": "LIVE_STREAM_OFFLINE", "reason": "Premieres in 3 days"}, Rejected, "upcoming"),
        ({"status": "LIVE_STREAM_OFFLINE", "reason": "This live event will begin in 2 hours."}, Rejected, "upcoming"),
        ({"status": "ERROR", "reason": "Video unavailable"}, Permanent, "removed"),
        ({"status": "ERROR", "reason": "This video has been removed by the uploader"}, Permanent, "removed"),
        ({"status": "LOGIN_REQUIRED", "reason": "Sign in to confirm you’re not a bot"}, Throttled, "bot check"),
    ],
)  # fmt: skip
def test_why_a_video_cannot_be_had(youtube: YouTube, status: dict[str, Any], kind: type[EngineError], cause: str) -> None:
    with pytest.raises(kind) as caught:
        looked_up(youtube, player(7, status))
    assert caught.value.cause == cause
    recording = Recording("a", "a", "https://x", "t")
    assert refused(recording, caught.value).extra.get("refused") == (cause if not caught.value.retry else None)


def test_a_429_of_the_watch_page_is_a_throttle(youtube: YouTube) -> None:
    with pytest.raises(Throttled):
        looked_up(youtube, 429)


# -- names and words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=42s", "http://youtube.com/watch?list=PL1&v=dQw4w9WgXcQ", "https://youtu.be/dQw4w9WgXcQ?si=x",
        "https://m.youtube.com/watch?v=dQw4w9WgXcQ#a", "https://music.youtube.com/watch?v=dQw4w9WgXcQ",
    ],
)  # fmt: skip
def test_a_single_video_is_known_by_its_address(url: str) -> None:
    found = video_of(url)
    assert found is not None
    assert (found.id, found.key) == ("yt-dQw4w9WgXcQ", "youtube:dQw4w9WgXcQ")
    assert video_of(url.replace("dQw4w9WgXcQ", "dQw4w9WgXc")) is None


def test_ids_are_safe_and_differ_where_the_keys_do() -> None:
    infos = [
        {"extractor_key": "Youtube", "id": "-_aB3xT9mKp"},
        {"extractor_key": "Vimeo", "id": "123"},
        {"extractor_key": "Vimeo", "id": "1/2"},
        {"extractor_key": "Vimeo", "id": "1_2"},
        {"extractor_key": "Vimeo", "id": "../../etc/passwd"},
        {"extractor_key": "Generic", "id": "talk", "webpage_url": "https://a.org/talk"},
        {"extractor_key": "Generic", "id": "talk", "webpage_url": "https://b.org/talk"},
        {"extractor_key": "SoundcloudVeryLongName", "id": "x" * 500},
        {"extractor_key": "SoundcloudVeryLongNames", "id": "x" * 500},
    ]
    pairs = [identity(info) for info in infos]
    assert pairs[:2] == [("yt--_aB3xT9mKp", "youtube:-_aB3xT9mKp"), ("vimeo-123", "vimeo:123")]
    assert len({id for id, _ in pairs}) == len({key for _, key in pairs}) == len(infos)
    assert all(len(id) < 80 and id.replace("-", "").replace("_", "").isalnum() for id, _ in pairs)


def test_an_extractor_that_breaks_is_typed(youtube: YouTube, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(url: str, body: dict[str, Any]) -> Any:
        raise TypeError("'NoneType' object is not subscriptable")

    monkeypatch.setattr(youtube, "answer", broken)
    with pytest.raises(Transient) as caught:
        listed(f"https://www.youtube.com/channel/{CHANNEL}")
    assert caught.value.cause == "download failed"
    assert "newer yt-dlp" in caught.value.hint


def test_every_known_trouble_says_what_to_do() -> None:
    assert all(reason.cause and reason.hint for reason in CAUSES)


def test_unknown_words_are_tried_again_and_are_harmless() -> None:
    error = classify("ERROR: \x1b[31msomething new; please report this issue on https://github.com/x")
    assert (type(error), error.message) == (Transient, "something new")


def test_the_doctor_hears_when_yt_dlp_ages() -> None:
    from datetime import date, timedelta

    released = date(2026, 10, 26)
    assert ytdlp_age(released + timedelta(days=AGES_DAYS), MINIMUM).state == "ok"
    assert ytdlp_age(released + timedelta(days=AGES_DAYS + 1), MINIMUM).state == "warn"
    assert ytdlp_age(released, "2026.1.5").state == "fail"
    assert ytdlp_age().state in ("ok", "warn")


@pytest.mark.parametrize("told", [float("nan"), float("inf"), -1.0, 0, "long", [60]])
def test_a_length_or_size_that_is_none_is_unknown(told: object) -> None:
    """Sums of seconds are kept by adding and taking away: one NaN among them would stay for ever."""
    found = to_recording({"id": "a", "ie_key": "X", "url": "https://example.org/a", "duration": told, "filesize": told})
    assert found.duration is None
    assert "bytes" not in found.extra
