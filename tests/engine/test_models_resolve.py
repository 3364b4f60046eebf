"""From a model's name to a folder: bundled, local, cached, or a clear word about what to do."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gainstage.engine.errors import Misconfigured
from gainstage.engine.models.resolve import DEMO, MAIN_FILE, PINS, find, fingerprint

COMMIT = "a" * 40


@pytest.mark.parametrize(("role", "name"), [("asr", "asr"), ("diarization", "diarization"), ("voice", "voice"), ("embed", "text")])
def test_a_demo_name_is_a_bundled_folder_known_by_its_content(tmp_path: Path, role: str, name: str) -> None:
    found = find(role, f"demo:{name}", None, tmp_path)
    assert found.folder == DEMO / name
    assert found.origin == "bundled"
    assert found.revision == fingerprint(DEMO / name)


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "hyperparams.yaml").write_text("a: 1")
    found = find("voice", str(tmp_path), None, tmp_path)
    assert (found.folder, found.origin) == (tmp_path, "folder")


def test_the_fingerprint_is_of_names_and_contents_only(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "part").mkdir(parents=True)
        (folder / "part" / "weights.bin").write_bytes(b"123")
    (two / "README.md").write_text("words")
    (two / ".cache").write_text("hidden")
    assert fingerprint(one) == fingerprint(two)
    (two / "part" / "weights.bin").write_bytes(b"124")
    assert fingerprint(one) != fingerprint(two)


@pytest.mark.parametrize("name", ["demo:nothing", "/no/such/folder", "~/no/such/folder", "./nothing"])
def test_a_folder_that_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured, match="there is no folder") as caught:
        find("voice", name, None, tmp_path)
    assert caught.value.cause == "model not found"
    assert "voice.model" in caught.value.hint


@pytest.mark.parametrize("role", list(MAIN_FILE))
def test_a_folder_of_another_kind_is_said(tmp_path: Path, role: str) -> None:
    with pytest.raises(Misconfigured, match=f"holds no {MAIN_FILE[role]}"):
        find(role, str(tmp_path), None, tmp_path)


def test_a_name_that_can_be_none_is_said(tmp_path: Path) -> None:
    for role, name in (("asr", "enormous-v9"), ("embed", "not a name!!")):
        with pytest.raises(Misconfigured) as caught:
            find(role, name, None, tmp_path)
        assert caught.value.cause == "model not found"


def cached(cache: Path, name: str, commit: str, *files: str) -> Path:
    """A hub cache that holds one snapshot."""
    home = cache / f"models--{name.replace('/', '--')}"
    folder = home / "snapshots" / commit
    folder.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    for file in files:
        (folder / file).write_text("x")
    return folder


def test_a_cached_snapshot_is_found_without_the_hub_at_its_pinned_commit(tmp_path: Path) -> None:
    name = "speechbrain/spkrec-ecapa-voxceleb"
    folder = cached(tmp_path, name, PINS[name], "hyperparams.yaml")
    found = find("voice", name, None, tmp_path, download=False)
    assert (found.folder.resolve(), found.revision, found.origin) == (folder.resolve(), PINS[name], "hub")


def test_a_revision_in_the_settings_goes_before_the_pin(tmp_path: Path) -> None:
    name = "speechbrain/spkrec-ecapa-voxceleb"
    cached(tmp_path, name, COMMIT, "hyperparams.yaml")
    assert find("voice", name, "main", tmp_path, download=False).revision == COMMIT
    with pytest.raises(Misconfigured):
        find("voice", name, None, tmp_path, download=False)


def test_half_a_download_is_no_model(tmp_path: Path) -> None:
    cached(tmp_path, "some/model", COMMIT, "README.md")
    with pytest.raises(Misconfigured) as caught:
        find("voice", "some/model", None, tmp_path, download=False)
    assert caught.value.cause == "hub unreachable"
    assert "hf download some/model" in caught.value.hint


# -- the hub ------------------------------------------------------------------------------------------------------------

ANSWERS = {
    "gated/model": (403, "GatedRepo", "Access to model gated/model is restricted."),
    "no/model": (404, "RepoNotFound", "Repository not found"),
    "no/revision": (404, "RevisionNotFound", "Invalid rev id"),
}

ASK = """
import json, sys
from pathlib import Path
from gainstage.engine.errors import Misconfigured
from gainstage.engine.models.resolve import find
said = {}
for name in json.loads(sys.argv[2]):
    try:
        find("voice", name, "main", Path(sys.argv[1]))
    except Misconfigured as error:
        said[name] = [error.cause, error.hint]
print(json.dumps(said))
"""


class Hub(BaseHTTPRequestHandler):
    """Says of every model what :data:`ANSWERS` says."""

    def do_GET(self) -> None:
        name = next((n for n in ANSWERS if n in self.path), None)
        status, code, message = ANSWERS[name] if name else (404, "RepoNotFound", "nothing here")
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, name="hub")
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def asked(tmp_path: Path, names: list[str], **environment: str) -> dict[str, list[str]]:
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", ASK, str(tmp_path / "cache"), json.dumps(names)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    assert out.stderr == ""
    found: dict[str, list[str]] = json.loads(out.stdout)
    return found


def test_what_the_hub_refuses_is_explained(tmp_path: Path, hub: str) -> None:
    said = asked(tmp_path, ["gated/model", "no/model", "no/revision"], HF_ENDPOINT=hub)
    assert {name: cause for name, (cause, _) in said.items()} == {
        "gated/model": "licence missing",
        "no/model": "model not found",
        "no/revision": "model not found",
    }
    gated = said["gated/model"][1]
    assert "https://huggingface.co/gated/model" in gated
    assert "hf auth login" in gated
    assert "voice.revision" in said["no/revision"][1]


def test_without_the_hub_it_says_what_to_do(tmp_path: Path) -> None:
    said = asked(tmp_path, ["some/model"], HF_HUB_OFFLINE="1")
    cause, hint = said["some/model"]
    assert cause == "hub unreachable"
    assert "hf download some/model --revision main" in hint
    assert "demo profile" in hint
