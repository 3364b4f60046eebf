"""The shipped cohort: recordings of a few people, listened to once with each voice model."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.terms import Audio
from gainstage.engine.voices.evidence import Refusal
from gainstage.engine.voices.extract import Span, VoiceExtractor
from gainstage.engine.voices.trials import LONGER, WINDOW_S, CohortPerson
from gainstage.engine.voices.vectors import mean_voice

FOLDER = DEMO / "voices"
SHORT_S = (0.6, 1.5)
MOST_SHORT_S = 15.0
"""So much of a recording is cut into short windows."""

MADE_FROM = "demo voices 1"
"""Version of the cohort: changed whenever its recordings or lengths change."""


def listen(extractor: VoiceExtractor, token: CancelToken, folder: Path = FOLDER) -> tuple[CohortPerson, ...]:
    """Everybody of the cohort through this voice model. The first half of each recording makes the exemplars."""
    from gainstage.engine.speech.decode import decode

    people = []
    for path in sorted(p for p in folder.iterdir() if p.suffix != ".json"):
        with tempfile.TemporaryDirectory(prefix="gainstage-") as name:
            people.append(_person(path.stem, decode(path, Path(name), token=token), extractor, token))
    return tuple(people)


def _person(name: str, audio: Audio, extractor: VoiceExtractor, token: CancelToken) -> CohortPerson:
    half = audio.seconds / 2
    first = _spans(0.0, half, WINDOW_S)
    second = {length: _spans(half, min(audio.seconds, half + MOST_SHORT_S), length) for length in SHORT_S}
    second[WINDOW_S] = _spans(half, audio.seconds, WINDOW_S)
    wanted = [*first, *(span for spans in second.values() for span in spans)]
    extracted = iter(extractor.extract(audio, wanted, token=token, cached=False).voices)
    exemplars = [v for v in (next(extracted) for _ in first) if not isinstance(v, Refusal)]
    voices, seconds = [], []
    for length, spans in second.items():
        kept = [v for v in (next(extracted) for _ in spans) if not isinstance(v, Refusal)]
        voices += kept
        seconds += [length] * len(kept)
        if length == WINDOW_S:
            for count in LONGER:
                runs = [np.stack(kept[k : k + count]) for k in range(len(kept) - count + 1)]
                voices += [mean_voice(run) for run in runs]
                seconds += [length * count] * len(runs)
    return CohortPerson(name, np.stack(exemplars), np.stack(voices), np.array(seconds))


def _spans(start: float, end: float, length: float) -> list[Span]:
    return [(float(at), float(at) + length) for at in np.arange(start, end - length, length)]
