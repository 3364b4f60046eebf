"""The operator's cookies file: checked before use, sent only to the sites of its cookies, never logged or written to."""

from __future__ import annotations

import stat
import time
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from http.cookiejar import CookieJar, LoadError, MozillaCookieJar
from pathlib import Path

from gainstage.config.regular_files import read_regular
from gainstage.config.settings import Fetch
from gainstage.engine.errors import Misconfigured

SOON_S = 7 * 86_400.0
MOST_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Cookies:
    """A parsed cookies file. ``soonest`` is the epoch second at which the first valid cookie expires, None when none does."""

    text: str
    valid: int
    expired: int
    soonest: float | None

    def __repr__(self) -> str:
        return f"<Cookies {self.valid} valid, {self.expired} expired>"


def read_cookies(path: Path, now: float | None = None) -> Cookies:
    """Read a cookies file. Raises :class:`Misconfigured` when it is missing, readable by other users, in another format or
    when all cookies have expired."""
    return _read(path, time.time() if now is None else now)[0]


def cookie_header(settings: Fetch, url: str, given: CookieJar | None = None) -> dict[str, str]:
    """The Cookie header for an address: cookies of the file, then of ``given``; empty when no cookie matches."""
    own = _jar_of(Path(settings.cookies.get_secret_value()).expanduser()) if settings.cookies is not None else None
    pairs: dict[str, str] = {}
    for jar in (own, given):
        request = urllib.request.Request(url)
        if jar is not None and len(jar):
            jar.add_cookie_header(request)
        for pair in filter(None, (request.get_header("Cookie") or "").split("; ")):
            pairs[pair.split("=", 1)[0]] = pair
    return {"cookie": "; ".join(pairs.values())} if pairs else {}


def _read(path: Path, now: float) -> tuple[Cookies, MozillaCookieJar]:
    try:
        mode = path.stat().st_mode
        text = read_regular(path, MOST_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong("cannot be read", "Check fetch.cookies.") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _wrong("may be read by other users of this machine", "Run chmod 600 on the file: a cookie is as good as a password.")
    jar = MozillaCookieJar(str(path))
    try:
        jar.load(ignore_discard=True, ignore_expires=True)
    except (LoadError, OSError, ValueError) as error:
        raise _wrong("is not in the Netscape format", "Export it again as cookies.txt.") from error
    ends = [cookie.expires for cookie in jar if cookie.expires]  # 0 and None mark session cookies
    expired = sum(1 for end in ends if end <= now)
    valid = len(jar) - expired
    if not valid:
        raise _wrong("has no valid cookie" if not expired else "has expired", "Sign in again and export it anew.")
    jar.clear_expired_cookies()
    return Cookies(text, valid, expired, min((float(end) for end in ends if end > now), default=None)), jar


def _wrong(what: str, hint: str) -> Misconfigured:
    return Misconfigured(f"the cookies file {what}", cause="cookies file", hint=hint)  # the path is a secret


def _jar_of(path: Path) -> CookieJar:
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise _wrong("cannot be read", "Check fetch.cookies.") from error
    return _jar(path, changed)


@lru_cache(maxsize=4)
def _jar(path: Path, _changed_ns: int) -> CookieJar:
    return _read(path, time.time())[1]


def cookies_text(settings: Fetch) -> str | None:
    """The checked content of the cookies file, for a reader that must not write to the file; None without a file."""
    return read_cookies(Path(settings.cookies.get_secret_value()).expanduser()).text if settings.cookies else None


def cookies_trouble(settings: Fetch, now: float | None = None) -> str | None:
    """A warning about the cookies file in words; None when there is no problem or no file."""
    if settings.cookies is None:
        return None
    now = time.time() if now is None else now
    try:
        cookies = read_cookies(Path(settings.cookies.get_secret_value()).expanduser(), now)
    except Misconfigured as error:
        return str(error)
    if cookies.expired:
        return f"{cookies.expired} of {cookies.valid + cookies.expired} cookies have expired"
    if cookies.soonest is not None and cookies.soonest - now < SOON_S:
        return f"the first of {cookies.valid} cookies expires in {(cookies.soonest - now) / 86_400:.1f} days"
    return None
