"""yt-dlp's only access to the network: the policy checks every new connection, and the cancel token closes it.

Redirects and repeated name look-ups open connections in the same way, so nothing bypasses the check.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import os
import socket
import time
import urllib.request
import urllib.response
import zlib
from typing import Any

import brotli
from yt_dlp.networking._helper import create_connection
from yt_dlp.networking._urllib import UrllibRH
from yt_dlp.networking.exceptions import RequestError

from gainstage.config.settings import Fetch
from gainstage.engine.errors import EngineError, Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.pace import SpeedCheck
from gainstage.engine.sources.policy import check_host, check_url
from gainstage.engine.sources.tls import trusting
from gainstage.engine.sources.web import check_encoding

MOST_PAGE = 64 * 1024**2
"""Most bytes of a page or a player's script; media arrive in pieces and uncompressed."""


class AddressRefused(RequestError):  # type: ignore[misc]
    """A typed error while it passes through yt-dlp."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(str(error), cause=error)


class Sockets:
    """The connections of one :class:`yt_dlp.YoutubeDL`: shut down when the token is cancelled, closed at the end."""

    def __init__(self, token: CancelToken) -> None:
        self.token = token
        self.fault: EngineError | None = None
        """The typed error that ended a read: yt-dlp retries and afterwards keeps only the message."""
        self._open: list[socket.socket] = []
        self._remove = token.on_cancel(self._shut)

    def add(self, sock: socket.socket) -> None:
        self._open = [each for each in self._open if each.fileno() >= 0] + [sock]
        if self.token.cancelled:
            self._shut()

    def _shut(self) -> None:
        for sock in list(self._open):
            with contextlib.suppress(OSError):  # the plain socket: another thread may be reading the TLS socket
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections: yt-dlp leaves failed ones to the garbage collector."""
        self._remove()
        for sock in self._open:
            if (number := socket.socket.detach(sock)) >= 0:
                os.close(number)
        self._open = []


class BrokenBody(OSError):
    """A typed error while it passes through an HTTP client that only knows network errors."""


class _Paced(io.RawIOBase):
    """The measured data of a connection: a stop and a slow server end the read with an error, not as the end of the file."""

    def __init__(self, inner: io.RawIOBase, sockets: Sockets, pace: SpeedCheck) -> None:
        self._inner = inner
        self._sockets = sockets
        self._pace = pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        begun = time.monotonic()
        size = self._inner.readinto(buffer)
        try:
            self._sockets.token.check()
            self._pace.add(size or 0, time.monotonic() - begun)
        except EngineError as error:
            self._sockets.fault = error
            raise BrokenBody(error.message) from error
        return size

    def flush(self) -> None:
        """Nothing is written. The garbage collector may close this before the response above it, which flushes as it closes."""

    def close(self) -> None:
        self._inner.close()
        super().close()


class _Connections(urllib.request.AbstractHTTPHandler):
    """Opens connections before yt-dlp's own handler does. ``proxied``: to the operator's proxy, which is not checked."""

    handler_order = 100

    def __init__(self, context: Any, settings: Fetch, proxied: bool, sockets: Sockets) -> None:
        super().__init__()
        self._context = context
        self._settings = settings
        self._allow_private = settings.allow_private or proxied
        self._sockets = sockets

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(functools.partial(self._connection, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> Any:
        make = functools.partial(self._connection, http.client.HTTPSConnection)
        return self.do_open(make, request, context=self._context)

    def _connection(self, kind: type[http.client.HTTPConnection], *args: Any, **rest: Any) -> http.client.HTTPConnection:
        connection = kind(*args, **rest)
        connection._create_connection = self._connect  # type: ignore[attr-defined]
        connection.response_class = self._response  # type: ignore[assignment]
        plain = connection.connect

        def connect() -> None:
            plain()
            self._sockets.add(connection.sock)  # with TLS this is another socket than the first

        connection.connect = connect  # type: ignore[method-assign]
        return connection

    def _response(self, sock: socket.socket, *args: Any, **rest: Any) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(sock, *args, **rest)
        raw = response.fp.detach()
        pace = SpeedCheck(self._settings.least_speed, self._settings.time_limit)
        response.fp = io.BufferedReader(_Paced(raw, self._sockets, pace))
        return response

    def _connect(self, address: tuple[str, int], timeout: float, source_address: tuple[str, int] | None = None) -> Any:
        host, port = address
        try:
            self._sockets.token.check()
            *others, last = check_host(host, port, allow_private=self._allow_private)
        except EngineError as error:
            raise AddressRefused(error) from error
        for other in others:
            with contextlib.suppress(OSError):
                return create_connection((other, port), timeout, source_address)
        return create_connection((last, port), timeout, source_address)


class _ProxiedAddressCheck(urllib.request.BaseHandler):
    """Behind a proxy, which resolves names: check for every hop what can be checked here."""

    def __init__(self, allow_private: bool, token: CancelToken) -> None:
        self._allow_private = allow_private
        self._token = token

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        try:
            self._token.check()
            check_url(request.full_url, allow_private=self._allow_private, proxied=True)
        except EngineError as error:
            raise AddressRefused(error) from error
        return request

    https_request = http_request


class _Decoding(urllib.request.BaseHandler):
    """Decompresses a body before yt-dlp's own handler does, which accepts any number of layers of any size."""

    handler_order = 100

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        coding = (response.headers.get("Content-Encoding") or "").strip().lower()
        try:
            check_encoding(coding)
            if coding not in ("gzip", "x-gzip", "deflate", "br"):
                return response
            body = _decoded(coding, response.read(MOST_PAGE))
        except EngineError as error:
            raise AddressRefused(error) from error
        except (OSError, zlib.error, brotli.error) as error:
            raise BrokenBody("the compressed body is broken") from error
        del response.headers["Content-Encoding"]
        plain = urllib.response.addinfourl(io.BytesIO(body), response.headers, response.url, response.code)
        plain.msg = response.msg  # type: ignore[attr-defined]
        return plain

    https_response = http_response


def _decoded(coding: str, body: bytes) -> bytes:
    """A body without its one layer of compression, at most :data:`MOST_PAGE` bytes."""
    if not body:
        return body
    if coding == "br":
        packed = brotli.Decompressor()
        out = packed.process(body, output_buffer_limit=MOST_PAGE + 1)
    else:
        bits = zlib.MAX_WBITS | 16 if "gzip" in coding else zlib.MAX_WBITS if body[0] & 0x0F == 8 else -zlib.MAX_WBITS
        out = zlib.decompressobj(wbits=bits).decompress(body, MOST_PAGE + 1)
    if len(out) > MOST_PAGE:
        raise Permanent(f"a page of more than {MOST_PAGE >> 20} MiB", cause="page too large", hint="Is it the right address?")
    return bytes(out)


def handler_for(settings: Fetch, proxied: bool, sockets: Sockets) -> type[UrllibRH]:
    """A request handler for one :class:`yt_dlp.YoutubeDL`."""

    class GuardedRH(UrllibRH):  # type: ignore[misc]
        _SUPPORTED_URL_SCHEMES = ("http", "https")
        RH_NAME = "guarded"

        def _make_sslcontext(self, legacy_ssl_support: Any = None) -> Any:
            try:
                return trusting(super()._make_sslcontext(legacy_ssl_support=legacy_ssl_support))
            except EngineError as error:
                raise AddressRefused(error) from error

        def _create_instance(self, proxies: Any, cookiejar: Any, legacy_ssl_support: Any = None) -> Any:
            opener = super()._create_instance(proxies, cookiejar, legacy_ssl_support)
            if proxied:
                opener.add_handler(_ProxiedAddressCheck(settings.allow_private, sockets.token))
            opener.add_handler(_Decoding())
            context = self._make_sslcontext(legacy_ssl_support=legacy_ssl_support)
            opener.add_handler(_Connections(context, settings, proxied, sockets))
            return opener

    return GuardedRH
