"""yt-dlp behind two functions: list what an address is, and fetch its audio. No user configuration, no plugins."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from config.settings import Fetch, Settings
from engine.clean import clean_text
from engine.errors import Cancelled, EngineError, Permanent, Rejected, Throttled, Transient
from engine.flow.cancel import CancelToken
from engine.sources.policy import check_url
from engine.terms import Recording

UNSAFE = re.compile(r"[^A-Za-z0-9_-]")

CAUSES: tuple[tuple[str, type[EngineError], str, str], ...] = (
    (r"HTTP Error 429|Too Many Requests", Throttled, "HTTP 429", "lower fetch.rate or workers.fetch, or set fetch.cookies"),
    (r"not a bot|Sign in to confirm you", Throttled, "bot check", "set fetch.cookies from a signed-in browser, lower fetch.rate"),
    (r"members-only|join this channel|Premium", Rejected, "members-only", "cookies of a member may help"),
    (r"[Pp]rivate video|video is private", Rejected, "private", ""),
    (
        r"not available in your country|geo.?restrict|blocked it in your country",
        Rejected,
        "geo-blocked",
        "a proxy elsewhere may help",
    ),
    (r"confirm your age|age.?restricted", Rejected, "age-gated", "cookies of a grown-up account may help"),
    (r"Premieres in|will begin in|is upcoming|has not started", Rejected, "upcoming", "try again later"),
    (r"removed|no longer available|terminated|[Vv]ideo unavailable|does not exist|deleted", Permanent, "removed", ""),
    (r"HTTP Error 40[34]|HTTP Error 410", Permanent, "gone or forbidden", ""),
    (r"Unsupported URL|is not a valid URL", Permanent, "unsupported address", "yt-dlp does not know this site"),
    (r"Requested format is not available|no audio", Permanent, "no audio stream", ""),
    (r"timed out|HTTP Error 5\d\d|Connection|reset|Temporary failure|resolve", Transient, "network error", "it is tried again"),
)


def classify(text: str) -> EngineError:
    """The typed error behind yt-dlp's words; unknown words are tried again."""
    text = clean_text(text.removeprefix("ERROR: "), 400)
    for pattern, kind, cause, hint in CAUSES:
        if re.search(pattern, text):
            return kind(text, cause=cause, hint=hint)
    return Transient(text, cause="download failed", hint="if it stays, a newer yt-dlp may know the site")


class _Silent:
    """yt-dlp's logger: warnings and errors come back as exceptions or not at all."""

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...


def options(settings: Fetch) -> dict[str, Any]:
    """What every call has in common; nothing an operator types reaches yt-dlp as an option."""
    return {
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "logger": _Silent(),
        "socket_timeout": settings.timeout,
        "retries": 1,
        "extractor_retries": 1,
        "cachedir": False,
        "color": "never",
        "cookiefile": settings.cookies.get_secret_value() if settings.cookies else None,
        "proxy": settings.proxy.get_secret_value() if settings.proxy else None,
    }


def open_ytdlp(settings: Fetch, **more: Any) -> Any:
    os.environ["YTDLP_NO_PLUGINS"] = "1"
    from yt_dlp import YoutubeDL

    allow_private = settings.allow_private

    class Guarded(YoutubeDL):  # type: ignore[misc]
        """Asks the policy before every request yt-dlp makes, and again about where a redirect ended."""

        def urlopen(self, request: Any) -> Any:
            url = request if isinstance(request, str) else request.url if hasattr(request, "url") else request.get_full_url()
            check_url(url, allow_private=allow_private)
            response = super().urlopen(request)
            if response.url != url:
                check_url(response.url, allow_private=allow_private)
            return response

    return Guarded({**options(settings), **more})


def safe_id(extractor: str, id: str) -> str:
    """Our id for an item: readable, safe in file names and on command lines."""
    prefix = "yt" if extractor.lower().startswith("youtube") else UNSAFE.sub("", extractor.lower())[:12]
    return f"{prefix}-{UNSAFE.sub('_', id)[:60]}"


def to_recording(info: dict[str, Any]) -> Recording:
    extractor = str(info.get("extractor_key") or info.get("ie_key") or info.get("extractor") or "generic")
    id = str(info.get("id") or info.get("url"))
    date = str(info.get("upload_date") or "")
    return Recording(
        id=safe_id(extractor, id),
        key=f"{extractor.lower()}:{id}",
        source=str(info.get("webpage_url") or info.get("original_url") or info.get("url")),
        title=clean_text(str(info.get("title") or id), 300),
        duration=float(info["duration"]) if info.get("duration") else None,
        published=f"{date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 else None,
        channel=clean_text(str(info.get("channel") or info.get("uploader") or ""), 200) or None,
        extra={"fetch": "ytdlp"},
    )


def list_with_ytdlp(url: str, settings: Settings, *, token: CancelToken) -> Iterator[Recording]:
    """Every item behind an address, flat: no page per item is asked for."""
    from yt_dlp.utils import DownloadError

    check_url(url, allow_private=settings.fetch.allow_private)
    with open_ytdlp(settings.fetch, extract_flat="in_playlist", lazy_playlist=True) as ytdlp:
        try:
            info = ytdlp.extract_info(url, download=False)
            yield from _items(info or {}, token)
        except DownloadError as error:
            raise classify(str(error)) from error


def _items(info: dict[str, Any], token: CancelToken) -> Iterator[Recording]:
    if info.get("_type") in ("playlist", "multi_video"):
        for entry in info.get("entries") or ():
            token.check()
            if entry:
                yield from _items(entry, token)
    elif info.get("id") or info.get("url"):
        yield to_recording(info)


def fetch_with_ytdlp(
    url: str, folder: Path, settings: Fetch, *, token: CancelToken, progress: Callable[[float | None], None]
) -> Path:
    """Audio only, into ``folder/media.*``; whatever arrived of an earlier attempt in the same folder is resumed."""
    from yt_dlp.utils import DownloadError

    def hook(status: dict[str, Any]) -> None:
        token.check()
        whole = status.get("total_bytes") or status.get("total_bytes_estimate")
        have = status.get("downloaded_bytes") or 0
        if have > settings.max_bytes:
            raise Rejected("larger than fetch.max_bytes", cause="too large")
        progress(have / whole if whole else None)

    def wanted(info: dict[str, Any], *, incomplete: bool = False) -> str | None:
        if (info.get("duration") or 0) > settings.max_duration:
            raise Rejected(f"{info['duration']} s long, above fetch.max_duration", cause="too long")
        if info.get("is_live"):
            raise Rejected("it is live now", cause="live", hint="try again when it has ended")
        return None

    check_url(url, allow_private=settings.allow_private)
    with open_ytdlp(
        settings,
        format="bestaudio/best",
        outtmpl=str(folder / "media.%(ext)s"),
        noplaylist=True,
        progress_hooks=[hook],
        max_filesize=settings.max_bytes,
        match_filter=wanted,
        continuedl=True,
        overwrites=False,
        fixup="never",
        updatetime=False,
    ) as ytdlp:
        try:
            ytdlp.extract_info(url, download=True)
        except Cancelled:
            raise
        except DownloadError as error:
            cause = error.exc_info[1] if error.exc_info else None
            raise cause if isinstance(cause, EngineError) else classify(str(error)) from error
    found = [p for p in folder.glob("media.*") if p.suffix not in (".part", ".ytdl")]
    if not found:
        raise Permanent("nothing was downloaded", cause="nothing downloaded", hint="the item may be too large or have no audio")
    return found[0]
