"""The doctor names everything a run rests on and how to correct what is missing; it makes and downloads nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from speech_kit import demo_settings

from gainstage.config.paths import Paths
from gainstage.config.settings import Settings, changed
from gainstage.engine import doctor
from gainstage.engine.doctor import Check, checks
from gainstage.engine.errors import Misconfigured
from tests.http_server import running

NAMES = (
    "Python",
    "torch",
    "recogniser GPU",
    "NVML",
    "ffmpeg",
    "asr model",
    "diarization model",
    "voice model",
    "embed model",
    "database",
    "home",
    "disk",
    "limits",
    "yt-dlp",
    "JavaScript",
    "ways out",
    "cookies",
    "proxy",
)


def by_name(settings: Settings, home: Path, database_url: str | None = None) -> dict[str, Check]:
    return {c.name: c for c in checks(settings, Paths.of(home), database_url=database_url)}


def test_with_the_bundled_models_nothing_fails_and_nothing_is_made(tmp_path: Path) -> None:
    found = by_name(changed(demo_settings(), "fetch.disk_floor", 0), tmp_path / "home")
    assert tuple(found) == NAMES
    assert [c for c in found.values() if c.state == "fail"] == []
    assert found["asr model"].text.startswith("demo:asr, bundled, sha256:")
    assert "made at the first run" in found["database"].text
    assert not (tmp_path / "home").exists()


def test_the_ways_out_are_named_and_tried(tmp_path: Path) -> None:
    row = by_name(demo_settings(), tmp_path)["ways out"]
    assert row.state == "ok"
    names = ("player_client", "po_token_provider", "visitor_data", "cookies_browser", "impersonate")
    assert all(f"fetch.{name}" in row.text for name in names)
    for key, value in (("impersonate", "netscape"), ("cookies_browser", "mosaic"), ("po_token_provider", "file:///x")):
        row = by_name(changed(demo_settings(), f"fetch.{key}", value), tmp_path)["ways out"]
        assert (row.state, bool(row.hint)) == ("fail", True)
    with running() as server:
        server.serve("/ping", lambda r: r.answer(200, b"{}"))
        settings = changed(demo_settings(), "fetch.po_token_provider", server.url)
        assert by_name(settings, tmp_path)["ways out"].state == "ok"
    assert by_name(settings, tmp_path)["ways out"].text == "the provider of fetch.po_token_provider does not answer"


def test_everything_that_is_not_well_says_how_to_mend_it(tmp_path: Path) -> None:
    settings = changed(demo_settings(asr__model="demo:nothing", voice__device="cuda"), "fetch.disk_floor", 1024**5)
    found = by_name(settings, tmp_path)
    assert found["asr model"].state == "fail"
    assert found["disk"].state == "warn"
    assert all(c.hint for c in found.values() if c.state != "ok")


def test_a_database_is_looked_at_and_one_that_is_away_is_said(tmp_path: Path, database_url: str) -> None:
    found = by_name(demo_settings(), tmp_path, database_url)["database"]
    assert found.state in ("ok", "warn")
    assert "pgvector" in found.text
    away = by_name(demo_settings(), tmp_path, "postgresql://nobody@127.0.0.1:1/none")["database"]
    assert away.state == "fail"
    assert away.hint


def test_one_broken_part_does_not_hide_the_others() -> None:
    def broken() -> Check:
        raise ImportError("No module named 'av'")

    def refused() -> Check:
        raise Misconfigured("it is so", hint="Do this.")

    assert doctor._guarded("ffmpeg", broken) == Check(
        "ffmpeg", "fail", "cannot be imported: No module named 'av'", "Install gainstage again: uv sync."
    )
    assert doctor._guarded("x", refused) == Check("x", "fail", "it is so", "Do this.")


def test_an_old_python_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PYTHONS", ((3, 99),))
    assert doctor._python().state == "fail"


def cookies(folder: Path, *ends: float, mode: int = 0o600) -> Settings:
    file = folder / "cookies.txt"
    lines = [f"e.org\tFALSE\t/\tFALSE\t{end:.0f}\tc{n}\ts3cr3t" for n, end in enumerate(ends)]
    file.write_text("# Netscape HTTP Cookie File\n" + "\n".join(lines) + "\n")
    file.chmod(mode)
    return changed(Settings(), "fetch.cookies", str(file))


def looked_at(settings: Settings) -> Check:
    return doctor._guarded("cookies", lambda: doctor._cookies(settings))


def test_the_cookies_file_is_looked_at_and_never_told(tmp_path: Path) -> None:
    later = time.time() + 1e7
    assert looked_at(Settings()).state == "ok"
    assert looked_at(cookies(tmp_path, later, later)) == Check("cookies", "ok", "2 valid, open to nobody else")
    found = [
        looked_at(cookies(tmp_path, later, mode=0o644)),
        looked_at(cookies(tmp_path, 1e9)),
        looked_at(cookies(tmp_path, later, 1e9)),
        looked_at(cookies(tmp_path, time.time() + 86_400)),
        looked_at(changed(Settings(), "fetch.cookies", str(tmp_path / "gone.txt"))),
    ]
    assert [(c.state, c.text.partition(" in 1")[0]) for c in found] == [
        ("fail", "the cookies file may be read by other users of this machine"),
        ("fail", "the cookies file has expired"),
        ("warn", "1 of 2 cookies have expired"),
        ("warn", "the first of 1 cookies expires"),
        ("fail", "the cookies file cannot be read"),
    ]
    assert "chmod 600" in found[0].hint
    assert all(c.hint for c in found)
    assert not any(str(tmp_path) in f"{c.text}{c.hint}" or "s3cr3t" in f"{c.text}{c.hint}" for c in found)


def test_a_proxy_that_is_none_is_said_and_its_password_never() -> None:
    def look(address: str) -> Check:
        return doctor._guarded("proxy", lambda: doctor._proxy(changed(Settings(), "fetch.proxy", address)))

    good, bad = look("http://me:hunter2@proxy.example:3128"), look("socks5://me:hunter2@proxy.example:1080")
    assert (good.state, good.text) == ("ok", "sources are asked through proxy.example")
    assert (bad.state, "http://host:port" in bad.hint) == ("fail", True)
    assert "hunter2" not in f"{bad.text}{bad.hint}"


def test_a_yt_dlp_that_ages_is_said_with_how_to_renew_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yt_dlp.version.__version__", "2026.10.26")
    monkeypatch.setattr("gainstage.engine.sources.ytdlp.AGES_DAYS", -1e6)
    old = doctor._ytdlp()
    assert (old.state, "days old" in old.text) == ("warn", True)
    monkeypatch.setattr("gainstage.engine.sources.ytdlp.MINIMUM", "2999.01.01")
    older = doctor._ytdlp()
    assert (older.state, "older than 2999.01.01" in older.text) == ("fail", True)
    assert "yt-dlp" in old.hint
    assert old.hint == older.hint


ASK = """
import sys
from pathlib import Path
from gainstage.config.paths import Paths
from gainstage.config.settings import Settings
from gainstage.engine.doctor import checks
for check in checks(Settings(), Paths.of(sys.argv[1])):
    if check.name.endswith("model"):
        print(check.name, check.state, "hf download" in check.hint, sep="|")
"""


def test_without_the_hub_a_model_that_is_not_here_fails_within_seconds(tmp_path: Path) -> None:
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", ASK, str(tmp_path / "home")],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")},
        check=True,
        capture_output=True,
        text=True,
    )
    assert out.stderr == ""
    assert out.stdout.splitlines() == [f"{role} model|fail|True" for role in ("asr", "diarization", "voice", "embed")]


# -- databases that a run cannot use ------------------------------------------------------------------------------------


def test_a_database_that_is_read_only_or_has_too_few_connections_fails(tmp_path: Path, database_url: str) -> None:
    name = urlsplit(database_url).path.lstrip("/")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"create role few_{name} login connection limit 3")  # type: ignore[arg-type]
        try:
            for what in ("schema gainstage", "all tables in schema gainstage"):
                connection.execute(f"grant all on {what} to few_{name}")  # type: ignore[arg-type]
            few = by_name(demo_settings(), tmp_path, database_url.replace("postgres@", f"few_{name}@"))["database"]
            connection.execute(f"alter database {name} set default_transaction_read_only = on")  # type: ignore[arg-type]
            fixed = by_name(demo_settings(), tmp_path, database_url)["database"]
        finally:
            connection.execute("set default_transaction_read_only = off")
            connection.execute(f"drop owned by few_{name}")  # type: ignore[arg-type]
            connection.execute(f"drop role few_{name}")  # type: ignore[arg-type]
    assert (few.state, "may have 3 connections" in few.text) == ("fail", True)
    assert (fixed.state, "default_transaction_read_only is on" in fixed.text) == ("fail", True)
    assert all("password" not in f"{c.text} {c.hint}" for c in (few, fixed))


def test_arithmetic_the_device_lacks_fails_before_the_run(tmp_path: Path) -> None:
    found = by_name(changed(demo_settings(), "asr.compute", "int8_float16"), tmp_path)["recogniser GPU"]
    assert (found.state, "int8" in found.hint) == ("fail", True)


def test_a_home_that_cannot_be_written_fails() -> None:
    found = doctor._home(Paths.of("/dev/null/home"))
    assert (found.state, "cannot be written" in found.text, "--home" in found.hint) == ("fail", True, True)


def test_a_proxy_of_the_environment_is_told_apart_from_that_of_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@proxy.example:3128")
    found = doctor._guarded("proxy", lambda: doctor._proxy(Settings()))
    assert (found.state, "proxy.example" in found.text, "hunter2" in found.text) == ("warn", True, False)
