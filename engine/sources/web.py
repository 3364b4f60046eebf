"""Our own HTTP client: connections only to addresses the policy has checked, waits that end with a cancel token."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin

import httpcore
import httpx

from config.settings import Fetch
from engine.clean import clean_text
from engine.errors import EngineError, Permanent, Transient
from engine.flow.cancel import CancelToken
from engine.sources import tls
from engine.sources.cookies import cookie_header
from engine.sources.policy import check_host, check_url, split_url

REDIRECTS = 8
AGENT = "gainstage (+media fetch)"
NETWORK_ERRORS = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)

_here = threading.local()


class _Stream(httpcore.NetworkStream):
    """A connection whose reads and writes end at once when the token of the thread that waits is cancelled."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    @contextmanager
    def _ending_with_token(self) -> Iterator[None]:
        token: CancelToken | None = getattr(_here, "token", None)
        remove = token.on_cancel(self._shut) if token is not None else None
        try:
            yield
        finally:
            if remove is not None:
                remove()

    def _shut(self) -> None:
        with contextlib.suppress(OSError):  # the plain socket's own: a TLS socket must not be touched under its reader
            socket.socket.shutdown(self._inner.get_extra_info("socket"), socket.SHUT_RDWR)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._ending_with_token():
            return self._inner.read(max_bytes, timeout)

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
    """Looks a name up, checks every address of it, and connects to one of those: first request, redirects, changed DNS alike."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
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


class _Transport(httpx.BaseTransport):
    def __init__(self, allow_private: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls.context(),
            max_connections=None,
            max_keepalive_connections=64,
            keepalive_expiry=10.0,
            network_backend=_Backend(allow_private),
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


class Web:
    """One client for many threads; it keeps connections. ``settings`` are read at every request."""

    def __init__(self, settings: Callable[[], Fetch]) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._clients: dict[tuple[str | None, bool], httpx.Client] = {}
        self._finalizer = weakref.finalize(self, _close, self._clients)

    def close(self) -> None:
        self._finalizer()

    @contextmanager
    def get(self, url: str, token: CancelToken, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """A streaming response after redirects. Raises :class:`Permanent` for a refused address or certificate or a redirect loop,
        :class:`Transient` when the network fails, also inside the block, :class:`engine.errors.Cancelled`.
        """
        before = getattr(_here, "token", None)
        _here.token = token
        try:
            with self._followed(url, token, headers) as response:
                yield response
        except NETWORK_ERRORS as error:
            token.check()  # a connection shut by our own cancel looks like a network fault
            raise network_error(error) from error
        finally:
            _here.token = before

    @contextmanager
    def _followed(self, url: str, token: CancelToken, headers: dict[str, str]) -> Iterator[httpx.Response]:
        settings = self._settings()
        proxy = settings.proxy.get_secret_value() if settings.proxy else None
        client = self._client(proxy, settings.allow_private)
        timeout = httpx.Timeout(settings.timeout, pool=None)
        seen: set[str] = set()
        for _ in range(REDIRECTS + 1):
            token.check()
            if url in seen:
                raise Permanent("the address redirects in a circle", cause="redirect loop")
            seen.add(url)
            split_url(url)
            if proxy is not None:  # the proxy looks the name up: what can be checked here is checked here
                check_url(url, allow_private=settings.allow_private)
            request = client.build_request("GET", url, headers={**headers, **cookie_header(settings, url)}, timeout=timeout)
            try:
                response = client.send(request, stream=True)
            except NETWORK_ERRORS as error:
                if (refused := tls.refused_by(error)) is not None:
                    raise tls.untrusted(request.url.host, refused) from error
                raise
            if not response.is_redirect:
                try:
                    yield response
                finally:
                    response.close()
                return
            url = urljoin(url, response.headers["location"])
            response.close()
        raise Permanent(f"more than {REDIRECTS} redirects", cause="redirect loop")

    def _client(self, proxy: str | None, allow_private: bool) -> httpx.Client:
        key = (proxy, allow_private)
        with self._lock:
            if key not in self._clients:
                transport = httpx.HTTPTransport(proxy=proxy, verify=tls.context()) if proxy else _Transport(allow_private)
                self._clients[key] = httpx.Client(
                    transport=transport, trust_env=False, follow_redirects=False, headers={"user-agent": AGENT}, cookies=None
                )
            return self._clients[key]


def _close(clients: dict[tuple[str | None, bool], httpx.Client]) -> None:
    while clients:
        clients.popitem()[1].close()


def network_error(error: Exception) -> EngineError:
    """The typed error behind one of :data:`NETWORK_ERRORS`."""
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | httpcore.UnsupportedProtocol):
        return Permanent(f"malformed address: {clean_text(str(error), 200)}", cause="malformed address")
    if isinstance(error, httpx.TimeoutException | httpcore.TimeoutException):
        return Transient("the server went silent", cause="stalled", hint="fetch.timeout sets how long silence is borne")
    if isinstance(error, httpx.RemoteProtocolError | httpcore.RemoteProtocolError):
        return Transient("the server closed the connection before the end", cause="closed early", hint="it is resumed")
    return Transient(f"network: {clean_text(str(error), 200)}", cause="network error", hint="check the address and the network")
