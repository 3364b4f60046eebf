"""A whole video, from its page to its media, on a fake site behind a proxy without a name server."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gainstage.config.settings import Fetch
from gainstage.engine.errors import Cancelled, Misconfigured, Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import js_runtime, policy, ytdlp_impersonate
from gainstage.engine.sources.captions import Taken, of_site
from gainstage.engine.sources.js_runtime import find_runtime, solver_version
from gainstage.engine.sources.ytdlp import open_ytdlp
from gainstage.engine.sources.ytdlp_fetch import fetch_with_ytdlp
from gainstage.engine.sources.ytdlp_impersonate import bundle
from gainstage.engine.sources.ytdlp_list import look_up, video_of
from gainstage.engine.sources.ytdlp_solver import PLAYERS_SEEN
from tests.http_server import Request, running, wait_until
from tests.world.site import World, captioned, certificates, challenged, standing
from tests.youtube_kit import player, video_id

MEDIA = bytes(range(256)) * 1000
pytestmark = [
    pytest.mark.skipif(find_runtime() is None or solver_version() is None, reason="no deno or no yt-dlp-ejs on this machine"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine"),
]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificates(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(signed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[World, Fetch]]:
    """The site, and settings that lead there. Looking up any name fails the test."""
    authority, certificate = signed
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    real = socket.getaddrinfo

    def lookup(host: Any, *rest: Any, **named: Any) -> Any:
        assert host in ("127.0.0.1", b"127.0.0.1"), f"{host} was looked up"
        return real(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    PLAYERS_SEEN.clear()
    site = World(MEDIA)
    for n in (1, 2, 3):
        site.youtube.players[video_id(n)] = challenged(n, len(MEDIA))
    with standing(site, certificate) as proxy:
        yield site, Fetch.model_validate({"proxy": proxy, "timeout": 10})
    PLAYERS_SEEN.clear()


def url(n: int) -> str:
    return f"https://www.youtube.com/watch?v={video_id(n)}"


def fetch(n: int, folder: Path, settings: Fetch, token: CancelToken | None = None) -> bytes:
    return fetch_with_ytdlp(url(n), folder, settings, token=token or CancelToken(), progress=lambda _: None).read_bytes()


def test_a_challenge_is_solved_and_no_name_is_looked_up(world: tuple[World, Fetch], tmp_path: Path) -> None:
    site, settings = world
    assert fetch(1, tmp_path, settings) == MEDIA
    assert set(site.connected) == {"www.youtube.com", "rr1.googlevideo.com"}
    assert site.count("player-js") == 1


def test_look_up_and_downloads_of_all_recordings_share_the_player(world: tuple[World, Fetch], tmp_path: Path) -> None:
    site, settings = world
    listed = video_of(url(1))
    assert listed is not None
    assert look_up(listed, settings, token=CancelToken()).duration == 57.0
    for n in (1, 2, 3):
        (tmp_path / str(n)).mkdir()
        assert fetch(n, tmp_path / str(n), settings) == MEDIA
    assert site.count("player-js") == 1


def test_a_media_address_that_ran_out_is_asked_for_anew(world: tuple[World, Fetch], tmp_path: Path) -> None:
    site, settings = world
    site.refuse_first = 10
    with pytest.raises(Transient) as caught:
        fetch(1, tmp_path, settings)
    assert caught.value.cause == "media refused"
    pages = site.count("watch")
    site.refuse_first = 0
    assert fetch(1, tmp_path, settings) == MEDIA
    assert site.count("watch") > pages


def test_a_player_that_changed_is_a_fault_of_the_setup(world: tuple[World, Fetch], tmp_path: Path) -> None:
    site, settings = world
    site.script = "var x = {signatureTimestamp: 20700};"
    with pytest.raises(Misconfigured) as caught:
        fetch(1, tmp_path, settings)
    assert (caught.value.cause, "yt-dlp" in caught.value.hint) == ("challenge failed", True)


def test_an_endless_player_gives_its_slot_back(world: tuple[World, Fetch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, settings = world
    site.script = site.script.replace("this.m.n=", "for (;;) {} this.m.n=")
    monkeypatch.setattr(js_runtime, "DEADLINE_S", 2.0)
    with pytest.raises(Transient) as caught:
        fetch(1, tmp_path, settings)
    assert caught.value.cause == "challenge timed out"


def test_a_stop_ends_an_endless_player(world: tuple[World, Fetch], tmp_path: Path) -> None:
    site, settings = world
    site.script = site.script.replace("this.m.n=", "for (;;) {} this.m.n=")
    token = CancelToken()
    stopper = threading.Thread(target=lambda: (wait_until(lambda: site.count("player-js") > 0), token.cancel("enough")))
    stopper.start()
    with pytest.raises(Cancelled):
        fetch(1, tmp_path, settings, token)
    stopper.join()


def test_the_original_language_is_fetched(world: tuple[World, Fetch], tmp_path: Path) -> None:
    site, settings = world
    answer = challenged(1, len(MEDIA), tag="de")
    (audio,) = answer["streamingData"]["adaptiveFormats"]
    dub = {**audio, "url": audio["url"].replace("id=de", "id=en"), "bitrate": 190_000}
    audio["audioTrack"] = {"id": "de.4", "displayName": "German original", "audioIsDefault": False}
    dub["audioTrack"] = {"id": "en.3", "displayName": "English", "audioIsDefault": True}
    answer["streamingData"]["adaptiveFormats"] = [dub, audio]
    site.youtube.players[video_id(1)] = answer
    assert fetch(1, tmp_path, settings) == MEDIA
    assert {line.split()[1] for line in site.asked if line.startswith("media")} == {"de"}


def test_an_inner_address_is_refused_behind_the_proxy_too(world: tuple[World, Fetch], tmp_path: Path) -> None:
    site, settings = world
    answer = player(1)
    answer["streamingData"]["adaptiveFormats"][0]["url"] = "https://192.168.0.1/videoplayback?id=1"
    site.youtube.players[video_id(1)] = answer
    with pytest.raises(Exception, match="inside this network") as caught:
        fetch(1, tmp_path, settings)
    assert getattr(caught.value, "cause", "") == "private address refused"
    assert "192.168.0.1" not in site.connected


# -- captions ---------------------------------------------------------------------------------------------------------------

HERE = "www.youtube.com"
VTT = "WEBVTT\n\n00:01.000 --> 00:02.000\nby hand\n"


def captions(n: int, folder: Path, settings: Fetch, wanted: str = "") -> Taken:
    taken: list[Taken] = []

    def also(ytdlp: Any, info: dict[str, Any]) -> None:
        taken.append(of_site(ytdlp, info, wanted, settings, CancelToken()))

    media = fetch_with_ytdlp(url(n), folder, settings, token=CancelToken(), progress=lambda _: None, also=also)
    assert media.read_bytes() == MEDIA
    return taken[0]


def test_captions_by_hand_come_with_the_media_and_automatic_ones_never(world: tuple[World, Fetch], tmp_path: Path) -> None:
    site, settings = world
    site.captions = VTT
    site.youtube.players[video_id(1)] = captioned(
        challenged(1, len(MEDIA)), ("en", "", HERE), ("de", "", HERE), ("en", "asr", HERE)
    )
    made, warnings = captions(1, tmp_path, settings)
    assert warnings == ()
    assert made is not None
    assert (made.language, made.lines[0].text) == ("en", "by hand")
    assert [line for line in site.asked if line.startswith("captions")] == ["captions en"]
    assert site.count("watch") == 1, "the page is not asked for again"


def test_automatic_captions_alone_are_none(world: tuple[World, Fetch], tmp_path: Path) -> None:
    site, settings = world
    site.captions = VTT
    site.youtube.players[video_id(1)] = captioned(challenged(1, len(MEDIA)), ("en", "asr", HERE))
    assert captions(1, tmp_path, settings) == (None, ())
    assert site.count("captions") == 0


@pytest.mark.parametrize(("host", "why"), [("192.168.0.1", "inside this network"), (HERE, "429")])
def test_captions_that_are_refused_are_a_warning(world: tuple[World, Fetch], tmp_path: Path, host: str, why: str) -> None:
    site, settings = world
    site.youtube.players[video_id(1)] = captioned(challenged(1, len(MEDIA)), ("en", "", host))
    made, (warning,) = captions(1, tmp_path, settings)
    assert made is None
    assert why in warning.message
    assert "192.168.0.1" not in site.connected


# -- ways out on a bad day --------------------------------------------------------------------------------------------------


def test_a_provider_of_tokens_is_asked_where_the_operator_says(world: tuple[World, Fetch], tmp_path: Path) -> None:
    import json

    from yt_dlp.extractor.youtube._base import _PoTokenContext

    _, settings = world
    bindings: list[dict[str, Any]] = []

    def give(request: Any) -> None:
        bindings.append(json.loads(request.rfile.read(int(request.headers["Content-Length"]))))
        request.answer(200, b'{"poToken": "dG9rZW4="}', Content_Type="application/json")

    with running() as provider:
        provider.serve("/get_pot", give)
        given = settings.model_copy(
            update={"po_token_provider": provider.url, "player_client": "mweb", "visitor_data": SecretStr("vis")}
        )
        with open_ytdlp(given, CancelToken()) as ytdlp:
            youtube = ytdlp.get_info_extractor("Youtube")
            youtube.initialize()
            about = {"ytcfg": youtube._get_default_ytcfg("mweb"), "visitor_data": "vis", "required": True}
            token = youtube.fetch_po_token("mweb", context=_PoTokenContext.GVS, video_id=video_id(1), **about)
    assert token == "dG9rZW4="
    assert bindings[0]["content_binding"] in ("vis", video_id(1))
    assert set(bindings[0]) == {"content_binding", "bypass_cache"}


def test_another_client_is_played_where_the_operator_says(world: tuple[World, Fetch], tmp_path: Path) -> None:
    _, settings = world
    assert fetch(1, tmp_path, settings.model_copy(update={"player_client": "tv, mweb"})) == MEDIA


@pytest.fixture
def imitating(world: tuple[World, Fetch]) -> Iterator[tuple[World, Fetch]]:
    """Settings that send a browser's handshake."""
    site, settings = world
    bundle.cache_clear()
    yield site, settings.model_copy(update={"impersonate": "chrome"})
    bundle.cache_clear()


def test_a_whole_video_with_the_handshake_of_a_browser(imitating: tuple[World, Fetch], tmp_path: Path) -> None:
    site, settings = imitating
    assert fetch(1, tmp_path, settings) == MEDIA
    assert set(site.connected) == {"www.youtube.com", "rr1.googlevideo.com"}
    assert any("Chrome/" in agent for agent in site.agents)


def test_an_inner_address_is_refused_to_the_imitation_too(imitating: tuple[World, Fetch], tmp_path: Path) -> None:
    site, settings = imitating
    answer = player(1)
    answer["streamingData"]["adaptiveFormats"][0]["url"] = "https://192.168.0.1/videoplayback?id=1"
    site.youtube.players[video_id(1)] = answer
    with pytest.raises(Exception, match="inside this network") as caught:
        fetch(1, tmp_path, settings)
    assert getattr(caught.value, "cause", "") == "private address refused"
    assert "192.168.0.1" not in site.connected


def page_of(settings: Fetch, address: str) -> bytes:
    with open_ytdlp(settings, CancelToken()) as ytdlp:
        return bytes(ytdlp.urlopen(address).read())


def test_the_guard_holds_for_curls_own_resolver_and_redirects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that lead inside are refused before curl sees them, also as the target of a redirect; allowed ones are pinned."""
    with running() as server:
        port = server.server_address[1]
        server.serve("/page", lambda r: r.answer(200, b"here"))
        server.serve("/away", lambda r: r.answer(302, Location=f"http://inner.test:{port}/page"))
        real = socket.getaddrinfo
        names = {"public.test": "127.0.0.1", "inner.test": "10.0.0.1"}
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **named: real(names.get(host, host), *rest, **named))
        monkeypatch.setattr(policy, "is_public", lambda address: address == "127.0.0.1")
        settings = Fetch.model_validate({"impersonate": "chrome", "timeout": 5})
        assert page_of(settings, f"http://public.test:{port}/page") == b"here", "curl connects where the guard looked"
        for address in (f"http://inner.test:{port}/page", f"http://public.test:{port}/away", f"http://10.0.0.1:{port}/page"):
            with pytest.raises(Permanent) as caught:
                page_of(settings, address)
            assert caught.value.cause == "private address refused"


def test_a_stop_ends_an_imitated_download(tmp_path: Path) -> None:
    def stall(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "video/mp4")
        request.send_header("Content-Length", str(2 * len(MEDIA)))
        request.end_headers()
        request.wfile.write(MEDIA)
        request.wfile.flush()
        stalled.set()
        request.server.ending.wait(60)

    stalled = threading.Event()
    with running() as server:
        url, token = server.serve("/v.mp4", stall), CancelToken()
        settings = Fetch.model_validate({"impersonate": "firefox", "allow_private": True, "timeout": 60})
        stopper = threading.Thread(target=lambda: (stalled.wait(30), token.cancel("enough")))
        stopper.start()
        with pytest.raises(Cancelled):
            fetch_with_ytdlp(url, tmp_path, settings, token=token, progress=lambda _: None)
        stopper.join()
        server.ending.set()


@pytest.mark.parametrize("browser", ["netscape", "chrome-4"])
def test_a_browser_that_nobody_can_imitate_is_named(browser: str) -> None:
    with pytest.raises(Misconfigured) as caught, open_ytdlp(Fetch.model_validate({"impersonate": browser}), CancelToken()):
        pass
    assert caught.value.cause == "impersonation"
    assert "chrome" in caught.value.hint


def test_without_curl_cffi_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ytdlp_impersonate, "find_spec", lambda name: None)
    with pytest.raises(Misconfigured) as caught, open_ytdlp(Fetch.model_validate({"impersonate": "chrome"}), CancelToken()):
        pass
    assert "uv sync --extra impersonate" in caught.value.hint


def test_cookies_of_a_browsers_profile_reach_the_site(
    world: tuple[World, Fetch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, settings = world
    profile = tmp_path / "profile"
    profile.mkdir()
    with closing(sqlite3.connect(profile / "cookies.sqlite")) as database:
        database.execute("create table moz_cookies (host, name, value, path, expiry, isSecure, originAttributes)")
        row = (".youtube.com", "VISITOR_INFO1_LIVE", "fromfirefox", "/", 4_000_000_000, 1, "")
        database.execute("insert into moz_cookies values (?, ?, ?, ?, ?, ?, ?)", row)
        database.commit()
    given = settings.model_copy(update={"cookies_browser": f"firefox:{profile}"})
    assert fetch(1, tmp_path, given) == MEDIA
    assert any("fromfirefox" in cookie for cookie in site.cookies)
    assert not any("fromfirefox" in cookie for cookie in site.media_cookies), "another site's cookies are not sent"


def test_visitor_data_and_player_clients_reach_the_extractor(world: tuple[World, Fetch]) -> None:
    _, settings = world
    given = settings.model_copy(update={"visitor_data": SecretStr("vis"), "player_client": "tv, mweb"})
    with open_ytdlp(given, CancelToken()) as ytdlp:
        youtube = ytdlp.get_info_extractor("Youtube")
        assert youtube._configuration_arg("visitor_data", casesense=True) == ["vis"]
        assert youtube._configuration_arg("player_client") == ["tv", "mweb"]


@pytest.mark.parametrize(
    "wrong", [{"po_token_provider": "file:///etc"}, {"po_token_provider": "nowhere"}, {"cookies_browser": "netscape"}]
)
def test_a_way_out_that_is_none_stops_with_what_to_do(wrong: dict[str, str]) -> None:
    with pytest.raises(Misconfigured) as caught, open_ytdlp(Fetch.model_validate(wrong), CancelToken()):
        pass
    assert caught.value.hint
