"""A real HTTPS server on loopback: whom we trust, what a refusal says, and that TLS changes nothing else."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gainstage.config.settings import Fetch
from gainstage.engine.errors import Cancelled, Misconfigured, Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import policy, tls
from gainstage.engine.sources.http import download
from gainstage.engine.sources.web import Web
from gainstage.engine.sources.ytdlp import open_ytdlp
from gainstage.engine.sources.ytdlp_fetch import fetch_with_ytdlp
from tests.http_server import Media, Server, running, wait_until

BODY = bytes(range(256)) * 2000
OPENSSL = shutil.which("openssl")

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="no openssl binary to make a certificate with")


def signed_by_itself(folder: Path, name: str) -> Path:
    """A certificate for one name, its key beside it in one file."""
    made = folder / f"{name.partition(':')[0]}.pem"
    subprocess.run(
        [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=loopback", "-addext", f"subjectAltName={name}", "-keyout", made, "-out", folder / "certificate"],
        check=True, capture_output=True,
    )  # fmt: skip
    with made.open("ab") as file:
        file.write((folder / "certificate").read_bytes())
    return made


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One for 127.0.0.1, one for somebody else."""
    folder = tmp_path_factory.mktemp("certificates")
    return signed_by_itself(folder, "IP:127.0.0.1"), signed_by_itself(folder, "DNS:other.example")


@pytest.fixture
def server(certificates: tuple[Path, Path]) -> Iterator[Server]:
    with running(certificates[0]) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    tls.context.cache_clear()
    yield
    tls.context.cache_clear()


@pytest.fixture
def trusted(certificates: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))


Get = Callable[..., bytes]


def ours(url: str, folder: Path, token: CancelToken | None = None, **settings: object) -> bytes:
    fetch = Fetch.model_validate({"allow_private": True, "timeout": 5, **settings})
    with contextlib.closing(Web(lambda: fetch)) as web:
        target, partial = folder / "media", folder / "x.part"
        return download(url, target, partial, fetch, web=web, token=token or CancelToken(), progress=lambda _: None).read_bytes()


def with_ytdlp(url: str, folder: Path, token: CancelToken | None = None, **settings: object) -> bytes:
    fetch = Fetch.model_validate({"allow_private": True, "timeout": 5, **settings})
    return fetch_with_ytdlp(url, folder, fetch, token=token or CancelToken(), progress=lambda _: None).read_bytes()


both = pytest.mark.parametrize("get", [ours, with_ytdlp])


@both
def test_a_certificate_nobody_vouches_for_is_refused_and_said(server: Server, tmp_path: Path, get: Get) -> None:
    url = server.serve("/a.mp3", Media(BODY))
    with pytest.raises(Permanent) as caught:
        get(url, tmp_path)
    assert caught.value.cause == tls.UNTRUSTED
    assert "self-signed certificate" in caught.value.message.replace("self signed", "self-signed")
    assert "SSL_CERT_FILE" in caught.value.hint
    assert not server.hits, "not a byte was asked for"


@both
@pytest.mark.usefixtures("trusted")
def test_a_certificate_this_machine_trusts_is_taken(server: Server, tmp_path: Path, get: Get) -> None:
    assert get(server.serve("/a.mp3", Media(BODY)), tmp_path) == BODY


@both
def test_a_trusted_certificate_of_somebody_else_is_refused(
    certificates: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, get: Get
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[1]))
    with running(certificates[1]) as impostor, pytest.raises(Permanent) as caught:
        get(impostor.serve("/a.mp3", Media(BODY)), tmp_path)
    assert caught.value.cause == tls.UNTRUSTED
    assert "127.0.0.1" in caught.value.message


@both
def test_a_file_of_certificates_that_cannot_be_read_stops_with_what_to_do(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, get: Get
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    with pytest.raises(Misconfigured, match="SSL_CERT_FILE"):
        get(server.serve("/a.mp3", Media(BODY)), tmp_path)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("to", ["http://10.0.0.1/inside.mp3", "https://10.0.0.1/inside.mp3"])
def test_a_redirect_out_of_tls_to_a_private_address_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    monkeypatch.setattr(policy, "is_public", lambda address: address == "127.0.0.1")  # this server plays the public one
    url = server.serve("/a.mp3", lambda r: r.answer(302, Location=to))
    with pytest.raises(Permanent) as caught:
        ours(url, tmp_path, allow_private=False)
    assert caught.value.cause == "private address refused"
    with pytest.raises(Permanent) as told, open_ytdlp(Fetch(timeout=5), CancelToken()) as ytdlp:
        ytdlp.urlopen(url)
    assert told.value.cause == "private address refused"


@pytest.mark.usefixtures("trusted")
def test_a_close_half_way_is_resumed_over_tls(server: Server, tmp_path: Path) -> None:
    url = server.serve("/a.mp3", Media(BODY, close_after=200_000))
    with pytest.raises(Transient):
        ours(url, tmp_path)
    assert ours(url, tmp_path) == BODY
    assert server.ranges[-1] == ("/a.mp3", "bytes=200000-")


@both
@pytest.mark.usefixtures("trusted")
def test_a_cancel_ends_a_stalled_download_over_tls(server: Server, tmp_path: Path, get: Get) -> None:
    token = CancelToken()
    url = server.serve("/a.mp3", Media(BODY, stall_after=1000))
    timer = threading.Thread(target=lambda: (wait_until(lambda: server.hits["/a.mp3"] > 0), token.cancel("enough")))
    timer.start()
    with pytest.raises(Cancelled):
        get(url, tmp_path, token, timeout=60)
    timer.join()


def test_a_server_that_speaks_no_tls_is_a_network_error(tmp_path: Path) -> None:
    with running() as plain:
        url = plain.serve("/a.mp3", Media(BODY)).replace("http:", "https:")
        with pytest.raises(Transient) as caught:
            ours(url, tmp_path)
    assert caught.value.cause == "network error"
