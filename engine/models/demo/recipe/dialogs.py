"""Scripts of conversations in held-out sentences, and their rendering to sound with truth."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gainstage.engine.evaluation.quality import Spoken, TrueWord
from gainstage.engine.models.demo.recipe import grammar
from gainstage.engine.models.demo.recipe.raw import Samples
from gainstage.engine.models.demo.recipe.synth import MARGIN_S, speak
from gainstage.engine.models.demo.recipe.voices import PEOPLE
from gainstage.engine.terms import SAMPLE_RATE

_OPENINGS = ("let us talk about {topic} {time}", "please tell us about {subject}, {you}")
_QUESTIONS = {
    "garden": ("when should we plant the {plant}, {you}?", "what happened to {who} {time}?"),
    "sky": ("did you really see {star} {time}?", "what happened to {who} {time}?"),
    "sea": ("how far is {place} from {place}?", "what happened to {who} {time}?"),
}
_SUBJECTS = {"garden": ("gardening", "the garden"), "sky": ("astronomy", "the sky"), "sea": ("sailing", "the sea")}
_REMARKS = (
    "I think the story was {quality}, but {who} did not believe it",
    "yes, {time} it is {manner} {quality}",
    "no, I have {manner} done that {time}",
)


@dataclass(frozen=True, slots=True)
class Line:
    """Somebody says a sentence after a pause (seconds; negative talks into the sentence before)."""

    speaker: str
    text: str
    pause: float


@dataclass(frozen=True, slots=True)
class Spoke:
    """A rendered script: float32 samples at 16 kHz with what is true of them."""

    samples: Samples
    turns: tuple[Spoken, ...]
    words: tuple[TrueWord, ...]

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(slots=True)
class Memory:
    """What was said in a recording, so that nobody repeats a sentence and every kind of sentence gets its turn."""

    texts: set[str] = field(default_factory=set)
    uses: Counter[str] = field(default_factory=Counter)

    def unseen(self, templates: Sequence[str], rng: random.Random, speaker: str, **fixed: str) -> str | None:
        """A held-out sentence of the template used least that has one which was not said and suits ``speaker``; None without."""
        for template in sorted(templates, key=lambda t: (self.uses[t], rng.random())):
            for _ in range(150):
                text = grammar.fill(template, rng, **fixed)
                if grammar.held_out(text) and text not in self.texts and _sensible(text, speaker):
                    self.texts.add(text)
                    self.uses[template] += 1
                    return text
        return None


def _sensible(text: str, speaker: str) -> bool:
    """Nobody speaks of himself by name, and nobody did not do anything."""
    return speaker not in text and "nobody did not" not in text and "happened to nobody" not in text


def _statements(topic: str) -> list[str]:
    return [template for template in grammar.TEMPLATES[topic] if not template.endswith("?") and "{you}" not in template]


def statement(topic: str, rng: random.Random, memory: Memory, speaker: str) -> str:
    """Something to say about a topic, now and then a general remark."""
    general = topic != "short" and rng.random() < 0.15
    said = memory.unseen(_REMARKS if general else _statements(topic), rng, speaker)
    return said or grammar.unseen_sentence(rng, topic)


def question(topic: str, rng: random.Random, memory: Memory, speaker: str, you: str, opening: bool = False) -> str:
    """A question to ``you``; the opening names the topic where a held-out sentence does."""
    subject, thing = _SUBJECTS[topic]
    asked = memory.unseen(_OPENINGS, rng, speaker, topic=subject, subject=thing, you=you) if opening else None
    return asked or memory.unseen(_QUESTIONS[topic], rng, speaker, you=you) or statement(topic, rng, memory, speaker)


def _within(rng: random.Random) -> float:
    return rng.uniform(0.1, 0.5)


def monologue(host: str, topic: str, seconds: float, rng: random.Random, memory: Memory) -> list[Line]:
    """One person talks for about ``seconds``."""
    return [Line(host, statement(topic, rng, memory, host), _within(rng) + 0.1) for _ in range(_sentences(seconds))]


def _sentences(seconds: float) -> int:
    """A sentence and the pause after it take about 3.2 s."""
    return max(1, round(seconds / 3.2))


def conversation(
    cast: Sequence[str], topic: str, seconds: float, rng: random.Random, memory: Memory, *, overlap: float = 0.0
) -> list[Line]:
    """The first of ``cast`` asks, the others answer and talk among themselves in turns of one to three sentences.

    ``overlap`` is the share of changes of speaker at which the next one does not wait for the end.
    """
    host, *guests = cast
    lines: list[Line] = []
    speaker = host
    while len(lines) < _sentences(seconds):
        others = [person for person in cast if person != speaker]
        change = -rng.uniform(0.3, 0.9) if lines and rng.random() < overlap else _within(rng) + rng.uniform(0.1, 0.9)
        if speaker == host:
            listener = rng.choice(guests)
            lines.append(Line(host, question(topic, rng, memory, host, listener, opening=not lines), change))
            speaker = listener
            continue
        for k in range(rng.choice((1, 2, 2, 3))):
            lines.append(Line(speaker, statement(topic, rng, memory, speaker), _within(rng) if k else change))
        speaker = rng.choice(others)
    return lines


def enrolment(person: str, seconds: float, rng: random.Random) -> list[Line]:
    """One person says sentences that no recording holds: those training may see."""
    texts: dict[str, None] = {}
    while len(texts) < _sentences(seconds):
        if not grammar.held_out(text := grammar.sentence(rng)):
            texts[text] = None
    return [Line(person, text, _within(rng)) for text in texts]


def back_and_forth(cast: Sequence[str], turns: int, rng: random.Random, memory: Memory) -> list[Line]:
    """Turns of about a second, one after the other."""
    people = [cast[k % len(cast)] for k in range(turns)]
    return [Line(person, statement("short", rng, memory, person), rng.uniform(0.12, 0.3)) for person in people]


def render(lines: Sequence[Line], *, tail: float = 0.5, level: dict[str, float] | None = None) -> Spoke:
    """The sound of a script, without noise. ``level`` is each speaker's loudness as a factor of 1; ``tail`` is silence after it."""
    clips = [speak(line.text, PEOPLE[line.speaker]) for line in lines]
    starts: list[int] = []
    end = 0
    for line, clip in zip(lines, clips, strict=True):
        starts.append(max(0, end + round(line.pause * SAMPLE_RATE)))
        end = max(end, starts[-1] + len(clip.samples))
    samples = np.zeros(end + round(tail * SAMPLE_RATE), np.float32)
    turns: list[Spoken] = []
    words: list[TrueWord] = []
    for line, clip, start in zip(lines, clips, starts, strict=True):
        samples[start : start + len(clip.samples)] += clip.samples * (level or {}).get(line.speaker, 1.0)
        at = start / SAMPLE_RATE
        turns.append(Spoken(round(at + MARGIN_S, 3), round(at + clip.seconds - MARGIN_S, 3), line.speaker))
        words += [TrueWord(word, round(at + offset, 3), line.speaker) for word, offset in _written(line.text, clip.words)]
    return Spoke(samples, tuple(turns), tuple(sorted(words, key=lambda word: word.start)))


def _written(text: str, spoken: tuple[tuple[str, float], ...]) -> list[tuple[str, float]]:
    """The words as written, punctuation included, at the times they were spoken."""
    written = text.split()
    if len(written) != len(spoken):
        raise ValueError(f"the synthesiser spoke {len(spoken)} words of the {len(written)} in {text!r}")
    return [(word, at) for word, (_, at) in zip(written, spoken, strict=True)]


def joined(parts: Sequence[Spoke]) -> Spoke:
    """One after the other."""
    turns: list[Spoken] = []
    words: list[TrueWord] = []
    at = 0.0
    for part in parts:
        turns += [Spoken(round(t.start + at, 3), round(t.end + at, 3), t.speaker) for t in part.turns]
        words += [TrueWord(w.text, round(w.start + at, 3), w.speaker) for w in part.words]
        at += part.seconds
    return Spoke(np.concatenate([part.samples for part in parts]), tuple(turns), tuple(words))
