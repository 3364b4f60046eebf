"""Pages of any site are read in a child: one that keeps its patterns busy costs the child, not the engine."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path

import psutil
import pytest

from gainstage.config.settings import Settings
from gainstage.engine.errors import Cancelled, Elsewhere, EngineError, NotYet, Permanent, Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import ytdlp_apart
from gainstage.engine.sources.listing import list_source
from gainstage.engine.sources.ytdlp_apart import fetch_media, list_site, look_up_page
from tests.http_server import Media, Request, Server, running, wait_until

LOCAL = Settings.model_validate({"fetch": {"allow_private": True, "timeout": 5}})
PAGE = b"<html><head><title>A talk</title></head><body><video src='/v.mp4'></video></body></html>"
BODY = bytes(range(256)) * 2000
HARD = b"<html><head></head><body>" + b"<script" * 15_000


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def page(body: bytes = PAGE) -> object:
    return lambda r: r.answer(200, body, Content_Type="text/html")


def fetched(url: str, folder: Path, token: CancelToken | None = None) -> Path:
    return fetch_media(
        url, folder, LOCAL.fetch, token=token or CancelToken(), progress=lambda _: None, captions="", captions_file=folder / "c"
    )


def test_a_page_is_listed_looked_up_and_fetched(server: Server, tmp_path: Path) -> None:
    url = server.serve("/watch", page())  # type: ignore[arg-type]
    server.serve("/v.mp4", Media(BODY, content_type="video/mp4"))
    (listed,) = list_source(url, LOCAL, token=CancelToken())
    assert listed.title.startswith("A talk")
    assert look_up_page(listed, LOCAL.fetch, token=CancelToken()).extra["looked_up"]
    shares: list[float | None] = []
    media = fetch_media(
        url, tmp_path, LOCAL.fetch, token=CancelToken(), progress=shares.append, captions="", captions_file=tmp_path / "c"
    )
    assert media.read_bytes() == BODY
    assert shares[-1] == 1.0
    assert (tmp_path / "c").exists()


@pytest.mark.timeout(120)
def test_a_page_that_keeps_its_reader_busy_is_given_up_and_holds_nothing_else_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ytdlp_apart, "BUSY_S", 4.0)
    url = server.serve("/hard", page(HARD))  # type: ignore[arg-type]
    beats, ending = [], threading.Event()

    def heartbeat() -> None:
        while not ending.wait(0.01):
            beats.append(time.monotonic())

    thread = threading.Thread(target=heartbeat)
    thread.start()
    worked = time.thread_time()
    try:
        for read in (lambda: list(list_site(url, LOCAL, token=CancelToken())), lambda: fetched(url, tmp_path)):
            with pytest.raises(Permanent) as caught:
                read()
            assert caught.value.cause == "page too hard"
    finally:
        ending.set()
        thread.join()
    assert time.thread_time() - worked < 3.0, "the work is the child's"
    assert max(b - a for a, b in itertools.pairwise(beats)) < 3.0
    server.serve("/watch", page())  # type: ignore[arg-type]
    assert len(list(list_source(server.url + "/watch", LOCAL, token=CancelToken()))) == 1


def test_a_stop_ends_the_child_at_once(server: Server, tmp_path: Path) -> None:
    def slowly(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "video/mp4")
        request.send_header("Content-Length", str(len(BODY)))
        request.end_headers()
        request.wfile.write(BODY[:50_000])
        request.wfile.flush()
        request.server.ending.wait(60)

    url = server.serve("/watch", page())  # type: ignore[arg-type]
    server.serve("/v.mp4", slowly)
    token = CancelToken()
    arrived = lambda: any(p.suffix == ".part" and p.stat().st_size > 1000 for p in tmp_path.iterdir())  # noqa: E731
    stopper = threading.Thread(target=lambda: (wait_until(arrived), token.cancel("enough")))
    stopper.start()
    with pytest.raises(Cancelled):
        fetched(url, tmp_path, token)
    stopper.join()
    server.serve("/v.mp4", Media(BODY, content_type="video/mp4"))
    assert fetched(url, tmp_path).read_bytes() == BODY


def test_a_child_that_is_killed_is_tried_again(server: Server, tmp_path: Path) -> None:
    def answer(request: Request) -> None:
        if request.hit == 1:
            for child in psutil.Process().children():
                if "gainstage.engine.sources.ytdlp_child" in child.cmdline():
                    os.kill(child.pid, signal.SIGKILL)
        request.answer(200, PAGE, Content_Type="text/html")

    url = server.serve("/watch", answer)
    with pytest.raises(Transient):
        list(list_site(url, LOCAL, token=CancelToken()))
    assert len(list(list_site(url, LOCAL, token=CancelToken()))) == 1


def test_typed_errors_come_over_as_they_are(server: Server) -> None:
    errors: list[EngineError] = [
        Throttled("slow", after_s=3.0, cause="c", hint="h"),
        NotYet("soon", after_s=5.0),
        Elsewhere("there", host="gpu-7", cause="x"),
        Cancelled(),
        Permanent("no", cause="gone", recording="r", stage="fetch"),
    ]
    for error in errors:
        here, there = Pipe()
        there.send(error)
        same = here.recv()
        assert type(same) is type(error)
        assert (same.args, same.__dict__) == (error.args, error.__dict__)
    url = server.serve("/gone", lambda r: r.answer(404))
    with pytest.raises(Permanent) as caught:
        list(list_site(url, LOCAL, token=CancelToken()))
    assert caught.value.cause == "gone or forbidden"
    private = Settings()
    with pytest.raises(Permanent, match="inside this network"):
        list(list_site(url, private, token=CancelToken()))
