"""A real HTTP server on loopback that misbehaves on request, for tests of fetching."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

Handler = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request; routes get this object and answer with its helpers."""

    protocol_version = "HTTP/1.1"
    server: Server  # type: ignore[assignment]

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        with self.server.lock:
            self.server.hits[path] += 1
            self.server.ranges.append((path, self.headers.get("Range")))
        route = self.server.routes.get(path)
        if route is None:
            self.answer(404)
        else:
            route(self)

    def do_POST(self) -> None:
        self.do_GET()

    @property
    def hit(self) -> int:
        """How often this path has been asked, this time counted."""
        return self.server.hits[urlsplit(self.path).path]

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.routes: dict[str, Handler] = {}
        self.hits: Counter[str] = Counter()
        self.ranges: list[tuple[str, str | None]] = []
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.scheme = "http"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is part of the tests."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def serve(self, path: str, handler: Handler) -> str:
        self.routes[path] = handler
        return self.url + path


@contextmanager
def running(certificate: Path | None = None) -> Iterator[Server]:
    """A server on loopback; with a ``certificate`` (PEM, its key included) over TLS."""
    server = Server()
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Media:
    """A file that is served well: with ranges, an ETag, and a fault where asked for."""

    body: bytes
    etag: str = '"v1"'
    content_type: str = "audio/mpeg"
    close_after: int | None = None  # bytes of the first answer before the connection is cut
    stall_after: int | None = None
    bytes_per_s: float | None = None
    gzipped: bool = False
    ranged: bool = True
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(self, request: Request) -> None:
        start, wanted = 0, request.headers.get("Range")
        if self.ranged and wanted and request.headers.get("If-Range", self.etag) == self.etag:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        body = gzip.compress(self.body) if self.gzipped else self.body[start:]
        request.send_response(206 if start else 200)
        request.send_header("Content-Type", self.content_type)
        request.send_header("Content-Length", str(len(body)))
        if self.gzipped:
            request.send_header("Content-Encoding", "gzip")
        if self.ranged:
            request.send_header("ETag", self.etag)
            request.send_header("Accept-Ranges", "bytes")
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        for name, value in self.headers.items():
            request.send_header(name, value)
        request.end_headers()
        self._send(request, body)

    def _send(self, request: Request, body: bytes) -> None:
        ending = request.server.ending
        if self.close_after is not None and request.hit == 1:
            request.wfile.write(body[: self.close_after])
            request.close_connection = True
        elif self.stall_after is not None and request.hit == 1:
            request.wfile.write(body[: self.stall_after])
            request.wfile.flush()
            ending.wait(60)
        elif self.bytes_per_s is not None:
            step = max(1, int(self.bytes_per_s / 10))
            for at in range(0, len(body), step):
                request.wfile.write(body[at : at + step])
                request.wfile.flush()
                if ending.wait(step / self.bytes_per_s):
                    return
        else:
            request.wfile.write(body)


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for a condition; fail loudly when it never comes."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("the condition never came true")
        threading.Event().wait(0.01)
