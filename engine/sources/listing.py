"""Sources that the operator names, as a stream of recordings in the order of the source."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

from gainstage.config.settings import Settings
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import EngineError, Permanent, Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.feed_parser import feed_parser
from gainstage.engine.sources.feeds import ACCEPT, PAGE_S, Asking, is_feed, list_feed, parse_feed
from gainstage.engine.sources.hosts import Hosts
from gainstage.engine.sources.http import refuse
from gainstage.engine.sources.ids import digest_of, own_id
from gainstage.engine.sources.lists import LISTS, ListLine, read_list
from gainstage.engine.sources.local import BLOCK, MEDIA, check_regular, file_recording, files_below, is_settled, place_of, why_not
from gainstage.engine.sources.opml import bounded, is_opml, read_opml
from gainstage.engine.sources.pace import SpeedCheck
from gainstage.engine.sources.policy import check_url, split_url
from gainstage.engine.sources.proxy import proxy_of
from gainstage.engine.sources.web import Web
from gainstage.engine.sources.ytdlp_apart import list_site
from gainstage.engine.sources.ytdlp_list import SEARCH, is_youtube, video_of
from gainstage.engine.terms import Recording

HEAD_BYTES = 4096
YOUTUBE = "https://www.youtube.com/"
WRITING = "still being written"
SHOWN = 5
"""Most left-out files that an error names."""


@dataclass(frozen=True, slots=True)
class Faulty:
    """Part of a source that gives no recording (a line, an episode without audio), and the reason."""

    title: str
    reason: str


ListedItem = Recording | Faulty


def list_source(source: str, settings: Settings, *, token: CancelToken) -> Iterator[Recording]:
    """The recordings of one source. Raises :class:`gainstage.engine.errors.EngineError` for an invalid source."""
    with_faults = list_items(source, settings, token=token)
    return (item for item in with_faults if isinstance(item, Recording))


def list_items(
    source: str,
    settings: Settings,
    *,
    token: CancelToken,
    hosts: Hosts | None = None,
    settled: bool = False,
    in_list: bool = False,
) -> Iterator[ListedItem]:
    """Everything in a source, including what cannot be taken.

    A source is a URL (media, feed, page), a search (``ytsearch20:words``), a file, a folder, or a list of sources (.txt,
    .jsonl). Requests wait for permission of ``hosts``; None sends them at once. ``settled`` is for a followed folder: it may be
    empty, and files that are being written are left for later.
    """
    token.check()
    if SEARCH.match(source):
        with _asking(hosts, token)(YOUTUBE):
            yield from list_site(source, settings, token=token)
        return
    if "://" in source or source.lower().startswith(("http:", "https:")):
        yield from list_url(source, settings, token=token, asking=_asking(hosts, token), hosts=hosts, in_list=in_list)
        return
    path = place_of(source)
    there = os.path.exists(path)
    if not there and (in_list or path.suffix.lower() not in MEDIA):
        raise Permanent(
            f"no such file or folder: {clean_text(source, 300)}", cause="missing source", hint="Give a file, a folder or a URL."
        )
    if there and path.suffix.lower() in LISTS and path.is_file():
        if in_list:
            raise Permanent(
                f"a list inside a list: {clean_text(source, 300)}", cause="nested list", hint="Name the inner list itself."
            )
        for line in read_list(path):
            yield from _of_line(line, settings, token, hosts)
        return
    if there:
        check_regular(path)
    if path.is_dir():
        yield from _of_folder(path, token, settled)
        return
    if there and (kind := _document_of(path)):
        if in_list:
            raise Permanent(
                f"a list inside a list: {clean_text(source, 300)}", cause="nested list", hint="Name the inner list itself."
            )
        yield from _of_document(path, kind, settings, token, hosts)
        return
    if there and (reason := why_not(path)):
        raise Permanent(
            f"{clean_text(str(path), 300)}: {reason}", cause="no media", hint="Give a recording, a folder, a list or a feed."
        )
    yield file_recording(path, token)


def _of_folder(folder: Path, token: CancelToken, settled: bool) -> Iterator[ListedItem]:
    """Every file below a folder, taken or left out. Raises :class:`Permanent` when none is taken, unless the folder is followed."""
    left: list[Faulty] = []
    taken = 0
    for file, reason in files_below(folder):
        token.check()
        if not reason and settled and not is_settled(file):
            reason = WRITING
        if not reason:
            taken += 1
            yield file_recording(file, token)
            continue
        fault = Faulty(clean_text(os.path.relpath(file, folder), 300), reason)
        if len(left) < SHOWN:
            left.append(fault)
        yield fault
    if not taken and not settled:
        named = "; ".join(f"{fault.title}: {fault.reason}" for fault in left[:SHOWN])
        raise Permanent(
            f"no media files in {clean_text(str(folder), 300)}" + (f" ({named})" if named else ""),
            cause="no media",
            hint="It holds no file with audio or video.",
        )


def _document_of(path: Path) -> str:
    """ "feed" or "opml" for a local file of that kind, else empty."""
    if path.suffix.lower() in MEDIA:
        return ""
    try:
        with path.open("rb") as file:
            head = file.read(4 * HEAD_BYTES)
    except OSError:
        return ""
    return "feed" if is_feed(head) else "opml" if is_opml(head) else ""


def _of_document(path: Path, kind: str, settings: Settings, token: CancelToken, hosts: Hosts | None) -> Iterator[ListedItem]:
    """The recordings of a local feed or a list of subscriptions."""
    with path.open("rb") as file:
        blocks = iter(lambda: file.read(BLOCK), b"")
        if kind == "feed":
            address = path.absolute().as_uri()
            with feed_parser(token) as parser:
                for item in parse_feed(blocks, address, address, parser):
                    yield item.recording if item.recording is not None else Faulty(item.title, item.reason)
            return
        yield from _of_outlines(blocks, settings, token, hosts)


def _of_outlines(blocks: Iterable[bytes], settings: Settings, token: CancelToken, hosts: Hosts | None) -> Iterator[ListedItem]:
    for number, address in enumerate(read_opml(blocks), 1):
        yield from _of_line(ListLine(number, address), settings, token, hosts)


def _of_line(line: ListLine, settings: Settings, token: CancelToken, hosts: Hosts | None) -> Iterator[ListedItem]:
    """The recordings of a line. An invalid line is reported and does not stop the others; a throttle by the host does."""
    if line.wrong:
        yield Faulty(line.wrong, "malformed line")
        return
    try:
        for item in list_items(line.source, settings, token=token, hosts=hosts, in_list=True):
            yield _with_details(item, line) if isinstance(item, Recording) and line.details else item
    except Throttled:
        raise
    except (Permanent, Transient) as error:
        yield Faulty(f"line {line.number}: {clean_text(line.source, 200)}", error.message)


def _with_details(recording: Recording, line: ListLine) -> Recording:
    """A recording with the details of the list, which take precedence over the file name."""
    details = line.details
    return replace(
        recording,
        title=details.get("title") or recording.title,
        duration=recording.duration or details.get("duration"),
        published=recording.published or details.get("published"),
        channel=details.get("channel") or recording.channel,
        priority=details.get("priority", recording.priority),
        options=recording.options.over(details.get("options", recording.options)),
    )


OTHER_KINDS = re.compile(
    r"text/(css|csv|javascript|calendar|vcard)|application/(json|feed\+json|ld\+json|javascript|pdf|epub\+zip|(x-)?zip(-compressed)?|gzip"
    r"|x-tar|x-rar-compressed|msword|rtf|vnd\.(ms-|openxmlformats).*)|(image|font)/.*"
)
"""Types of content in which yt-dlp finds nothing."""


def _asking(hosts: Hosts | None, token: CancelToken) -> Asking:
    return (lambda url: hosts.asking(url, token)) if hosts is not None else lambda _: nullcontext()


def list_url(
    url: str, settings: Settings, *, token: CancelToken, asking: Asking, hosts: Hosts | None = None, in_list: bool = False
) -> Iterator[ListedItem]:
    """The recordings of an address: media by its file ending, YouTube by its host, a feed by its first bytes, else through yt-dlp.

    A single video in a list is taken by its address, without a request: a list may be long.
    """
    if is_media_url(url):
        yield url_recording(url)
        return
    if is_youtube(url):
        video = video_of(url) if in_list else None
        if video is not None:
            yield video
        else:
            with asking(url):
                yield from list_site(url, settings, token=token)
        return
    web = Web(lambda: settings.fetch)
    try:
        with asking(url):
            kind = _kind_of(url, settings, web, token)
        if kind == "media":
            yield url_recording(url)
        elif kind == "feed":
            for item in list_feed(url, web, asking, token=token, least_speed=settings.fetch.least_speed):
                yield item.recording if item.recording is not None else Faulty(item.title, item.reason)
        elif kind == "opml" and not in_list:
            with asking(url), web.get(url, token, ACCEPT) as response:
                if response.status_code != 200:
                    refuse(response)
                blocks = list(SpeedCheck(settings.fetch.least_speed, PAGE_S).through(bounded(response.iter_bytes())))
            yield from _of_outlines(blocks, settings, token, hosts)
        else:
            with asking(url):
                yield from list_site(url, settings, token=token)
    finally:
        web.close()


def is_media_url(url: str) -> bool:
    """Whether an address ends like a media file."""
    return PurePosixPath(unquote(split_url(url).path)).suffix.lower() in MEDIA


def _kind_of(url: str, settings: Settings, web: Web, token: CancelToken) -> str:
    """ "media", "feed", "opml" or "page", by the first bytes of the response."""
    check_url(url, allow_private=settings.fetch.allow_private, proxied=proxy_of(settings.fetch) is not None)
    try:
        with web.get(url, token, {**ACCEPT, "accept-encoding": "identity"}) as response:
            if response.status_code in (403, 405, 406):  # yt-dlp may have access to a site that refuses our request
                return "page"
            if response.status_code != 200:
                refuse(response)
            kind = response.headers.get("content-type", "").split("/")[0].strip().lower()
            if kind in ("audio", "video"):
                return "media"
            head = b""
            for block in SpeedCheck(settings.fetch.least_speed, PAGE_S).through(response.iter_bytes()):
                head += block
                if len(head) >= HEAD_BYTES:
                    break
            head = head[: 4 * HEAD_BYTES]
            if is_feed(head) or is_opml(head):
                return "feed" if is_feed(head) else "opml"
            _refuse_other(response.headers.get("content-type", "").split(";")[0].strip().lower(), head)
            return "page"
    except EngineError as error:
        error.hint = error.hint or "Is the address right?"
        raise


def _refuse_other(kind: str, head: bytes) -> None:
    """Raise :class:`Permanent` for what is neither media nor a page that could lead there: a document, a picture, an archive, data."""
    plain = kind == "text/plain" and bool(head) and b"<" not in head and not head.startswith(b"#EXTM3U") and _is_text(head)
    if plain or OTHER_KINDS.fullmatch(kind):
        raise Permanent(
            f"the address gives {clean_text(kind, 60)}, not media", cause="not media", hint="Is it a page about the recording?"
        )


def _is_text(head: bytes) -> bool:
    return not re.search(rb"[\x00-\x08\x0e-\x1f\x7f]", head)


def url_recording(url: str) -> Recording:
    """A recording identified by its address (without the fragment)."""
    parts = urlsplit(url)
    url = urlunsplit((parts.scheme.lower(), parts.netloc, parts.path, parts.query, ""))
    digest = digest_of(url)
    name = clean_text(PurePosixPath(unquote(parts.path)).name.rsplit(".", 1)[0], 300)
    return Recording(
        id=own_id(name, digest, "url"), key=f"url:{digest}", source=url, title=name or digest[:15], extra={"fetch": "http"}
    )
