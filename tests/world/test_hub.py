"""Models arrive like everything else: progress, stop, resume, sums checked, and every refusal of a hub with its cause."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from gainstage.config.settings import Settings, changed
from gainstage.engine.errors import Cancelled, Misconfigured
from gainstage.engine.models.download import READ_S, Progress
from gainstage.engine.models.resolve import DEMO, find
from gainstage.engine.runtime.models import Models
from tests.chaos.kit import wait_for
from tests.world.hub import FakeHub

VOICE = "lab/voice"
WEIGHTS = "embedding_model.ckpt"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with the bundled models as repositories, and this process set to use it."""
    for name, folder in {"voice": "voice", "text": "text", "asr": "asr", "diarization": "diarization"}.items():
        shutil.copytree(DEMO / folder, tmp_path / "repositories" / "lab" / name)
    config = tmp_path / "repositories" / "lab" / "diarization" / "config.yaml"
    config.write_text(config.read_text().replace("../voice", VOICE))
    with FakeHub(tmp_path / "repositories") as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "nothing"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


def voice(cache: Path, **options: Any) -> Path:
    return find("voice", VOICE, None, cache, **options).folder


def test_all_four_models_come_load_and_are_found_again_without_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    settings = Settings()
    for role, name in (("asr", "asr"), ("voice", "voice"), ("diarization", "diarization"), ("embed", "text")):
        settings = changed(changed(settings, f"{role}.model", f"lab/{name}"), f"{role}.device", "cpu")
    seen: list[tuple[str, Progress]] = []
    models = Models(lambda: settings, tmp_path / "cache")
    models.on_progress = lambda role, progress: seen.append((role, progress))
    models.check_hub()
    assert not hub.fetched(""), "everything is asked for before the first byte"
    models.load()
    assert {role for role, _ in seen} == {"asr", "voice", "diarization", "embed"}
    for role in ("asr", "voice"):
        last = [p for r, p in seen if r == role][-1]
        assert last.done == last.total > 0
    requests = len(hub.log)
    Models(lambda: settings, tmp_path / "cache").load()
    assert len(hub.log) == requests
    commit = hub.commit(VOICE)
    place = huggingface_hub.try_to_load_from_cache(VOICE, WEIGHTS, cache_dir=tmp_path / "cache", revision=commit)
    assert Path(str(place)).exists(), "the hub's own library finds what was fetched"


def test_progress_tells_bytes_speed_and_time_left(hub: FakeHub, tmp_path: Path) -> None:
    hub.trouble.per_s = 400_000
    seen: list[Progress] = []
    voice(tmp_path / "cache", report=seen.append)
    sizes = [p.done for p in seen]
    assert sizes == sorted(sizes)
    assert any(p.per_s for p in seen)
    assert any("left" in str(p) and "/s" in str(p) for p in seen)


def test_a_stop_ends_a_download_that_hangs_long_before_its_timeout(hub: FakeHub, tmp_path: Path) -> None:
    hub.trouble.hang.add(WEIGHTS)
    stop = threading.Event()
    stopped_at: list[float] = []

    def pull() -> None:
        stopped_at.append(time.monotonic())
        stop.set()

    threading.Timer(0.5, pull).start()
    with pytest.raises(Cancelled):
        voice(tmp_path / "cache", stopped=stop.is_set)
    assert time.monotonic() - stopped_at[0] < READ_S / 2


CHILD = """
import sys
from pathlib import Path
from gainstage.engine.models.resolve import find
print(find("voice", "lab/voice", None, Path(sys.argv[1])).folder)
"""


def child(hub: FakeHub, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(cache)],
        env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(cache.with_name("hf"))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_download_that_was_killed_goes_on_where_it_was_and_leaves_no_orphan(hub: FakeHub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    blobs = cache / "models--lab--voice" / "blobs"
    hub.trouble.per_s = 200_000
    killed = child(hub, cache)
    wait_for(lambda: any(p.stat().st_size > 100_000 for p in blobs.glob("*.gainstage-partial")), "a part of the weights", 120)
    killed.kill()
    killed.communicate()
    (blobs / "0123.abcd.incomplete").write_bytes(b"of another download that was killed")
    hub.trouble.per_s = None
    voice(cache)
    last = hub.fetched(WEIGHTS)[-1]
    assert int(last.split("bytes=")[1].rstrip("-")) > 100_000
    assert [p.name for p in blobs.iterdir() if "partial" in p.name or "incomplete" in p.name] == []


def test_a_line_that_is_cut_again_and_again_is_gone_on_with(hub: FakeHub, tmp_path: Path) -> None:
    hub.trouble.cut[WEIGHTS] = [100_000, 6]
    folder = voice(tmp_path / "cache")
    assert (folder / WEIGHTS).read_bytes() == (hub.folder / VOICE / WEIGHTS).read_bytes()
    assert len(hub.fetched(WEIGHTS)) >= 7


def test_a_wrong_checksum_is_fetched_once_more_and_then_refused(hub: FakeHub, tmp_path: Path) -> None:
    hub.trouble.damaged[WEIGHTS] = 1
    folder = voice(tmp_path / "one")
    assert (folder / WEIGHTS).read_bytes() == (hub.folder / VOICE / WEIGHTS).read_bytes()
    hub.trouble.damaged["hyperparams.yaml"] = 9  # a small file: checked by git's sum
    with pytest.raises(Misconfigured) as caught:
        voice(tmp_path / "two")
    assert caught.value.cause == "wrong checksum"
    with pytest.raises(Misconfigured):
        find("voice", VOICE, None, tmp_path / "two", download=False)


def test_a_cached_file_that_is_broken_is_named_with_the_command_that_mends_it(hub: FakeHub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    blob = (voice(cache) / WEIGHTS).resolve()
    data = bytearray(blob.read_bytes())
    data[len(data) // 2 :] = b"x" * (len(data) - len(data) // 2)
    blob.write_bytes(data)
    settings = changed(changed(Settings(), "voice.model", VOICE), "voice.device", "cpu")
    with pytest.raises(Misconfigured) as caught:
        Models(lambda: settings, cache).load(["voice"])
    assert caught.value.cause == "cached model damaged"
    assert WEIGHTS in caught.value.message
    command = caught.value.hint.split("Run: ")[1].split("   ")[0]
    subprocess.run(command, shell=True, check=True)  # noqa: S602
    Models(lambda: settings, cache).load(["voice"])


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "gated, no token": ({"gated": {VOICE}}, "licence missing", "hf auth login"),
    "gated, not accepted": ({"gated": {VOICE}, "licensed": False, "with_token": "hf_good"}, "licence missing", "accept the conditions"),
    "a bad token": ({"with_token": "hf_bad"}, "hub token refused", "hf auth login"),
    "401": ({"status": {VOICE: 401}}, "", ""),
    "403": ({"status": {VOICE: 403}}, "licence missing", "accept the conditions"),
    "404": ({"status": {VOICE: 404}}, "model not found", "voice.model"),
    "404 of a file": ({"file_status": {WEIGHTS: 404}}, "model not found", "voice.model"),
    "429": ({"status": {VOICE: 429}}, "hub throttled", "again later"),
    "429 of a file": ({"file_status": {WEIGHTS: 429}}, "hub throttled", "again later"),
    "503": ({"status": {VOICE: 503}}, "hub out of order", "again later"),
    "503 of a file": ({"file_status": {WEIGHTS: 503}}, "hub out of order", "again later"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_refusal_has_a_cause_and_a_hint(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    trouble, cause, hint = CASES[name]
    for key, value in trouble.items():
        if key == "with_token":
            monkeypatch.setenv("HF_TOKEN", value)
        else:
            setattr(hub.trouble, key, value)
    began = time.monotonic()
    with pytest.raises(Misconfigured) as caught:
        voice(tmp_path / "cache")
    assert time.monotonic() - began < 30
    assert cause in caught.value.cause
    assert hint in caught.value.hint
    assert caught.value.hint


def test_a_hub_that_is_away_is_said_and_what_is_here_goes_on(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voice(tmp_path / "cache")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    voice(tmp_path / "cache")
    with pytest.raises(Misconfigured) as caught:
        voice(tmp_path / "other")
    assert caught.value.cause == "hub unreachable"


def test_a_disk_without_room_is_said_before_the_first_byte(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gainstage.engine.models.download.ROOM", 2**60)
    settings = Settings()
    for role, name in (("asr", "asr"), ("voice", "voice"), ("diarization", "diarization"), ("embed", "text")):
        settings = changed(settings, f"{role}.model", f"lab/{name}")
    with pytest.raises(Misconfigured, match="no room for the models") as caught:
        Models(lambda: settings, tmp_path / "cache").check_hub()
    assert all(name in caught.value.message for name in ("lab/asr", "lab/voice", "lab/diarization", "lab/text"))
    assert not hub.fetched("")
