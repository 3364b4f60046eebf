"""yt-dlp held short: no configuration of the user, no plugins, no subprocess, our own network, its words as typed errors."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

from gainstage.config.settings import Fetch
from gainstage.engine.errors import Cancelled, EngineError, Misconfigured, Throttled
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.cookies import cookies_text
from gainstage.engine.sources.proxy import proxy_of
from gainstage.engine.sources.ytdlp_errors import classify, translated

MINIMUM = "2026.10.26"
"""The oldest yt-dlp these rooms were tested with."""
AGES_DAYS = 90
"""Sites change: a yt-dlp older than this is likely to have stopped working with some."""


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
        "proxy": proxy_of(settings) or "",
    }


@contextmanager
def open_ytdlp(settings: Fetch, token: CancelToken, **more: Any) -> Iterator[Any]:
    """A :class:`yt_dlp.YoutubeDL` for one thread. Its errors leave the block as ours: see :func:`translated`."""
    os.environ["YTDLP_NO_PLUGINS"] = "1"
    from yt_dlp import YoutubeDL
    from yt_dlp.globals import plugin_dirs
    from yt_dlp.version import __version__

    from gainstage.engine.sources.ytdlp_guard import Sockets, handler_for

    plugin_dirs.value = []
    if version_tuple(__version__) < version_tuple(MINIMUM):
        raise Misconfigured(
            f"yt-dlp {__version__} is older than {MINIMUM}, the oldest that was tested", cause="yt-dlp too old", hint=RENEW
        )
    sockets = Sockets(token)
    handler = handler_for(settings.allow_private, proxy_of(settings) is not None, sockets)

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
