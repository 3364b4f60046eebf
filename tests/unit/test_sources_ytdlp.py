"""yt-dlp on a real server on loopback: what it may reach, what comes through it, how it ends."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gainstage.config.settings import Fetch, Settings, changed
from gainstage.engine.errors import Cancelled, EngineError, Misconfigured, Permanent, Rejected, Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import policy
from gainstage.engine.sources.listing import list_source
from gainstage.engine.sources.ytdlp import open_ytdlp
from gainstage.engine.sources.ytdlp_fetch import fetch_with_ytdlp
from tests.http_server import Media, Request, Server, running, wait_until

BODY = bytes(range(256)) * 2000
LOCAL = changed(changed(Settings(), "fetch.allow_private", True), "fetch.timeout", 2)


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def page(server: Server, media: object, path: str = "/watch") -> str:
    """A web page with a video in it."""
    server.serve("/v.mp4", media)  # type: ignore[arg-type]
    html = b"<html><head><title>A talk</title></head><body><video src='/v.mp4'></video></body></html>"
    return server.serve(path, lambda r: r.answer(200, html, Content_Type="text/html"))


def fetch(url: str, folder: Path, token: CancelToken | None = None, **settings: Any) -> bytes:
    chosen = Fetch.model_validate({"allow_private": True, "timeout": 2, **settings})
    return fetch_with_ytdlp(url, folder, chosen, token=token or CancelToken(), progress=lambda _: None).read_bytes()


def test_a_page_with_a_video_is_listed_and_fetched(server: Server, tmp_path: Path) -> None:
    url = page(server, Media(BODY, content_type="video/mp4"))
    (found,) = list_source(url, LOCAL, token=CancelToken())
    assert found.title.startswith("A talk")
    assert found.extra["fetch"] == "ytdlp"
    assert fetch(found.source, tmp_path) == BODY


def test_a_broken_download_is_resumed(server: Server, tmp_path: Path) -> None:
    url = page(server, Media(BODY, content_type="video/mp4", close_after=100_000))
    (tmp_path / "media-0.mp4.part").write_bytes(BODY[:70_000])
    assert fetch(url, tmp_path) == BODY
    assert any(wanted and wanted.startswith("bytes=") for path, wanted in server.ranges if path == "/v.mp4")


@pytest.mark.parametrize(
    ("status", "kind"), [(404, Permanent), (403, Permanent), (410, Permanent), (429, Throttled), (500, Transient)]
)
def test_statuses_are_typed(server: Server, tmp_path: Path, status: int, kind: type[EngineError]) -> None:
    with pytest.raises(EngineError) as caught:
        fetch(server.serve("/watch", lambda r: r.answer(status)), tmp_path)
    assert type(caught.value) is kind


def test_a_page_about_nothing_is_permanent(server: Server, tmp_path: Path) -> None:
    with pytest.raises(Permanent) as caught:
        fetch(server.serve("/p", lambda r: r.answer(200, b"<html>hello</html>", Content_Type="text/html")), tmp_path)
    assert caught.value.cause == "unsupported address"


def test_too_large_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        fetch(page(server, Media(BODY, content_type="video/mp4", bytes_per_s=2e6)), tmp_path, max_bytes=50_000)
    assert caught.value.cause == "too large"


def test_a_folder_with_an_odd_name_is_a_folder(server: Server, tmp_path: Path) -> None:
    odd = tmp_path / "100%(title)s %% {x} $y"
    odd.mkdir()
    assert fetch(page(server, Media(BODY, content_type="video/mp4")), odd) == BODY
    assert [p.name for p in odd.iterdir()] == ["media-0.mp4"]


def told_of(server: Server, **about: Any) -> str:
    """A web page that tells of its video in the way search engines ask for."""
    data = {
        "@context": "https://schema.org",
        "@type": "VideoObject",
        "name": "A talk",
        "contentUrl": server.url + "/v.mp4",
        **about,
    }
    html = f"<html><script type='application/ld+json'>{json.dumps(data)}</script></html>".encode()
    return server.serve("/told", lambda r: r.answer(200, html, Content_Type="text/html"))


def test_too_long_is_refused_before_anything_is_downloaded(server: Server, tmp_path: Path) -> None:
    server.serve("/v.mp4", Media(BODY, content_type="video/mp4"))
    url = told_of(server, duration="PT10H", uploadDate="2026-05-04")
    with pytest.raises(Rejected) as caught:
        fetch(url, tmp_path)
    assert caught.value.cause == "too long"
    assert not list(tmp_path.iterdir())
    assert fetch(url, tmp_path, max_duration=11 * 3600) == BODY


@pytest.mark.parametrize("how", [{"bytes_per_s": 1000.0}, {"stall_after": 1000}])
def test_cancelling_ends_it_at_once(server: Server, tmp_path: Path, how: dict[str, float]) -> None:
    token = CancelToken()
    url = page(server, Media(BODY, content_type="video/mp4", **how))  # type: ignore[arg-type]
    timer = threading.Thread(target=lambda: (wait_until(lambda: server.hits["/v.mp4"] > 0), token.cancel("enough")))
    timer.start()
    with pytest.raises(Cancelled):
        fetch(url, tmp_path, token, timeout=60)
    timer.join()


# -- the guard --------------------------------------------------------------------------------------------------------------


def get(url: str, **settings: Any) -> bytes:
    with open_ytdlp(Fetch.model_validate({"timeout": 2, **settings}), CancelToken()) as ytdlp:
        return bytes(ytdlp.urlopen(url).read())


def test_an_inner_address_is_refused_and_nothing_is_sent(server: Server) -> None:
    with pytest.raises(Permanent) as caught:
        get(server.serve("/a", lambda r: r.answer(200)))
    assert caught.value.cause == "private address refused"
    assert not server.hits


def test_a_redirect_inside_is_refused_before_it_is_followed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "is_public", lambda address: address == "127.0.0.1")  # this server plays the public one
    port = server.server_address[1]
    secret = server.serve("/secret", lambda r: r.answer(200, b"secret")).replace("127.0.0.1", "127.0.0.2")
    assert secret.endswith(f":{port}/secret")
    with pytest.raises(Permanent) as caught:
        get(server.serve("/a", lambda r: r.answer(302, Location=secret)))
    assert caught.value.cause == "private address refused"
    assert server.hits["/secret"] == 0


def test_a_name_that_changes_its_mind_is_connected_where_it_was_checked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["127.0.0.1", "10.0.0.1", "10.0.0.1"])
    real = socket.getaddrinfo

    def lookup(host: str, port: int, *rest: Any, **named: Any) -> Any:
        return real(next(answers) if host == "rebind.example" else host, port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(policy, "is_public", lambda address: address == "127.0.0.1")
    url = server.serve("/a", lambda r: r.answer(200, b"fine")).replace("127.0.0.1", "rebind.example")
    assert get(url) == b"fine"
    with pytest.raises(Permanent) as caught:
        get(url)
    assert caught.value.cause == "private address refused"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://e.org/a", "data:text/plain,x", "ws://e.org/"])
def test_yt_dlp_itself_can_open_nothing_but_http(url: str) -> None:
    with pytest.raises(EngineError):
        get(url, allow_private=True)


def test_behind_a_proxy_every_hop_is_checked_too(server: Server) -> None:
    seen: list[str] = []

    def answer(request: Request) -> None:
        seen.append(request.path)
        request.answer(302, Location="http://127.0.0.1:9/inside")

    server.serve("/a", answer)
    with pytest.raises(EngineError) as caught:
        get("http://93.184.215.14/a", proxy=server.url)
    assert caught.value.cause == "private address refused"
    assert seen == ["http://93.184.215.14/a"]


# -- no configuration, no plugins -------------------------------------------------------------------------------------------


def test_neither_configuration_nor_plugins_of_the_user_are_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".config/yt-dlp/plugins/x/yt_dlp_plugins/extractor").mkdir(parents=True)
    (home / ".config/yt-dlp/config").write_text("--proxy http://127.0.0.1:9\n-o /tmp/%(title)s\n")
    (home / ".config/yt-dlp/plugins/x/yt_dlp_plugins/extractor/evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (home / ".netrc").write_text("machine x login y password z\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    (tmp_path / "out").mkdir()
    assert fetch(page(server, Media(BODY, content_type="video/mp4")), tmp_path / "out") == BODY
    assert not (tmp_path / "ran").exists()
    assert os.listdir(tmp_path / "out") == ["media-0.mp4"]


def test_a_yt_dlp_older_than_the_tested_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gainstage.engine.sources.ytdlp.MINIMUM", "2999.01.01")
    with pytest.raises(Misconfigured, match="older than"):
        get("https://e.org/")
