"""The real diarizer, small: who speaks when, slots over shared weights, silence, bounds, cancellation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speech_kit import WarningLog, audio_of, demo_settings, dialogue, models, silence

from gainstage.engine.bench.diarize import real_size
from gainstage.engine.errors import Cancelled, Misconfigured
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.selftest import clip
from gainstage.engine.speech.diarize import Diarizer, exclusive, padded
from gainstage.engine.terms import Audio, DiarizationResult, Turn


def heard(audio: Audio, diarizer: Diarizer | None = None, **settings: object) -> DiarizationResult:
    asked = demo_settings(**{f"diarization__{k}": v for k, v in settings.items()}).diarization
    return (diarizer or slot()).diarize(audio, asked, token=CancelToken())


_slot: dict[str, Any] = {}


def slot() -> Diarizer:
    return models().diarizer(_slot)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Audio:
    return audio_of(tmp_path_factory.mktemp("talk"), dialogue())


def at(turns: tuple[Turn, ...], seconds: float) -> set[str]:
    return {t.cluster for t in turns if t.start <= seconds < t.end}


def test_two_people_are_told_apart_and_known_again(talk: Audio) -> None:
    told = WarningLog()
    found = slot().diarize(talk, demo_settings().diarization, token=CancelToken(), progress=told)
    first, second, third, fourth = (at(found.exclusive, seconds) for seconds in (2.0, 5.7, 10.0, 13.3))
    assert len(first) == len(second) == 1
    assert first == third != second == fourth
    assert told.rises
    assert told.shares[-1] == 1
    assert all(a.end <= b.start for a, b in pairwise(found.exclusive))
    assert all(0 <= t.start < t.end <= talk.seconds for t in (*found.turns, *found.exclusive))
    assert found.model.startswith("demo:diarization@sha256:")


@pytest.mark.parametrize("seconds", [0.5, 4.0])
def test_in_silence_nobody_speaks(tmp_path: Path, seconds: float) -> None:
    faint = 1e-4 * np.random.default_rng(0).standard_normal(round(16000 * seconds)).astype(np.float32)
    for samples in (silence(seconds), faint):
        found = heard(audio_of(tmp_path, samples))
        assert (found.turns, found.exclusive) == ((), ())


@pytest.mark.parametrize("seconds", [0.3, 0.6, 1.1])
def test_a_very_short_utterance_is_no_error(tmp_path: Path, seconds: float) -> None:
    found = heard(audio_of(tmp_path, np.concatenate([silence(0.3), clip("one_a")[: round(16000 * seconds)], silence(0.3)])))
    assert len({t.cluster for t in found.turns}) <= 1


def test_bounds_on_the_number_of_speakers_are_kept(talk: Audio) -> None:
    assert len({t.cluster for t in heard(talk, max_speakers=1).turns}) == 1
    with pytest.raises(Misconfigured, match="min_speakers"):
        heard(talk, min_speakers=3, max_speakers=2)


def test_more_speakers_asked_for_than_there_are_is_only_a_wish(tmp_path: Path) -> None:
    found = heard(audio_of(tmp_path, clip("other")), min_speakers=4)
    assert found.turns


def test_a_threshold_holds_for_one_recording(talk: Audio) -> None:
    before = heard(talk)
    heard(talk, clustering_threshold=1.0)
    assert heard(talk) == before


def test_a_cancel_ends_it_between_batches(talk: Audio) -> None:
    token = CancelToken()
    with pytest.raises(Cancelled, match="enough"):
        slot().diarize(talk, demo_settings().diarization, token=token, progress=WarningLog(lambda share: token.cancel("enough")))


def test_another_slot_leaves_the_shared_weights_where_they_are() -> None:
    """Libraries' constructors take a network to the CPU first: on another device, under the hands of the slots that run it."""
    parts = real_size(0, "meta")
    for _ in range(2):
        parts.pipeline()
    devices = {weight.device.type for module in parts.modules() for weight in module.parameters()}
    assert devices == {"meta"}
    assert {module.device.type for module in parts.modules()} == {"meta"}, "chunks are sent where a network says it is"


def test_slots_share_weights_and_disturb_each_other_not(talk: Audio, tmp_path: Path) -> None:
    other = Diarizer(slot().parts)
    assert other._pipeline is not slot()._pipeline
    assert other._pipeline._segmentation.model is slot()._pipeline._segmentation.model
    monologue = audio_of(tmp_path, np.concatenate([clip("one_a"), silence(0.4), clip("one_b")]))
    alone = [heard(talk), heard(monologue)]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(heard, talk, slot()), pool.submit(heard, monologue, other)]
        assert [job.result() for job in jobs] == alone


spans = st.tuples(st.integers(0, 300), st.integers(1, 80), st.sampled_from("ABC"))


@given(st.lists(spans, max_size=20))
def test_exclusive_turns_never_overlap_and_lose_no_speech(drawn: list[tuple[int, int, str]]) -> None:
    turns = [Turn(a, a + n, who) for a, n, who in drawn]
    sole = exclusive(turns)
    assert all(a.end <= b.start for a, b in pairwise(sole))
    assert {t for s in sole for t in range(int(s.start), int(s.end))} == {t for a, n, _ in drawn for t in range(a, a + n)}
    assert {(s.cluster, t) for s in sole for t in range(int(s.start), int(s.end))} <= {
        (who, t) for a, n, who in drawn for t in range(a, a + n)
    }


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.05, 5)), max_size=12), st.floats(0, 0.5))
def test_padding_grows_turns_into_pauses_only(spans: list[tuple[float, float]], pad_s: float) -> None:
    turns = exclusive([Turn(round(a, 3), round(a + n, 3), str(k % 3)) for k, (a, n) in enumerate(sorted(spans))])
    grown = padded(turns, pad_s, 60.0)
    assert [t.cluster for t in grown] == [t.cluster for t in turns]
    for before, after in zip(turns, grown, strict=True):
        assert after.start <= before.start
        assert after.end >= before.end
        assert after.seconds <= before.seconds + 2 * pad_s + 2e-3
    assert all(a.end <= b.start + 2e-3 for a, b in pairwise(grown))
