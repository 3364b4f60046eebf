"""Figures of listing and fetching: a feed of ten thousand episodes, and many small downloads relative to the server's own speed.

``python -m gainstage.engine.bench.sources`` prints them. The server is a separate process on loopback that answers each request
after a fixed time, like a distant one; its own speed is what plain threads with plain sockets reach in the same run.
"""

from __future__ import annotations

import multiprocessing
import resource
import socket
import socketserver
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gainstage.config.settings import Settings
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.fetch import Fetcher
from gainstage.engine.sources.listing import list_source
from gainstage.engine.store.database import Database
from gainstage.engine.telemetry.journal import Journal
from gainstage.engine.terms import Recording

GOAL_SHARE = 0.9
GOAL_LIST_S = 10.0
GOAL_LIST_BYTES = 200_000_000
BODY = bytes(range(256)) * 200
ITEM = """<item><title>Episode {n}: a conversation about things</title><guid isPermaLink="false">episode-{n}-of-the-bench-feed</guid>
<pubDate>Tue, 03 Nov 2026 10:00:00 GMT</pubDate><itunes:duration>01:02:03</itunes:duration>
<description><![CDATA[<p>{text}</p>]]></description><enclosure url="{n}.mp3" length="51200" type="audio/mpeg"/></item>"""


def run(
    recordings: int = 500, seed: int = 0, *, entries: int = 10_000, workers: int = 32, latency_s: float = 0.25, rounds: int = 3
) -> dict[str, Any]:
    """List ``entries`` episodes, then download ``recordings`` small files with ``workers`` slots, ``rounds`` times in each way.

    ``share`` is our downloads per second over the server's own, from the best round of each. ``seed`` has no effect.
    """
    settings = Settings.model_validate(
        {"fetch": {"allow_private": True, "rate": 100_000, "sleep": 0, "disk_floor": 0}, "workers": {"fetch": workers}}
    )
    with _server(latency_s) as url, tempfile.TemporaryDirectory() as folder:
        listed = _in_process(_list, f"{url}/feed?{entries}", settings)
        own, ours = [], []
        with Database.open(None, Path(folder) / "db") as database:
            for n in range(rounds):
                own.append(recordings / _all(recordings, workers, _bare(url)))
                ours.append(recordings / _all(recordings, workers, _through_us(url, n, settings, database, Path(folder))))
    return {
        "entries": entries,
        "listed": listed["listed"],
        "list_s": listed["took_s"],
        "list_cpu_s": listed["cpu_s"],
        "list_peak_bytes": listed["peak_bytes"],
        "list_reached": listed["listed"] == entries and listed["took_s"] <= GOAL_LIST_S and listed["peak_bytes"] <= GOAL_LIST_BYTES,
        "downloads": recordings,
        "workers": workers,
        "latency_s": latency_s,
        "server_per_s": max(own),
        "ours_per_s": max(ours),
        "share": max(ours) / max(own),
        "goal": GOAL_SHARE,
        "reached": max(ours) / max(own) >= GOAL_SHARE,
    }


def table(result: Mapping[str, Any]) -> str:
    """The result as plain text."""

    def mark(reached: bool) -> str:
        return "reached" if reached else "MISSED"

    return "\n".join(
        [
            f"listing a feed of {result['entries']:,} episodes: {result['listed']:,} in {result['list_s']:.1f} s ({result['list_cpu_s']:.1f} s of CPU), "
            f"{result['list_peak_bytes'] / 1e6:.0f} MB at most; goal {GOAL_LIST_S:.0f} s and {GOAL_LIST_BYTES / 1e6:.0f} MB: "
            f"{mark(result['list_reached'])}",
            f"{result['downloads']} downloads of {len(BODY) // 1024} kB, {result['workers']} at once, a server that takes "
            f"{result['latency_s'] * 1000:.0f} ms: {result['ours_per_s']:.0f}/s, the server's own {result['server_per_s']:.0f}/s: "
            f"{result['share']:.2f} of it; goal {result['goal']:.2f}: {mark(result['reached'])}",
        ]
    )


def _list(url: str, settings: Settings) -> dict[str, Any]:
    began, cpu = time.perf_counter(), time.process_time()
    listed = sum(1 for _ in list_source(url, settings, token=CancelToken()))
    took_s = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"listed": listed, "took_s": took_s, "cpu_s": time.process_time() - cpu, "peak_bytes": peak}


def _in_process(work: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """Run in a new process, so that its memory is measured alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, given)


def _all(count: int, workers: int, get: Callable[[int], None]) -> float:
    """Seconds until ``count`` files have arrived."""
    left = iter(range(count))
    lock = threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        while not failures:
            with lock:
                n = next(left, None)
            if n is None:
                return
            try:
                get(n)
            except BaseException as error:  # raised below, in the caller's thread
                failures.append(error)

    threads = [threading.Thread(target=work, name=f"bench-fetch-{n}") for n in range(workers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return time.perf_counter() - began


def _bare(url: str) -> Callable[[int], None]:
    """A plain download: one persistent connection per thread."""
    host, port = url.removeprefix("http://").split(":")
    here = threading.local()

    def get(n: int) -> None:
        if not hasattr(here, "sock"):
            here.sock = socket.create_connection((host, int(port)))
            here.file = here.sock.makefile("rb")
        here.sock.sendall(f"GET /{n}.mp3 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        while (line := here.file.readline()) != b"\r\n":
            if not line:
                raise ConnectionError("the server closed the connection")
        here.file.read(len(BODY))

    return get


def _through_us(url: str, turn: int, settings: Settings, database: Database, folder: Path) -> Callable[[int], None]:
    fetcher = Fetcher(lambda: settings, database, Journal(), folder / f"partial-{turn}")
    token = CancelToken()

    def get(n: int) -> None:
        work = folder / f"{turn}-{n}"
        work.mkdir()
        recording = Recording(f"b{turn}x{n}", f"url:{turn}/{n}", f"{url}/{turn}/{n}.mp3", str(n), extra={"fetch": "http"})
        media = fetcher.fetch(recording, work, token=token, progress=lambda _: None)
        if media.stat().st_size != len(BODY):
            raise ValueError(f"{media} has {media.stat().st_size} bytes")

    return get


@contextmanager
def _server(latency_s: float) -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, latency_s), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{receiver.recv()}"
    finally:
        process.kill()
        process.join()


class _Handler(socketserver.StreamRequestHandler):
    """A minimal, fast server: media after a fixed time, a feed at once."""

    disable_nagle_algorithm = True
    latency_s = 0.0

    def handle(self) -> None:
        while request := self.rfile.readline():
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
            path = request.split()[1].decode()
            if path.startswith("/feed"):
                body, kind = _feed(int(path.partition("?")[2])), b"application/rss+xml"
            else:
                time.sleep(self.latency_s)
                body, kind = BODY, b"audio/mpeg"
            head = b'HTTP/1.1 200 OK\r\nContent-Type: %b\r\nETag: "1"\r\nContent-Length: %d\r\n\r\n' % (kind, len(body))
            self.wfile.write(head + body)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""


def _serve(sender: Any, latency_s: float) -> None:
    _Handler.latency_s = latency_s
    with _Server(("127.0.0.1", 0), _Handler) as server:
        sender.send(server.server_address[1])
        server.serve_forever()


def _feed(entries: int) -> bytes:
    head = '<rss xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel><title>Bench</title>'
    text = "what was said and by whom " * 20
    return (head + "".join(ITEM.format(n=n, text=text) for n in range(entries)) + "</channel></rss>").encode()


if __name__ == "__main__":
    print(table(run()))
