"""Where a download may go: public addresses, redirects, proxies, and a name that is connected where it was checked."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from gainstage.config.settings import Fetch
from gainstage.engine.errors import EngineError, Misconfigured, Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import policy
from gainstage.engine.sources.policy import check_url, is_public
from gainstage.engine.sources.web import REDIRECTS
from gainstage.engine.sources.ytdlp import open_ytdlp
from tests.http_server import Media, Request, Server
from tests.unit.test_http_fetch import BODY, Case, case, server

__all__ = ["case", "server"]  # the fixtures


def test_a_redirect_to_a_private_address_is_refused(server: Server, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.serve("/a.mp3", lambda r: r.answer(302, Location="http://10.0.0.1/secret.mp3"))
    monkeypatch.setattr(policy, "is_public", lambda address: address == "127.0.0.1")  # this server plays the public one
    with pytest.raises(Permanent) as caught:
        case.get(url, allow_private=False)
    assert caught.value.cause == "private address refused"


def test_redirects_are_followed_but_not_in_circles(server: Server, case: Case) -> None:
    server.serve("/a.mp3", Media(BODY))
    assert case.get(server.serve("/r.mp3", lambda r: r.answer(302, Location="/a.mp3"))) == BODY
    with pytest.raises(Permanent) as caught:
        case.get(server.serve("/c.mp3", lambda r: r.answer(302, Location="/c.mp3")))
    assert caught.value.cause == "redirect loop"


def test_long_ways_round_end_too(server: Server, case: Case) -> None:
    server.serve("/ping.mp3", lambda r: r.answer(301, Location="/pong.mp3"))
    with pytest.raises(Permanent) as caught:
        case.get(server.serve("/pong.mp3", lambda r: r.answer(301, Location="/ping.mp3")))
    assert caught.value.cause == "redirect loop"
    assert sum(server.hits.values()) == 2

    def on(request: Request) -> None:
        request.answer(302, Location=f"/far.mp3?n={request.hit}")

    with pytest.raises(Permanent, match=f"more than {REDIRECTS} redirects"):
        case.get(server.serve("/far.mp3", on))


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://e.org/a.mp3", "//10.0.0.1/a.mp3", "http://[::1", "gopher://x/"])
def test_a_redirect_to_anything_else_is_refused(server: Server, case: Case, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    monkeypatch.setattr(policy, "is_public", lambda address: address == "127.0.0.1")
    with pytest.raises(Permanent) as caught:
        case.get(server.serve("/a.mp3", lambda r: r.answer(302, Location=to)), allow_private=False)
    assert caught.value.cause in ("address refused", "private address refused", "malformed address")


def test_a_name_that_changes_its_mind_is_connected_where_it_was_checked(
    server: Server, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked, real = iter(["127.0.0.1", "10.0.0.1", "10.0.0.1"]), [], socket.getaddrinfo

    def lookup(host: str, port: int, *rest: Any, **named: Any) -> Any:
        if host == "rebind.example":
            asked.append(host)
            host = next(answers)
        return real(host, port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(policy, "is_public", lambda address: address == "127.0.0.1")  # this server plays the public one
    url = server.serve("/a.mp3", Media(BODY)).replace("127.0.0.1", "rebind.example")
    assert case.get(url, allow_private=False) == BODY
    assert len(asked) == 1, "looked up once: what was checked is what is connected to"
    with pytest.raises(Permanent) as caught:
        case.get(url, allow_private=False)
    assert caught.value.cause == "private address refused"


def test_a_proxy_is_asked_and_what_can_be_checked_is_checked_here(server: Server, case: Case) -> None:
    seen: list[str] = []

    def answer(request: Request) -> None:
        seen.append(request.path)
        if request.hit == 1:
            Media(BODY)(request)
        else:
            request.answer(302, Location="http://127.0.0.1:9/inside.mp3")

    server.serve("/a.mp3", answer)
    assert case.get("http://93.184.215.14/a.mp3", proxy=server.url, allow_private=False) == BODY
    with pytest.raises(Permanent) as caught:
        case.get("http://93.184.215.14/a.mp3", proxy=server.url, allow_private=False)
    assert caught.value.cause == "private address refused"
    assert seen == ["http://93.184.215.14/a.mp3"] * 2


@pytest.mark.parametrize(
    "proxy", ["garbage", "socks5://h:1", "https://h:1", "ftp://h:1", "http://", "http://[", "http://u:hunter2@h:99999"]
)
def test_a_proxy_that_is_none_stops_with_what_to_do(tmp_path: Path, case: Case, proxy: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        case.get("http://93.184.215.14/a.mp3", proxy=proxy)
    with pytest.raises(Misconfigured) as same, open_ytdlp(Fetch.model_validate({"proxy": proxy}), CancelToken()):
        pass
    assert caught.value.cause == same.value.cause == "proxy"
    assert "hunter2" not in str(caught.value)


def test_a_proxy_that_cannot_be_reached_or_refuses_is_named(server: Server, case: Case) -> None:
    with pytest.raises(Transient) as caught:
        case.get("http://93.184.215.14/a.mp3", proxy="http://me:hunter2@127.0.0.1:9")
    assert (caught.value.cause, caught.value.hint) == ("proxy", "Check fetch.proxy.")
    assert "hunter2" not in str(caught.value)
    server.serve("/a.mp3", lambda r: r.answer(407))
    with pytest.raises(Permanent) as told:
        case.get("http://93.184.215.14/a.mp3", proxy=server.url)
    assert "fetch.proxy" in told.value.hint


@pytest.mark.parametrize("url", ["http://xn--a/x.mp3", "http://[v1.x]/a.mp3", "http://١٢٧.0.0.1/a.mp3", "http://*/x.mp3"])
def test_host_names_that_are_none_are_typed(case: Case, url: str) -> None:
    with pytest.raises(EngineError):
        case.get(url)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1%eth0", "fc00::1",
     "::ffff:127.0.0.1", "2002:7f00:1::", "224.0.0.1", "100.64.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::808:808",
     "::127.0.0.1", "::93.184.215.14", "::ffff:0:10.0.0.1", "2001:0:4136:e378:8000:63bf:f5ff:fffe"],
)  # fmt: skip
def test_addresses_inside_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::93.184.215.14", "2002:5db8:d70e::1"]
)
def test_addresses_outside_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/a.mp3",
        "http://",
        "javascript:alert(1)",
        "http://localhost/a.mp3",
        "http://127.1/a",
        "gopher://x",
        "http:\\\\e.org\\a.mp3",
        "https:e.org/a.mp3",
        "http://a..b/x.mp3",
        f"http://{'a' * 300}.org/x.mp3",
        "http://e.org/half\ud83d.mp3",
        "http://e.org/nul\0.mp3",
        "http://e.org/" + "x" * 20_000,
    ],
)
def test_other_schemes_and_inner_names_are_refused(url: str) -> None:
    with pytest.raises(EngineError):
        check_url(url, allow_private=False)
