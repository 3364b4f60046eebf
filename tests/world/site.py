"""A video site on loopback behind a proxy: what a CONNECT reaches ends here, so no name is ever looked up.

``python -m tests.world.site`` keeps one standing for trials by hand and prints the settings that lead there.
"""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.world.player import PLAYER, solved
from tests.youtube_kit import YouTube, player, video_id

HOSTS = ("www.youtube.com", "rr1.googlevideo.com", "*.youtube.com", "*.googlevideo.com")
PLAYER_URL = "/s/player/abcd1234/player_es6.vflset/en_US/base.js"


def challenged(n: int, size: int, *, tag: str = "audio", **details: Any) -> dict[str, Any]:
    """The player's answer for a video whose audio needs the n challenge solved."""
    answer = player(n, **{"lengthSeconds": "57", **details})
    (audio,) = answer["streamingData"]["adaptiveFormats"]
    audio |= {"url": f"https://rr1.googlevideo.com/videoplayback?id={tag}&n=challenge{n}", "contentLength": str(size)}
    return answer


def captioned(answer: dict[str, Any], *tracks: tuple[str, str, str]) -> dict[str, Any]:
    """The player's answer with caption tracks: (language, "asr" for automatic ones or "", host)."""
    listed = [
        {
            "baseUrl": f"https://{host}/api/timedtext?v=1&lang={language}&kind={kind}",
            "name": {"simpleText": language},
            "vssId": f"{'a' if kind else ''}.{language}",
            "languageCode": language,
            **({"kind": kind, "isTranslatable": True} if kind else {}),
        }
        for language, kind, host in tracks
    ]
    return {**answer, "captions": {"playerCaptionsTracklistRenderer": {"captionTracks": listed, "translationLanguages": []}}}


@dataclass
class World:
    """What the site serves, how it misbehaves, and what it was asked. ``connected`` are the hosts of CONNECTs, in order."""

    media: bytes
    youtube: YouTube = field(default_factory=YouTube)
    script: str = PLAYER
    media_status: int = 200
    captions: str = ""
    refuse_first: int = 0  # requests for media answered 403 before the first good one
    asked: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    cookies: set[str] = field(default_factory=set)  # sent with pages
    media_cookies: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, word: str) -> int:
        """Requests whose line begins with a word: player-js, watch, player, media."""
        return sum(1 for line in self.asked if line.split()[0] == word)

    def note(self, line: str) -> None:
        with self.lock:
            self.asked.append(line)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy  # type: ignore[assignment]
    host = ""

    def log_message(self, format: str, *args: object) -> None: ...

    def do_CONNECT(self) -> None:
        self.host = self.path.rsplit(":", 1)[0]
        with self.server.world.lock:
            self.server.world.connected.append(self.host)
        self.send_response(200)
        self.end_headers()
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")  # type: ignore[assignment]
        self.close_connection = False

    def finish(self) -> None:
        with suppress(OSError, ValueError):  # the client may have left
            super().finish()
        self.connection.close()

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if not self.host:
            self._send(502, b"", "text/plain")
            return
        world = self.server.world
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        world.agents.add(self.headers.get("User-Agent") or "")
        (world.media_cookies if "googlevideo" in self.host else world.cookies).add(self.headers.get("Cookie") or "")
        if "googlevideo" in self.host:
            self._media()
            return
        self._page(json.loads(body) if body.startswith(b"{") else {})

    def _media(self) -> None:
        world = self.server.world
        query = parse_qs(urlsplit(self.path).query)
        world.note(f"media {query['id'][0]} {self.headers.get('Range')}")
        with world.lock:
            refused, world.refuse_first = world.refuse_first > 0, max(0, world.refuse_first - 1)
        challenge = re.sub(r"\D", "", query.get("n", [""])[0])
        if refused or query.get("n", [""])[0] != solved(f"challenge{challenge[::-1]}"):
            self._send(403, b"", "text/plain")
            return
        match = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        first, last = (int(match[1]), int(match[2] or len(world.media) - 1)) if match else (0, len(world.media) - 1)
        part = world.media[first : last + 1]
        ranged = {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(world.media)}"} if match else {}
        self._send(206 if match else world.media_status, part, "audio/mp4", **ranged)

    def _page(self, data: dict[str, Any]) -> None:
        world = self.server.world
        url = f"https://{self.host}{self.path}"
        if "/s/player/" in url:
            world.note("player-js")
            self._send(200, world.script.encode(), "text/javascript")
            return
        if "/api/timedtext" in url:
            world.note(f"captions {parse_qs(urlsplit(url).query)['lang'][0]}")
            self._send(200 if world.captions else 429, world.captions.encode(), "text/vtt")
            return
        if "/iframe_api" in url:
            self._send(200, rb"var x='https:\/\/www.youtube.com\/s\/player\/abcd1234\/www-widgetapi.vflset';", "text/javascript")
            return
        answer = world.youtube.answer(url, data)
        world.note(world.youtube.asked[-1] if world.youtube.asked else "page")
        if isinstance(answer, int):
            self._send(answer, b"", "text/plain")
        elif isinstance(answer, str):
            config = {"PLAYER_JS_URL": PLAYER_URL, "STS": 20700, "INNERTUBE_API_KEY": "key"}
            text = answer.replace("<script>", f"<script>ytcfg.set({json.dumps(config)});", 1)
            self._send(200, text.encode(), "text/html; charset=utf-8")
        else:
            self._send(200, json.dumps(answer).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, world: World, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.world = world
        self.context = context

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is part of the tests."""


def certificates(folder: Path) -> tuple[Path, Path]:
    """(an authority's certificate, a server's with its key) for the hosts of the site, made with openssl."""
    authority, key, server = folder / "ca.pem", folder / "ca.key", folder / "server.pem"
    names = ",".join(f"DNS:{host}" for host in HOSTS)
    commands = (
        f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=world -keyout {key} -out {authority}",
        f"req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=site -keyout {folder}/s.key -out {folder}/s.csr",
        f"x509 -req -days 30 -in {folder}/s.csr -CA {authority} -CAkey {key} -CAcreateserial -out {folder}/s.crt -extfile {folder}/x",
    )
    (folder / "x").write_text(f"subjectAltName={names}\n")
    for command in commands:
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True)
    server.write_text((folder / "s.crt").read_text() + (folder / "s.key").read_text())
    return authority, server


@contextmanager
def standing(world: World, certificate: Path) -> Iterator[str]:
    """The proxy's address; what it leads to is the world."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = _Proxy(world, context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """A site with one video, until it is interrupted."""
    import tempfile

    media = (Path(__file__).parents[1] / "data" / "late-guest.opus").read_bytes()
    world = World(media)
    world.youtube.players[video_id(1)] = challenged(1, len(media))
    with tempfile.TemporaryDirectory() as folder:
        authority, certificate = certificates(Path(folder))
        with standing(world, certificate) as proxy, suppress(KeyboardInterrupt):
            print(f"SSL_CERT_FILE={authority} GAINSTAGE_FETCH__PROXY={proxy}", flush=True)
            print(f"  gainstage run https://www.youtube.com/watch?v={video_id(1)} --headless", flush=True)
            threading.Event().wait()


if __name__ == "__main__":
    main()
