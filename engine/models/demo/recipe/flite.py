"""flite through its command line. It prints the phones it speaks with their times; words are found by aligning those
with the phones each word has when said alone."""

from __future__ import annotations

import re
import subprocess
import tempfile
from functools import cache
from itertools import pairwise

import numpy as np

from gainstage.engine.models.demo.recipe.raw import Raw
from gainstage.engine.models.demo.recipe.voices import Voice

_VOWELS = frozenset("aeiou")
_PAUSE = "pau"


def _run(*options: str) -> str:
    return subprocess.run(["flite", *options], check=True, capture_output=True, text=True).stdout


@cache
def _phones_alone(word: str, voice: str) -> tuple[str, ...]:
    return tuple(phone for phone in _run("-voice", voice, "-ps", "-t", word, "-o", "/dev/null").split() if phone != _PAUSE)


def _cost(a: str, b: str) -> float:
    if a == b:
        return 0.0
    return 0.4 if (a[0] in _VOWELS) == (b[0] in _VOWELS) else 1.2


def _word_starts(words: list[str], spoken: list[tuple[str, float]], voice: str) -> list[tuple[str, float]]:
    """(word, start) by edit distance between the spoken phones and the words' own."""
    own = [(phone, k) for k, word in enumerate(words) for phone in _phones_alone(word.lower(), voice)]
    said = [(phone, at) for phone, at in spoken if phone != _PAUSE]
    n, m = len(own), len(said)
    cost = np.zeros((n + 1, m + 1))
    cost[:, 0], cost[0] = np.arange(n + 1), np.arange(m + 1)
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            match = cost[i - 1, j - 1] + _cost(own[i - 1][0], said[j - 1][0])
            cost[i, j] = min(match, cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    starts: dict[int, float] = {}
    i, j = n, m
    while i and j:
        if cost[i, j] == cost[i - 1, j - 1] + _cost(own[i - 1][0], said[j - 1][0]):
            starts[own[i - 1][1]] = said[j - 1][1]
            i, j = i - 1, j - 1
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    found, last = [], 0.0
    for k, word in enumerate(words):
        last = max(last, starts.get(k, last))
        found.append((word, last))
    return found


def render(text: str, voice: Voice) -> Raw:
    """``text`` spoken by a flite voice (16 kHz but for none of those used here)."""
    import soundfile

    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        stretch = f"duration_stretch={voice.stretch}"
        printed = _run("-psdur", "-voice", voice.name, "--setf", stretch, "-t", text, "-o", file.name)
        samples, rate = soundfile.read(file.name, dtype="float32")
    ends = [(phone, float(end)) for phone, end in (item.split(":") for item in printed.split())]
    phones = [(phone, before) for (_, before), (phone, _) in pairwise([("", 0.0), *ends])]
    words = re.findall(r"[A-Za-z']+", text)
    return Raw(samples, int(rate), _word_starts(words, phones, voice.name), phones)
