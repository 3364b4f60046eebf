"""yt-dlp held short: no configuration of the user, no plugins, no subprocess, our own network, its words as typed errors."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

from config.settings import Fetch
from engine.clean import clean_text
from engine.errors import Cancelled, EngineError, Misconfigured, Permanent, Rejected, Throttled, Transient
from engine.flow.cancel import CancelToken
from engine.sources import tls
from engine.sources.cookies import cookies_text
from engine.terms import Recording

MINIMUM = "2026.10.26"
"""The oldest yt-dlp these rooms were tested with."""
AGES_DAYS = 90
"""Sites change: a yt-dlp older than this is likely to have stopped working with some."""

UNSAFE = re.compile(r"[^A-Za-z0-9_-]")

CAUSES: tuple[tuple[str, type[EngineError], str, str], ...] = (
    (r"CERTIFICATE_VERIFY_FAILED|certificate verify failed", Permanent, tls.UNTRUSTED, tls.HINT),
    (
        r"HTTP Error 429|Too Many Requests|rate.?limited",
        Throttled,
        "HTTP 429",
        "lower fetch.rate or workers.fetch, or set fetch.cookies",
    ),
    (r"not a bot|confirm you.?re not", Throttled, "bot check", "set fetch.cookies from a signed-in browser, lower fetch.rate"),
    (r"members-only|members only|join this channel|channel's members", Rejected, "members-only", "cookies of a member may help"),
    (r"Premium|requires payment|purchase|rental", Rejected, "paid", "cookies of an account that has it may help"),
    (r"[Pp]rivate video|video is private", Rejected, "private", "the owner may have shared it with an account: cookies may help"),
    (
        r"not available in your country|geo.?restrict|in your country|from your location",
        Rejected,
        "geo-blocked",
        "a proxy elsewhere may help",
    ),
    (
        r"confirm your age|age.?restricted|inappropriate for some users",
        Rejected,
        "age-gated",
        "cookies of a grown-up account may help",
    ),
    (
        r"Premieres in|will begin in|is upcoming|has not started|is offline|not currently live",
        Rejected,
        "upcoming",
        "try again later",
    ),
    (r"removed|no longer available|terminated|[Vv]ideo unavailable|does not exist|deleted", Permanent, "removed", ""),
    (r"API page: HTTP Error 40[34]", Transient, "network error", "it is tried again"),
    (r"HTTP Error 40[134]|HTTP Error 410", Permanent, "gone or forbidden", "is the address right? cookies may be needed"),
    (r"does not have an? \w+ tab", Permanent, "no such tab", "the channel has nothing of this kind"),
    (r"Unsupported URL|is not a valid URL", Permanent, "unsupported address", "yt-dlp does not know this site"),
    (r"Requested format is not available|no audio|No video formats", Permanent, "no audio stream", ""),
    (r"timed out|HTTP Error 5\d\d|[Cc]onnection|reset|Temporary failure|resolve", Transient, "network error", "it is tried again"),
)


def classify(text: str) -> EngineError:
    """The typed error behind yt-dlp's words; unknown words are tried again."""
    text = clean_text(text.removeprefix("ERROR: ").split("; please report this issue")[0], 400)
    for pattern, kind, cause, hint in CAUSES:
        if re.search(pattern, text):
            return kind(text, cause=cause, hint=hint)
    return Transient(text, cause="download failed", hint="if it stays, a newer yt-dlp may know the site")


@contextmanager
def translated(token: CancelToken) -> Iterator[None]:
    """yt-dlp's exceptions as ours; one of ours that came through it comes out as it went in."""
    from yt_dlp.networking.exceptions import RequestError
    from yt_dlp.utils import YoutubeDLError

    try:
        yield
    except (YoutubeDLError, RequestError) as error:
        token.check()
        ours = _ours(error)
        raise ours if ours is not None else classify(str(error)) from error


def _ours(error: BaseException) -> EngineError | None:
    """Our own error among the causes of one of yt-dlp's."""
    waiting: list[Any] = [error]
    for _ in range(20):
        if not waiting:
            return None
        here = waiting.pop(0)
        if isinstance(here, EngineError):
            return here
        told = getattr(here, "exc_info", None)
        waiting += [
            e
            for e in (getattr(here, "cause", None), here.__cause__, here.__context__, told[1] if told else None)
            if isinstance(e, BaseException)
        ]
    return None


class Told:
    """yt-dlp's logger. Errors come back as exceptions; warnings are kept, as some of them are errors to us."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...

    def warning(self, message: str) -> None:
        if len(self.warnings) < 1000:
            self.warnings.append(message)


def options(settings: Fetch) -> dict[str, Any]:
    """What every call has in common; nothing an operator types reaches yt-dlp as an option."""
    cookies = cookies_text(settings)
    return {
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "socket_timeout": settings.timeout,
        "retries": 1,
        "fragment_retries": 3,
        "extractor_retries": 1,
        "cachedir": False,
        "color": "never",
        "usenetrc": False,
        "enable_file_urls": False,
        "ffmpeg_location": os.path.join(os.devnull, "none"),  # it would go to addresses nobody has checked
        "hls_prefer_native": True,
        "cookiefile": io.StringIO(cookies) if cookies is not None else None,  # a copy: yt-dlp writes back to what it is given
        "proxy": settings.proxy.get_secret_value() if settings.proxy else "",
    }


@contextmanager
def open_ytdlp(settings: Fetch, token: CancelToken, **more: Any) -> Iterator[Any]:
    """A :class:`yt_dlp.YoutubeDL` for one thread. Its errors leave the block as ours: see :func:`translated`."""
    os.environ["YTDLP_NO_PLUGINS"] = "1"
    from yt_dlp import YoutubeDL
    from yt_dlp.globals import plugin_dirs
    from yt_dlp.version import __version__

    from engine.sources.ytdlp_guard import Sockets, handler_for

    plugin_dirs.value = []
    if version_tuple(__version__) < version_tuple(MINIMUM):
        raise Misconfigured(
            f"yt-dlp {__version__} is older than {MINIMUM}, the oldest that was tested", cause="yt-dlp too old", hint=RENEW
        )
    sockets = Sockets(token)
    handler = handler_for(settings.allow_private, settings.proxy is not None, sockets)

    class Guarded(YoutubeDL):  # type: ignore[misc]
        def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
            return super().build_request_director([handler], [])

    told = Told()
    try:
        with translated(token), Guarded({**options(settings), **more, "logger": told}) as ytdlp:
            yield ytdlp
    except EngineError as error:
        for words in told.warnings:  # yt-dlp tries other ways after a throttle: the last of them is not the cause
            if not isinstance(error, Throttled | Cancelled) and isinstance(meant := classify(words), Throttled):
                raise meant from error
        raise
    finally:
        sockets.close()


RENEW = "renew it: uv lock --upgrade-package yt-dlp, or pip install -U yt-dlp"


def version_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


@dataclass(frozen=True, slots=True)
class Age:
    """How old yt-dlp is. ``state`` as the doctor shows it."""

    state: Literal["ok", "warn", "fail"]
    text: str
    mend: str


def ytdlp_age(today: date | None = None, version: str | None = None) -> Age:
    """For ``doctor``: yt-dlp against the tested minimum and against the calendar."""
    if version is None:
        from yt_dlp.version import __version__

        version = str(__version__)
    if version_tuple(version) < version_tuple(MINIMUM):
        return Age("fail", f"{version}, older than {MINIMUM}, the oldest that was tested", RENEW)
    with contextlib.suppress(ValueError):
        days = ((today or datetime.now(UTC).date()) - date(*version_tuple(version))).days
        if days > AGES_DAYS:
            return Age("warn", f"{version}, {days} days old: sites have changed since", RENEW)
    return Age("ok", version, "")


# -- from its entries to recordings -------------------------------------------------------------------------------------------


def identity(info: dict[str, Any]) -> tuple[str, str]:
    """(our id, key) of an entry. The id is readable, safe in file names and on command lines, and another for another key."""
    extractor = str(info.get("extractor_key") or info.get("ie_key") or info.get("extractor") or "generic").lower()
    id = str(info.get("id") or "")
    if extractor == "generic" or not id:  # the id of a page nobody knows is its file name
        id = str(info.get("webpage_url") or info.get("original_url") or info.get("url"))
    key = f"{extractor}:{id}"
    if extractor == "youtube" and not UNSAFE.search(id):
        return f"yt-{id}", key
    prefix = UNSAFE.sub("", extractor)[:12]
    if prefix == extractor and len(id) <= 60 and not UNSAFE.search(id):
        return f"{prefix}-{id}", key
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{prefix}-{UNSAFE.sub('_', id)[-40:]}-{digest}", key


def to_recording(info: dict[str, Any]) -> Recording:
    """An entry as a recording; what is known of its availability goes into ``extra``."""
    id, key = identity(info)
    source = str(info.get("webpage_url") or info.get("original_url") or info.get("url"))
    title = str(info.get("title") or info.get("id") or source)
    extra: dict[str, Any] = {"fetch": "ytdlp"}
    if refused := refusal_of(info):
        extra["refused"] = refused
    if info.get("live_status") in ("is_live", "post_live"):
        extra["live"] = True
    if info.get("media_type") == "short" or "/shorts/" in source:
        extra["short"] = True
    elif info.get("media_type"):
        extra["short"] = False
    size = info.get("filesize") or info.get("filesize_approx")
    if isinstance(size, int | float) and size > 0:
        extra["bytes"] = int(size)
    return Recording(
        id=id,
        key=key,
        source=source,
        title=clean_text(title, 300),
        duration=float(info["duration"]) if info.get("duration") else None,
        published=published_of(info),
        channel=clean_text(str(info.get("channel") or info.get("uploader") or ""), 200) or None,
        extra=extra,
    )


def published_of(info: dict[str, Any]) -> str | None:
    """ISO date."""
    if re.fullmatch(r"\d{8}", text := str(info.get("upload_date") or info.get("release_date") or "")):
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    stamp = info.get("timestamp") or info.get("release_timestamp")
    with contextlib.suppress(ValueError, OverflowError, OSError, TypeError):
        return datetime.fromtimestamp(float(stamp), UTC).date().isoformat() if stamp else None
    return None


def refusal_of(info: dict[str, Any]) -> str | None:
    """Why an entry cannot be downloaded, from what its listing says; None when nothing speaks against it."""
    availability = info.get("availability")
    title = str(info.get("title") or "")
    if availability == "subscriber_only":
        return "members-only"
    if availability == "premium_only":
        return "paid"
    if availability == "private" or title == "[Private video]":
        return "private"
    if title == "[Deleted video]":
        return "removed"
    if info.get("live_status") == "is_upcoming":
        return "upcoming"
    return None
