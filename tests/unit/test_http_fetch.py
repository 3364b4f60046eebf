"""Downloads against a real server that misbehaves in every way a server can."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from gainstage.config.settings import Fetch
from gainstage.engine.errors import Cancelled, Permanent, Rejected, Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.http import download, retry_after
from gainstage.engine.sources.web import Web
from tests.http_server import Media, Request, Server, running, wait_until

BODY = bytes(range(256)) * 2000


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


class Case:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = CancelToken()
        self.shares: list[float | None] = []

    def get(self, url: str, **settings: object) -> bytes:
        fetch = Fetch.model_validate({"allow_private": True, "timeout": 2, **settings})
        with contextlib.closing(Web(lambda: fetch)) as web:
            target = download(
                url, self.folder / "media", self.folder / "x.part", fetch, web=web, token=self.token, progress=self.shares.append
            )
        return target.read_bytes()


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_file_arrives_whole_with_progress(server: Server, case: Case) -> None:
    assert case.get(server.serve("/a.mp3", Media(BODY))) == BODY
    assert case.shares[-1] == 1.0
    assert not (case.folder / "x.part").exists()


def test_a_close_half_way_is_transient_and_resumes_where_it_broke(server: Server, case: Case) -> None:
    url = server.serve("/a.mp3", Media(BODY, close_after=200_000))
    with pytest.raises(Transient, match="closed the connection") as caught:
        case.get(url)
    assert caught.value.cause == "closed early"
    assert case.get(url) == BODY
    assert server.ranges[-1] == ("/a.mp3", "bytes=200000-")


def test_what_was_killed_after_its_last_byte_is_not_fetched_again(server: Server, case: Case) -> None:
    def answer(request: Request) -> None:
        assert request.headers["Range"] == f"bytes={len(BODY)}-"
        request.answer(416, Content_Range=f"bytes */{len(BODY)}")

    (case.folder / "x.part").write_bytes(BODY)
    (case.folder / "x.etag").write_text('"v1"')
    assert case.get(server.serve("/a.mp3", answer)) == BODY
    assert not (case.folder / "x.etag").exists()


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server: Server, case: Case) -> None:
    (case.folder / "x.part").write_bytes(BODY + b"more")
    (case.folder / "x.etag").write_text('"v1"')
    with pytest.raises(Transient) as caught:
        case.get(server.serve("/a.mp3", lambda r: r.answer(416, Content_Range=f"bytes */{len(BODY)}")))
    assert caught.value.cause == "resume refused"
    assert case.get(server.serve("/a.mp3", Media(BODY))) == BODY


def test_the_mark_of_a_new_file_never_stands_beside_a_part_of_the_old_one(
    server: Server, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    (case.folder / "x.part").write_bytes(BODY[:1000])
    (case.folder / "x.etag").write_text('"v1"')
    seen: list[bool] = []
    write = Path.write_text

    def watched(path: Path, text: str, **how: Any) -> int:
        seen.append((case.folder / "x.part").exists())
        return write(path, text, **how)

    monkeypatch.setattr(Path, "write_text", watched)
    assert case.get(server.serve("/a.mp3", Media(BODY[::-1], etag='"v2"'))) == BODY[::-1]
    assert seen == [False]


def test_a_full_disk_is_said(server: Server, case: Case) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    url = server.serve("/a.mp3", Media(BODY, etag=""))
    with Path("/dev/full").open("wb") as full, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", lambda *_: full)
        with pytest.raises(Transient) as caught:
            case.get(url)
    assert caught.value.cause == "disk full"


def test_a_changed_file_is_not_glued_to_the_old_half(server: Server, case: Case) -> None:
    url = server.serve("/a.mp3", Media(BODY, close_after=200_000))
    with pytest.raises(Transient):
        case.get(url)
    server.serve("/a.mp3", Media(BODY[::-1], etag='"v2"'))
    assert case.get(url) == BODY[::-1]


def test_a_stall_is_transient(server: Server, case: Case) -> None:
    with pytest.raises(Transient) as caught:
        case.get(server.serve("/a.mp3", Media(BODY, stall_after=1000)), timeout=1)
    assert caught.value.cause == "stalled"


@pytest.mark.parametrize("how", [{"bytes_per_s": 1000.0}, {"stall_after": 1000}])
def test_cancelling_a_slow_download_ends_it_at_once(server: Server, case: Case, how: dict[str, float]) -> None:
    url = server.serve("/a.mp3", Media(BODY, **how))  # type: ignore[arg-type]
    timer = threading.Thread(target=lambda: (wait_until(lambda: server.hits["/a.mp3"] > 0), case.token.cancel("enough")))
    timer.start()
    with pytest.raises(Cancelled):
        case.get(url, timeout=60)
    timer.join()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_client_errors_are_permanent(server: Server, case: Case, status: int) -> None:
    with pytest.raises(Permanent) as caught:
        case.get(server.serve("/a.mp3", lambda r: r.answer(status)))
    assert caught.value.cause == f"HTTP {status}"
    assert caught.value.hint
    assert not caught.value.retry


def test_a_429_carries_the_servers_own_delay(server: Server, case: Case) -> None:
    with pytest.raises(Throttled) as caught:
        case.get(server.serve("/a.mp3", lambda r: r.answer(429, Retry_After="17")))
    assert caught.value.after_s == 17.0
    with pytest.raises(Throttled) as bare:
        case.get(server.serve("/b.mp3", lambda r: r.answer(429)))
    assert bare.value.after_s is None


def test_retry_after_reads_dates_and_ignores_nonsense() -> None:
    assert 25 <= (retry_after(formatdate(time.time() + 30, usegmt=True)) or 0) <= 31
    assert retry_after("soon") is None
    assert retry_after(None) is None


def test_a_500_is_transient_and_then_fine(server: Server, case: Case) -> None:
    good = Media(BODY)

    def flaky(request: Request) -> None:
        if request.hit == 1:
            request.answer(500)
        else:
            good(request)

    url = server.serve("/a.mp3", flaky)
    with pytest.raises(Transient, match="HTTP 500"):
        case.get(url)
    assert case.get(url) == BODY


def test_a_ten_gigabyte_claim_is_refused_before_a_byte_is_read(server: Server, case: Case) -> None:
    url = server.serve("/a.mp3", lambda r: r.answer(200, b"", Content_Type="audio/mpeg", Content_Length=str(10 * 1024**3)))
    with pytest.raises(Rejected) as caught:
        case.get(url)
    assert caught.value.cause == "too large"


def test_a_ten_gigabyte_claim_with_a_megabyte_sent_is_a_broken_download_not_a_file(server: Server, case: Case) -> None:
    whole = 10 * 1024**3

    def claim(request: Request) -> None:
        request.send_response(200)
        for name, value in {"Content-Type": "audio/mpeg", "Content-Length": str(whole), "ETag": '"v1"'}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(BODY * 2)
        request.wfile.write(bytes(1024**2 - 2 * len(BODY)))
        request.close_connection = True

    url = server.serve("/a.mp3", claim)
    with pytest.raises(Transient) as caught:
        case.get(url, max_bytes=2 * whole)
    assert caught.value.cause == "closed early"
    assert not (case.folder / "media").exists()
    assert (case.folder / "x.part").stat().st_size == 1024**2
    assert max(share or 0.0 for share in case.shares) < 0.001


def test_more_than_allowed_without_a_length_is_cut_off(server: Server, case: Case) -> None:
    def endless(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "audio/mpeg")
        request.send_header("Connection", "close")
        request.end_headers()
        for _ in range(1000):
            request.wfile.write(BODY)

    with pytest.raises(Rejected):
        case.get(server.serve("/a.mp3", endless), max_bytes=1_000_000)


@pytest.mark.parametrize(
    "kind", ["text/html; charset=utf-8", "Application/JSON", "image/png", "application/pdf", "application/rss+xml"]
)
def test_what_says_that_it_is_something_else_is_not_media(server: Server, case: Case, kind: str) -> None:
    with pytest.raises(Permanent) as caught:
        case.get(server.serve("/a.mp3", Media(b"<html>", content_type=kind)))
    assert caught.value.cause == "not media"
    assert kind.lower().split(";")[0] in caught.value.message


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain", "binary/octet-stream", "audio/x-anything", ""])
def test_a_careless_content_type_stops_nothing(server: Server, case: Case, kind: str) -> None:
    assert case.get(server.serve("/a.mp3", Media(BODY, content_type=kind))) == BODY


def test_gzip_in_transit_is_undone(server: Server, case: Case) -> None:
    assert case.get(server.serve("/a.mp3", Media(BODY, gzipped=True))) == BODY


def test_a_gzip_bomb_is_cut_off(server: Server, case: Case) -> None:
    with pytest.raises(Rejected) as caught:
        case.get(server.serve("/a.mp3", Media(bytes(50_000_000), gzipped=True)), max_bytes=2_000_000)
    assert caught.value.cause == "too large"
    assert (case.folder / "x.part").stat().st_size <= 2_000_000


def test_gzip_that_breaks_off_is_fetched_anew_not_glued(server: Server, case: Case) -> None:
    import os

    noise = os.urandom(300_000)
    url = server.serve("/a.mp3", Media(noise, gzipped=True, close_after=100_000))
    with pytest.raises(Transient):
        case.get(url)
    assert case.get(url) == noise
    assert server.ranges[-1] == ("/a.mp3", None)


def test_an_empty_file_is_permanent(server: Server, case: Case) -> None:
    with pytest.raises(Permanent, match="empty"):
        case.get(server.serve("/a.mp3", Media(b"")))


def test_nobody_at_home_is_transient(case: Case) -> None:
    with pytest.raises(Transient):
        case.get("http://127.0.0.1:9/a.mp3")
