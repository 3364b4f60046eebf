"""yt-dlp in a restricted form: no user configuration, no plugins, our own network layer, typed errors.

It starts one kind of child only: the JavaScript runtime that solves YouTube's challenges, without files, network or
environment, and with a deadline (see :mod:`gainstage.engine.sources.js_runtime`).
"""

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
from gainstage.engine.errors import EngineError, Misconfigured, Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.cookies import cookies_text
from gainstage.engine.sources.js_runtime import find_runtime, solver_version
from gainstage.engine.sources.proxy import proxy_of
from gainstage.engine.sources.ytdlp_errors import RENEW, meant, translated

MINIMUM = "2026.10.26"
"""Oldest yt-dlp that was tested."""
AGES_DAYS = 90
"""Sites change: a yt-dlp older than this many days is likely to fail with some."""


class WarningLog:
    """yt-dlp's logger. Errors arrive as exceptions; warnings are kept, because some of them are errors for us."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None: ...
    def info(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...

    def warning(self, message: str) -> None:
        if len(self.warnings) < 1000:
            self.warnings.append(message)


def options(settings: Fetch) -> dict[str, Any]:
    """Options that all calls share; operator input never becomes a yt-dlp option."""
    from gainstage.engine.sources.ytdlp_solver import runtimes

    cookies = cookies_text(settings)
    return {
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "socket_timeout": settings.timeout,
        "retries": 1,
        "fragment_retries": 3,
        "skip_unavailable_fragments": False,  # a stream without one of its pieces is no whole recording
        "extractor_retries": 1,
        "cachedir": False,
        "color": "never",
        "usenetrc": False,
        "enable_file_urls": False,
        "ffmpeg_location": os.path.join(os.devnull, "none"),  # ffmpeg would connect to unchecked addresses
        "hls_prefer_native": True,
        "cookiefile": io.StringIO(cookies) if cookies is not None else None,  # a copy, because yt-dlp writes to the file it gets
        "cookiesfrombrowser": browser_of(settings),
        "proxy": proxy_of(settings) or "",
        "js_runtimes": runtimes(),
        "extractor_args": {"youtube": youtube_args(settings)},
    }


def youtube_args(settings: Fetch) -> dict[str, list[str]]:
    """The operator's settings for YouTube, as yt-dlp's extractor arguments."""
    args: dict[str, list[str]] = {}
    if settings.player_client:
        args["player_client"] = [name for part in settings.player_client.split(",") if (name := part.strip())]
    if settings.visitor_data is not None:
        args["visitor_data"] = [settings.visitor_data.get_secret_value()]
    return args


def browser_of(settings: Fetch) -> tuple[str, str | None, None, None] | None:
    """(browser, profile) whose cookies are sent. Raises :class:`Misconfigured` for a browser that yt-dlp cannot read."""
    if not settings.cookies_browser:
        return None
    from yt_dlp.cookies import SUPPORTED_BROWSERS

    name, _, profile = settings.cookies_browser.partition(":")
    if name not in SUPPORTED_BROWSERS:
        known = ", ".join(sorted(SUPPORTED_BROWSERS))
        raise Misconfigured("fetch.cookies_browser names no known browser", cause="cookies", hint=f"Set it to one of {known}.")
    return name, profile or None, None, None


@contextmanager
def open_ytdlp(settings: Fetch, token: CancelToken, **more: Any) -> Iterator[Any]:
    """A :class:`yt_dlp.YoutubeDL` for one thread. Its errors leave the block as typed errors: see :func:`translated`."""
    os.environ["YTDLP_NO_PLUGINS"] = "1"
    from yt_dlp import YoutubeDL
    from yt_dlp.globals import plugin_dirs
    from yt_dlp.version import __version__

    from gainstage.engine.sources import ytdlp_impersonate
    from gainstage.engine.sources.ytdlp_guard import Sockets, handler_for
    from gainstage.engine.sources.ytdlp_impersonate import target_of
    from gainstage.engine.sources.ytdlp_pot import provider_of, register
    from gainstage.engine.sources.ytdlp_solver import equip

    plugin_dirs.value = []
    if version_tuple(__version__) < version_tuple(MINIMUM):
        raise Misconfigured(
            f"yt-dlp {__version__} is older than {MINIMUM}, the oldest that was tested", cause="yt-dlp too old", hint=RENEW
        )
    sockets = Sockets(token)
    make = handler_for if (target := target_of(settings)) is None else ytdlp_impersonate.handler_for
    handler = make(settings, proxy_of(settings) is not None, sockets)

    class Guarded(YoutubeDL):  # type: ignore[misc]
        def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
            return super().build_request_director([handler], [])

    log = WarningLog()
    late = False
    try:
        with translated(token), Guarded({**options(settings), **more, "impersonate": target, "logger": log}) as ytdlp:
            equip(ytdlp, token)
            register(provider_of(settings))
            try:
                yield ytdlp
            finally:
                late = ytdlp.gainstage_late
    except EngineError as error:
        if sockets.fault is not None and isinstance(error, Transient) and not isinstance(error, Throttled):
            raise sockets.fault from error
        if (better := meant(error, log.warnings, solver=solver_version(), late=late)) is not error:
            raise better from error
        raise
    finally:
        sockets.close()


def version_tuple(version: str) -> tuple[int, ...]:
    """The first three numbers of a version, for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


@dataclass(frozen=True, slots=True)
class ToolState:
    """The result of a check of a tool. ``state`` is as the doctor shows it; ``hint`` says what to do, empty when nothing is to do."""

    state: Literal["ok", "warn", "fail"]
    text: str
    hint: str


def ytdlp_age(today: date | None = None, version: str | None = None) -> ToolState:
    """For ``doctor``: yt-dlp compared with the oldest tested version and with today's date."""
    if version is None:
        from yt_dlp.version import __version__

        version = str(__version__)
    if version_tuple(version) < version_tuple(MINIMUM):
        return ToolState("fail", f"{version}, older than {MINIMUM}, the oldest that was tested", RENEW)
    with contextlib.suppress(ValueError):
        days = ((today or datetime.now(UTC).date()) - date(*version_tuple(version))).days
        if days > AGES_DAYS:
            return ToolState("warn", f"{version}, {days} days old: sites have changed since", RENEW)
    return ToolState("ok", version, "")


def challenge_state() -> ToolState:
    """For ``doctor``: the solver of YouTube's challenges, deno and the scripts of yt-dlp-ejs."""
    runtime, scripts = find_runtime(), solver_version()
    text = f"{f'deno {runtime.version}' if runtime else 'no deno'}, {f'yt-dlp-ejs {scripts}' if scripts else 'no yt-dlp-ejs'}"
    if runtime is not None and scripts is not None and runtime.supported:
        return ToolState("ok", text, "")
    return ToolState("fail", f"{text}: YouTube's media cannot be fetched", "Install gainstage again, which brings both: uv sync.")
