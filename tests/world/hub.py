"""A model hub on loopback: repositories from a folder, and every trouble a hub can make.

In a test: ``with FakeHub(folder) as hub``, then set its fields. By hand: ``python -m tests.world.hub PORT FOLDER``, and
``HF_ENDPOINT=http://127.0.0.1:PORT`` for whatever is to meet it.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".bin", ".ckpt", ".safetensors", ".npz")
"""Endings that the hub keeps as large files, with a sha256."""

CHUNK = 16 * 1024


@dataclass
class Trouble:
    """What goes wrong; file names are matched as parts of ``owner/name/path``."""

    gated: set[str] = field(default_factory=set)
    token: str = "hf_good"
    licensed: bool = True  # whether the token's account has accepted the conditions of what is gated
    status: dict[str, int] = field(default_factory=dict)  # of questions about a repository: owner/name
    file_status: dict[str, int] = field(default_factory=dict)
    per_s: float | None = None  # bytes a second
    cut: dict[str, list[int]] = field(default_factory=dict)  # after so many bytes, so many times
    damaged: dict[str, int] = field(default_factory=dict)  # so many times
    hang: set[str] = field(default_factory=set)


class FakeHub:
    """Serves ``folder/owner/name/...`` until the block ends. ``log`` has a line per request."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.trouble = Trouble()
        self.log: list[str] = []
        self.ending = threading.Event()
        hub = self

        class Handler(_Handler):
            fake = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="hub", daemon=True)

    def __enter__(self) -> FakeHub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def commit(self, repository: str) -> str:
        return hashlib.sha1(repository.encode()).hexdigest()

    def files(self, repository: str) -> list[Path]:
        return [p for p in sorted((self.folder / repository).rglob("*")) if p.is_file()]

    def fetched(self, part: str) -> list[str]:
        """The requests for the bytes of files with this part in their name."""
        return [line for line in self.log if line.startswith("GET") and "/resolve/" in line and part in line]


def sums(path: Path) -> tuple[str, str]:
    """git's sum of a file, and its sha256."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), hashlib.sha256(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.fake.log.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        parts = path.strip("/").split("/")
        if path == "/":
            self._answer(200, b"hub")
        elif parts[:2] == ["api", "models"] and len(parts) >= 4:
            self._about("/".join(parts[2:4]), "auth-check" in parts, parts)
        elif "resolve" in parts and parts.index("resolve") == 2:
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._refuse(404, "", "no such page")

    def _about(self, repository: str, access: bool, parts: list[str]) -> None:
        trouble = self.fake.trouble
        if self._refused(repository, trouble.status.get(repository), access):
            return
        if access:
            self._answer(200, b"{}")
            return
        commit = self.fake.commit(repository)
        if "revision" in parts and parts[-1] not in ("main", commit):
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        siblings: list[dict[str, Any]] = []
        for file in self.fake.files(repository):
            blob, sha256 = sums(file)
            entry = {
                "rfilename": file.relative_to(self.fake.folder / repository).as_posix(),
                "size": file.stat().st_size,
                "blobId": blob,
            }
            if file.suffix in LARGE:
                entry["lfs"] = {"sha256": sha256, "size": file.stat().st_size, "pointerSize": 134}
            siblings.append(entry)
        gated = "auto" if repository in trouble.gated else False
        answer = {"id": repository, "modelId": repository, "sha": commit, "gated": gated, "private": False, "siblings": siblings}
        self._answer(200, json.dumps(answer | {"tags": [], "downloads": 0, "likes": 0, "disabled": False}).encode())

    def _refused(self, repository: str, status: int | None, access: bool) -> bool:
        trouble, token = self.fake.trouble, self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not (self.fake.folder / repository).is_dir():
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif status is not None:
            self._refuse(status, "", "", {"Retry-After": "7"} if status == 429 else {})
        elif token and token != trouble.token:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif access and repository in trouble.gated and not (token and trouble.licensed):
            self._refuse(403 if token else 401, "GatedRepo", f"Access to model {repository} is restricted.")
        else:
            return False
        return True

    def _file(self, repository: str, revision: str, name: str) -> None:
        trouble, key, file = self.fake.trouble, f"{repository}/{name}", self.fake.folder / repository / name
        if self._refused(repository, next((s for k, s in trouble.file_status.items() if k in key), None), True):
            return
        if revision not in ("main", self.fake.commit(repository)) or not file.is_file():
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        data = file.read_bytes()
        if wrong := next((k for k, times in trouble.damaged.items() if k in key and times > 0), None):
            trouble.damaged[wrong] -= 1
            data = bytes(b ^ 0x55 for b in data[:64]) + data[64:]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "GET":
            self._send(key, data, start)

    def _send(self, key: str, data: bytes, start: int) -> None:
        trouble, sent = self.fake.trouble, start
        while sent < len(data):
            if any(part in key for part in trouble.hang) and sent > start:
                self.fake.ending.wait(600)
                return
            cut = next((c for k, c in trouble.cut.items() if k in key and c[1] > 0), None)
            if cut is not None and sent - start >= cut[0]:
                cut[1] -= 1
                self.close_connection = True
                return
            chunk = data[sent : sent + CHUNK]
            try:
                self.wfile.write(chunk)
            except OSError:
                return
            sent += len(chunk)
            if trouble.per_s is not None:
                time.sleep(len(chunk) / trouble.per_s)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    with FakeHub(Path(sys.argv[2]), int(sys.argv[1])) as running:
        print(running.url, flush=True)
        threading.Event().wait()
