"""yt-dlp's requests with a browser's handshake, by curl_cffi (an optional extra), inside the same guard.

curl looks names up itself and follows redirects itself. Both are taken from it: every hop is checked here, and curl is given the
addresses that the check allowed. The address it reports to have connected to is compared with them.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import socket
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from gainstage.config.settings import Fetch
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import EngineError, Misconfigured, Permanent
from gainstage.engine.sources.pace import SpeedCheck
from gainstage.engine.sources.policy import check_host, check_url, split_url
from gainstage.engine.sources.proxy import proxy_of
from gainstage.engine.sources.web import REDIRECTS, check_encoding
from gainstage.engine.sources.ytdlp_guard import MOST_PAGE, AddressRefused, Sockets

if TYPE_CHECKING:
    from yt_dlp.networking.common import RequestHandler

CAUSE = "impersonation"
INSTALL = "Install curl_cffi: uv sync --extra impersonate, or pip install 'gainstage[impersonate]'. Or unset fetch.impersonate."


def target_of(settings: Fetch) -> Any:
    """The browser to impersonate as yt-dlp's target, None for none. Raises :class:`Misconfigured` without curl_cffi, and for a browser
    that it does not know."""
    name = (settings.impersonate or "").strip().lower()
    if not name:
        return None
    if find_spec("curl_cffi") is None:
        raise Misconfigured("fetch.impersonate needs curl_cffi, which is not installed", cause=CAUSE, hint=INSTALL)
    try:
        from yt_dlp.networking._curlcffi import CurlCFFIRH
        from yt_dlp.networking.impersonate import ImpersonateTarget
    except ImportError as error:
        raise Misconfigured(f"fetch.impersonate: {error}", cause=CAUSE, hint=INSTALL) from error
    known = list(CurlCFFIRH._SUPPORTED_IMPERSONATE_TARGET_MAP)
    with contextlib.suppress(ValueError):
        target = ImpersonateTarget.from_str(name)
        if any(each in target for each in known):
            return target
    browsers = ", ".join(sorted({str(each.client) for each in known}))
    raise Misconfigured(
        f"fetch.impersonate: no browser {clean_text(name, 40)!r} is known", cause=CAUSE, hint=f"Write one of: {browsers}."
    )


def handler_for(settings: Fetch, proxied: bool, sockets: Sockets) -> type[RequestHandler]:
    """A request handler for one :class:`yt_dlp.YoutubeDL` that sends everything as a browser would."""
    import curl_cffi.requests
    from curl_cffi import CurlOpt
    from yt_dlp.networking._curlcffi import CurlCFFIRH

    proxy = proxy_of(settings)

    class GuardedSession(curl_cffi.requests.Session):  # type: ignore[misc]
        def request(self, method: Any, url: str, **rest: Any) -> Any:
            rest |= {"allow_redirects": False, "verify": bundle() or rest.get("verify")}
            rest.pop("max_redirects", None)
            for _ in range(REDIRECTS + 1):
                host, port, addresses = _allowed(url, settings, proxied, sockets)
                plain = host.encode("idna").decode()
                pinned = ",".join(f"[{each}]" if ":" in each else each for each in addresses)
                self.curl_options = {
                    CurlOpt.FOLLOWLOCATION: 0,
                    CurlOpt.PROTOCOLS_STR: "http,https",
                    CurlOpt.FRESH_CONNECT: 1,
                    CurlOpt.PROXY: proxy or "",  # never one of the environment
                    CurlOpt.NOPROXY: "" if proxy else "*",
                    CurlOpt.HTTPPROXYTUNNEL: int(bool(proxy) and url.lower().startswith("https:")),
                    **({CurlOpt.RESOLVE: [f"{plain}:{port}:{pinned}"]} if pinned else {}),
                }
                response = super().request(method, url, **rest)
                _check(response, host, addresses, sockets)
                if not (300 <= response.status_code < 400 and response.headers.get("location")):
                    return response
                url, before = urljoin(url, response.headers["location"]), url
                response.close()
                if response.status_code == 303 or (response.status_code in (301, 302) and method == "POST"):
                    method, rest["data"] = "GET", None
                if urlsplit(url).hostname != urlsplit(before).hostname:
                    secret = ("authorization", "cookie")
                    rest["headers"] = {k: v for k, v in dict(rest.get("headers") or {}).items() if k.lower() not in secret}
            raise AddressRefused(
                Permanent(
                    f"more than {REDIRECTS} redirects", cause="redirect loop", hint="Is the address right? Open it in a browser."
                )
            )

    class ImpersonatingRH(CurlCFFIRH):  # type: ignore[misc]
        RH_NAME = "guarded_curl"

        def _create_instance(self, cookiejar: Any = None) -> Any:
            return GuardedSession(cookies=cookiejar)

        def _send(self, request: Any) -> Any:
            response = super()._send(request)
            packed = bool(response.headers.get("content-encoding"))
            response.fp = _Measured(response.fp, sockets, settings, MOST_PAGE if packed else None)
            return response

    return ImpersonatingRH


def _allowed(url: str, settings: Fetch, proxied: bool, sockets: Sockets) -> tuple[str, int, list[str]]:
    """(host, port, addresses) of a hop that may be contacted; no addresses behind a proxy, which looks names up."""
    try:
        sockets.token.check()
        parts = split_url(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme.lower() == "https" else 80)
        if not proxied:
            return host, port, check_host(host, port, allow_private=settings.allow_private)
        check_url(url, allow_private=settings.allow_private, proxied=True)
        return host, port, []
    except EngineError as error:
        raise AddressRefused(error) from error


def _check(response: Any, host: str, addresses: list[str], sockets: Sockets) -> None:
    """Refuse what curl did beside the guard; hand its connection to those that a cancel shuts."""
    from curl_cffi import CurlError, CurlInfo

    try:
        if addresses and response.primary_ip and response.primary_ip not in addresses:
            raise Permanent(
                f"{clean_text(host, 100)} was contacted at an address that was not checked",
                cause="private address refused",
                hint="fetch.impersonate has to be unset for it.",
            )
        check_encoding(response.headers.get("content-encoding"))
    except EngineError as error:
        response.close()
        raise AddressRefused(error) from error
    with contextlib.suppress(OSError, CurlError):
        number = response.curl.getinfo(CurlInfo.ACTIVESOCKET)
        if number >= 0:
            sockets.add(socket.socket(fileno=os.dup(number)))


class _Measured(io.RawIOBase):
    """The body of a response: a stop, a slow server and a page that unpacks to too much end the read with an error."""

    def __init__(self, inner: Any, sockets: Sockets, settings: Fetch, most: int | None) -> None:
        self._inner, self._sockets, self._most, self._size = inner, sockets, most, 0
        self._pace = SpeedCheck(settings.least_speed, settings.time_limit)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = None) -> bytes:
        if size is not None and size >= 0:
            return self._part(size)
        return b"".join(iter(lambda: self._part(1 << 16), b""))

    def _part(self, size: int) -> bytes:
        begun = time.monotonic()
        data = bytes(self._inner.read(size))
        self._size += len(data)
        try:
            self._sockets.token.check()
            self._pace.add(len(data), time.monotonic() - begun)
            if self._most is not None and self._size > self._most:
                raise Permanent(
                    f"a page of more than {self._most >> 20} MiB", cause="page too large", hint="Is it the right address?"
                )
        except EngineError as error:
            self._sockets.fault = error
            raise AddressRefused(error) from error
        return data

    def close(self) -> None:
        self._inner.close()
        super().close()


@cache
def bundle() -> str | None:
    """A file with the usual authorities and those of SSL_CERT_FILE; None where that is not set. The environment is read once."""
    own = os.environ.get("SSL_CERT_FILE")
    if not own:
        return None
    import certifi

    try:
        text = f"{Path(certifi.where()).read_text()}\n{Path(own).read_text()}"
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(
            f"the certificates of SSL_CERT_FILE cannot be read: {error}",
            cause="certificates",
            hint="Let it name certificates in the PEM format, or unset it.",
        ) from error
    number, path = tempfile.mkstemp(prefix="gainstage-", suffix=".pem")
    with os.fdopen(number, "w") as file:
        file.write(text)
    atexit.register(lambda: Path(path).unlink(missing_ok=True))
    return path
