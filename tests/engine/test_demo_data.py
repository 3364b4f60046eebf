"""The bundled recordings, their truth, the voices to enrol, and what the real models make of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gainstage.engine.bench.quality import Chain, demo_settings, hand_written, media_with_truth, reached_goals, total
from gainstage.engine.bench.quality import measured as measure
from gainstage.engine.evaluation.quality import Truth, load_truth, normalised
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.demo.recipe.grammar import held_out
from gainstage.engine.sources.local import MEDIA
from gainstage.engine.speech.decode import decode
from gainstage.engine.voices.limits import Limits

DEMO = Path(__file__).parents[2] / "engine" / "models" / "demo"
HARD = Path(__file__).parents[1] / "data"
BUNDLED = media_with_truth(DEMO / "recordings")
RECORDINGS = [*BUNDLED, *media_with_truth(HARD)]
VOICES = sorted((DEMO / "voices").iterdir())

every_recording = pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)


@cache
def truth(path: Path) -> Truth:
    return load_truth(path.with_suffix(".json"))


def sentences(path: Path) -> list[str]:
    """The sentences of a recording's truth: each is one turn."""
    told = truth(path)
    return [
        " ".join(word.text for word in told.words if word.speaker == turn.speaker and turn.start - 0.05 <= word.start < turn.end)
        for turn in told.turns
    ]


def test_the_demo_is_small_and_of_several_kinds() -> None:
    files = [*(p for p in (DEMO / "recordings").iterdir()), *VOICES]
    assert sum(p.stat().st_size for p in files) < 4_000_000
    assert len({p.suffix for p in BUNDLED}) >= 4
    assert all(p.suffix in MEDIA for p in [*BUNDLED, *VOICES])


@every_recording
def test_a_recording_decodes_to_the_length_its_truth_states(path: Path, tmp_path: Path) -> None:
    audio = decode(path, tmp_path, token=CancelToken())
    assert audio.seconds == pytest.approx(truth(path).duration, abs=0.1)
    assert 30 <= audio.seconds <= 75


@every_recording
def test_truth_is_in_order_and_inside_the_recording(path: Path) -> None:
    told = truth(path)
    assert all(0 <= turn.start < turn.end <= told.duration for turn in told.turns)
    starts = [word.start for word in told.words]
    assert starts == sorted(starts)
    for word in told.words:
        at = word.start
        assert any(t.speaker == word.speaker and t.start - 0.05 <= at <= t.end for t in told.turns), word
    assert {word.speaker for word in told.words} == set(told.speakers)


@every_recording
def test_the_truth_is_one_sentence_per_turn_that_no_training_saw(path: Path) -> None:
    said = sentences(path)
    assert [word for text in said for word in normalised(text)] == [w for word in truth(path).words for w in normalised(word.text)]
    assert [text for text in said if not held_out(text)] == []


def test_everybody_but_the_strangers_can_be_enrolled() -> None:
    enrolled = {path.stem for path in VOICES}
    for path in RECORDINGS:
        told = truth(path)
        assert set(told.speakers) - set(told.strangers) <= enrolled
        assert not set(told.strangers) & enrolled
    assert any(truth(path).strangers for path in BUNDLED)


@pytest.mark.parametrize("path", VOICES, ids=lambda path: path.name)
def test_an_enrolment_clip_is_long_enough(path: Path, tmp_path: Path) -> None:
    assert decode(path, tmp_path, token=CancelToken()).seconds >= 36


def test_the_hand_written_cluster_holds_two_people() -> None:
    path = next(p for p in BUNDLED if p.with_suffix(".turns.json").exists())
    told, turns = truth(path), hand_written(path).turns
    assert [(turn.start, turn.end) for turn in turns] == [(turn.start, turn.end) for turn in told.turns]
    people: dict[str, set[str]] = {}
    for turn, true in zip(turns, told.turns, strict=True):
        people.setdefault(turn.cluster, set()).add(true.speaker)
    assert sorted(len(names) for names in people.values()) == [1, 2]


def test_the_late_guest_is_silent_until_long_after_the_intro() -> None:
    told = truth(HARD / "late-guest.opus")
    host, guest = told.speakers
    assert next(turn.start for turn in told.turns if turn.speaker == guest) > 0.6 * told.duration
    assert host == "Helen"


def test_the_back_and_forth_is_fast() -> None:
    turns = truth(HARD / "back-and-forth.opus").turns
    assert len(turns) >= 20
    assert all(a.speaker != b.speaker for a, b in itertools.pairwise(turns))
    assert sum(turn.end - turn.start for turn in turns) / len(turns) < 1.5


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    import torch

    torch.set_num_threads(1)
    with Chain(demo_settings()) as loaded:
        yield loaded


@pytest.mark.xdist_group("demo models")
@pytest.mark.parametrize("name", ["sky-talk.mp3", "garden-interrupted.flac"])
def test_the_models_reach_the_goals_on_a_bundled_recording(chain: Chain, name: str) -> None:
    row = measure(chain, "bundled", DEMO / "recordings" / name)
    assert reached_goals(total([row])) == dict.fromkeys(reached_goals(row.quality), True), row.quality
    told = truth(DEMO / "recordings" / name)
    names = {turn.speaker for turn in row.cast.turns}
    assert set(told.speakers) - set(told.strangers) <= names
    assert len(names) == len(told.speakers)


@pytest.mark.xdist_group("demo models")
def test_the_hand_written_cluster_is_split_and_its_people_are_named(chain: Chain) -> None:
    path = DEMO / "recordings" / "sea-two-in-one.webm"
    _, cast = chain.result(chain.decode(path), hand_written(path))
    mixed, clean = sorted(cast.decisions, key=lambda decision: not decision.split)
    assert (mixed.split, clean.split, clean.speaker) == (True, False, "Oscar")
    assert mixed.spread is not None
    assert mixed.spread > Limits.from_settings(chain.settings.identify).range_limit + 0.2
    assert [turn.speaker for turn in cast.turns] == [turn.speaker for turn in truth(path).turns]


@pytest.mark.xdist_group("demo models")
def test_a_monologue_takes_the_fast_path_and_a_late_guest_does_not(chain: Chain) -> None:
    assert chain.fast_path(chain.decode(DEMO / "recordings" / "garden-monologue.opus")) is not None
    assert chain.fast_path(chain.decode(HARD / "late-guest.opus")) is None


def test_a_truth_file_has_the_shape_the_card_describes() -> None:
    data = json.loads((DEMO / "recordings" / "sky-talk.json").read_text("utf-8"))
    assert set(data) == {"title", "audio", "duration", "strangers", "turns", "words"}
    assert set(data["turns"][0]) == {"start", "end", "speaker"}
    assert set(data["words"][0]) == {"word", "start", "speaker"}
    assert (DEMO / "recordings" / data["audio"]).exists()
