"""yt-dlp's words and exceptions as typed errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import EngineError, Permanent, Rejected, Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import tls

NEWER = "if it stays, a newer yt-dlp may know the site"

CAUSES: tuple[tuple[str, type[EngineError], str, str], ...] = (
    (r"No space left|[Qq]uota exceeded", Transient, "disk full", "free disk space or raise fetch.disk_floor"),
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
    (
        r"removed|no longer available|terminated|[Vv]ideo unavailable|does not exist|deleted",
        Permanent,
        "removed",
        "it is gone: only its owner could bring it back",
    ),
    (r"API page: HTTP Error 40[34]", Transient, "network error", "it is tried again"),
    (r"HTTP Error 40[134]|HTTP Error 410", Permanent, "gone or forbidden", "is the address right? cookies may be needed"),
    (r"does not have an? \w+ tab", Permanent, "no such tab", "the channel has nothing of this kind"),
    (r"Unsupported URL|is not a valid URL", Permanent, "unsupported address", "yt-dlp does not know this site"),
    (
        r"Requested format is not available|no audio|No video formats",
        Permanent,
        "no audio stream",
        "nothing can be done here: it has no sound, or none of a known kind",
    ),
    (r"timed out|HTTP Error 5\d\d|[Cc]onnection|reset|Temporary failure|resolve", Transient, "network error", "it is tried again"),
)


def classify(text: str) -> EngineError:
    """The typed error behind yt-dlp's words; unknown words are tried again."""
    text = clean_text(text.removeprefix("ERROR: ").split("; please report this issue")[0], 400)
    for pattern, kind, cause, hint in CAUSES:
        if re.search(pattern, text):
            return kind(text, cause=cause, hint=hint)
    return Transient(text, cause="download failed", hint=NEWER)


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
    except (ValueError, TypeError, AttributeError, LookupError, AssertionError) as error:  # an extractor met what it never saw
        token.check()
        what = f"{type(error).__name__}: {clean_text(str(error), 200)}"
        raise Transient(f"yt-dlp could not read the site: {what}", cause="download failed", hint=NEWER) from error


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
