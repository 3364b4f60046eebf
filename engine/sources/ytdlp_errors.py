"""yt-dlp's messages and exceptions as typed errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import EngineError, Misconfigured, NotYet, Permanent, Rejected, Throttled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import tls

NEWER = "If it stays, a newer yt-dlp may know the site."
RENEW = "Renew it: uv lock --upgrade-package yt-dlp, or pip install -U 'yt-dlp[default,deno]'."
COOKIES = "fetch.cookies or fetch.cookies_browser of a signed-in browser may help."
AGAIN = "It is looked at again later."
SOON_S, HOUR_S = 900.0, 3600.0
INCOMPLETE = "extraction incomplete"
MEDIA_REFUSED = "media refused"
NO_AUDIO = "no audio stream"


@dataclass(frozen=True, slots=True)
class Reason:
    """A message of a site, or of yt-dlp about one, and its typed error. ``after_s``: seconds to wait before the next attempt."""

    words: str
    kind: type[EngineError]
    cause: str
    hint: str
    after_s: float | None = None

    def error(self, text: str) -> EngineError:
        if self.kind is NotYet:
            return NotYet(text, cause=self.cause, hint=self.hint, after_s=self.after_s or HOUR_S)
        if self.kind is Throttled:
            return Throttled(text, cause=self.cause, hint=self.hint, after_s=self.after_s)
        return self.kind(text, cause=self.cause, hint=self.hint)


CAUSES: tuple[Reason, ...] = (
    Reason(r"No space left|[Qq]uota exceeded", Transient, "disk full", "Free disk space or raise fetch.disk_floor."),
    Reason(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed", Permanent, tls.UNTRUSTED, tls.HINT),
    Reason(
        r"rate.?limited by YouTube for up to an hour|isn't available, try again later",
        Throttled,
        "HTTP 429",
        "Lower fetch.rate or workers.fetch, or set fetch.cookies.",
        HOUR_S,
    ),
    Reason(
        r"HTTP Error 429|Too Many Requests|rate.?limited",
        Throttled,
        "HTTP 429",
        "Lower fetch.rate or workers.fetch, or set fetch.cookies.",
    ),
    Reason(
        r"not a bot|confirm you.?re not",
        Throttled,
        "bot check",
        f"Lower fetch.rate. Another fetch.player_client or fetch.po_token_provider may help; {COOKIES}",
    ),
    Reason(r"[Cc]aptcha", Throttled, "captcha", f"Lower fetch.rate; {COOKIES}"),
    Reason(
        r"[Cc]loudflare|attempting impersonation|impersonation target",
        Permanent,
        "browser check",
        "The site requires a browser: fetch.impersonate = chrome sends its handshake, fetch.cookies_browser its cookies.",
    ),
    Reason(r"DRM", Rejected, "DRM protected", "It cannot be downloaded: its owner has encrypted it."),
    Reason(
        r"members.only|join this channel|[Jj]oin this channel|channel's members|members on level",
        Rejected,
        "members-only",
        "Cookies of a member may help.",
    ),
    Reason(
        r"Premium|requires payment|purchase|rental|paid content",
        Rejected,
        "paid",
        "Cookies of an account that has it may help.",
    ),
    Reason(
        r"[Pp]rivate video|[Vv]ideo is private",
        Rejected,
        "private",
        "The owner may have shared it with an account: cookies may help.",
    ),
    Reason(
        r"not available in your country|geo.?restrict|in your country|from your location",
        Rejected,
        "geo-blocked",
        "A proxy elsewhere may help.",
    ),
    Reason(
        r"confirm your age|age.?restricted|inappropriate for some users",
        Rejected,
        "age-gated",
        "Cookies of an adult's account may help.",
    ),
    Reason(
        r"protected by a password|password.protected|[Vv]ideo password|--video-password",
        Rejected,
        "password",
        "It asks for a password of its own: download it by hand and add the file.",
    ),
    Reason(r"(?:begin|start) (?:shortly|soon|in a few moments)|about to begin", NotYet, "upcoming", AGAIN, SOON_S),
    Reason(r"(?:Premieres|begins?|starts?) in (?:a few|\d+) (?:minute|second)s?", NotYet, "upcoming", AGAIN, SOON_S),
    Reason(
        r"Premieres in|will begin in|is upcoming|has not started|is offline|not currently live",
        Rejected,
        "upcoming",
        "Try again later.",
    ),
    Reason(
        r"[Pp]rocessing this video|being processed|still processing|[Cc]heck back later",
        NotYet,
        "being processed",
        AGAIN,
        SOON_S,
    ),
    Reason(r"(?:event|stream) has ended|live event is over|stream recording is not available", NotYet, "just ended", AGAIN, HOUR_S),
    Reason(r"^(?:\S+ \S+: )?Offline\b", NotYet, "stream offline", AGAIN, HOUR_S),
    Reason(r"[Ss]ign in|[Ll]og(?:ged)? ?in(?:to)?\b|account credentials|registered users", Rejected, "login needed", COOKIES),
    Reason(
        r"removed|no longer available|terminated|[Vv]ideo unavailable|does not exist|deleted",
        Permanent,
        "removed",
        "It is gone: only its owner could bring it back.",
    ),
    Reason(r"API page: HTTP Error 40[34]", Transient, "network error", "It is tried again."),
    Reason(
        r"(?:download video data|fragment.*): HTTP Error 40[34]",
        Transient,
        MEDIA_REFUSED,
        "Its address has expired, or the site throttles: a new one is read from its page.",
    ),
    Reason(r"HTTP Error 40[134]|HTTP Error 410", Permanent, "gone or forbidden", "Is the address right? Cookies may be needed."),
    Reason(r"does not have an? \w+ tab", Permanent, "no such tab", "The channel has nothing of this kind."),
    Reason(r"Unsupported URL|is not a valid URL", Permanent, "unsupported address", "yt-dlp does not know this site."),
    Reason(
        r"Requested format is not available|No video formats|Failed to extract any player response|player responses are invalid",
        Transient,
        INCOMPLETE,
        f"Its page is read again. {NEWER}",
    ),
    Reason(r"no audio", Permanent, NO_AUDIO, "Nothing can be done here: it has no sound, or none of a known kind."),
    Reason(
        r"timed out|HTTP Error 5\d\d|[Cc]onnection|reset|Temporary failure|resolve",
        Transient,
        "network error",
        "It is tried again.",
    ),
)
"""The first match counts. Typographic apostrophes are compared as plain ones."""

_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "‘": "'", "‑": "-", "\xa0": " "})
_NO_RUNTIME = re.compile(r"No supported JavaScript runtime")
_UNSOLVED = re.compile(r"(?:n challenge|Signature) solving failed|solver \w+ script")


def classify(text: str) -> EngineError:
    """The typed error of a yt-dlp message; an unknown message counts as temporary and is retried."""
    text = clean_text(text.removeprefix("ERROR: ").split("; please report this issue")[0], 400)
    plain = text.translate(_APOSTROPHES)
    for reason in CAUSES:
        if re.search(reason.words, plain):
            return reason.error(text)
    return Transient(text, cause="download failed", hint=NEWER)


def meant(error: EngineError, warnings: Iterable[str], *, solver: str | None, late: bool) -> EngineError:
    """The cause of an error, taking earlier warnings into account: after a failed part yt-dlp goes on and fails later.

    ``solver`` is the version of the scripts that solve challenges, None without any; ``late`` whether one ran into its deadline.
    """
    if isinstance(error, Throttled) or not isinstance(error, Permanent | Transient):
        return error
    warnings = list(warnings)
    for words in warnings:  # after a throttle it tries other ways: the last warning is not the cause
        if isinstance(throttle := classify(words), Throttled):
            return throttle
    if error.cause not in (INCOMPLETE, MEDIA_REFUSED, NO_AUDIO, "nothing downloaded"):
        return error
    if any(_NO_RUNTIME.search(words) for words in warnings):
        return Misconfigured(
            "YouTube needs a JavaScript runtime, and none was found",
            cause="no JavaScript runtime",
            hint="Install gainstage again, which brings deno: uv sync; `gainstage doctor` shows it.",
        )
    if not any(_UNSOLVED.search(words) for words in warnings):
        return error
    if solver is None:
        return Misconfigured(
            "the scripts that solve YouTube's challenges are missing",
            cause="challenge failed",
            hint="Install gainstage again, which brings yt-dlp-ejs: uv sync; `gainstage doctor` shows it.",
        )
    if late:
        return Transient("the script that solves the site's challenge did not end", cause="challenge timed out", hint=NEWER)
    return Misconfigured("YouTube's challenge could not be solved", cause="challenge failed", hint=RENEW)


@contextmanager
def translated(token: CancelToken) -> Iterator[None]:
    """Convert yt-dlp's exceptions to typed errors; a typed error raised inside yt-dlp comes out unchanged."""
    from yt_dlp.networking.exceptions import RequestError
    from yt_dlp.utils import YoutubeDLError

    try:
        yield
    except (YoutubeDLError, RequestError) as error:
        token.check()
        ours = _ours(error)
        raise ours if ours is not None else classify(str(error)) from error
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        ArithmeticError,
        AssertionError,
        RecursionError,
    ) as error:  # an extractor got unexpected data
        token.check()
        what = f"{type(error).__name__}: {clean_text(str(error), 200)}"
        raise Transient(f"yt-dlp could not read the site: {what}", cause="download failed", hint=NEWER) from error


def _ours(error: BaseException) -> EngineError | None:
    """The typed error among the causes of a yt-dlp exception."""
    waiting: list[Any] = [error]
    for _ in range(20):
        if not waiting:
            return None
        here = waiting.pop(0)
        if isinstance(here, EngineError):
            return here
        exc_info = getattr(here, "exc_info", None)
        waiting += [
            e
            for e in (getattr(here, "cause", None), here.__cause__, here.__context__, exc_info[1] if exc_info else None)
            if isinstance(e, BaseException)
        ]
    return None
