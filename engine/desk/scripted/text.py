"""Transcripts of the scripted story: a small made-up corpus for search, with context."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from random import Random

from gainstage.engine.desk.scripted.cast import HOST
from gainstage.engine.desk.scripted.items import Item
from gainstage.engine.views.search_rows import ContextLine, SearchHit

LINES = (
    "The claim that fibre feeds your gut bacteria comes from work in mice, and mice are not small people.",
    "Butyrate is made from fibre, but the body has other ways to get it.",
    "What about the microbiome, do you not need it to be diverse?",
    "In people the picture is different: the trials are short and the effects are small.",
    "But was there not a trial in two thousand and twelve where they took the fibre away?",
    "So let us start with the studies, and with who paid for them.",
    "Sleep comes in cycles, and the first two of the night do most of the repair.",
    "If you wake at four every night, look at the light in the room before you look at the pills.",
    "Insulin was sold for one dollar, because nobody should own it.",
    "The price rose because three companies make it and none of them had a reason to be first to go down.",
    "A bridge does not fall because one bolt fails, it falls because nobody asked about the second bolt.",
    "Salt was money once; soldiers were paid in it, or so the story goes.",
    "Roots hold the soil, and the fungi hold the roots.",
    "You cannot read a trial without reading its protocol, and the protocol is always online.",
    "A kidney filters about one hundred and eighty litres a day and keeps nearly all of it.",
    "Protein does not harm a healthy kidney; that was a guess that became a rule.",
    "A heat pump moves warmth, it does not make it, and that is why it can be better than perfect.",
    "Old houses leak; measure the draught before you buy the machine.",
    "The placebo effect is not the power of thought, it is mostly people getting better anyway.",
    "Walking after a meal does more for blood sugar than most people expect.",
    "You learn a word when you need it for the third time.",
    "Batteries age by the calendar as well as by the cycle.",
    "Trees in a city cool the street by several degrees in the afternoon.",
    "A plane tree drinks two hundred litres on a hot day and gives it back as shade.",
    "The street with the old trees is the one where people sit down.",
    "Half of the saplings a city plants are dead in seven years, for want of water.",
    "Soil under a pavement has no air, and roots do not grow where there is no air.",
    "Ask who waters the tree in its third summer, and you know whether there will be shade.",
    "Every city has a map of its heat, and it is the map of its missing trees turned inside out.",
    "Count the deaths, not the markers: markers are easy to move.",
    "I changed my mind about this when the second group could not repeat it.",
    "Let me read the next letter, it is from a nurse who works nights.",
    "That is a fair question, and I do not know the answer.",
    "Tides come twice a day because the far side of the sea is pulled least.",
    "Nobody gets strong from reading about it, so pick the weight up and put it down again.",
    "An old teacher told me that arithmetic is a story about fairness.",
)

OPENERS = (
    "",
    "Look.",
    "Good question.",
    "Let me put it another way.",
    "I said this last week and I say it again.",
    "This surprised me too.",
    "There is a simpler answer.",
    "Start from what we can measure.",
    "You wrote to me about this.",
    "Nobody in the room liked it, but here it is.",
    "Two things are true at once.",
    "Here is what I would do.",
    "We had this on the table before.",
)
"""Openers put before a line, so that two people seldom say exactly the same."""

_ALIKE = (
    {"fibre", "fiber", "gut", "bacteria", "microbiome", "butyrate", "roughage"},
    {"sleep", "night", "wake", "cycles", "insomnia", "nights"},
    {"insulin", "price", "dollar", "cost", "companies", "money", "paid"},
    {"kidney", "protein", "filters", "renal"},
    {"trial", "trials", "studies", "study", "protocol", "evidence", "group", "repeat"},
    {"heat", "pump", "warmth", "houses", "draught"},
    {"walking", "meal", "exercise", "strong", "weight"},
    {"trees", "tree", "city", "soil", "roots", "street", "shade", "saplings", "plants"},
)
LINE_S = 12.5
"""Seconds between the starts of two lines."""

PER_RECORDING = 24
SAME_LINE = 4
"""Most hits with the same line after different openers."""


def words_of(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def transcript(seed: int, item: Item) -> list[tuple[int, float, float, str, str]]:
    """(segment id, start, end, speaker, text) of the first minutes of a stored recording."""
    random = Random(f"text {seed} {item.id}")
    people = list(item.speakers) or [HOST]
    rows: list[tuple[int, float, float, str, str]] = []
    at = random.uniform(2, 9)
    speaker = people[0]
    for k in range(min(PER_RECORDING, max(1, int(item.part.duration_s / LINE_S) - 1))):
        if random.random() < 0.35:
            speaker = random.choice(people)
        end = at + random.uniform(6, LINE_S)
        line = f"{random.choice(OPENERS)} {random.choice(LINES)}".strip()
        rows.append((item.order * 1000 + k, round(at, 2), round(end, 2), speaker, line))
        at = end + random.uniform(0.2, 1.5)
    return rows


def related(words: set[str]) -> set[str]:
    """The words and their synonyms in this story, which stand for similar meaning."""
    return words.union(*(group for group in _ALIKE if group & words))


def search(seed: int, items: Iterable[Item], text: str, mode: str, speaker: str | None, limit: int) -> tuple[SearchHit, ...]:
    """Best hits first; of several with the same text, the first. ``mode`` "words" matches the words themselves, "meaning" their
    synonyms, "both" combines the two; of equal hits the shorter one is ranked higher."""
    wanted = words_of(text) - {"the", "a", "of", "and", "in", "is", "does", "do", "to", "that"}
    if not wanted:
        return ()
    kin = related(wanted)
    hits: dict[str, SearchHit] = {}
    said: Counter[str] = Counter()
    for item in items:
        for segment, start, end, who, line in transcript(seed, item):
            if speaker and who != speaker:
                continue
            words = words_of(line)
            exact = len(wanted & words) / len(wanted)
            near = min(1.0, len(kin & words) / (len(wanted) + 1))
            score = {"words": exact, "meaning": 0.35 + 0.5 * near if near else 0.0}.get(mode, 0.5 * exact + 0.45 * near)
            if score > 0.05:
                score -= 0.004 * len(words)
                url = f"{item.part.url}&t={int(start)}"
                hit = SearchHit(item.id, item.part.title, start, end, who, line, round(min(0.99, score), 3), url, segment)
                core = line[-40:]
                if line not in hits and said[core] < SAME_LINE:
                    said[core] += 1
                    hits[line] = hit
    return tuple(sorted(hits.values(), key=lambda h: (-h.score, h.segment))[:limit])


def context(seed: int, item: Item, segment: int, around: int) -> tuple[ContextLine, ...]:
    rows = transcript(seed, item)
    place = next((i for i, r in enumerate(rows) if r[0] == segment), None)
    if place is None:
        return ()
    near = rows[max(0, place - around) : place + around + 1]
    return tuple(ContextLine(start, end, who, line, number == segment) for number, start, end, who, line in near)
