"""From what the operator points at to recordings, as a stream in the order the source gives them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

from gainstage.config.settings import Settings
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import EngineError, Permanent, Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.feeds import ACCEPT, Asking, is_feed, list_feed
from gainstage.engine.sources.hosts import Hosts
from gainstage.engine.sources.http import refuse
from gainstage.engine.sources.ids import digest_of, own_id
from gainstage.engine.sources.lists import LISTS, ListLine, read_list
from gainstage.engine.sources.local import MEDIA, file_recording, is_settled, list_local, media_files, place_of
from gainstage.engine.sources.policy import check_url, split_url
from gainstage.engine.sources.proxy import proxy_of
from gainstage.engine.sources.web import Web
from gainstage.engine.sources.ytdlp_list import SEARCH, is_youtube, list_with_ytdlp, video_of
from gainstage.engine.terms import Recording

HEAD_BYTES = 4096
YOUTUBE = "https://www.youtube.com/"
WRITING = "still being written"


@dataclass(frozen=True, slots=True)
class Faulty:
    """Part of a source that gives no recording (a line, an episode without audio), and why."""

    title: str
    reason: str


Found = Recording | Faulty


def list_source(source: str, settings: Settings, *, token: CancelToken) -> Iterator[Recording]:
    """The recordings of one source. Raises :class:`gainstage.engine.errors.EngineError` for a source that is nothing."""
    with_faults = found_in(source, settings, token=token)
    return (found for found in with_faults if isinstance(found, Recording))


def found_in(
    source: str,
    settings: Settings,
    *,
    token: CancelToken,
    hosts: Hosts | None = None,
    settled: bool = False,
    in_list: bool = False,
) -> Iterator[Found]:
    """Everything a source names, also what cannot be taken from it.

    A source is a URL (media, feed, page), a search (``ytsearch20:words``), a file, a folder, or a list of sources (.txt,
    .jsonl). Requests are made as ``hosts`` gives leave (without: freely). ``settled`` is for a followed
    folder: it may be empty, and files that are being written are left for later.
    """
    token.check()
    if SEARCH.match(source):
        with _asking(hosts, token)(YOUTUBE):
            yield from list_with_ytdlp(source, settings, token=token)
        return
    if "://" in source or source.lower().startswith(("http:", "https:")):
        yield from list_url(source, settings, token=token, asking=_asking(hosts, token), in_list=in_list)
        return
    path = place_of(source)
    there = os.path.exists(path)
    if not there and (in_list or path.suffix.lower() not in MEDIA):
        raise Permanent(
            f"no such file or folder: {clean_text(source, 300)}", cause="missing source", hint="give a file, a folder or a URL"
        )
    if there and path.suffix.lower() in LISTS and path.is_file():
        if in_list:
            raise Permanent(
                f"a list inside a list: {clean_text(source, 300)}", cause="nested list", hint="name the inner list itself"
            )
        for line in read_list(path):
            yield from _of_line(line, settings, token, hosts)
        return
    if not (settled and path.is_dir()):
        yield from list_local(path, token=token)
        return
    for file in media_files(path):
        yield file_recording(file, token) if is_settled(file) else Faulty(clean_text(file.name, 300), WRITING)


def _of_line(line: ListLine, settings: Settings, token: CancelToken, hosts: Hosts | None) -> Iterator[Found]:
    """What a line names. A line that is wrong is told and does not stop the others; the host's throttle does."""
    if line.wrong:
        yield Faulty(line.wrong, "malformed line")
        return
    try:
        for found in found_in(line.source, settings, token=token, hosts=hosts, in_list=True):
            yield _told(found, line) if isinstance(found, Recording) and line.told else found
    except Throttled:
        raise
    except (Permanent, Transient) as error:
        yield Faulty(f"line {line.number}: {clean_text(line.source, 200)}", error.message)


def _told(found: Recording, line: ListLine) -> Recording:
    """The list's own words count more than what a file name says."""
    told = line.told
    return replace(
        found,
        title=told.get("title") or found.title,
        duration=found.duration or told.get("duration"),
        published=found.published or told.get("published"),
        channel=told.get("channel") or found.channel,
        priority=told.get("priority", found.priority),
    )


def _asking(hosts: Hosts | None, token: CancelToken) -> Asking:
    return (lambda url: hosts.asking(url, token)) if hosts is not None else lambda _: nullcontext()


def list_url(url: str, settings: Settings, *, token: CancelToken, asking: Asking, in_list: bool = False) -> Iterator[Found]:
    """Media by its ending, YouTube by its host, a feed by how it begins, anything else through yt-dlp.

    A single video named in a list is taken by its address alone: a list may be long.
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
                yield from list_with_ytdlp(url, settings, token=token)
        return
    web = Web(lambda: settings.fetch)
    try:
        with asking(url):
            kind = _kind_of(url, settings, web, token)
        if kind == "media":
            yield url_recording(url)
        elif kind == "feed":
            for item in list_feed(url, web, asking, token=token):
                yield item.recording if item.recording is not None else Faulty(item.title, item.reason)
        else:
            with asking(url):
                yield from list_with_ytdlp(url, settings, token=token)
    finally:
        web.close()


def is_media_url(url: str) -> bool:
    return PurePosixPath(unquote(split_url(url).path)).suffix.lower() in MEDIA


def _kind_of(url: str, settings: Settings, web: Web, token: CancelToken) -> str:
    """ "media", "feed" or "page", by how the answer begins."""
    check_url(url, allow_private=settings.fetch.allow_private, proxied=proxy_of(settings.fetch) is not None)
    try:
        with web.get(url, token, {**ACCEPT, "accept-encoding": "identity"}) as response:
            if response.status_code in (403, 405, 406):  # a site that refuses us may know yt-dlp's ways
                return "page"
            if response.status_code != 200:
                refuse(response)
            kind = response.headers.get("content-type", "").split("/")[0].strip().lower()
            if kind in ("audio", "video"):
                return "media"
            head = b""
            for block in response.iter_bytes():
                head += block
                if len(head) >= HEAD_BYTES:
                    break
            return "feed" if is_feed(head[: 4 * HEAD_BYTES]) else "page"
    except EngineError as error:
        error.hint = error.hint or "is the address right?"
        raise


def url_recording(url: str) -> Recording:
    """A recording whose identity is its address (without the fragment)."""
    parts = urlsplit(url)
    url = urlunsplit((parts.scheme.lower(), parts.netloc, parts.path, parts.query, ""))
    digest = digest_of(url)
    name = clean_text(PurePosixPath(unquote(parts.path)).name.rsplit(".", 1)[0], 300)
    return Recording(
        id=own_id(name, digest, "url"), key=f"url:{digest}", source=url, title=name or digest[:15], extra={"fetch": "http"}
    )
