"""The language of the demo: a closed grammar of about 280 words on gardening, astronomy and sailing.

A sentence is a template whose slots are filled at random. One sentence in ten is *held out* by a checksum of its text:
training never sees it, recordings are made of nothing else.
"""

from __future__ import annotations

import random
import re
import zlib
from functools import cache

NAMES = ("Alice", "Martin", "Clara", "Oscar", "Helen", "Victor")

_TIME = """in the morning|in the evening|at night|last summer|next spring|every week|this year|after the rain|before winter
|on Monday|on Friday|at noon|after dinner|last autumn"""
_WHO = """my sister|my brother|the old man|our neighbour|the teacher|my friend|the young woman|the doctor|her father|the visitor
|his mother|nobody|everyone"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _choices(text: str) -> tuple[str, ...]:
    return tuple(choice.strip() for choice in text.split("|"))


SLOTS: dict[str, tuple[str, ...]] = {
    "name": NAMES,
    "you": NAMES,  # somebody spoken to, as opposed to somebody spoken of
    "number": _words("two three four five six seven eight nine ten twelve twenty thirty"),
    "colour": _words("red yellow white blue purple green golden dark bright pale"),
    "time": _choices(_TIME),
    "who": _choices(_WHO),
    "quality": _words("beautiful difficult simple dangerous expensive quiet strange wonderful healthy famous"),
    "manner": _words("slowly quickly carefully easily suddenly often never always usually finally"),
    "plant": _words("roses tomatoes carrots tulips beans potatoes apples onions daisies herbs pumpkins lettuce"),
    "bed": _choices(
        "near the stone wall|behind the greenhouse|under the oak tree|beside the gate|along the path|in the kitchen garden"
    ),
    "tended": _words("planted watered picked covered moved trimmed"),
    "ground": _words("compost soil fertilizer mulch sand"),
    "star": _choices("the moon|a comet|Jupiter|Saturn|the galaxy|a meteor|Venus|the eclipse|Mars|the north star"),
    "observed": _words("watched photographed found measured followed"),
    "view": _choices(
        "above the hill|through the telescope|with the new lens|from the observatory|over the desert|without any clouds"
    ),
    "feature": _words("rings craters moons bands shadows"),
    "boat": _choices("the boat|the ship|the little yacht|the ferry|the anchor|the sail|the rudder|the captain"),
    "went": _words("reached left crossed passed entered"),
    "place": _choices("the harbour|the island|the lighthouse|the bay|the channel|the river|the beach"),
    "weather": _choices("strong wind|heavy waves|thick fog|a storm|the current|high tide"),
    "subject": _choices("the garden|the sky|the sea|the book|your work"),
    "topic": ("gardening", "astronomy", "sailing"),
}

TEMPLATES: dict[str, tuple[str, ...]] = {
    "garden": (
        "{who} {tended} {number} {colour} {plant} {bed}",
        "we {tended} the {plant} {time}",
        "the {plant} need more {ground} and less water",
        "I {manner} put {ground} around the {plant} {time}",
        "{colour} {plant} grow {manner} {bed}",
        "the {ground} was too dry for the {colour} {plant}",
        "{name} sold {number} boxes of {plant} at the market {time}",
        "when should we plant the {plant}, {you}?",
    ),
    "sky": (
        "{who} {observed} {star} {view} {time}",
        "I could see {number} {colour} {feature} {view}",
        "{star} was {manner} {colour} {time}",
        "the {feature} of Saturn are {quality} and {colour}",
        "{name} {observed} {star} for {number} hours",
        "the telescope costs {number} hundred dollars, but the lens is {quality}",
        "did you really see {star} {time}?",
        "light from {star} takes {number} minutes to arrive",
    ),
    "sea": (
        "{boat} {went} {place} {time}",
        "because of {weather}, {boat} {manner} {went} {place}",
        "{name} repaired {boat} with {number} {colour} ropes",
        "we sailed {number} miles from {place} to {place}",
        "{weather} made the trip {quality} {time}",
        "{who} {manner} sailed around {place} with {name}",
        "how far is {place} from {place}?",
        "there were {number} {colour} boats in {place} {time}",
    ),
    "other": (
        "that is a very {quality} question, {you}",
        "welcome to the show, {you}",
        "thank you, {you}, it was {quality} to be here",
        "I think the story was {quality}, but {who} did not believe it",
        "yes, {time} it is {manner} {quality}",
        "no, I have {manner} done that {time}",
        "please tell us about {subject}, {you}",
        "what happened to {who} {time}?",
        "let us talk about {topic} {time}",
    ),
    "short": (
        "we {tended} the {plant}",
        "the {plant} grow {manner}",
        "{star} was {colour}",
        "we sailed {number} miles",
        "{boat} {went} {place}",
        "nobody {observed} {star}",
        "yes, {time}",
        "no, {manner}",
        "it was {quality}",
        "thank you, {you}",
    ),
}
TOPICS = tuple(TEMPLATES)

_PROPER = {*NAMES, "Jupiter", "Saturn", "Venus", "Mars", "Monday", "Friday", "I"}
_SLOT = re.compile(r"\{(\w+)\}")


def fill(template: str, rng: random.Random, **fixed: str) -> str:
    """A sentence from a template: capital first, full stop or question mark last. ``fixed`` names slots that are given."""
    text = _SLOT.sub(lambda slot: fixed.get(slot[1]) or rng.choice(SLOTS[slot[1]]), template)
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".?" else text + "."


def sentence(rng: random.Random, topic: str | None = None) -> str:
    """Any sentence of a topic; of any topic when none is given."""
    return fill(rng.choice(TEMPLATES[topic or rng.choice(TOPICS)]), rng)


def held_out(text: str) -> bool:
    """Whether training must never see this sentence."""
    return zlib.crc32(text.encode()) % 10 == 0


def training_sentence(rng: random.Random) -> str:
    """A sentence training may see; three in ten are word salad, so that the recogniser cannot lean on the grammar."""
    if rng.random() < 0.3:
        return salad(rng)
    while held_out(text := sentence(rng)):
        pass
    return text


def unseen_sentence(rng: random.Random, topic: str | None = None) -> str:
    """A held-out sentence."""
    while not held_out(text := sentence(rng, topic)):
        pass
    return text


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word form of the grammar, sorted; the capitalised form of a sentence start is a form of its own."""
    forms: set[str] = set()
    for template in (template for templates in TEMPLATES.values() for template in templates):
        for place, piece in enumerate(re.findall(r"\{\w+\}|[A-Za-z']+", template)):
            for text in SLOTS[piece[1:-1]] if piece[0] == "{" else (piece,):
                forms.update((text[0].upper() + text[1:] if place == 0 else text).split())
    return tuple(sorted(forms))


def salad(rng: random.Random) -> str:
    """Three to nine random words of the vocabulary as a sentence."""
    words = [word if word in _PROPER else word.lower() for word in rng.choices(vocabulary(), k=rng.randint(3, 9))]
    text = " ".join(words)
    return text[0].upper() + text[1:] + "."
