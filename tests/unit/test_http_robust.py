"""What a server or a stop can do to a download: nothing partial is kept as whole, nothing that drips lasts for ever."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gainstage.config.settings import Fetch
from gainstage.engine.errors import Cancelled, EngineError, Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import pace as pacing
from gainstage.engine.sources.http import download
from gainstage.engine.sources.pace import WINDOW_S, SpeedCheck
from gainstage.engine.sources.policy import check_url
from gainstage.engine.sources.web import Web
from gainstage.engine.sources.ytdlp import open_ytdlp
from gainstage.engine.sources.ytdlp_fetch import fetch_with_ytdlp
from tests.http_server import Media, Request, Server, running, wait_until

BODY = bytes(range(256)) * 2000


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def get(url: str, folder: Path, token: CancelToken | None = None, **settings: Any) -> bytes:
    fetch = Fetch.model_validate({"allow_private": True, "timeout": 2, **settings})
    with contextlib.closing(Web(lambda: fetch)) as web:
        target = download(
            url, folder / "media", folder / "x.part", fetch, web=web, token=token or CancelToken(), progress=lambda _: None
        )
    return target.read_bytes()


def endless(request: Request) -> None:
    """Half a file of untold length, and then silence."""
    request.send_response(200)
    request.send_header("Content-Type", "video/mp4")
    request.send_header("Connection", "close")
    request.end_headers()
    request.wfile.write(BODY[: len(BODY) // 2])
    request.wfile.flush()
    request.server.ending.wait(60)
    request.close_connection = True


# -- a stop in mid-transfer -------------------------------------------------------------------------------------------------


def test_a_stop_in_the_middle_of_a_file_of_untold_length_keeps_nothing_as_whole(server: Server, tmp_path: Path) -> None:
    token = CancelToken()
    url = server.serve("/a.mp3", endless)
    part = tmp_path / "x.part"
    arrived = lambda: part.exists() and part.stat().st_size > 1000  # noqa: E731
    stopper = threading.Thread(target=lambda: (wait_until(arrived), token.cancel("enough")))
    stopper.start()
    with pytest.raises(Cancelled):
        get(url, tmp_path, token, timeout=60)
    stopper.join()
    assert not (tmp_path / "media").exists()
    server.serve("/a.mp3", Media(BODY))
    assert get(url, tmp_path) == BODY


def closing(body: bytes, **headers: str) -> Callable[[Request], None]:
    """A body of untold length: the server closes when it likes."""

    def answer(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "audio/wav")
        request.send_header("Connection", "close")
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)
        request.close_connection = True

    return answer


def wave(seconds: int) -> bytes:
    """A WAV file whose header announces its length."""
    samples = bytes(range(256)) * (seconds * 125)
    header = b"RIFF" + (36 + len(samples)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    form = b"".join(n.to_bytes(size, "little") for n, size in ((1, 2), (1, 2), (16_000, 4), (32_000, 4), (2, 2), (16, 2)))
    return header + form + b"data" + len(samples).to_bytes(4, "little") + samples


def test_a_file_of_untold_length_that_lacks_its_end_is_fetched_again(server: Server, tmp_path: Path) -> None:
    whole = wave(4)
    url = server.serve("/a.wav", closing(whole[: len(whole) // 2]))
    with pytest.raises(Transient) as caught:
        get(url, tmp_path)
    assert caught.value.cause == "closed early"
    assert not (tmp_path / "media").exists()
    server.serve("/a.wav", closing(whole))
    assert get(url, tmp_path) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["media"]


def test_what_arrived_of_it_is_gone_on_from_where_the_server_can(server: Server, tmp_path: Path) -> None:
    whole = wave(4)
    url = server.serve("/a.wav", closing(whole[: len(whole) // 2], ETag='"one"'))
    with pytest.raises(Transient):
        get(url, tmp_path)
    asked: list[str | None] = []

    def rest(request: Request) -> None:
        asked.append(request.headers.get("Range"))
        request.answer(206, whole[len(whole) // 2 :], **{"Content-Range": f"bytes {len(whole) // 2}-{len(whole) - 1}/{len(whole)}"})

    server.serve("/a.wav", rest)
    assert get(url, tmp_path) == whole
    assert asked == [f"bytes={len(whole) // 2}-"]


def test_a_file_that_ends_there_twice_is_taken_as_it_is(server: Server, tmp_path: Path) -> None:
    torn = wave(4)[:50_000]
    url = server.serve("/a.wav", closing(torn))
    with pytest.raises(Transient):
        get(url, tmp_path)
    assert get(url, tmp_path) == torn


def test_a_file_of_untold_length_whose_format_tells_no_end_is_taken(server: Server, tmp_path: Path) -> None:
    assert get(server.serve("/a.mp3", closing(BODY)), tmp_path) == BODY


def test_a_stop_in_the_middle_of_what_yt_dlp_fetches_keeps_nothing_as_whole(server: Server, tmp_path: Path) -> None:
    page = b"<html><head><title>A talk</title></head><body><video src='/v.mp4'></video></body></html>"
    url = server.serve("/watch", lambda r: r.answer(200, page, Content_Type="text/html"))
    server.serve("/v.mp4", endless)
    token = CancelToken()
    fetch = Fetch.model_validate({"allow_private": True, "timeout": 60})
    arrived = lambda: any(p.stat().st_size > 1000 for p in tmp_path.iterdir())  # noqa: E731
    stopper = threading.Thread(target=lambda: (wait_until(arrived), token.cancel("enough")))
    stopper.start()
    with pytest.raises(Cancelled):
        fetch_with_ytdlp(url, tmp_path, fetch, token=token, progress=lambda _: None)
    stopper.join()
    assert [p.suffix for p in tmp_path.iterdir()] == [".part"]
    server.serve("/v.mp4", Media(BODY, content_type="video/mp4"))
    assert fetch_with_ytdlp(url, tmp_path, fetch, token=CancelToken(), progress=lambda _: None).read_bytes() == BODY


def stream(server: Server, pieces: list[bytes], lost: dict[int, int]) -> str:
    """An HLS playlist of pieces; ``lost`` has the status of those that are refused."""
    names = "".join(f"#EXTINF:2.0,\n/piece{n}.ts\n" for n in range(len(pieces)))
    text = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n{names}#EXT-X-ENDLIST\n".encode()
    for n, piece in enumerate(pieces):
        answer = (
            (lambda r, s=lost[n]: r.answer(s)) if n in lost else (lambda r, p=piece: r.answer(200, p, Content_Type="video/mp2t"))
        )
        server.serve(f"/piece{n}.ts", answer)
    return server.serve("/talk.m3u8", lambda r: r.answer(200, text, Content_Type="application/vnd.apple.mpegurl"))


PIECES = [bytes([n]) * 30_000 for n in range(1, 7)]


@pytest.fixture
def collected() -> Iterator[None]:
    """After a piece that is not there yt-dlp leaves its file to the garbage collector: not to that of another test."""
    yield
    gc.collect()


@pytest.mark.usefixtures("collected")
@pytest.mark.filterwarnings("ignore:Exception ignored in")
@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_stream_without_one_of_its_pieces_is_not_kept_as_whole(server: Server, tmp_path: Path, status: int) -> None:
    fetch = Fetch.model_validate({"allow_private": True, "timeout": 5})
    url = stream(server, PIECES, {3: status})
    with pytest.raises(EngineError):
        fetch_with_ytdlp(url, tmp_path, fetch, token=CancelToken(), progress=lambda _: None)
    stream(server, PIECES, {})
    assert fetch_with_ytdlp(url, tmp_path, fetch, token=CancelToken(), progress=lambda _: None).read_bytes() == b"".join(PIECES)


@pytest.mark.usefixtures("collected")
@pytest.mark.filterwarnings("ignore:Exception ignored in")
def test_a_piece_that_was_written_in_part_is_neither_left_out_nor_doubled(server: Server, tmp_path: Path) -> None:
    """A kill or a full disk ends between the piece and yt-dlp's note of it."""
    fetch = Fetch.model_validate({"allow_private": True, "timeout": 5})
    url = stream(server, PIECES, {4: 404})
    with pytest.raises(EngineError):
        fetch_with_ytdlp(url, tmp_path, fetch, token=CancelToken(), progress=lambda _: None)
    stream(server, PIECES, {})
    (begun,) = tmp_path.glob("media*.part")
    with begun.open("ab") as file:
        file.write(PIECES[4][:10_000])
    assert fetch_with_ytdlp(url, tmp_path, fetch, token=CancelToken(), progress=lambda _: None).read_bytes() == b"".join(PIECES)
    assert [path.name for path in tmp_path.iterdir() if "Frag" in path.name or path.suffix in (".part", ".ytdl")] == []


@pytest.mark.parametrize("tag", ['"größe"', '"日本"', '"' + "x" * 5000 + '"', "", "W/'weak'"])
def test_an_etag_that_cannot_be_sent_back_costs_a_resume_and_not_the_file(server: Server, tmp_path: Path, tag: str) -> None:
    def answer(request: Request) -> None:
        request.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nConnection: close\r\nETag: "
            + tag.encode()
            + f"\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
        )
        request.wfile.write(BODY if request.hit > 1 else BODY[:100_000])
        request.close_connection = True

    url = server.serve("/a.mp3", answer)
    with pytest.raises(Transient):
        get(url, tmp_path)
    assert get(url, tmp_path) == BODY


def test_a_mark_that_an_older_version_wrote_is_no_obstacle(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(BODY[:1000])
    (tmp_path / "x.etag").write_text('"größe"', encoding="utf-8")
    assert get(server.serve("/a.mp3", Media(BODY)), tmp_path) == BODY


# -- what drips -------------------------------------------------------------------------------------------------------------


def test_a_drip_is_borne_for_a_window_and_a_whole_has_a_limit() -> None:
    pace = SpeedCheck(least_speed=10, limit_s=1000)
    for _ in range(int(WINDOW_S) // 2 - 1):
        pace.add(1, 2.0)
    with pytest.raises(Transient) as caught:
        pace.add(1, 2.0)
    assert caught.value.cause == "too slow"
    fast = SpeedCheck(least_speed=10, limit_s=1000)
    for _ in range(10):
        fast.add(5000, 100.0)
    with pytest.raises(Transient) as late:
        fast.add(5000, 1.0)
    assert late.value.cause == "took too long"


def test_the_time_that_its_reader_takes_is_not_the_servers() -> None:
    now = [0.0]
    pace = SpeedCheck(least_speed=10, limit_s=1000, clock=lambda: now[0])
    for _ in pace.through([b"x"] * 100):
        now[0] += WINDOW_S
    assert pace._waited == 0.0


@pytest.mark.parametrize("how", ["own", "yt-dlp", "yt-dlp page"])
def test_a_server_that_drips_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(pacing, "WINDOW_S", 0.5)

    def drip(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "video/mp4" if how != "yt-dlp page" else "text/html")
        request.send_header("Content-Length", "100000")
        request.end_headers()
        for _ in range(600):
            request.wfile.write(b"x")
            request.wfile.flush()
            if request.server.ending.wait(0.05):
                return

    url = server.serve("/v.mp4", drip)
    fetch = Fetch.model_validate({"allow_private": True, "timeout": 30, "least_speed": 1000})

    def attempt() -> None:
        if how == "own":
            get(url, tmp_path, timeout=30, least_speed=1000)
        elif how == "yt-dlp page":
            with open_ytdlp(fetch, CancelToken()) as ytdlp:
                ytdlp.urlopen(url).read()
        else:
            fetch_with_ytdlp(url, tmp_path, fetch, token=CancelToken(), progress=lambda _: None)

    with pytest.raises(Transient) as caught:
        attempt()
    assert caught.value.cause == "too slow"


# -- redirects and cookies --------------------------------------------------------------------------------------------------


def test_twenty_counters_in_front_of_a_file_are_followed(server: Server, tmp_path: Path) -> None:
    for hop in range(25):
        server.serve(f"/hop/{hop}.mp3", lambda r, n=hop: r.answer(302, Location=f"/hop/{n - 1}.mp3" if n else "/ep.mp3"))  # type: ignore[misc]
    server.serve("/ep.mp3", Media(BODY))
    assert get(server.url + "/hop/24.mp3", tmp_path) == BODY


def test_a_cookie_set_by_one_hop_is_sent_to_the_next_and_to_no_later_request(server: Server, tmp_path: Path) -> None:
    def wall(request: Request) -> None:
        if "seen=1" in (request.headers.get("Cookie") or ""):
            Media(BODY)(request)
        else:
            request.answer(302, Location=request.path, Set_Cookie="seen=1; Path=/")

    url = server.serve("/cookiewall/ep.mp3", wall)
    assert get(url, tmp_path) == BODY
    assert server.hits["/cookiewall/ep.mp3"] == 2
    fetch = Fetch(allow_private=True)
    with contextlib.closing(Web(lambda: fetch)) as web:
        for _ in range(2):
            with web.get(url, CancelToken(), {}) as response:
                assert response.read() == BODY
    assert server.hits["/cookiewall/ep.mp3"] == 6


def test_a_cookie_of_one_site_is_not_sent_to_another(server: Server, tmp_path: Path) -> None:
    seen: list[str | None] = []
    with running() as other:
        there = other.serve("/ep.mp3", lambda r: (seen.append(r.headers.get("Cookie")), Media(BODY)(r)))  # type: ignore[func-returns-value, arg-type, return-value]
        there = there.replace("127.0.0.1", "localhost")
        url = server.serve("/a.mp3", lambda r: r.answer(302, Location=there, Set_Cookie="secret=1; Path=/"))
        assert get(url, tmp_path) == BODY
    assert seen == [None]


# -- behind a proxy ---------------------------------------------------------------------------------------------------------


def test_behind_a_proxy_no_name_is_looked_up_here(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def lookup(host: Any, *rest: Any, **named: Any) -> Any:
        if host in ("127.0.0.1", b"127.0.0.1"):
            return real(host, *rest, **named)
        raise AssertionError(f"{host} was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    server.serve("/ep.mp3", Media(BODY))
    assert get("http://media.example.org/ep.mp3", tmp_path, proxy=server.url, allow_private=False) == BODY
    with open_ytdlp(Fetch.model_validate({"proxy": server.url}), CancelToken()) as ytdlp:
        assert ytdlp.urlopen("http://media.example.org/ep.mp3").read() == BODY


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::1]", "[64:ff9b::10.0.0.1]", "10.0.0.8", "localhost", "a.localhost.",
     "printer", "nas.local", "x.home.arpa", "db.internal", "router.lan"],
)  # fmt: skip
def test_behind_a_proxy_inner_addresses_are_refused_by_their_looks(host: str) -> None:
    with pytest.raises(Permanent) as caught:
        check_url(f"http://{host}/a.mp3", allow_private=False, proxied=True)
    assert caught.value.cause == "private address refused"
    check_url(f"http://{host}/a.mp3", allow_private=True, proxied=True)


@pytest.mark.parametrize(
    "host", ["example.org", "93.184.215.14", "local.example.org", "[2606:2800:21f::1]", "xn--bcher-kva.example.org"]
)
def test_behind_a_proxy_other_names_are_left_to_it(host: str) -> None:
    check_url(f"http://{host}/a.mp3", allow_private=False, proxied=True)


def test_a_stop_ends_a_download_through_a_proxy_at_once(server: Server, tmp_path: Path) -> None:
    token = CancelToken()
    server.serve("/a.mp3", endless)
    part = tmp_path / "x.part"
    stopper = threading.Thread(
        target=lambda: (wait_until(lambda: part.exists() and part.stat().st_size > 0), token.cancel("enough"))
    )
    stopper.start()
    with pytest.raises(EngineError) as caught:
        get("http://media.example.org/a.mp3", tmp_path, token, proxy=server.url, timeout=60)
    stopper.join()
    assert isinstance(caught.value, Cancelled)
