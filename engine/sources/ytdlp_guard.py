"""yt-dlp's only way to the network: every connection checked by the policy when it is made, and shut when the token ends.

Redirects and second look-ups of a name open connections like anything else, so nothing gets around it.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import urllib.request
import weakref
from typing import Any

from yt_dlp.networking._helper import create_connection
from yt_dlp.networking._urllib import UrllibRH
from yt_dlp.networking.exceptions import RequestError

from engine.errors import EngineError
from engine.flow.cancel import CancelToken
from engine.sources.policy import check_host, check_url


class Refused(RequestError):  # type: ignore[misc]
    """Our own error on its way through yt-dlp."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(str(error), cause=error)


class _Connections(urllib.request.AbstractHTTPHandler):
    """Opens connections before yt-dlp's own handler would."""

    handler_order = 100

    def __init__(self, context: Any, allow_private: bool, token: CancelToken) -> None:
        super().__init__()
        self._context = context
        self._allow_private = allow_private
        self._token = token

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(functools.partial(self._connection, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> Any:
        make = functools.partial(self._connection, http.client.HTTPSConnection)
        return self.do_open(make, request, context=self._context)

    def _connection(self, kind: type[http.client.HTTPConnection], *args: Any, **rest: Any) -> http.client.HTTPConnection:
        connection = kind(*args, **rest)
        connection._create_connection = self._connect  # type: ignore[attr-defined]
        return connection

    def _connect(self, address: tuple[str, int], timeout: float, source_address: tuple[str, int] | None = None) -> socket.socket:
        host, port = address
        try:
            self._token.check()
            *others, last = check_host(host, port, allow_private=self._allow_private)
        except EngineError as error:
            raise Refused(error) from error
        for other in others:
            with contextlib.suppress(OSError):
                return self._shut_by_token(create_connection((other, port), timeout, source_address))
        return self._shut_by_token(create_connection((last, port), timeout, source_address))

    def _shut_by_token(self, sock: socket.socket) -> socket.socket:
        here = weakref.ref(sock)

        def shut() -> None:
            if (found := here()) is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(found, socket.SHUT_RDWR)

        self._token.on_cancel(shut)
        return sock


class _Asked(urllib.request.BaseHandler):
    """Behind a proxy the proxy looks names up; what can be checked here, of every hop, is checked here."""

    def __init__(self, allow_private: bool, token: CancelToken) -> None:
        self._allow_private = allow_private
        self._token = token

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        try:
            self._token.check()
            check_url(request.full_url, allow_private=self._allow_private)
        except EngineError as error:
            raise Refused(error) from error
        return request

    https_request = http_request


def handler_for(allow_private: bool, proxied: bool, token: CancelToken) -> type[UrllibRH]:
    """A request handler for one :class:`yt_dlp.YoutubeDL`."""

    class GuardedRH(UrllibRH):  # type: ignore[misc]
        _SUPPORTED_URL_SCHEMES = ("http", "https")
        RH_NAME = "guarded"

        def _create_instance(self, proxies: Any, cookiejar: Any, legacy_ssl_support: Any = None) -> Any:
            opener = super()._create_instance(proxies, cookiejar, legacy_ssl_support)
            if proxied:
                opener.add_handler(_Asked(allow_private, token))
            else:
                context = self._make_sslcontext(legacy_ssl_support=legacy_ssl_support)
                opener.add_handler(_Connections(context, allow_private, token))
            return opener

    return GuardedRH
