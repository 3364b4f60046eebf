"""Options of one recording, which replace settings for it: spoken language, number of speakers, hotwords."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from gainstage.config.settings import SPECS, Settings
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent

AUTO = "auto"

_CODES = """
af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it ja
jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq
sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh
"""

LANGUAGES = frozenset(_CODES.split())
"""The codes of the languages that Whisper models know."""

MOST_HOTWORDS = 2000
"""Longest hotwords in characters. A recogniser reads about 220 tokens of them, which are fewer characters in every script."""

_SPEAKERS = re.compile(r"(\d{0,4})\s*\.\.\s*(\d{0,4})|(\d{1,4})\s*-\s*(\d{1,4})")
FEWEST, MOST = int(SPECS["diarization.max_speakers"].low or 1), int(SPECS["diarization.max_speakers"].high or 1)
_BOUNDS = f"Write a number as in 3, or bounds as in 2..4, 2.. or ..4, from {FEWEST} to {MOST}, or auto."


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """None leaves a setting as it is. ``language`` is a code or "auto"; ``speakers`` are the fewest and most, None without a bound.

    ``language`` replaces asr.language, ``speakers`` both diarization.min_speakers and diarization.max_speakers, ``hotwords``
    asr.hotwords.
    """

    language: str | None = None
    speakers: tuple[int | None, int | None] | None = None
    hotwords: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> RecordingOptions:
        """Options by name, as a command line, a list or a console gives them; other names are ignored.

        Raises :class:`Permanent` for an invalid value.
        """
        return cls(**{name: _READ[name](given[name]) for name in NAMES if given.get(name) is not None})

    @classmethod
    def stored(cls, record: Mapping[str, Any]) -> RecordingOptions:
        """The inverse of :meth:`record`; what this version cannot read is left out."""
        read = cls()
        for name in NAMES:
            try:
                read = replace(read, **{name: getattr(cls.of({name: record.get(name)}), name)})
            except Permanent:
                continue
        return read

    def record(self) -> dict[str, Any]:
        """The options that are set, for storing."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def over(self, other: RecordingOptions) -> RecordingOptions:
        """These options, and those of ``other`` where these leave a setting as it is."""
        return replace(other, **{name: getattr(self, name) for name in NAMES if getattr(self, name) is not None})

    def applied(self, settings: Settings) -> Settings:
        """The settings as they are for the recording."""
        asr: dict[str, Any] = {}
        if self.language is not None:
            asr["language"] = self.language
        if self.hotwords is not None:
            asr["hotwords"] = self.hotwords
        low, high = self.speakers or (None, None)
        bounds = {} if self.speakers is None else {"min_speakers": low, "max_speakers": high}
        sections = {
            "asr": settings.asr.model_copy(update=asr),
            "diarization": settings.diarization.model_copy(update=bounds),
        }
        return settings.model_copy(update=sections)

    def __str__(self) -> str:
        said = []
        if self.language is not None:
            said.append(f"language {self.language}")
        if self.speakers is not None:
            said.append(f"speakers {speakers_text(self.speakers)}")
        if self.hotwords is not None:
            said.append(f"hotwords {self.hotwords}" if self.hotwords else "no hotwords")
        return " · ".join(said)


NO_OPTIONS = RecordingOptions()

NAMES = tuple(field.name for field in fields(RecordingOptions))


def speakers_text(speakers: tuple[int | None, int | None]) -> str:
    """Bounds as they are written on a command line: 3, 2..4, 2.., ..4 or auto."""
    low, high = speakers
    if low is None and high is None:
        return AUTO
    return str(low) if low == high else f"{low or ''}..{high or ''}"


def _refused(name: str, value: Any, hint: str) -> Permanent:
    return Permanent(f"{name}: {clean_text(str(value), 50)!r} cannot be", cause="recording options", hint=hint)


def _language(value: Any) -> str:
    code = str(value).strip().lower()
    if code == AUTO or code in LANGUAGES:
        return code
    near = [name for name in get_close_matches(code, LANGUAGES, 3, 0.6) if code]
    meant = f" Did you mean {' or '.join(sorted(near))}?" if near else ""
    raise _refused("language", value, f"Write a code as in en, de or yue, or auto.{meant}")


def _speakers(value: Any) -> tuple[int | None, int | None]:
    low: Any = value
    high: Any = value
    if isinstance(value, (list, tuple)) and len(value) == 2:
        low, high = value
    elif str(value).strip().lower() == AUTO:
        return None, None
    elif match := _SPEAKERS.fullmatch(str(value).strip()):
        a, b, c, d = match.groups()
        low, high = a or c or None, b or d or None
        if low is None and high is None:
            raise _refused("speakers", value, _BOUNDS)
    fewest, most = _bound(value, low), _bound(value, high)
    if fewest is not None and most is not None and fewest > most:
        raise _refused("speakers", value, "The first number is the fewest, the second the most.")
    return fewest, most


def _bound(whole: Any, bound: Any) -> int | None:
    if bound is None:
        return None
    if isinstance(bound, bool) or not re.fullmatch(r"\d{1,4}", str(bound).strip()) or not FEWEST <= int(bound) <= MOST:
        raise _refused("speakers", whole, _BOUNDS)
    return int(bound)


def _hotwords(value: Any) -> str:
    if not isinstance(value, str):
        raise _refused("hotwords", value, "Write names and terms.")
    text = " ".join(clean_text(value, MOST_HOTWORDS + 1).split())
    if len(text) > MOST_HOTWORDS:
        raise _refused("hotwords", f"{text[:20]}…", f"Write {MOST_HOTWORDS} characters or fewer.")
    return text


_READ: Mapping[str, Any] = {"language": _language, "speakers": _speakers, "hotwords": _hotwords}
