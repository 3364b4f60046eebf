"""A look at each item's own page before it is queued: reasons, bounds, and what is inconclusive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gainstage.config.settings import Settings, changed
from gainstage.engine.errors import Cancelled
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.sources.choice import Choice
from gainstage.engine.sources.choose import choose
from gainstage.engine.sources.enqueue import enqueue
from gainstage.engine.sources.hosts import Hosts
from gainstage.engine.sources.prefilter import AT_ONCE, look_up_all
from gainstage.engine.sources.selection import Selection
from gainstage.engine.sources.ytdlp_list import video_of
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Recording
from tests.queue_kit import column, until
from tests.youtube_kit import CHANNEL, UPLOADS, YouTube, live, player, playing, playlist, playlist_video, video_id

URL = f"https://www.youtube.com/channel/{CHANNEL}"
SETTINGS = changed(changed(Settings(), "fetch.sleep", 0), "fetch.rate", 100_000)
MEMBERS = {"status": "UNPLAYABLE", "reason": "Join this channel to get access to members-only content"}
BOT = {"status": "LOGIN_REQUIRED", "reason": "Sign in to confirm you’re not a bot"}


@pytest.fixture
def youtube(monkeypatch: pytest.MonkeyPatch) -> Iterator[YouTube]:
    with playing(YouTube(), monkeypatch) as youtube:
        yield youtube


def channel(youtube: YouTube, count: int) -> None:
    youtube.playlists[UPLOADS] = playlist([playlist_video(n) for n in range(count)])
    for n in range(count):
        youtube.players[video_id(n)] = player(n)


def published(n: int, day: str) -> dict[str, Any]:
    answer = player(n)
    answer["microformat"]["playerMicroformatRenderer"] |= {"publishDate": f"{day}T12:00:00Z", "uploadDate": f"{day}T12:00:00Z"}
    return answer


def chosen(database: Database, **options: Any) -> Choice:
    return choose([URL], SETTINGS, database, Selection.of(options), token=CancelToken())


def watched(youtube: YouTube) -> int:
    return sum(asked.startswith("watch") for asked in youtube.asked)


def test_what_its_own_page_refuses_is_kept_with_its_reason_and_the_limit_is_filled_up(database: Database, youtube: YouTube) -> None:
    channel(youtube, 8)
    youtube.players[video_id(0)] = player(0, MEMBERS)
    youtube.players[video_id(2)] = player(2, {"status": "ERROR", "reason": "Video unavailable"})
    choice = chosen(database, limit=3)
    assert [r.title for r in choice.taken] == ["Talk 1", "Talk 3", "Talk 4"]
    assert sorted(left.reason for left in choice.refused) == ["members-only", "removed"]
    assert {r.published for r in choice.taken} == {"2026-05-04"}
    enqueue(Backlog(database), choice)
    assert column(database, f"yt-{video_id(0)}", "cause") == "members-only"
    youtube.players[video_id(0)] = player(0)
    again = chosen(database, limit=1)
    assert again.recheck == (f"yt-{video_id(0)}",)
    enqueue(Backlog(database), again)
    assert column(database, f"yt-{video_id(0)}", "status") == "queued"


def test_a_bot_check_ends_the_look_ups_says_nothing_of_the_videos_and_opens_the_breaker(
    database: Database, youtube: YouTube
) -> None:
    channel(youtube, 20)
    for n in range(20):
        youtube.players[video_id(n)] = player(n, BOT)
    choice = chosen(database)
    assert len(choice.taken) == choice.unchecked == 20
    assert watched(youtube) < 20
    (view,) = Hosts(database, lambda: SETTINGS.fetch).views()
    assert (view.host, view.state) == ("www.youtube.com", "open")


def test_only_the_first_ones_of_a_long_list_are_looked_at_unless_all_are_asked_for(
    database: Database, youtube: YouTube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gainstage.engine.sources.choose.CHECKED", 3)
    channel(youtube, 8)
    assert len(chosen(database).taken) == 8
    assert watched(youtube) == 3
    youtube.asked.clear()
    chosen(database, check="none")
    assert watched(youtube) == 0
    chosen(database, check="all")
    assert watched(youtube) == 8


def test_days_are_looked_up_and_a_channel_is_left_when_it_gets_too_old(database: Database, youtube: YouTube) -> None:
    channel(youtube, 60)
    for n in range(60):
        youtube.players[video_id(n)] = published(n, f"2026-0{9 - n // 10}-15")
    choice = chosen(database, since="2026-09-01")
    assert [r.title for r in choice.taken] == [f"Talk {n}" for n in range(10)]
    assert watched(youtube) <= 24


def test_what_is_live_is_left_or_taken_as_asked(database: Database, youtube: YouTube) -> None:
    youtube.playlists[UPLOADS] = playlist([live(1)])
    assert chosen(database, check="none").reasons == (("live", 1),)
    assert len(chosen(database, check="none", live="include").taken) == 1


def test_a_look_up_that_hangs_is_given_up_and_passes_and_few_run_at_once(
    database: Database, youtube: YouTube, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel(youtube, 12)
    answer, lock, ended = youtube.answer, threading.Lock(), threading.Event()
    busy: list[str] = []
    most = 0

    def slow(url: str, body: dict[str, Any]) -> Any:
        nonlocal most
        with lock:
            busy.append(url)
            most = max(most, len(busy))
        try:
            if video_id(5) in url:
                ended.wait(60)
            return answer(url, body)
        finally:
            with lock:
                busy.remove(url)

    monkeypatch.setattr(youtube, "answer", slow)
    monkeypatch.setattr("gainstage.engine.sources.prefilter.EACH_S", 0.5)
    given = [r for n in range(12) if (r := video_of(f"https://youtu.be/{video_id(n)}"))]
    try:
        found = look_up_all(given, SETTINGS, Hosts(database, lambda: SETTINGS.fetch), CancelToken())
    finally:
        ended.set()
    assert [r.id for r in found] == [r.id for r in given]
    assert found[5] == given[5], "inconclusive: it passes as it was"
    assert 1 <= most <= AT_ONCE
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("look-up")])


def test_look_ups_keep_order_and_budget_and_end_with_the_token(database: Database, youtube: YouTube) -> None:
    channel(youtube, 12)
    given = [r for n in range(12) if (r := video_of(f"https://youtu.be/{video_id(n)}"))]
    poor = changed(SETTINGS, "fetch.rate", 5)
    found = look_up_all(given, poor, Hosts(database, lambda: poor.fetch), CancelToken())
    assert [r.id for r in found] == [r.id for r in given]
    assert sum(bool(r.extra.get("looked_up")) for r in found) <= 5
    assert watched(youtube) <= 5
    token = CancelToken()
    token.cancel("enough")
    with pytest.raises(Cancelled):
        look_up_all(given, SETTINGS, Hosts(database, lambda: SETTINGS.fetch), token)
    assert look_up_all([], SETTINGS, Hosts(database, lambda: SETTINGS.fetch), CancelToken()) == []
    assert all(isinstance(r, Recording) for r in found)
