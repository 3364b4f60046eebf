"""Download one media file over http(s): resumable, bounded, and only from addresses that the policy allows."""

from __future__ import annotations

import contextlib
import email.utils
import errno
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from gainstage.config.settings import Fetch
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent, Rejected, Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.pace import SpeedCheck
from gainstage.engine.sources.web import Web
from gainstage.engine.speech.containers import structure

NOT_MEDIA = re.compile(
    r"text/(html|xml|css|csv|javascript)|application/(json|xml|pdf|zip|xhtml\+xml|rss\+xml|atom\+xml)|(image|font)/.*"
)
MARK = re.compile(r"[ -~]{1,1000}")
"""An ETag or a date that can be sent back in a header; RFC 9110 allows other ETags, but clients cannot send them."""
Progress = Callable[[float | None], None]


def retry_after(value: str | None) -> float | None:
    """Seconds in a Retry-After header (delta or HTTP date); None when absent or unreadable."""
    if not value:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return float(value)
    with contextlib.suppress(ValueError, TypeError, LookupError, OverflowError, OSError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def refuse(response: httpx.Response) -> None:
    """Raise the error for a response status without a file."""
    status = response.status_code
    host = clean_text(response.request.url.host, 100)
    what, cause = f"{host} answered HTTP {status}", f"HTTP {status}"
    after = retry_after(response.headers.get("retry-after"))
    if status == 429:
        raise Throttled(what, cause=cause, hint="Lower fetch.rate or workers.fetch.", after_s=after)
    if status in (408, 425) or status >= 500:
        if status == 503 and after is not None:
            raise Throttled(what, cause=cause, hint="The server asks for a pause.", after_s=after)
        raise Transient(what, cause=cause, hint="The server has trouble; it is tried again.")
    hints = {
        407: "The proxy asks for a login: write it into fetch.proxy.",
        401: "It asks for a login.",
        403: "It refuses this client; cookies may be needed.",
        404: "It is gone.",
        410: "It is gone.",
    }
    raise Permanent(what, cause=cause, hint=hints.get(status, "Is the address right? The site may refuse this client."))


def download(url: str, target: Path, partial: Path, settings: Fetch, *, web: Web, token: CancelToken, progress: Progress) -> Path:
    """Download ``url`` to ``target``. Received data is kept in ``partial`` until it is complete, so that a later attempt resumes.

    Raises :class:`Permanent` (4xx, not media, refused address), :class:`Rejected` (too large), :class:`Throttled` (429),
    :class:`Transient` (5xx, stalled, closed early), :class:`gainstage.engine.errors.Cancelled`.
    """
    with _written():
        have = partial.stat().st_size if partial.exists() else 0
        mark = partial.with_suffix(".etag")
        headers = {"accept": "audio/*,video/*,*/*;q=0.5", "accept-encoding": "identity"}
        if have and (same := _mark_of(mark)):
            headers |= {"range": f"bytes={have}-", "if-range": same}
        with web.get(url, token, headers) as response:
            ends_known = _is_all(response, have) or _take(response, partial, mark, have, settings, token, progress)
        token.check()  # a stop closes the connection, which looks like the end of a file of unknown length
        size = partial.with_suffix(".size")
        if not ends_known:
            _check_end(partial, mark, size)
        partial.replace(target)
        for file in (mark, size):
            file.unlink(missing_ok=True)
    return target


@contextlib.contextmanager
def _written() -> Iterator[None]:
    """Raises :class:`Transient` for what the disk refuses."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise Transient(
            f"the download cannot be written: {error.strerror}",
            cause="disk full" if full else "unwritable",
            hint="Free disk space or raise fetch.disk_floor." if full else "Check the folder under --home.",
        ) from error


def _check_end(partial: Path, mark: Path, size: Path) -> None:
    """The server gave no length and closed: the end of the file, or of its patience. Where the format tells that something is
    missing, the file is fetched again; one that ends at the same byte twice is like that. Raises :class:`Transient`.
    """
    have = partial.stat().st_size
    with partial.open("rb") as file:
        layout = structure(file, have)
    if not (layout.missing or layout.open_end):
        return
    with contextlib.suppress(OSError):
        if size.read_text() == str(have):
            return
    size.write_text(str(have))
    if not mark.exists():  # nothing that a later attempt could go on from
        partial.unlink()
    raise Transient(
        f"the server closed after {have:,} bytes of unknown length, in the middle of the file",
        cause="closed early",
        hint="It is fetched again; one that ends there twice is taken as it is.",
    )


def _is_all(response: httpx.Response, have: int) -> bool:
    """Whether the file is complete: the last attempt was killed after the last byte."""
    return bool(have and response.status_code == 416 and response.headers.get("content-range", "").strip() == f"bytes */{have}")


def _take(
    response: httpx.Response, partial: Path, mark: Path, have: int, settings: Fetch, token: CancelToken, progress: Progress
) -> bool:
    """Receive the file; whether the server said where it ends."""
    have = _resumed_at(response, have, partial)
    kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
    if NOT_MEDIA.fullmatch(kind):
        raise Permanent(
            f"the address gives {clean_text(kind, 60)}, not media", cause="not media", hint="Is it a page about the recording?"
        )
    whole = _whole_size(response, have)
    if whole is not None and whole > settings.max_bytes:
        raise Rejected(f"{whole:,} bytes, above fetch.max_bytes", cause="too large", hint="Raise fetch.max_bytes to take it.")
    if not have:  # before the mark of the new file is written: it must never exist together with a part of the old file
        partial.unlink(missing_ok=True)
    _remember(response, mark)
    _receive(response, partial, have, whole, settings, token, progress)
    return whole is not None or "chunked" in response.headers.get("transfer-encoding", "").lower()


def _resumed_at(response: httpx.Response, have: int, partial: Path) -> int:
    """Byte at which the body continues: ``have`` when the server resumes there, 0 when it starts from the beginning."""
    status = response.status_code
    if status == 200:
        return 0
    if status == 206:
        start = re.match(r"bytes ([0-9]{1,18})-", response.headers.get("content-range", ""))
        if start and int(start[1]) == have:
            return have
    elif status != 416:
        refuse(response)
    partial.unlink(missing_ok=True)  # nothing left to send, another file, or another part of it: start from the beginning
    raise Transient("the partial download no longer fits", cause="resume refused", hint="It is downloaded again from the start.")


def _whole_size(response: httpx.Response, have: int) -> int | None:
    length = response.headers.get("content-length")
    return have + int(length) if length and re.fullmatch(r"[0-9]{1,18}", length) else None


def _remember(response: httpx.Response, mark: Path) -> None:
    """Store what a later attempt needs to check that the file has not changed."""
    tag = response.headers.get("etag") or response.headers.get("last-modified")
    ranged = response.headers.get("accept-ranges", "bytes") != "none" and "content-encoding" not in response.headers
    if tag and ranged and not tag.startswith("W/") and MARK.fullmatch(tag):
        try:
            mark.write_text(tag, encoding="latin-1")
        except OSError:  # half a mark would be another file's
            mark.unlink(missing_ok=True)
            raise
    else:
        mark.unlink(missing_ok=True)


def _mark_of(mark: Path) -> str | None:
    """The stored mark; None when there is none, or none that can be sent."""
    with contextlib.suppress(OSError):
        text = mark.read_text(encoding="latin-1")
        return text if MARK.fullmatch(text) else None
    return None


def _receive(
    response: httpx.Response, partial: Path, have: int, whole: int | None, settings: Fetch, token: CancelToken, progress: Progress
) -> None:
    pace = SpeedCheck(settings.least_speed, settings.time_limit)
    with partial.open("ab" if have else "wb") as file:
        for block in pace.through(response.iter_bytes()):
            token.check()
            have += len(block)
            if have > settings.max_bytes:
                raise Rejected("larger than fetch.max_bytes", cause="too large", hint="Raise fetch.max_bytes to take it.")
            file.write(block)
            progress(min(1.0, have / whole) if whole else None)
        token.check()
    if have == 0:
        raise Permanent(
            "the server sent an empty file", cause="empty file", hint="The server's owner has to correct it; try again later."
        )
