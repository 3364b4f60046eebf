from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gainstage.config.settings import Fetch, Settings, changed
from gainstage.engine.errors import Misconfigured
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.cookies import cookie_header, cookies_text, cookies_trouble, read_cookies
from gainstage.engine.sources.web import Web
from gainstage.engine.sources.ytdlp import open_ytdlp
from tests.http_server import Request, Server, running

SECRET = "s3cr3t-value"


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def cookies(folder: Path, *ends: float, domain: str = "127.0.0.1", mode: int = 0o600) -> Path:
    file = folder / "cookies.txt"
    lines = [f"{domain}\tFALSE\t/\tFALSE\t{end:.0f}\tc{n}\t{SECRET}{n}" for n, end in enumerate(ends)]
    file.write_text("# Netscape HTTP Cookie File\n" + "\n".join(lines) + "\n")
    file.chmod(mode)
    return file


def settings(file: Path) -> Fetch:
    return changed(changed(Settings(), "fetch.cookies", str(file)), "fetch.allow_private", True).fetch


def test_a_file_open_to_others_missing_malformed_or_expired_stops_with_what_to_do(tmp_path: Path) -> None:
    later = time.time() + 1e6
    with pytest.raises(Misconfigured, match="other users") as caught:
        read_cookies(cookies(tmp_path, later, mode=0o644))
    assert "chmod 600" in caught.value.hint
    with pytest.raises(Misconfigured, match="expired"):
        read_cookies(cookies(tmp_path, 1e9))
    with pytest.raises(Misconfigured, match="cannot be read"):
        read_cookies(tmp_path / "nothing.txt")
    (tmp_path / "cookies.txt").write_text("[{}]")
    with pytest.raises(Misconfigured, match="Netscape"):
        read_cookies(tmp_path / "cookies.txt")
    (tmp_path / "cookies.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(Misconfigured, match="cannot be read"):
        read_cookies(tmp_path / "cookies.txt")


def test_neither_path_nor_value_is_told(tmp_path: Path) -> None:
    file = cookies(tmp_path, 1e9)
    with pytest.raises(Misconfigured) as caught:
        read_cookies(file)
    assert str(file) not in str(caught.value)
    assert SECRET not in str(caught.value)
    found = read_cookies(cookies(tmp_path, time.time() + 1e6))
    assert SECRET not in repr(found)
    assert SECRET not in repr(settings(file))


def test_what_expires_is_told_before_it_has(tmp_path: Path) -> None:
    now = 2e9
    assert cookies_trouble(Fetch()) is None
    assert cookies_trouble(settings(cookies(tmp_path, now + 1e7)), now) is None
    assert cookies_trouble(settings(cookies(tmp_path, now + 1e7, now - 5)), now) == "1 of 2 cookies have expired"
    assert "expires in 1.0 days" in (cookies_trouble(settings(cookies(tmp_path, now + 86_400)), now) or "")
    assert "expired" in (cookies_trouble(settings(cookies(tmp_path, now - 5)), now) or "")


def test_cookies_go_to_their_own_host_only(server: Server, tmp_path: Path) -> None:
    fetch = settings(cookies(tmp_path, time.time() + 1e6))
    assert cookie_header(fetch, "https://e.org/a.mp3") == {}
    sent: list[str | None] = []

    def answer(request: Request) -> None:
        sent.append(request.headers.get("Cookie"))
        request.answer(200, b"x")

    with contextlib.closing(Web(lambda: fetch)) as web, web.get(server.serve("/a", answer), CancelToken(), {}) as response:
        response.read()
    assert sent == [f"c0={SECRET}0"]


def test_a_redirect_to_another_host_takes_no_cookie_along(server: Server, tmp_path: Path) -> None:
    fetch = settings(cookies(tmp_path, time.time() + 1e6))
    sent: list[tuple[str, str | None]] = []

    def on(request: Request) -> None:
        sent.append((request.path, request.headers.get("Cookie")))
        to = server.url.replace("127.0.0.1", "localhost") + "/b"
        request.answer(302, Location=to) if request.path == "/a" else request.answer(200, b"x")

    server.serve("/b", on)
    with contextlib.closing(Web(lambda: fetch)) as web, web.get(server.serve("/a", on), CancelToken(), {}) as response:
        response.read()
    with open_ytdlp(fetch, CancelToken()) as ytdlp:
        ytdlp.urlopen(server.url + "/a").read()
    assert sent == [("/a", f"c0={SECRET}0"), ("/b", None)] * 2


def test_yt_dlp_gets_a_copy_and_the_file_stays_as_it_was(server: Server, tmp_path: Path) -> None:
    file = cookies(tmp_path, time.time() + 1e6)
    fetch, before = settings(file), file.read_bytes()
    assert cookies_text(fetch) == before.decode()
    sent: list[str | None] = []

    def answer(request: Request) -> None:
        sent.append(request.headers.get("Cookie"))
        request.answer(200, b"x", Set_Cookie="new=1; Max-Age=1000")

    with open_ytdlp(fetch, CancelToken()) as ytdlp:
        ytdlp.urlopen(server.serve("/a", answer)).read()
    assert sent == [f"c0={SECRET}0"]
    assert file.read_bytes() == before
