"""The items behind an address according to yt-dlp: flat and streamed, a YouTube channel through its uploads playlist."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

from gainstage.config.settings import Fetch, Settings
from gainstage.engine.errors import EngineError, Permanent, Rejected
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.policy import split_url
from gainstage.engine.sources.ytdlp import open_ytdlp, youtube_args
from gainstage.engine.sources.ytdlp_entries import to_recording
from gainstage.engine.sources.ytdlp_errors import classify
from gainstage.engine.terms import Recording

SEARCH = re.compile(r"^ytsearch(date)?([1-9]\d*|all)?:\S")
VIDEO = re.compile(r"^https?://(?:(?:www|m|music)\.)?(?:youtube\.com/watch\?(?:.*&)?v=|youtu\.be/)([0-9A-Za-z_-]{11})(?:[?&#]|$)")
CHANNEL = re.compile(
    r"^https?://(?:(?:www|m)\.)?youtube\.com/(?:channel/(?P<id>UC[0-9A-Za-z_-]{22})|@[^/?#]+|(?:c|user)/[^/?#]+)"
    r"(?:/(?:featured|videos)?)?(?:[?#].*)?$"
)
CUT_SHORT = re.compile(r"HTTP Error (?:403|429|5\d\d)|Incomplete data|not a bot")
"""Start of a yt-dlp warning that a page of the list is missing: an error for us, because the list would look complete."""
DEPTH = 3
PAGE = 100


def is_youtube(url: str) -> bool:
    """Whether an address is one of YouTube's."""
    host = split_url(url).hostname or ""
    return host in ("youtu.be", "youtube.com") or host.endswith(".youtube.com")


def video_of(url: str) -> Recording | None:
    """A single YouTube video by its address alone, without a request; None for any other address."""
    if match := VIDEO.match(url):
        id = match[1]
        return to_recording({"ie_key": "Youtube", "id": id, "url": f"https://www.youtube.com/watch?v={id}"})
    return None


def uploads_playlist(channel_id: str) -> str:
    """The playlist of everything a channel has published, newest first, without a page limit."""
    return f"https://www.youtube.com/playlist?list=UU{channel_id.removeprefix('UC')}"


def list_with_ytdlp(url: str, settings: Settings, *, token: CancelToken) -> Iterator[Recording]:
    """Every item behind an address or a search, streamed; the items' own pages are not requested. Raises typed errors."""
    if not SEARCH.match(url):
        split_url(url)
    whole = {**youtube_args(settings.fetch), "raise_incomplete_data": ["true"]}
    with open_ytdlp(settings.fetch, token, extractor_args={"youtube": whole}) as ytdlp:
        if match := CHANNEL.match(url):
            yield from _channel(ytdlp, url, match["id"], token)
        else:
            yield from _entries(ytdlp, ytdlp.extract_info(url, download=False, process=False), token)
        for warning in ytdlp.params["logger"].warnings:
            if CUT_SHORT.search(warning):
                raise classify(warning)


def _channel(ytdlp: Any, url: str, id: str | None, token: CancelToken) -> Iterator[Recording]:
    page = None
    if id is None:
        page = _followed(ytdlp, ytdlp.extract_info(url, download=False, process=False))
        id = str((page or {}).get("channel_id") or "")
    if not id.startswith("UC"):
        yield from _entries(ytdlp, page, token)
        return
    uploads = ytdlp.extract_info(uploads_playlist(id), download=False, process=False)
    for recording in _entries(ytdlp, uploads, token):
        yield replace(recording, extra={**recording.extra, "uploads": True})


def _followed(ytdlp: Any, info: dict[str, Any] | None) -> dict[str, Any] | None:
    """The result at the end of results that only refer to another address."""
    for _ in range(DEPTH):
        if not info or info.get("_type") not in ("url", "url_transparent"):
            break
        info = ytdlp.extract_info(info["url"], ie_key=info.get("ie_key"), download=False, process=False)
    return info


def _entries(ytdlp: Any, info: dict[str, Any] | None, token: CancelToken, depth: int = 0) -> Iterator[Recording]:
    info = _followed(ytdlp, info) if depth == 0 else info
    if not info:
        return
    if info.get("_type") in ("playlist", "multi_video"):
        channel = info.get("channel") or info.get("uploader")
        for entry in _each(info.get("entries") or ()):
            token.check()
            if not entry:
                continue
            if channel and not entry.get("channel") and not entry.get("uploader"):
                entry = {**entry, "channel": channel}
            if depth < DEPTH and _is_list(ytdlp, entry):
                inner = ytdlp.extract_info(entry["url"], ie_key=entry.get("ie_key"), download=False, process=False)
                yield from _entries(ytdlp, inner, token, depth + 1)
            else:
                yield from _entries(ytdlp, entry, token, depth + 1)
    elif _is_address(info):
        recording_found = to_recording(info)
        alone = depth == 0  # its own page was read: there is nothing more to look up
        yield replace(recording_found, extra={**recording_found.extra, **looked_up()}) if alone else recording_found


def _is_address(info: dict[str, Any]) -> bool:
    try:
        split_url(str(info.get("webpage_url") or info.get("original_url") or info.get("url") or ""))
    except Permanent:
        return False
    return True


def _is_list(ytdlp: Any, entry: dict[str, Any]) -> bool:
    """Whether an entry is itself a list (a tab of a channel, a playlist of playlists)."""
    key = entry.get("ie_key")
    if entry.get("_type") not in ("url", "url_transparent") or not key:
        return False
    if str(key).startswith("Youtube"):
        return key not in ("Youtube", "YoutubeClip")
    return ytdlp.get_info_extractor(key).is_single_video(entry["url"]) is False


def _each(entries: Any) -> Iterable[dict[str, Any] | None]:
    if not hasattr(entries, "getslice"):
        yield from entries
        return
    for start in count(0, PAGE):
        page = list(entries.getslice(start, start + PAGE))
        yield from page
        if len(page) < PAGE:
            return


def looked_up() -> dict[str, Any]:
    """Marks of an item whose own page was read: no look-up needed, and one request counted for its download too."""
    return {"looked_up": True, "counted": round(time.time())}


def look_up(recording: Recording, settings: Fetch, *, token: CancelToken) -> Recording:
    """A listed item with the details of its own page: length, date, kind, and why it is unavailable. Sends one request or a few.

    After an inconclusive answer (network, an unknown error message) the recording is returned unchanged; a throttle is raised.
    """
    with open_ytdlp(settings, token) as ytdlp:
        info = ytdlp.extract_info(recording.source, download=False, process=False)
    if not info or info.get("_type", "video") != "video":
        return recording
    recording_found = to_recording(info)
    return replace(
        recording,
        title=recording_found.title or recording.title,
        duration=recording_found.duration or recording.duration,
        published=recording_found.published or recording.published,
        channel=recording_found.channel or recording.channel,
        extra={**recording.extra, **recording_found.extra, **looked_up()},
    )


def refused(recording: Recording, error: EngineError) -> Recording:
    """The recording with the reason of an error that is final for now; unchanged for any other error."""
    if isinstance(error, Rejected | Permanent):
        return replace(recording, extra={**recording.extra, "refused": error.cause, "looked_up": True})
    return recording
