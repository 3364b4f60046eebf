"""Network connections that go only to addresses the policy has checked, and whose waits a cancel token ends."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import tls
from gainstage.engine.sources.pace import check_patience
from gainstage.engine.sources.policy import check_host

here = threading.local()
"""``token`` is that of the thread that waits for a response."""


class _Stream(httpcore.NetworkStream):
    """A connection whose reads and writes end at once when the waiting thread's token is cancelled."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    @contextmanager
    def _ending_with_token(self) -> Iterator[None]:
        token: CancelToken | None = getattr(here, "token", None)
        remove = token.on_cancel(self._shut) if token is not None else None
        try:
            yield
        finally:
            if remove is not None:
                remove()

    def _shut(self) -> None:
        with contextlib.suppress(OSError):  # the plain socket: another thread may be reading the TLS socket
            socket.socket.shutdown(self._inner.get_extra_info("socket"), socket.SHUT_RDWR)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._ending_with_token():
            block = self._inner.read(max_bytes, timeout)
        check_patience()
        token: CancelToken | None = getattr(here, "token", None)
        if token is not None and not block:  # after our own cancel, a closed connection looks like the end of the data
            token.check()
        return block

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with self._ending_with_token():
            self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        with self._ending_with_token():
            return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Resolves a name, checks all its addresses and connects to one of them: for first requests, redirects and changed DNS alike.

    ``proxied``: connections go only to the operator's proxy, which the policy does not check.
    """

    def __init__(self, allow_private: bool, proxied: bool) -> None:
        self._allow_private = allow_private or proxied
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        *others, last = check_host(host, port, allow_private=self._allow_private)
        for address in others:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return _Stream(self._plain.connect_tcp(address, port, timeout, local_address, socket_options))
        return _Stream(self._plain.connect_tcp(last, port, timeout, local_address, socket_options))


class Transport(httpx.BaseTransport):
    """httpx transport on a pool of such connections, directly or through a proxy."""

    def __init__(self, allow_private: bool, proxy: str | None = None) -> None:
        backend = _Backend(allow_private, proxied=proxy is not None)
        self._pool: httpcore.ConnectionPool
        if proxy is None:
            self._pool = httpcore.ConnectionPool(
                ssl_context=tls.context(),
                max_connections=None,
                max_keepalive_connections=64,
                keepalive_expiry=10.0,
                network_backend=backend,
            )
        else:
            address = httpx.Proxy(proxy)
            self._pool = httpcore.HTTPProxy(
                str(address.url),
                proxy_auth=address.raw_auth,
                ssl_context=tls.context(),
                max_connections=None,
                max_keepalive_connections=64,
                keepalive_expiry=10.0,
                network_backend=backend,
            )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        response = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                extensions=request.extensions,
            )
        )
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions)

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()
