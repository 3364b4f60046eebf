"""Fetch the captions or the transcript that a publisher offers beside a recording: those made by people, in its language."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gainstage.config.settings import Fetch, Settings
from gainstage.config.whole_files import write_whole
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Cancelled, EngineError
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.child_parser import ChildParser, TooMuch
from gainstage.engine.sources.hosts import Hosts
from gainstage.engine.sources.http import refuse
from gainstage.engine.sources.pace import SpeedCheck
from gainstage.engine.sources.policy import host_of
from gainstage.engine.sources.web import Web
from gainstage.engine.terms import Caption, Captions, Recording, RecordingWarning
from gainstage.engine.text.captions import NoCaptions, timed

CAUSE = "captions"
MOST_BYTES = 16 * 1024**2
"""Largest file of captions; a day of speech has about 4 MB."""

SUBTITLES, TRANSCRIPT = "subtitles", "podcast:transcript"
FORMATS = ("vtt", "srt", "ass", "ssa", "ttml", "dfxp", "json")
"""Formats of a site's subtitles that are read, best first."""

FORMER_CODES = {"iw": "he", "in": "id", "ji": "yi", "nb": "no", "fil": "tl", "cmn": "zh"}
"""Codes that sites still write, or write more narrowly than recognisers do."""

NOT_SPOKEN = frozenset({"live_chat", "comments", "danmaku", "rechat", "lyrics"})
"""What sites list among subtitles that is none."""

Taken = tuple[Captions | None, tuple[RecordingWarning, ...]]


def wanted_language(settings: Settings) -> str | None:
    """The language of the captions to take: "" for the recording's own, None when ``fetch.captions`` wants none."""
    if settings.fetch.captions == "never":
        return None
    if settings.asr.task == "translate":
        return "en"  # what recognition would write
    return "" if settings.asr.language == "auto" else settings.asr.language


def unusable(why: str) -> RecordingWarning:
    """The warning of captions that could not be taken."""
    return RecordingWarning(
        CAUSE,
        f"the publisher's captions were not taken: {why}",
        "Its words are recognised ones; fetch.captions never asks for none.",
    )


def read(body: bytes, origin: str, language: str, declared: str, token: CancelToken) -> Captions:
    """Captions from a file of a ``declared`` type. Raises :class:`NoCaptions`, also for a page in place of a type with times, and
    :class:`Cancelled`.
    """
    format, lines = _parsed(body, token)
    if format in ("html", "text") and not timed(lines) and re.search(r"vtt|srt|subrip|ttml|json", declared.lower()):
        raise NoCaptions(f"they are announced as {clean_text(declared, 40)}, and what comes has no times")
    return Captions(origin, format, clean_text(language, 20), lines)


def _parsed(body: bytes, token: CancelToken) -> tuple[str, tuple[Caption, ...]]:
    """:func:`gainstage.engine.text.captions.parse` in a child process: a small file can keep a parser busy for ever."""
    with closing(ChildParser(token, "gainstage.engine.sources.caption_child")) as child:
        try:
            answer = child.ask(body)
        except TooMuch as error:
            raise NoCaptions("they are too much for their parser") from error
    if "fault" in answer:
        raise NoCaptions(answer["fault"])
    return answer["format"], tuple(Caption(start, end, text) for start, end, text in answer["lines"])


def with_language(available: Mapping[str, Any], wanted: str) -> str | None:
    """The key of the subtitles in a language: the same code, else the same language in another country, else None.

    Without ``wanted``, the only language that there is.
    """
    keys = [key for key in available if key not in NOT_SPOKEN]
    if not wanted:
        return keys[0] if len({base(key) for key in keys}) == 1 else None
    same = [key for key in keys if base(key) == base(wanted)]
    return min(same, key=lambda key: (key.lower() != wanted.lower(), len(key), key), default=None)


def base(language: str) -> str:
    """The two-letter code of a language tag where it has one: "en-GB" and "eng" are "en"."""
    from yt_dlp.utils import ISO639Utils

    code = language.replace("_", "-").split("-")[0].lower()
    code = (ISO639Utils.long2short(code) or code) if len(code) == 3 else code
    return FORMER_CODES.get(code, code)


def of_site(ytdlp: Any, info: Mapping[str, Any], wanted: str, settings: Fetch, token: CancelToken) -> Taken:
    """Human-made subtitles of an item that yt-dlp has looked up, through its own guarded connections.

    Raises :class:`Cancelled`; every other trouble is a warning.
    """
    from yt_dlp.networking import Request

    from gainstage.engine.sources.ytdlp_errors import translated

    available = {k: v for k, v in (info.get("subtitles") or {}).items() if v and k not in NOT_SPOKEN}
    if not available:
        return None, ()
    language = wanted or str(info.get("language") or "")
    key = with_language(available, language)
    if key is None:
        known = ", ".join(sorted(map(str, available))[:10])
        why = f"there are some in {clean_text(known, 100)}, and "
        why += f"none in {clean_text(language, 20)}" if language else "the language of the recording is unknown: set asr.language"
        return None, (unusable(why),)
    offers = sorted((o for o in available[key] if o.get("ext") in FORMATS), key=lambda o: FORMATS.index(o["ext"]))
    if not offers:
        return None, (unusable(f"no format of theirs can be read ({_formats(available[key])})"),)
    best = offers[0]
    try:
        body = str(best["data"]).encode() if best.get("data") is not None else b""
        if not body:
            with translated(token), ytdlp.urlopen(Request(str(best["url"]), headers=best.get("http_headers") or {})) as response:
                body = response.read(_limit(settings) + 1)
            token.check()
        return _checked(body, settings, SUBTITLES, str(key), str(best["ext"]), token)
    except Cancelled:
        raise
    except EngineError as error:
        return None, (unusable(error.message),)


def of_feed(recording: Recording, wanted: str, settings: Fetch, web: Web, hosts: Hosts, token: CancelToken) -> Taken:
    """The transcript that a feed names, within its host's budget.

    Raises :class:`Cancelled`, and :class:`gainstage.engine.errors.Postponed` while the host wants no request; every other trouble is
    a warning.
    """
    offer = recording.extra.get("transcript")
    if not isinstance(offer, dict) or not offer.get("url"):
        return None, ()
    url, language = str(offer["url"]), str(offer.get("language") or "")
    if wanted and language and base(language) != base(wanted):
        return None, (unusable(f"its transcript is in {clean_text(language, 20)}, and none in {clean_text(wanted, 20)}"),)
    permit = hosts.enter(host_of(url), token)
    try:
        body = _received(url, settings, web, token)
    except EngineError as error:
        hosts.failed(permit, error)
        if isinstance(error, Cancelled):
            raise
        return None, (unusable(error.message),)
    hosts.answered(permit)
    return _checked(body, settings, TRANSCRIPT, language, str(offer.get("type") or ""), token)


def _received(url: str, settings: Fetch, web: Web, token: CancelToken) -> bytes:
    pace, body = SpeedCheck(settings.least_speed, settings.time_limit), bytearray()
    with web.get(url, token, {"accept": "text/vtt,application/x-subrip,application/json,text/*;q=0.5"}) as response:
        if response.status_code != 200:
            refuse(response)
        for block in pace.through(response.iter_bytes()):
            token.check()
            body += block
            if len(body) > _limit(settings):
                break
    token.check()
    return bytes(body)


def _checked(body: bytes, settings: Fetch, origin: str, language: str, declared: str, token: CancelToken) -> Taken:
    if len(body) > (most := _limit(settings)):
        return None, (unusable(f"they are larger than {most:,} bytes"),)
    try:
        return read(body, origin, language, declared, token), ()
    except NoCaptions as error:
        return None, (unusable(str(error)),)


def _limit(settings: Fetch) -> int:
    return min(MOST_BYTES, settings.max_bytes)


def _formats(offers: Sequence[Mapping[str, Any]]) -> str:
    return clean_text(", ".join(sorted({str(offer.get("ext")) for offer in offers})), 60)


def keep(path: Path, taken: Taken) -> None:
    """Store captions beside the media of their recording, for an attempt after a kill."""
    captions, warnings = taken
    write_whole(path, json.dumps({"captions": asdict(captions) if captions else None, "warnings": [asdict(w) for w in warnings]}))


def kept(path: Path) -> Taken | None:
    """Captions that :func:`keep` stored; None where there are none."""
    with suppress(OSError, ValueError, ValidationError, KeyError, TypeError):
        content = json.loads(path.read_text())
        captions = TypeAdapter(Captions | None).validate_python(content["captions"])
        return captions, tuple(RecordingWarning(**warning) for warning in content["warnings"])
    return None
