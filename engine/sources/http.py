"""Download one media file over http(s): once, resumable, bounded, and only from addresses the policy allows."""

from __future__ import annotations

import contextlib
import email.utils
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx

from config.settings import Fetch
from engine.clean import clean_text
from engine.errors import Permanent, Rejected, Throttled, Transient
from engine.flow.cancel import CancelToken
from engine.sources.policy import check_url

REDIRECTS = 8
AGENT = "gainstage (+media fetch)"
NOT_MEDIA = ("text/html", "application/json", "text/xml", "application/xml", "application/xhtml+xml")
Progress = Callable[[float | None], None]


def retry_after(value: str | None) -> float | None:
    """Seconds asked for by a Retry-After header (delta or HTTP date); None when absent or unreadable."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def refuse(response: httpx.Response) -> None:
    """Raise the error of a status that is not a file."""
    status = response.status_code
    host = clean_text(response.request.headers.get("host", ""), 100)
    what, cause = f"{host} answered HTTP {status}", f"HTTP {status}"
    if status == 429:
        raise Throttled(
            what, cause=cause, hint="lower fetch.rate or workers.fetch", after_s=retry_after(response.headers.get("retry-after"))
        )
    if status in (408, 425) or status >= 500:
        if status == 503 and (after := retry_after(response.headers.get("retry-after"))) is not None:
            raise Throttled(what, cause=cause, after_s=after)
        raise Transient(what, cause=cause, hint="the server has trouble; it is tried again")
    hints = {401: "it asks for a login", 403: "it refuses this client; cookies may be needed", 404: "it is gone", 410: "it is gone"}
    raise Permanent(what, cause=cause, hint=hints.get(status, ""))


@contextmanager
def opened(url: str, settings: Fetch, token: CancelToken, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """A streaming response after redirects, each hop checked against the policy and connected to the address checked."""
    proxy = settings.proxy.get_secret_value() if settings.proxy else None
    timeout = httpx.Timeout(settings.timeout, pool=None)
    seen = set()
    with httpx.Client(timeout=timeout, follow_redirects=False, proxy=proxy, trust_env=False, http2=False) as client:
        for _ in range(REDIRECTS + 1):
            token.check()
            if url in seen:
                raise Permanent("the address redirects in a circle", cause="redirect loop")
            seen.add(url)
            address = check_url(url, allow_private=settings.allow_private)[0]
            request = _pinned(client, url, address if proxy is None else None, headers)
            response = client.send(request, stream=True)
            if not response.is_redirect:
                try:
                    yield response
                finally:
                    response.close()
                return
            url = urljoin(url, response.headers["location"])
            response.close()
    raise Permanent(f"more than {REDIRECTS} redirects", cause="redirect loop")


def _pinned(client: httpx.Client, url: str, address: str | None, headers: dict[str, str]) -> httpx.Request:
    """A request to the very address that was checked, with the name kept for Host and the certificate."""
    parts = urlsplit(url)
    if address is None:
        return client.build_request("GET", url, headers=headers)
    host = f"[{address}]" if ":" in address else address
    netloc = f"{host}:{parts.port}" if parts.port else host
    target = urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, ""))
    named = parts.hostname or ""
    return client.build_request(
        "GET",
        target,
        headers={**headers, "host": named if not parts.port else f"{named}:{parts.port}"},
        extensions={"sni_hostname": named},
    )


def download(url: str, target: Path, partial: Path, settings: Fetch, *, token: CancelToken, progress: Progress) -> Path:
    """Fetch ``url`` to ``target``. What arrives is kept in ``partial`` until it is whole, so that a later attempt resumes.

    Raises :class:`Permanent` (4xx, not media, refused address), :class:`Rejected` (too large), :class:`Throttled` (429),
    :class:`Transient` (5xx, stalled, closed early), :class:`Cancelled`.
    """
    have = partial.stat().st_size if partial.exists() else 0
    mark = partial.with_suffix(".etag")
    headers = {"user-agent": AGENT, "accept": "audio/*,video/*,*/*;q=0.5", "accept-encoding": "identity"}
    if have and mark.exists():
        headers |= {"range": f"bytes={have}-", "if-range": mark.read_text()}
    try:
        with opened(url, settings, token, headers) as response, _closing_on_cancel(response, token):
            if response.status_code == 416:  # nothing left to send, or the file changed: begin again
                partial.unlink(missing_ok=True)
                raise Transient("the partial download no longer fits", cause="resume refused")
            if response.status_code not in (200, 206):
                refuse(response)
            kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
            if kind in NOT_MEDIA:
                raise Permanent(
                    f"the address gives {clean_text(kind, 60)}, not media",
                    cause="not media",
                    hint="is it a page about the recording?",
                )
            resumed = response.status_code == 206
            have = have if resumed else 0
            whole = _whole_size(response, have)
            if whole is not None and whole > settings.max_bytes:
                raise Rejected(f"{whole:,} bytes, above fetch.max_bytes", cause="too large")
            _remember(response, mark)
            _receive(response, partial, have, whole, settings, token, progress)
    except httpx.HTTPError as error:
        token.check()  # a connection closed by our own cancel looks like a network fault
        raise _network_error(error) from error
    partial.replace(target)
    mark.unlink(missing_ok=True)
    return target


def _whole_size(response: httpx.Response, have: int) -> int | None:
    length = response.headers.get("content-length")
    return have + int(length) if length and length.isdigit() else None


def _remember(response: httpx.Response, mark: Path) -> None:
    """Keep what lets a later attempt ask whether the file is still the same."""
    tag = response.headers.get("etag") or response.headers.get("last-modified")
    if tag and not tag.startswith("W/") and response.headers.get("accept-ranges", "bytes") != "none":
        mark.write_text(tag)
    else:
        mark.unlink(missing_ok=True)


def _receive(
    response: httpx.Response, partial: Path, have: int, whole: int | None, settings: Fetch, token: CancelToken, progress: Progress
) -> None:
    with partial.open("ab" if have else "wb") as file:
        for block in response.iter_bytes():
            token.check()
            have += len(block)
            if have > settings.max_bytes:
                raise Rejected("larger than fetch.max_bytes", cause="too large")
            file.write(block)
            progress(have / whole if whole else None)
    if have == 0:
        raise Permanent("the server sent an empty file", cause="empty file")


@contextmanager
def _closing_on_cancel(response: httpx.Response, token: CancelToken) -> Iterator[None]:
    """A read that waits for a slow server ends at once when the token is cancelled."""

    def close() -> None:
        stream = response.extensions.get("network_stream")
        sock = stream.get_extra_info("socket") if stream else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(2)

    remove = token.on_cancel(close)
    try:
        yield
    finally:
        remove()


def _network_error(error: httpx.HTTPError) -> Transient:
    if isinstance(error, httpx.TimeoutException):
        return Transient("the server went silent", cause="stalled", hint="fetch.timeout sets how long silence is borne")
    if isinstance(error, httpx.RemoteProtocolError):
        return Transient("the server closed the connection before the end", cause="closed early", hint="it is resumed")
    return Transient(f"network: {clean_text(str(error), 200)}", cause="network error", hint="check the address and the network")
