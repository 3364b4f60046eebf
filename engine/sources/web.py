"""Our own HTTP client: it connects only to addresses the policy has checked, and a cancel token ends its waits."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urljoin

import httpcore
import httpx

from gainstage.config.settings import Fetch
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import EngineError, Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import tls
from gainstage.engine.sources.connections import Transport, here
from gainstage.engine.sources.cookies import cookie_header
from gainstage.engine.sources.pace import answered, await_answer
from gainstage.engine.sources.policy import check_url, split_url
from gainstage.engine.sources.proxy import proxy_of

REDIRECTS = 30
"""Redirects to follow: podcasts have long chains of counters, and browsers and players follow 20 and more."""
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
PROXY_ERRORS = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ProxyError,
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.ProxyError,
)


class Web:
    """One client for many threads, with persistent connections. ``settings`` are read for every request."""

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
        :class:`Transient` when the network fails (also inside the block), :class:`gainstage.engine.errors.Cancelled`.
        """
        before = getattr(here, "token", None)
        here.token = token
        try:
            with self._followed(url, token, headers) as response:
                yield response
        except NETWORK_ERRORS as error:
            token.check()  # a connection closed by our own cancel looks like a network error
            raise network_error(error) from error
        finally:
            here.token = before
            answered()

    @contextmanager
    def _followed(self, url: str, token: CancelToken, headers: dict[str, str]) -> Iterator[httpx.Response]:
        settings = self._settings()
        proxy = proxy_of(settings)
        client = self._client(proxy, settings.allow_private)
        timeout = httpx.Timeout(settings.timeout, pool=None)
        seen: set[tuple[str, str]] = set()
        given = httpx.Cookies()  # cookies set by the hops so far
        for _ in range(REDIRECTS + 1):
            token.check()
            split_url(url)
            if proxy is not None:
                check_url(url, allow_private=settings.allow_private, proxied=True)
            cookies = cookie_header(settings, url, given.jar)
            if (step := (url, cookies.get("cookie", ""))) in seen:
                raise Permanent(
                    "the address redirects in a circle", cause="redirect loop", hint="Is the address right? Open it in a browser."
                )
            seen.add(step)
            try:
                request = client.build_request("GET", url, headers={**headers, **cookies}, timeout=timeout)
            except UnicodeError as error:  # an invalid host name that only the encoder detects
                raise Permanent(
                    f"malformed address: {clean_text(url, 200)}",
                    cause="malformed address",
                    hint="Is the address right? Open it in a browser.",
                ) from error
            await_answer(2 * settings.timeout)
            try:
                response = client.send(request, stream=True)
            except NETWORK_ERRORS as error:
                if (refused := tls.refused_by(error)) is not None:
                    raise tls.untrusted(request.url.host, refused) from error
                if proxy is not None and isinstance(error, PROXY_ERRORS):
                    token.check()
                    why = clean_text(str(error), 200)
                    raise Transient(f"the proxy cannot be used: {why}", cause="proxy", hint="Check fetch.proxy.") from error
                raise
            if not response.has_redirect_location:
                try:
                    check_encoding(response.headers.get("content-encoding"))
                    yield response
                finally:
                    response.close()
                return
            response.close()
            given.extract_cookies(response)
            try:
                url = urljoin(url, response.headers["location"])
            except ValueError as error:
                raise Permanent(
                    "the server redirects to a malformed address",
                    cause="malformed address",
                    hint="Is the address right? Open it in a browser.",
                ) from error
        raise Permanent(
            f"more than {REDIRECTS} redirects", cause="redirect loop", hint="Is the address right? Open it in a browser."
        )

    def _client(self, proxy: str | None, allow_private: bool) -> httpx.Client:
        key = (proxy, allow_private)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = httpx.Client(
                    transport=Transport(allow_private, proxy),
                    trust_env=False,
                    follow_redirects=False,
                    headers={"user-agent": AGENT},
                    cookies=None,
                )
                self._clients[key].cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))  # all requests share the client
            return self._clients[key]


def check_encoding(header: str | None) -> None:
    """Raises :class:`Permanent` for a body compressed more than once: no site needs that, and 5 kB can expand to 6 GB."""
    if len([coding for coding in (header or "").split(",") if coding.strip().lower() not in ("", "identity")]) > 1:
        raise Permanent(
            "the server sends a body compressed several times",
            cause="stacked encodings",
            hint="The server's owner has to correct it.",
        )


def _close(clients: dict[tuple[str | None, bool], httpx.Client]) -> None:
    while clients:
        clients.popitem()[1].close()


def network_error(error: Exception) -> EngineError:
    """The typed error behind one of :data:`NETWORK_ERRORS`."""
    if isinstance(error.__context__, httpx.InvalidURL):  # httpx parses the target of a redirect even when it does not follow it
        return Permanent(
            "the server redirects to a malformed address",
            cause="malformed address",
            hint="Is the address right? Open it in a browser.",
        )
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | httpcore.UnsupportedProtocol):
        return Permanent(
            f"malformed address: {clean_text(str(error), 200)}",
            cause="malformed address",
            hint="Is the address right? Open it in a browser.",
        )
    if isinstance(error, httpx.TimeoutException | httpcore.TimeoutException):
        return Transient(
            "the server went silent", cause="stalled", hint="fetch.timeout sets how long a silent server is waited for."
        )
    if isinstance(error, httpx.RemoteProtocolError | httpcore.RemoteProtocolError):
        return Transient("the server closed the connection before the end", cause="closed early", hint="It is resumed.")
    return Transient(f"network: {clean_text(str(error), 200)}", cause="network error", hint="Check the address and the network.")
