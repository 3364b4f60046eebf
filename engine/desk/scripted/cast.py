"""The people, titles and recordings of the scripted story: made up, seeded, and deliberately difficult to display.

Some titles are Chinese, Japanese, Korean or Arabic, contain emoji and combining marks, or are what a hostile uploader would try
(markup, escape sequences, bidi overrides, a spreadsheet formula): every display has to handle them.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

HOST = "Dana Whitfield"
GUESTS = ("Amir Haddad", "Noor van Dijk", "Tomás Rivera", "Keiko Tanaka", "Priya Raman", "Sven Åkesson")

_SUBJECTS = (
    "fibre and the gut",
    "sleep after fifty",
    "the price of insulin",
    "soil and what grows in it",
    "why bridges fall",
    "strength training",
    "the history of salt",
    "reading clinical trials",
    "city trees",
    "kidney function",
    "batteries that last",
    "learning a second language",
    "walking every day",
    "ultra-processed food",
    "heat pumps in old houses",
    "the placebo effect",
    "open-source medicine",
    "how vaccines are tested",
    "tides and harbours",
    "teaching arithmetic",
)

_SHAPES = (
    "Q&A livestream #{n}: {s}",
    "Long interview with {g} about {s}",
    "What we got wrong about {s}",
    "{S}: the evidence in {n} minutes",
    "Office hours {n} - {s}",
    "{g} on {s}",
    "Short clip: {s}",
    "Lecture {n}: {s}",
    "Panel discussion: {s}",
    "The Kitchen Table, episode {n}: {s}",
    "{S}, explained twice",
    "Reading your letters ({n}): {s}",
)

AWKWARD = (
    "睡眠と記憶 第12回：眠りの科学について田中先生に聞く",
    "肠道菌群与膳食纤维:我们到底知道什么?",
    "한국어 인터뷰 — 발효 음식의 역사",
    "🥦🧬 Fibre feud!! 🔥🔥 (part 2) 👩🏽‍🔬 vs 👨‍🌾",
    "Cafe\u0301 talk: nai\u0308vete\u0301 and Z\u0351\u036b\u0343\u036a\u0302\u036b\u033dalgo labels",
    "مقابلة طويلة حول النوم والصحة",
    "[bold red]SALE[/] [@click=app.quit]click me[/] about kidneys",
    "\x1b[31mRed alert\x1b[0m \x1b]0;owned\x07 the sodium episode",
    "\u202egnp.exe\u202c the right-to-left episode",
    '=HYPERLINK("http://example.invalid";"free") and other formulas',
    "  leading spaces\tand a tab\nand a new line",
    "An extremely long title that a careful uploader wrote to describe every one of the fourteen topics of a four-hour "
    "conversation, with names, dates and a list of sources at the end (complete, unabridged, remastered)",
    "</title><script>alert(1)</script> & <b>friends</b>",
    "Ｆｕｌｌ ｗｉｄｔｈ ｔｉｔｌｅ ～ スペシャル",
    "١٢٣ numbers and a zero\u200bwidth space",
)

FATES = {
    118: "no audio stream",
    133: "corrupt media",
    151: "no audio stream",
    168: "connection timed out",
    176: "HTTP 429 too many requests",
    180: "HTTP 429 too many requests",
    184: "HTTP 429 too many requests",
    188: "HTTP 429 too many requests",
    201: "corrupt media",
}
"""Recordings of the story that fail, by position in the queue (throttled ones only if they run during the throttling)."""

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Part:
    """One recording of the story before it is processed. ``fate`` is how it ends unless a command changes that."""

    id: str
    title: str
    url: str
    duration_s: float
    speakers: int
    monologue: bool
    fate: str  # "stored", "skipped:<cause>", "failed:<cause>"
    language: str


SKIPS = ("members only", "private", "removed", "geo-blocked")
FAILURES = {
    "no audio stream": ("decode", "The file has no audio. Skip it, or point at another address of the same recording.", False),
    "corrupt media": ("decode", "The download is damaged. Retry fetches it again.", True),
    "connection timed out": ("fetch", "The host went silent. Retry later, or raise fetch.timeout.", True),
    "HTTP 429 too many requests": ("fetch", "The host throttles. Lower fetch.rate or workers.fetch, then retry.", True),
    "out of memory": ("diarize", "Too little GPU memory for this length. Lower workers.transcribe, then retry.", True),
}


def video_id(random: Random) -> str:
    """Eleven characters like the ids of a video site; the first is a letter."""
    return random.choice(_ALPHABET[:52]) + "".join(random.choices(_ALPHABET, k=10))


def title(random: Random, index: int) -> str:
    if index % 16 == 5 and index // 16 < len(AWKWARD):
        return AWKWARD[index // 16]
    subject = random.choice(_SUBJECTS)
    shape = random.choice(_SHAPES)
    return shape.format(n=random.randint(3, 240), s=subject, S=subject[0].upper() + subject[1:], g=random.choice(GUESTS))


def duration(random: Random, heading: str) -> float:
    """Seconds: log-normal around five and a half minutes, clips shorter, interviews and panels longer, at most 3 h 25."""
    middle = 330.0
    if heading.startswith("Short clip"):
        return round(random.uniform(45, 150), 1)
    if heading.startswith(("Long interview", "Panel", "An extremely long")):
        middle = 1250.0
    return round(min(12_300.0, max(75.0, random.lognormvariate(0, 0.62) * middle)), 1)


def plenty(seed: int, count: int) -> list[Part]:
    """``count`` recordings generated quickly, for a large queue."""
    random = Random(f"plenty {seed}")
    made = []
    for i in range(count):
        key = f"{video_id(random)[:6]}{i:05d}"
        heading = (
            AWKWARD[i // 97 % len(AWKWARD)] if i % 97 == 0 else f"{_SUBJECTS[i % len(_SUBJECTS)]}, part {i // len(_SUBJECTS) + 1}"
        )
        length = 60.0 + 3000.0 * random.random() ** 2
        made.append(Part(key, heading, f"https://www.youtube.com/watch?v={key}", round(length, 1), 2, False, "stored", "en"))
    return made


def parts(seed: int, audio_s: float) -> list[Part]:
    """Recordings with about ``audio_s`` seconds of audio in total, newest first."""
    random = Random(f"cast {seed}")
    made: list[Part] = []
    total = 0.0
    while total < audio_s:
        index = len(made)
        heading = title(random, index)
        length = 12_070.0 if index == 23 else duration(random, heading)
        if total > 0.8 * audio_s:
            length = min(length, 800.0)  # no long recording at the end
        monologue = random.random() < 0.38
        many = heading.startswith("Panel")
        fate = "stored"
        dice = random.random() if total < 0.7 * audio_s else 1.0  # nothing is skipped near the end
        if index > 8 and dice < 0.045:
            fate = f"skipped:{random.choice(SKIPS)}"
        if index in FATES:
            fate = f"failed:{FATES[index]}"
        made.append(
            Part(
                id=(key := video_id(random)),
                title="Panel discussion with four speakers: the long one" if index == 23 else heading,
                url=f"https://www.youtube.com/watch?v={key}",
                duration_s=length,
                speakers=1 if monologue else (4 if many or index == 23 else random.choice((2, 2, 2, 3))),
                monologue=monologue and index != 23,
                fate="stored" if index == 23 else fate,
                language="en" if heading.isascii() or random.random() < 0.5 else "ja",
            )
        )
        if made[-1].fate == "stored":
            total += length
    return made
