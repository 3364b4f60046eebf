"""Who speaks: the six people of the demo, and the crowd of other synthetic voices that training draws on."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Voice:
    """One synthetic voice. ``name`` is the synthesiser's own (``en-us+m3`` or ``slt``).

    espeak-ng takes ``pitch`` (0-99) and ``speed`` (words per minute). flite takes ``stretch`` (of durations) and ``shift``: the
    factor by which its waveform is resampled, which moves pitch and formants alike and so makes another person.
    """

    id: str
    engine: Literal["espeak", "flite"]
    name: str
    pitch: int = 50
    speed: int = 160
    stretch: float = 1.0
    shift: float = 1.0

    def varied(self, rng: random.Random) -> Voice:
        """The same person speaking a little faster or slower."""
        if self.engine == "espeak":
            return replace(self, speed=self.speed + rng.randint(-10, 10))
        return replace(self, stretch=round(rng.uniform(0.92, 1.1), 2))


HOST = "Helen"
STRANGER = "Robin"
"""Speaks in the recordings and is never enrolled: must stay unknown."""

PEOPLE: dict[str, Voice] = {
    voice.id: voice
    for voice in (
        Voice(HOST, "flite", "slt"),
        Voice("Oscar", "flite", "rms"),
        Voice("Martin", "flite", "awb"),
        Voice("Victor", "espeak", "en-us+m3", pitch=35, speed=150),
        Voice("Clara", "espeak", "en-gb+f2", pitch=60, speed=155),
        Voice(STRANGER, "espeak", "en-gb-scotland+m7", pitch=75, speed=160),
    )
}
"""The recogniser is trained on these six; the voice model and the diarizer's clustering never hear them."""

ENROLLED = tuple(name for name in PEOPLE if name != STRANGER)

_VARIANTS = (
    *(f"m{i}" for i in range(1, 9)),
    *(f"f{i}" for i in range(1, 6)),
    *("klatt2", "klatt4", "croak", "grandpa", "steph", "belinda", "linda", "john", "zac", "ed"),
)
_ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")


def crowd(seed: int = 7) -> tuple[list[Voice], list[Voice]]:
    """(voices to train on, voices held out), 101 in all, none of them a person of the demo."""
    rng = random.Random(seed)
    espeak = [
        Voice(
            f"e_{variant}_{pitch}",
            "espeak",
            f"{rng.choice(_ACCENTS)}+{variant}",
            pitch=pitch + rng.randint(-4, 4),
            speed=rng.randint(135, 185),
        )
        for variant in _VARIANTS
        for pitch in (20, 45, 70, 90)
    ]
    flite = [
        Voice(f"f_{name}_{int(shift * 100)}", "flite", name, shift=shift)
        for name in ("slt", "rms", "awb", "kal16")
        for shift in (0.88, 1.13)
    ]
    flite.append(Voice("f_kal16", "flite", "kal16"))
    rng.shuffle(espeak)
    rng.shuffle(flite)
    return espeak[20:] + flite[2:], espeak[:20] + flite[:2]
