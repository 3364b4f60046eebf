"""Answers that no honest server gives: numbers without end, heads without end, bodies that unpack to nothing. All end in words, soon."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from gainstage.config.settings import Fetch
from gainstage.engine.errors import EngineError, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import pace as pacing
from gainstage.engine.sources.http import download, retry_after
from gainstage.engine.sources.pace import SpeedCheck
from gainstage.engine.sources.web import Web
from tests.http_server import Request, Server, running

DIGITS = "9" * 5000
LINES = {
    "a length of 5,000 digits": f"Content-Length: {DIGITS}",
    "two lengths": "Content-Length: 3\r\nContent-Length: 7",
    "a length below nothing": "Content-Length: -1",
    "a length in other digits": "Content-Length: ٣",
    "a coding that nobody knows": "Transfer-Encoding: chunked, chunked\r\nContent-Encoding: zstd, xz, \x00",
    "a cookie that ends in many blanks": "Set-Cookie: a=b; expires=Mon, 01 Jan 2030" + " " * 60_000 + "x",
    "a cookie of many parts": "Set-Cookie: " + "a=b;" * 15_000,
    "a thousand cookies": "\r\n".join(f"Set-Cookie: c{n}={n}" for n in range(1000)),
    "a type that never ends": "Content-Type: audio/" + "x" * 60_000,
    "a date of the year 99999": "Last-Modified: Mon, 01 Jan 99999 00:00:00 GMT",
    "bytes that are no text": 'ETag: "\x81\xff\x1b[31m"',
    "a head of a million lines": "\r\n".join(f"X-{n}: {n}" for n in range(200_000)),
    "a range of 5,000 digits": f"Content-Range: bytes {DIGITS}-{DIGITS}/{DIGITS}",
    "a place to go that is none": "Location: http://[::1",
    "a chunk of 5,000 digits": "Transfer-Encoding: chunked\r\n\r\n" + DIGITS,
    "a chunk of less than nothing": "Transfer-Encoding: chunked\r\n\r\n-5\r\nabcde",
}


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def get(url: str, folder: Path, **settings: float) -> bytes:
    fetch = Fetch.model_validate({"allow_private": True, "timeout": 1, **settings})
    with contextlib.closing(Web(lambda: fetch)) as web:
        return download(
            url, folder / "media", folder / "x.part", fetch, web=web, token=CancelToken(), progress=lambda _: None
        ).read_bytes()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("status", ["200 OK", "206 Partial", "302 Found", "429 Slow", "503 Later", "416 Range"])
@pytest.mark.parametrize("what", LINES)
def test_a_head_that_no_server_sends_ends_in_words(server: Server, tmp_path: Path, what: str, status: str) -> None:
    def answer(request: Request) -> None:
        with contextlib.suppress(OSError):
            request.wfile.write(f"HTTP/1.1 {status}\r\nRetry-After: {DIGITS}\r\n".encode())
            request.wfile.write(LINES[what].encode("utf-8") + b"\r\n\r\nabc")
        request.close_connection = True

    (tmp_path / "x.part").write_bytes(b"begun")
    (tmp_path / "x.etag").write_text('"v1"')
    began = time.process_time()
    with contextlib.suppress(EngineError):
        assert get(server.serve("/a.mp3", answer), tmp_path)
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize("text", [DIGITS, "Mon, 01 Jan 99999 00:00:00 GMT", "Mon, 01 Jan 0000 00:00:00 GMT", " ", ",", "x" * 10**5, "1 " * 10**4, "Mon, 01 Jan 2030 00:00:00 +999999"])  # fmt: skip
def test_a_time_to_wait_that_is_none_is_none(text: str) -> None:
    assert retry_after(text) is None or retry_after(text) >= 0  # type: ignore[operator]


def head_without_end(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for n in count():
        request.wfile.write(b"X" if n % 40 else b"\r\nX: ")
        request.wfile.flush()
        if request.server.ending.wait(0.02):
            return


def interim_answers(request: Request) -> None:
    while not request.server.ending.wait(0.02):
        request.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        request.wfile.flush()


def chunk_without_end(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n\r\n5;")
    while not request.server.ending.wait(0.02):
        request.wfile.write(b"x")
        request.wfile.flush()


def nothing_packed(request: Request) -> None:
    """Compressed data that unpack to nothing, as fast as they are taken."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Encoding: deflate\r\nConnection: close\r\n\r\n")
    request.wfile.write(b"\x78\x01")
    while not request.server.ending.is_set():
        request.wfile.write(b"\x00\x00\x00\xff\xff" * 2000)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("answer", [head_without_end, interim_answers, chunk_without_end, nothing_packed])
def test_an_answer_that_never_becomes_one_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr(pacing, "WINDOW_S", 0.5)

    def route(request: Request) -> None:
        with contextlib.suppress(OSError):
            answer(request)  # type: ignore[operator]
        request.close_connection = True

    with pytest.raises(Transient) as caught:
        get(server.serve("/a.mp3", route), tmp_path)
    assert caught.value.cause == "too slow"
    assert not (tmp_path / "media").exists()


def test_a_reader_that_takes_its_time_is_not_the_servers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(pacing.time, "monotonic", lambda: now[0])

    def blocks() -> Iterator[bytes]:
        for _ in range(3):
            now[0] += 0.9 * pacing.WINDOW_S
            pacing.check_patience()
            yield b"x"
        now[0] += 1.1 * pacing.WINDOW_S
        pacing.check_patience()

    got = []

    def read() -> None:
        for block in SpeedCheck(0, 10_000, clock=lambda: now[0]).through(blocks()):
            now[0] += 5 * pacing.WINDOW_S  # what the reader does with it
            got.append(block)

    pacing.await_answer(0.0)
    with pytest.raises(Transient, match="no answer comes"):
        read()
    assert len(got) == 3
    pacing.answered()
    now[0] += 10 * pacing.WINDOW_S
    pacing.check_patience()
