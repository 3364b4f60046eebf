"""Real readers through a speaker network with real weights: names, one voice and two, against the truth.

Runs where the models are: ``make real-models``, then GAINSTAGE_REAL_MODELS names their folder.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from gainstage.config.settings import Identify
from gainstage.engine.bench.campp import load
from gainstage.engine.evaluation.quality import Spoken, speaker_accuracy, spoken
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.speech.decode import decode
from gainstage.engine.terms import DiarizationResult, Turn
from gainstage.engine.voices import cohort
from gainstage.engine.voices.analysis import judge
from gainstage.engine.voices.calibrating import calibrate
from gainstage.engine.voices.calibration import Calibration
from gainstage.engine.voices.evidence import ClusterEvidence, Refusal, build_evidence
from gainstage.engine.voices.extract import Span, VoiceExtractor, voice_batcher
from gainstage.engine.voices.identify import identify
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import Profile, ProfileIndex, profile
from gainstage.engine.voices.spans import ClusterSpans

CLIPS = Path(__file__).parent.parent / "data" / "real"
MODELS = os.environ.get("GAINSTAGE_REAL_MODELS", "")
CAMPP = Path(MODELS) / "campp"
READERS = ("533", "1998", "1688")
ROUNDS = 30

pytestmark = [
    pytest.mark.skipif(not MODELS or not CAMPP.is_dir(), reason="no real models: make real-models, set GAINSTAGE_REAL_MODELS"),
    pytest.mark.timeout(900),
]

Voices = list[tuple[float, np.ndarray]]
"""Seconds and voice of some spans of one person."""


@cache
def extractor() -> VoiceExtractor:
    encoder = load(CAMPP)
    return VoiceExtractor(lambda: encoder, voice_batcher(lambda: encoder, lambda: 60.0))


def voices_of(folder: Path, clip: str, spans: Sequence[Span] | None = None, length: float = 3.0) -> Voices:
    """Voices of spans of a clip; without spans, of windows of ``length`` that follow each other by half of it."""
    (folder / clip).mkdir(exist_ok=True)
    audio = decode(CLIPS / clip, folder / clip, token=CancelToken())
    wanted = spans or [(float(at), float(at) + length) for at in np.arange(0, audio.seconds - length, length / 2)]
    made = extractor().extract(audio, wanted, token=CancelToken(), cached=False).voices
    return [(end - start, v) for (start, end), v in zip(wanted, made, strict=True) if not isinstance(v, Refusal)]


class World:
    """The readers enrolled from the first half of their clips; short spans of the second half, and of other clips, by person."""

    def __init__(self, folder: Path) -> None:
        model = extractor().model
        self.profiles: list[Profile] = []
        self.speech: dict[str, Voices] = {}
        rng = np.random.default_rng(1)
        for number, reader in enumerate(READERS, 1):
            windows = voices_of(folder, f"enrol-{reader}.opus")
            half = len(windows) // 2
            self.profiles.append(profile(number, reader, model, np.stack([v for _, v in windows[:half]]), primary=number == 1))
            spans, at = [], 1.5 * half + 3.0
            while at < 1.5 * len(windows) - 5:
                length = float(rng.choice([0.8, 1.3, 1.8, 2.5, 3.5, 5.0]))
                spans.append((at, at + length))
                at += 0.7 * length
            self.speech[reader] = voices_of(folder, f"enrol-{reader}.opus", spans)
        turns = json.loads((CLIPS / "conv_short.json").read_text("utf-8"))["turns"]
        for reader in ("533", "1998"):
            spans = [(a, b) for a, b, who in turns if who == reader and b - a >= 0.5]
            self.speech[f"{reader} in conversation"] = voices_of(folder, "conv_short.flac", spans)
        reading = json.loads((CLIPS / "lj_tel8k.json").read_text("utf-8"))["turns"]
        pieces = [(a + k, min(b, a + k + 2.5)) for a, b, _ in reading for k in np.arange(0, b - a - 1, 2.5)]
        self.speech["a stranger"] = voices_of(folder, "lj_tel8k.wav", pieces)
        people = cohort.listen(extractor(), CancelToken())
        fitted = calibrate(self.profiles, people, model)
        assert fitted is not None
        self.scale: Calibration = fitted.calibration
        self.index = ProfileIndex(self.profiles, model)

    def cluster(self, *parts: Voices) -> ClusterEvidence:
        pieces, at = [], 0.0
        for seconds, _ in (turn for part in parts for turn in part):
            pieces.append((at, at + seconds))
            at += seconds + 0.3
        spans = [ClusterSpans("A", tuple(pieces), False)]
        return build_evidence(spans, [v for part in parts for _, v in part], self.index, unity=True)[0][0]

    def drawn(self, who: str, count: int, rng: np.random.Generator) -> Voices:
        speech = self.speech[who]
        return [speech[k] for k in rng.choice(len(speech), min(count, len(speech)), replace=False)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("voices"))


def test_one_reader_is_one_voice_and_gets_the_right_name_and_a_stranger_none(world: World) -> None:
    limits, rng = Limits.from_settings(Identify(), world.scale), np.random.default_rng(0)
    split: dict[str, int] = {}
    named: dict[str, set[str | None]] = {}
    for who in world.speech:
        for _ in range(ROUNDS):
            (ruling,) = judge([world.cluster(world.drawn(who, 10, rng))], limits)
            split[who] = split.get(who, 0) + ruling.split
            named.setdefault(who, set()).add(ruling.accepted.name if ruling.accepted else None)
    assert sum(split.values()) == 0, split
    assert named.pop("a stranger") == {None}
    assert named == {who: {who.split()[0]} for who in named}


def test_two_readers_in_one_cluster_are_split_whoever_is_enrolled(world: World) -> None:
    limits, rng = Limits.from_settings(Identify(), world.scale), np.random.default_rng(0)
    missed, tried = [], 0
    for one, two in itertools.combinations(world.speech, 2):
        if one.split()[0] == two.split()[0]:
            continue
        for first, second in ((5, 5), (7, 3)):
            for _ in range(5):
                (ruling,) = judge([world.cluster(world.drawn(one, first, rng), world.drawn(two, second, rng))], limits)
                tried += 1
                if not ruling.split:
                    missed.append((one, two, first, ruling.spreads))
    print(f"\n{tried - len(missed)} of {tried} clusters of two readers split")
    assert len(missed) <= 0.03 * tried, missed


def test_readers_in_conversation_are_named_turn_by_turn(world: World, tmp_path: Path) -> None:
    truth = [Spoken(a, b, who) for a, b, who in json.loads((CLIPS / "conv_short.json").read_text("utf-8"))["turns"]]
    turns = tuple(Turn(t.start, t.end, {"533": "A", "1998": "B"}[t.speaker]) for t in truth)
    audio = decode(CLIPS / "conv_short.flac", tmp_path, token=CancelToken())

    def cast(labels: tuple[Turn, ...]) -> tuple[float, int]:
        made = identify(
            audio,
            DiarizationResult(labels, labels, "truth"),
            world.profiles,
            Identify(),
            revision=0,
            extractor=extractor(),
            token=CancelToken(),
            calibration=world.scale,
        )
        return speaker_accuracy(truth, spoken(made.turns)), len({t.speaker for t in made.turns})

    assert cast(turns) == (1.0, 2)
    together, people = cast(tuple(Turn(t.start, t.end, "A") for t in turns))  # a diarizer that heard one person
    print(f"\nboth readers in one cluster: {together:.3f} of the seconds get the right name, {people} people")
    assert together >= 0.95
