"""What a site says, and what it means to us: the cause, whether it is tried again, and after which wait."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gainstage.config.settings import Fetch, Retry, Settings, changed
from gainstage.engine.errors import EngineError, Misconfigured, NotYet, Permanent, Rejected, Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.queue.retrying import decide
from gainstage.engine.sources import ytdlp_solver
from gainstage.engine.sources.selection import Selection, refusal
from gainstage.engine.sources.ytdlp_errors import classify, meant
from gainstage.engine.sources.ytdlp_fetch import _check, _hold, fetch_with_ytdlp, formats_of
from gainstage.engine.sources.ytdlp_list import look_up, video_of
from gainstage.engine.terms import Status
from tests.youtube_kit import YouTube, player, playing, video_id

HOUR_S = 3600.0

REASONS: tuple[tuple[str, type[EngineError], str], ...] = (
    ("Premiere will begin shortly", NotYet, "upcoming"),
    ("This live event will begin in a few moments.", NotYet, "upcoming"),
    ("Premieres in 45 minutes", NotYet, "upcoming"),
    ("This live event will begin in 1 minute.", NotYet, "upcoming"),
    ("Premieres in 3 hours", Rejected, "upcoming"),
    ("This live event will begin in 2 days.", Rejected, "upcoming"),
    ("[youtube] vid00000001: Offline.", NotYet, "stream offline"),
    ("This live event has ended.", NotYet, "just ended"),
    ("This live stream recording is not available.", NotYet, "just ended"),
    ("We're processing this video. Check back later.", NotYet, "being processed"),
    ("We’re processing this video. Check back later.", NotYet, "being processed"),
    ("Please sign in", Rejected, "login needed"),
    ("You must be logged into an account that has access to this subscriber-only content", Rejected, "login needed"),
    ("You must be logged into an account to see this", Rejected, "login needed"),
    ("This video is only available for registered users. Use --cookies, --username and --password", Rejected, "login needed"),
    ("Sign in to confirm your age. This video may be inappropriate for some users.", Rejected, "age-gated"),
    ("Private video. Sign in if you’ve been granted access to this video", Rejected, "private"),
    ("This video is protected by a password, use the --video-password option", Rejected, "password"),
    ("This video is DRM protected", Rejected, "DRM protected"),
    ("This video is available to this channel’s members on level: Gold (or any higher level).", Rejected, "members-only"),
    ("Join this channel to get access to members-only content like this video", Rejected, "members-only"),
    ("This video requires payment to watch", Rejected, "paid"),
    ("Sign in to confirm you’re not a bot. Use --cookies", Throttled, "bot check"),
    ("Please verify. YouTube is requiring a captcha challenge before playback", Throttled, "captcha"),
    ("Video unavailable. This content isn’t available, try again later.", Throttled, "HTTP 429"),
    ("unable to download video data: HTTP Error 403: Forbidden", Transient, "media refused"),
    ("Unable to download webpage: HTTP Error 403: Forbidden", Permanent, "gone or forbidden"),
    ("Requested format is not available", Transient, "extraction incomplete"),
    ("No video formats found!", Transient, "extraction incomplete"),
    ("Failed to extract any player response", Transient, "extraction incomplete"),
    ("Got HTTP Error 403 caused by Cloudflare anti-bot challenge; try again with --impersonate", Permanent, "browser check"),
    ("Video unavailable. The uploader has not made this video available in your country", Rejected, "geo-blocked"),
    ("Video unavailable. This video has been removed by the uploader", Permanent, "removed"),
)


@pytest.mark.parametrize(("words", "kind", "cause"), REASONS)
def test_every_reason_has_its_cause_and_class(words: str, kind: type[EngineError], cause: str) -> None:
    error = classify(f"ERROR: {words}")
    assert (type(error), error.cause) == (kind, cause)
    assert error.hint


def test_what_is_not_there_yet_is_looked_at_later_each_time_and_then_left_for_the_next_listing() -> None:
    error = classify("This live event has ended.")
    retry = Retry(attempts=4)
    waits = [decide(error, attempt, retry, draw=0.0) for attempt in (1, 2, 3)]
    assert [d.wait_s for d in waits] == [HOUR_S, 2 * HOUR_S, 4 * HOUR_S]
    assert decide(error, 4, retry, draw=0.0).status is Status.SKIPPED


def test_a_refused_media_address_fails_only_after_the_attempts() -> None:
    error = classify("unable to download video data: HTTP Error 403: Forbidden")
    assert decide(error, 1, Retry(), draw=0.5).retry
    assert decide(error, Retry().attempts, Retry(), draw=0.5).status is Status.FAILED


# -- what a fault means beside the warnings before it -----------------------------------------------------------------------

NO_RUNTIME = "[youtube] No supported JavaScript runtime could be found. Only deno is enabled by default"
UNSOLVED = "[youtube] vid00000001: n challenge solving failed: Some formats may be missing."


@pytest.mark.parametrize(
    ("warnings", "solver", "late", "kind", "cause"),
    [
        ([NO_RUNTIME], "0.8.0", False, Misconfigured, "no JavaScript runtime"),
        ([UNSOLVED], None, False, Misconfigured, "challenge failed"),
        ([UNSOLVED], "0.8.0", False, Misconfigured, "challenge failed"),
        ([UNSOLVED], "0.8.0", True, Transient, "challenge timed out"),
        ([UNSOLVED, "HTTP Error 429: Too Many Requests"], "0.8.0", False, Throttled, "HTTP 429"),
        ([], "0.8.0", False, Transient, "extraction incomplete"),
    ],
)
def test_a_warning_before_a_fault_is_its_cause(
    warnings: list[str], solver: str | None, late: bool, kind: type[EngineError], cause: str
) -> None:
    error = meant(classify("Requested format is not available"), warnings, solver=solver, late=late)
    assert (type(error), error.cause) == (kind, cause)


def test_a_reason_of_its_own_counts_more_than_a_missing_runtime() -> None:
    assert meant(classify("This video is private"), [NO_RUNTIME], solver=None, late=False).cause == "private"


# -- a whole video, through yt-dlp ------------------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


class Challenging(YouTube):
    """Its media need the n challenge of a player."""

    def answer(self, url: str, body: dict[str, Any]) -> Any:
        if "/s/player/" in url:
            return "var x={signatureTimestamp:20000};"
        answer = super().answer(url, body)
        config = '<script>ytcfg.set({"PLAYER_JS_URL":"/s/player/0123abcd/player_ias.vflset/en_US/base.js","STS":20000});'
        return answer.replace("<script>", config, 1) if isinstance(answer, str) else answer


def challenged(n: int, storyboards: bool) -> dict[str, Any]:
    found = player(n)
    for each in found["streamingData"]["adaptiveFormats"]:
        each["url"] += "&n=abcdefghijklmnop"
    if storyboards:
        spec = "https://i.ytimg.com/sb/vid/storyboard3_L$L/$N.jpg?sqp=x|48#27#100#10#10#0#default#rs$x"
        found["storyboards"] = {"playerStoryboardSpecRenderer": {"spec": spec}}
    return found


def fetch(n: int, folder: Path, **settings: Any) -> Path:
    url = f"https://www.youtube.com/watch?v={video_id(n)}"
    return fetch_with_ytdlp(url, folder, Fetch.model_validate(settings), token=CancelToken(), progress=lambda _: None)


@pytest.mark.parametrize("storyboards", [False, True])
def test_without_a_runtime_a_challenge_is_a_fault_of_the_setup(
    monkeypatch: pytest.MonkeyPatch, folder: Path, storyboards: bool
) -> None:
    monkeypatch.setattr(ytdlp_solver, "find_runtime", lambda: None)
    youtube = Challenging(players={video_id(1): challenged(1, storyboards)})
    with playing(youtube, monkeypatch), pytest.raises(Misconfigured) as caught:
        fetch(1, folder)
    assert caught.value.cause == "no JavaScript runtime"
    assert decide(caught.value, 1, Retry(), draw=0.5).pause


@pytest.mark.parametrize("storyboards", [False, True])
def test_a_player_that_cannot_be_solved_is_a_fault_of_the_setup(
    monkeypatch: pytest.MonkeyPatch, folder: Path, storyboards: bool
) -> None:
    if not ytdlp_solver.runtimes():
        pytest.skip("no deno on this machine")
    ytdlp_solver.PLAYERS_SEEN.clear()
    youtube = Challenging(players={video_id(2): challenged(2, storyboards)})
    with playing(youtube, monkeypatch), pytest.raises(Misconfigured) as caught:
        fetch(2, folder)
    assert caught.value.cause == "challenge failed"


def test_a_video_without_sound_is_told_from_one_whose_page_was_incomplete(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    silent = player(3)
    picture = {"itag": 137, "mimeType": 'video/mp4; codecs="avc1.640028"', "width": 1920, "height": 1080, "quality": "hd1080"}
    silent["streamingData"]["adaptiveFormats"] = [{**picture, "url": "https://rr1.googlevideo.com/videoplayback?id=3"}]
    empty = player(4)
    empty["streamingData"]["adaptiveFormats"] = []
    with playing(YouTube(players={video_id(3): silent, video_id(4): empty}), monkeypatch):
        with pytest.raises(Permanent) as caught:
            fetch(3, folder)
        assert caught.value.cause == "no audio stream"
        with pytest.raises(Transient) as incomplete:
            fetch(4, folder)
        assert incomplete.value.cause == "extraction incomplete"


# -- streams that have ended ------------------------------------------------------------------------------------------------


def test_a_stream_left_in_the_state_post_live_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = player(5, isPostLiveDvr=True, isLiveContent=True)
    with playing(YouTube(players={video_id(5): ended}), monkeypatch):
        listed = video_of(f"https://www.youtube.com/watch?v={video_id(5)}")
        assert listed is not None
        found = look_up(listed, Fetch(), token=CancelToken())
    for live in ("skip", "include"):
        assert refusal(found, Selection(live=live), 21_600) is None  # type: ignore[arg-type]


AUDIO = {"acodec": "opus", "vcodec": "none"}


def test_a_stream_that_ended_just_now_is_waited_for_unless_its_media_are_there() -> None:
    import time

    parts = {"live_status": "post_live", "formats": [{**AUDIO, "is_from_start": True}], "duration": 3600}
    with pytest.raises(NotYet) as caught:
        _check({**parts, "release_timestamp": time.time() - 4000}, Fetch())
    assert caught.value.cause == "just ended"
    _check({**parts, "release_timestamp": time.time() - 100_000}, Fetch())
    _check(parts, Fetch())
    _check({**parts, "formats": [AUDIO], "release_timestamp": time.time()}, Fetch())
    with pytest.raises(Rejected, match="live now"):
        _check({**parts, "live_status": "is_live"}, Fetch())


def test_media_that_a_site_holds_back_are_waited_for_within_reason() -> None:
    import time

    token = CancelToken()
    info = {"available_at": time.time() + 0.2}
    _hold(info, token)
    assert "available_at" not in info
    assert not token.cancelled
    with pytest.raises(NotYet) as caught:
        _hold({"available_at": time.time() + 600}, token)
    assert 590 < caught.value.after_s <= 600


# -- the language -----------------------------------------------------------------------------------------------------------


def track(tag: str, id: str, name: str, *, default: bool = False, bitrate: int = 130_000) -> dict[str, Any]:
    (plain,) = player(1)["streamingData"]["adaptiveFormats"]
    about = {"id": id, "displayName": name, "audioIsDefault": default}
    return {**plain, "url": f"https://rr1.googlevideo.com/videoplayback?id={tag}", "audioTrack": about, "bitrate": bitrate}


@pytest.mark.parametrize(
    ("language", "expected"),
    [(None, "de"), ("de", "de"), ("en", "en"), ("fr", "fr"), ("pt-BR", "pt-BR"), ("pt", "pt-BR"), ("it", "de")],
)
def test_the_original_language_wins_over_a_dub_unless_another_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, language: str | None, expected: str
) -> None:
    dubbed = player(6)
    dubbed["streamingData"]["adaptiveFormats"] = [
        track("en", "en.3", "English", default=True, bitrate=160_000),
        track("de", "de.4", "German original"),
        track("fr", "fr.3", "French", bitrate=190_000),
        track("pt", "pt-BR.3", "Portuguese"),
    ]
    from gainstage.engine.sources.ytdlp import open_ytdlp

    settings = changed(Settings(), "fetch.audio_language", language).fetch
    with (
        playing(YouTube(players={video_id(6): dubbed}), monkeypatch),
        open_ytdlp(settings, CancelToken(), format=formats_of(settings), format_sort=["lang"]) as ytdlp,
    ):
        info = ytdlp.extract_info(f"https://www.youtube.com/watch?v={video_id(6)}", download=False)
    assert info["language"] == expected


@pytest.mark.parametrize("language", ["german", "d", "de]", "de/best", "../x", "de_DE"])
def test_a_language_that_is_none_is_refused(language: str) -> None:
    with pytest.raises(Misconfigured):
        formats_of(Fetch(audio_language=language))
