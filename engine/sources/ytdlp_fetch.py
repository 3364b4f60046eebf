"""Download one item through yt-dlp: audio only, in its original language, resumable, limited in size."""

from __future__ import annotations

import glob
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gainstage.config.settings import Fetch
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Misconfigured, NotYet, Permanent, Rejected
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.policy import split_url
from gainstage.engine.sources.ytdlp import open_ytdlp
from gainstage.engine.sources.ytdlp_errors import NO_AUDIO

UNFINISHED = re.compile(r"\.(?:part|ytdl|temp)(?:-Frag\d+(?:\.part)?)?$")
"""Ends of the names of what yt-dlp has not finished."""
SETTLING_S = 6 * 3600.0
"""An ended stream is mostly processed within this many seconds; some keep that status forever although they are complete."""
LONGEST_HOLD_S = 60.0
"""Longest time, in seconds, for which a site may delay media, for example during an advertisement."""


def fetch_with_ytdlp(
    url: str,
    folder: Path,
    settings: Fetch,
    *,
    token: CancelToken,
    progress: Callable[[float | None], None],
    also: Callable[[Any, dict[str, Any]], None] = lambda ytdlp, info: None,
) -> Path:
    """Download to ``folder/media-*``; an earlier attempt in the same folder is resumed.

    ``also`` is called with yt-dlp and the item's details after the download, while its connections can still be used.

    Raises the errors of :func:`gainstage.engine.sources.http.download`; :class:`Rejected` also for live or members-only media,
    :class:`NotYet` for media that will be available soon.
    """

    def hook(status: dict[str, Any]) -> None:
        token.check()
        whole = status.get("total_bytes") or status.get("total_bytes_estimate")
        have = status.get("downloaded_bytes") or 0
        if have > settings.max_bytes:
            raise Rejected("larger than fetch.max_bytes", cause="too large", hint="Raise fetch.max_bytes to take it.")
        progress(min(1.0, have / whole) if whole else None)

    def wanted(info: dict[str, Any], *, incomplete: bool = False) -> str | None:
        _check(info, settings)
        if not info.get("formats"):  # the chosen format, just before its download
            _hold(info, token)
        return None

    split_url(url)
    _forget_pieces(folder)
    with open_ytdlp(
        settings,
        token,
        format=formats_of(settings),
        format_sort=["lang"],  # the original before a dub, whatever the bit rates
        outtmpl=str(folder).replace("%", "%%") + "/media-%(format_id).40s.%(ext)s",  # two formats need two file names
        noplaylist=True,
        playlist_items="1",
        progress_hooks=[hook],
        match_filter=wanted,
        continuedl=True,
        overwrites=False,
        fixup="never",
        updatetime=False,
        postprocessors=[],
    ) as ytdlp:
        info = ytdlp.extract_info(url, download=True)
        token.check()
        files = [p for p in sorted(folder.glob("media*")) if not UNFINISHED.search(p.name) and p.stat().st_size]
        if not files:
            raise Permanent("nothing was downloaded", cause="nothing downloaded", hint="The item may have no audio.")
        also(ytdlp, _item(info))
    return max(files, key=lambda path: path.stat().st_mtime_ns)


def _forget_pieces(folder: Path) -> None:
    """Remove a stream of which an earlier attempt has some pieces: yt-dlp notes a piece after it has written it, and also where the
    disk took only a part of it, so that going on could leave one out or have it twice.
    """
    for note in folder.glob("media*.ytdl"):
        for path in folder.glob(f"{glob.escape(note.name.removesuffix('.ytdl'))}.part*"):
            path.unlink(missing_ok=True)
        note.unlink()


def _item(info: dict[str, Any] | None) -> dict[str, Any]:
    """The details of the item that was downloaded: the first where its page is a list."""
    entries = (info or {}).get("entries")
    return next((entry for entry in entries if entry), {}) if entries else info or {}


def formats_of(settings: Fetch) -> str:
    """yt-dlp's format selector: audio only before audio with video, the wanted language before any other."""
    language = settings.audio_language
    if not language:
        return "bestaudio/best"
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", language):
        raise Misconfigured(
            f"fetch.audio_language is no language: {clean_text(language, 40)}",
            cause="audio language",
            hint="Write a code, as in de, en-US or pt-BR.",
        )
    return (
        "/".join(
            f"{kind}[language{match}]"
            for match in (f"={language}", f"^={language}-", f"^={language.split('-')[0]}")
            for kind in ("bestaudio", "best")
        )
        + "/bestaudio/best"
    )


def _check(info: dict[str, Any], settings: Fetch) -> None:
    """Raises for media that are not taken, as far as their page shows."""
    if (info.get("duration") or 0) > settings.max_duration:
        raise Rejected(
            f"{info['duration']} s long, above fetch.max_duration", cause="too long", hint="Raise fetch.max_duration to take it."
        )
    if info.get("is_live") or info.get("live_status") == "is_live":
        raise Rejected("it is live now", cause="live", hint="Try again when it has ended.")
    if info.get("live_status") == "is_upcoming":
        raise NotYet("it has not begun", cause="upcoming", hint="It is looked at again later.", after_s=SETTLING_S / 6)
    if (info.get("filesize") or 0) > settings.max_bytes:
        raise Rejected(
            f"{info['filesize']:,} bytes, above fetch.max_bytes", cause="too large", hint="Raise fetch.max_bytes to take it."
        )
    formats = [f for f in info.get("formats") or () if not _is_picture(f)]
    if not formats:
        return
    if info.get("live_status") == "post_live" and all(f.get("is_from_start") for f in formats) and not _settled(info):
        raise NotYet(
            "its stream has just ended, and is being put together",
            cause="just ended",
            hint="It is looked at again later.",
            after_s=SETTLING_S / 6,
        )
    if all(f.get("acodec") == "none" for f in formats):
        raise Permanent("it has pictures and no sound", cause=NO_AUDIO, hint="Nothing can be done here: it has no sound.")


def _is_picture(format: dict[str, Any]) -> bool:
    """Whether a format is a storyboard, which every video has."""
    return format.get("ext") == "mhtml" or (format.get("acodec") == "none" and format.get("vcodec") == "none")


def _settled(info: dict[str, Any]) -> bool:
    """Whether a stream ended long ago, or at an unknown time."""
    begun = info.get("release_timestamp") or info.get("timestamp")
    return not isinstance(begun, int | float) or time.time() - begun - (info.get("duration") or 0) > SETTLING_S


def _hold(info: dict[str, Any], token: CancelToken) -> None:
    """Wait as long as the site delays the media: yt-dlp's own sleep would ignore the cancel token."""
    wait_s = float(info.pop("available_at", None) or 0) - time.time()
    if wait_s > LONGEST_HOLD_S:
        raise NotYet("the site holds its media back", cause="held back", hint="It is looked at again later.", after_s=wait_s)
    token.wait(max(0.0, wait_s))
    token.check()
