"""The fast path from audio to a cast, number by number. The voice of a span is made of its loudness, so that every cosine is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gainstage.config.settings import Identify
from gainstage.engine.errors import Cancelled, Misconfigured, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.telemetry.journal import Journal
from gainstage.engine.terms import SAMPLE_RATE, Audio, Cast, ModelId, Provenance
from gainstage.engine.voices.calibration import Calibration
from gainstage.engine.voices.extract import VoiceExtractor, voice_batcher
from gainstage.engine.voices.fast_path import monologue
from gainstage.engine.voices.profile_index import Profile, profile

MODEL = ModelId("loudness", "1", 2)
SETTINGS = Identify(primary="Ann", scale="cosine", fast_path_mean=0.7, fast_path_low=0.6)
SCALE = Calibration(-4.0, 20.0, 0.5, 0.0, 0.7, 0.0, 0.1, 0.0, 2.0)


class Loudness:
    """A voice model: the cosine of a voice with (1, 0) is the mean loudness of its audio."""

    id = MODEL
    device = "cpu"
    broken: Exception | None = None

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.broken is not None:
            raise self.broken
        loud = np.abs(batch).mean(axis=1)
        return np.stack([loud, np.sqrt(1 - loud**2)], axis=1).astype(np.float32)


@pytest.fixture
def model() -> Loudness:
    return Loudness()


@pytest.fixture
def extractor(model: Loudness) -> Iterator[VoiceExtractor]:
    made = VoiceExtractor(lambda: model, voice_batcher(lambda: model, lambda: 600.0))
    yield made
    made.close()


def person(id: int, name: str, x: float, y: float, **more: Any) -> Profile:
    return profile(id, name, MODEL, None, np.array([x, y], np.float32), **more)


ANN, BOB = person(1, "Ann", 1.0, 0.0), person(2, "Bob", 0.0, 1.0, suggested=0.9)


def audio(folder: Path, loudness: Sequence[float], seconds: float = 60.0) -> Audio:
    """As many stretches of equal length as there are values; of twelve, each is one place."""
    count = round(seconds * SAMPLE_RATE)
    pcm = np.repeat(np.round(np.array(loudness) * 32768).astype("<i2"), -(-count // len(loudness)))[:count]
    path = folder / f"{len(list(folder.iterdir()))}.pcm"
    path.write_bytes(pcm.tobytes())
    return Audio(path, count, path.name)


def tried(
    extractor: VoiceExtractor, what: Audio, people: Sequence[Profile] = (ANN, BOB), settings: Identify = SETTINGS, **more: Any
) -> tuple[Cast | None, list[Any]]:
    """The cast, and what the journal says of the fast path."""
    journal = Journal()
    cast = monologue(
        what, people, settings, revision=4, extractor=extractor, token=CancelToken(), journal=journal, recording="r", **more
    )
    return cast, [e for e in journal.after(0).items if e.kind == "fast path"]


def test_one_person_throughout_is_one_turn_with_one_decision(extractor: VoiceExtractor, tmp_path: Path) -> None:
    loud = [0.9] * 6 + [0.8] * 6
    cast, (event,) = tried(extractor, audio(tmp_path, loud))
    assert cast is not None
    assert cast.fast_path
    (turn,), (decision,) = cast.turns, cast.decisions
    assert (turn.start, turn.end, turn.cluster, turn.speaker, turn.profile) == (0.0, 60.0, "all", "Ann", 1)
    assert (turn.confidence, turn.similarity, turn.provenance) == (
        pytest.approx(0.85, abs=2e-4),
        turn.confidence,
        Provenance.FAST_PATH,
    )
    assert turn.voice is not None
    assert (decision.cluster, decision.seconds, decision.turns, decision.reference) == ("all", 60.0, 1, "primary")
    assert decision.similarities == pytest.approx(loud, abs=2e-4)
    assert (decision.mean, decision.low, decision.high) == pytest.approx((0.85, 0.8, 0.9), abs=2e-4)
    assert decision.variance == pytest.approx(0.0025, abs=2e-4)
    assert decision.spread == pytest.approx(0.1, abs=2e-4)
    assert decision.bimodality == pytest.approx(0.1, abs=2e-4)
    assert (decision.split, decision.rule, decision.revision, decision.speaker) == (False, "fast path", 4, "Ann")
    assert (decision.seconds_by_speaker, decision.provenance) == ({"Ann": 60.0}, Provenance.FAST_PATH)
    assert decision.sample_s == (5.0,) * 12
    assert decision.why == (
        "Ann alone: 12 places over the whole recording have mean 0.850 and 10th percentile 0.800, at least 0.70 and 0.60."
    )
    assert [(e.start, e.end) for e in decision.evidence] == [(5.0 * k, 5.0 * k + 5.0) for k in range(12)]
    assert [e.similarity for e in decision.evidence] == list(decision.similarities)
    first = {s.name: s.score for s in decision.evidence[0].scores}
    assert first == {"Ann": pytest.approx(0.9, abs=2e-4), "Bob": pytest.approx(0.19**0.5, abs=2e-4)}
    assert (event.text, event.level) == ("fast path: mean 0.850, 10th percentile 0.800", "info")
    assert (event.stage, event.recording) == ("identify", "r")
    assert event.data["taken"] is True
    assert event.data["low"] == pytest.approx(0.8, abs=2e-4)


def test_scores_are_those_of_the_mean_voice_the_best_first_with_the_lead_of_the_primary(
    extractor: VoiceExtractor, tmp_path: Path
) -> None:
    cast, _ = tried(extractor, audio(tmp_path, [0.8] * 12), [BOB, ANN, person(3, "Cyd", -0.6, 0.8)])
    assert cast is not None
    (decision,) = cast.decisions
    ann, bob, cyd = decision.scores
    assert [ann.name, bob.name, cyd.name] == ["Ann", "Bob", "Cyd"]
    assert (ann.score, bob.score) == (pytest.approx(0.8, abs=2e-4), pytest.approx(0.6, abs=2e-4))
    assert decision.margin == round(ann.score - bob.score, 6)
    assert bob.threshold == 0.9, "on cosines the suggested one counts"


def test_who_is_alone_enrolled_leads_nobody(extractor: VoiceExtractor, tmp_path: Path) -> None:
    cast, _ = tried(extractor, audio(tmp_path, [0.9] * 12), [ANN])
    assert cast is not None
    assert cast.decisions[0].margin is None


def test_on_the_calibrated_scale_the_turn_is_as_sure_as_its_places(extractor: VoiceExtractor, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"scale": "calibrated", "fast_path_probability": 0.5})
    cast, _ = tried(extractor, audio(tmp_path, [0.9] * 12), settings=settings, calibration=SCALE)
    assert cast is not None
    (turn,), (decision,) = cast.turns, cast.decisions
    ann, bob = decision.scores
    assert (ann.name, ann.primary, bob.threshold) == ("Ann", True, settings.other_threshold)
    by_place = [s.probability for e in decision.evidence for s in e.scores if s.name == "Ann"]
    assert by_place == [by_place[0]] * 12, "each by its own length"
    assert turn.confidence == pytest.approx(by_place[0], abs=1e-4)
    assert turn.similarity == pytest.approx(0.9, abs=2e-4)
    assert ann.log_ratio == pytest.approx(SCALE.log_ratio(ann.score, 60.0), abs=1e-4), "of all its speech together"
    assert decision.limits["calibration.slope"] == 20.0
    assert decision.why.endswith(f"; nine of ten are {100 * (turn.confidence or 0):.1f} % sure, at least 50 %.")


@pytest.mark.parametrize(
    ("loud", "says"),
    [
        ([0.69] * 12, "fast path not taken: mean 0.690 is below 0.70"),
        ([0.9] * 9 + [0.5] * 3, "fast path not taken: 10th percentile 0.500 is below 0.60"),
        ([0.95] * 11 + [0.7], "fast path not taken: somebody else is more alike at one place"),
        ([0.9] * 11 + [0.0], "fast path not taken: 1 of 12 places give no voice"),
        ([0.9] * 9 + [0.0] * 3, "fast path not taken: 3 of 12 places give no voice"),
    ],
)
def test_any_doubt_takes_the_full_path_and_is_said(extractor: VoiceExtractor, tmp_path: Path, loud: list[float], says: str) -> None:
    cast, (event,) = tried(extractor, audio(tmp_path, loud))
    assert cast is None
    assert (event.text, event.level) == (says, "info")
    assert event.data.get("taken", False) is False


def test_without_a_primary_a_switch_or_enough_audio_nothing_is_tried(extractor: VoiceExtractor, tmp_path: Path) -> None:
    sound = audio(tmp_path, [0.9] * 12)
    assert tried(extractor, sound, settings=SETTINGS.model_copy(update={"fast_path": False})) == (None, [])
    assert tried(extractor, sound, settings=SETTINGS.model_copy(update={"primary": None})) == (None, [])
    assert tried(extractor, sound, []) == (None, [])
    assert tried(extractor, audio(tmp_path, [0.9] * 12, 23.999)) == (None, [])
    cast, _ = tried(extractor, audio(tmp_path, [0.9] * 12, 24.0))
    assert cast is not None
    assert cast.decisions[0].sample_s == (2.0,) * 12
    cast, _ = tried(extractor, audio(tmp_path, [0.9] * 12, 40.0))
    assert cast is not None
    assert cast.decisions[0].sample_s == (3.333,) * 12


def test_a_failure_takes_the_full_path_but_not_a_wrong_setup_or_a_cancel(
    model: Loudness, extractor: VoiceExtractor, tmp_path: Path
) -> None:
    sound = audio(tmp_path, [0.9] * 12)
    model.broken = Transient("the device is gone")
    cast, (event,) = tried(extractor, sound)
    assert cast is None
    assert (event.level, event.text) == ("warning", "fast path failed, full path taken: the device is gone")
    model.broken = Misconfigured("no such device")
    with pytest.raises(Misconfigured):
        tried(extractor, sound)
    model.broken = Cancelled("stop")
    with pytest.raises(Cancelled):
        tried(extractor, sound)


def test_the_primary_is_whom_the_setting_names(extractor: VoiceExtractor, tmp_path: Path) -> None:
    other = SETTINGS.model_copy(update={"primary": "Bob"})
    cast, _ = tried(extractor, audio(tmp_path, [0.1] * 12), [ANN, replace(BOB, primary=False)], other)
    assert cast is not None
    assert (cast.turns[0].speaker, cast.turns[0].profile) == ("Bob", 2)
