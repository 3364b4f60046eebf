"""espeak-ng in this process, by ctypes: its event callback tells when each word and phone begins.

Needs Debian's ``libespeak-ng1``. One synthesis at a time: the library keeps global state.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from typing import Any

import numpy as np

from gainstage.engine.models.demo.recipe.raw import Raw
from gainstage.engine.models.demo.recipe.voices import Voice

_RETRIEVAL, _PHONEME_EVENTS, _UTF8 = 1, 1, 1
_WORD, _PHONEME, _END = 1, 7, 0
_RATE_PARAMETER, _PITCH_PARAMETER = 1, 3
_VOICE_FILES = {"en-us": "gmw/en-US", "en-gb": "gmw/en"}
"""The library wants the voice's file, where the command takes an alias."""


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Library:
    """The loaded library and what its callback collected of the utterance being spoken."""

    def __init__(self) -> None:
        self.handle = ctypes.CDLL("libespeak-ng.so.1")
        self.rate: int = self.handle.espeak_Initialize(_RETRIEVAL, 500, None, _PHONEME_EVENTS)
        self.callback = _Callback(self._collect)  # kept: the library holds a bare pointer to it
        self.handle.espeak_SetSynthCallback(self.callback)
        self.waves: list[Any] = []
        self.starts: dict[int, float] = {}  # by position in the text
        self.phones: list[tuple[str, float]] = []

    def _collect(self, wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            self.waves.append(np.ctypeslib.as_array(wave, shape=(count,)).copy())
        for event in events:
            at = event.audio_position / 1000
            if event.type == _END:
                break
            if event.type == _WORD:
                self.starts[event.text_position - 1] = at
            elif event.type == _PHONEME:
                self.phones.append((bytes(event.id.string).split(b"\0")[0].decode("utf8", "replace"), at))
        return 0

    def speak(self, text: str, voice: Voice) -> Raw:
        for collected in (self.waves, self.starts, self.phones):
            collected.clear()
        accent, _, variant = voice.name.partition("+")
        file = _VOICE_FILES.get(accent) or "gmw/" + accent.replace("-gb", "-GB")
        if self.handle.espeak_SetVoiceByName(f"{file}+{variant}".encode()) != 0:
            raise LookupError(f"espeak-ng has no voice {voice.name}")
        self.handle.espeak_SetParameter(_RATE_PARAMETER, voice.speed, 0)
        self.handle.espeak_SetParameter(_PITCH_PARAMETER, voice.pitch, 0)
        data = text.encode() + b"\0"
        self.handle.espeak_Synth(data, len(data), 0, 1, 0, _UTF8, None, None)
        self.handle.espeak_Synchronize()
        samples = (np.concatenate(self.waves) / 32768).astype(np.float32)
        return Raw(samples, self.rate, _word_starts(text, self.starts, len(samples) / self.rate), list(self.phones))


def _word_starts(text: str, starts: dict[int, float], end: float) -> list[tuple[str, float]]:
    """(word, start) of every word. The library joins short words ("in the") and tells the start of the first alone; the others'
    are put between their neighbours' by letters."""
    words = [(match.group(), match.start()) for match in re.finditer(r"[A-Za-z']+", text)]
    known = sorted(starts)
    times = [starts[position] for position in known]
    return [(word, float(np.interp(position, [*known, len(text)], [*times, end]))) for word, position in words]


@cache
def _library() -> _Library:
    return _Library()


def render(text: str, voice: Voice) -> Raw:
    """``text`` spoken by an espeak-ng voice. ``LookupError`` when there is no such voice."""
    return _library().speak(text, voice)
