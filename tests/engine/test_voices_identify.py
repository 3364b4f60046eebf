"""From audio and turns to names, with the bundled voice model; the fast path and what it must not do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gainstage.config.settings import Identify
from gainstage.engine.errors import Cancelled, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.telemetry.journal import Journal
from gainstage.engine.terms import Audio, DiarizationResult, ModelId, Provenance, Turn
from gainstage.engine.voices.analysis import statistics
from gainstage.engine.voices.calibration import Calibration
from gainstage.engine.voices.evidence import Refusal
from gainstage.engine.voices.extract import VoiceExtractor, voice_batcher
from gainstage.engine.voices.fast_path import PLACES, monologue, places
from gainstage.engine.voices.identify import identify
from gainstage.engine.voices.profile_index import Profile, profile
from gainstage.engine.voices.vectors import ForeignVoice
from tests.engine.voices_kit import audio_of, encoder, silence, speech

SETTINGS = Identify(
    primary="Ann", primary_threshold=0.42, other_threshold=0.42, split_threshold=0.42, fast_path_mean=0.55, fast_path_low=0.4
)
"""As the demo's profile sets them for its small voice model."""


@pytest.fixture(scope="module")
def extractor() -> Iterator[VoiceExtractor]:
    found = VoiceExtractor(encoder, voice_batcher(encoder, lambda: 60.0))
    yield found
    found.close()


@pytest.fixture(scope="module")
def profiles(extractor: VoiceExtractor, tmp_path_factory: pytest.TempPathFactory) -> list[Profile]:
    folder = tmp_path_factory.mktemp("enrol")
    found = []
    for id, (name, who) in enumerate((("Ann", "one"), ("Bob", "other")), 1):
        audio = audio_of(folder, [speech(who, 16, 7)], name)
        voices = extractor.extract(audio, [(i, i + 3.0) for i in range(0, 12, 2)], token=CancelToken()).voices
        found.append(profile(id, name, extractor.model, np.stack([v for v in voices if not isinstance(v, Refusal)])))
    return found


def talk(folder: Path, *parts: tuple[str, float, str]) -> tuple[Audio, DiarizationResult]:
    """Parts (who, seconds, cluster) one after another with half a second of silence, and the diarizer's turns of them."""
    pieces, turns, now = [], [], 0.0
    for k, (who, seconds, cluster) in enumerate(parts):
        pieces += [speech(who, seconds, k), silence(0.5)]
        turns.append(Turn(now, now + seconds, cluster))
        now += seconds + 0.5
    return audio_of(folder, pieces), DiarizationResult(tuple(turns), tuple(turns), "test")


def names(audio: Audio, heard: DiarizationResult, people: list[Profile], extractor: VoiceExtractor, **changes: float) -> list[str]:
    settings = SETTINGS.model_copy(update=changes)
    return [t.speaker for t in identify(audio, heard, people, settings, revision=1, extractor=extractor, token=CancelToken()).turns]


def test_an_interview_gets_its_names(extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path) -> None:
    audio, heard = talk(tmp_path, ("one", 4, "X"), ("other", 6, "Y"), ("one", 3, "X"), ("other", 5, "Y"), ("one", 0.3, "X"))
    journal = Journal()
    cast = identify(
        audio, heard, profiles, SETTINGS, revision=3, extractor=extractor, token=CancelToken(), journal=journal, recording="r"
    )
    assert [t.speaker for t in cast.turns] == ["Ann", "Bob", "Ann", "Bob", "Ann"]
    assert {t.provenance for t in cast.turns} == {Provenance.CLUSTER}
    assert [t.voice is None for t in cast.turns] == [False, False, False, False, True]
    assert {d.revision for d in cast.decisions} == {3}
    assert sum(t.seconds for t in cast.turns) == pytest.approx(18.3)
    (event,) = [e for e in journal.after(0).items if e.kind == "identified"]
    assert (event.recording, event.data["unknown_s"]) == ("r", 0)


def test_somebody_who_is_not_enrolled_stays_unknown(extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path) -> None:
    audio, heard = talk(tmp_path, ("one", 5, "X"), ("other", 6, "Y"), ("one", 5, "X"))
    assert names(audio, heard, profiles[:1], extractor) == ["Ann", "Speaker 1", "Ann"]
    assert names(audio, heard, [], extractor) == ["Speaker 1", "Speaker 2", "Speaker 1"]


def test_a_cluster_of_two_people_is_split_and_each_turn_named(
    extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path
) -> None:
    audio, heard = talk(tmp_path, *[("one", 11, "X"), ("other", 11, "X")] * 2)
    assert names(audio, heard, profiles, extractor) == ["Ann", "Bob", "Ann", "Bob"]
    assert len(set(names(audio, heard, profiles, extractor, range_limit=2, variance_limit=1))) == 1


def test_clusters_merged_on_purpose_are_one_person(extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path) -> None:
    audio, heard = talk(tmp_path, ("one", 5, "X"), ("one", 5, "Y"))
    assert sorted(names(audio, heard, profiles, extractor)) == ["Ann", "Speaker 1"]
    cast = identify(audio, heard, profiles, SETTINGS, revision=1, extractor=extractor, token=CancelToken(), together=[("X", "Y")])
    assert [t.speaker for t in cast.turns] == ["Ann", "Ann"]


def test_overlap_of_the_diarizer_is_kept(extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path) -> None:
    audio, heard = talk(tmp_path, ("one", 5, "X"), ("other", 5, "Y"))
    both = DiarizationResult((Turn(0, 6.5, "X"), Turn(5.5, 10.5, "Y")), heard.exclusive, "test")
    cast = identify(audio, both, profiles, SETTINGS, revision=1, extractor=extractor, token=CancelToken())
    assert cast.overlaps == ((5.5, 6.5),)


def test_a_recording_without_speech_has_an_empty_cast(extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path) -> None:
    audio = audio_of(tmp_path, [silence(10)])
    cast = identify(audio, DiarizationResult((), (), "t"), profiles, SETTINGS, revision=1, extractor=extractor, token=CancelToken())
    assert (cast.turns, cast.decisions) == ((), ())


def test_turns_in_which_nothing_is_heard_are_unknown(extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path) -> None:
    audio = audio_of(tmp_path, [silence(10)])
    turns = (Turn(0, 4, "X"), Turn(5, 9, "X"))
    cast = identify(
        audio, DiarizationResult(turns, turns, "t"), profiles, SETTINGS, revision=1, extractor=extractor, token=CancelToken()
    )
    assert [t.speaker for t in cast.turns] == ["Speaker 1", "Speaker 1"]
    assert "no turn gave a voice (silent)" in cast.decisions[0].why


def test_a_profile_of_another_model_stops_identification(
    extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path
) -> None:
    audio, heard = talk(tmp_path, ("one", 5, "X"))
    other = profile(9, "Zoe", ModelId("another", "1", 192), np.ones((1, 192), np.float32))
    with pytest.raises(ForeignVoice, match="Zoe"):
        names(audio, heard, [*profiles, other], extractor)


# -- fast path ------------------------------------------------------------------------------------------------------


def test_places_are_spread_over_the_whole_recording() -> None:
    found = places(3600)
    assert len(found) == PLACES
    assert found[0][0] < 300
    assert found[-1][1] > 3300
    assert all(b > a for a, b in found)
    assert all(end <= start for (_, end), (start, _) in zip(places(30), places(30)[1:], strict=False))


def test_a_monologue_takes_the_fast_path(extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path) -> None:
    audio = audio_of(tmp_path, [speech("one", 60)])
    journal = Journal()
    cast = monologue(
        audio, profiles, SETTINGS, revision=2, extractor=extractor, token=CancelToken(), journal=journal, recording="r"
    )
    assert cast is not None
    assert cast.fast_path
    (turn,) = cast.turns
    assert (turn.speaker, turn.start, turn.end, turn.provenance) == ("Ann", 0.0, 60.0, Provenance.FAST_PATH)
    (decision,) = cast.decisions
    assert (decision.rule, len(decision.evidence), decision.seconds_by_speaker) == ("fast path", PLACES, {"Ann": 60.0})
    assert turn.confidence == pytest.approx(decision.mean, abs=1e-4)
    (event,) = [e for e in journal.after(0).items if e.kind == "fast path"]
    assert event.data["taken"] is True
    assert len(event.data["similarities"]) == PLACES


def test_the_decision_of_the_fast_path_holds_every_number_it_rests_on(
    extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path
) -> None:
    audio = audio_of(tmp_path, [speech("one", 40)])  # twelve places of 3.333 s
    suggested = [profiles[0], replace(profiles[1], suggested=0.9)]
    cast = monologue(audio, suggested, SETTINGS, revision=2, extractor=extractor, token=CancelToken())
    assert cast is not None
    (decision,) = cast.decisions
    stats = (decision.mean, decision.variance, decision.low, decision.high, decision.spread)
    assert stats == statistics(decision.similarities)
    assert decision.split is False
    assert decision.sample_s == (3.333,) * PLACES
    ann, bob = decision.scores
    assert (ann.name, bob.name, bob.threshold) == ("Ann", "Bob", 0.9), "the best first; the suggested threshold counts on cosines"
    assert decision.margin == round(ann.score - bob.score, 6)
    assert [e.similarity for e in decision.evidence] == list(decision.similarities)


def test_on_the_calibrated_scale_the_fast_path_is_as_sure_as_its_places(
    extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path
) -> None:
    audio = audio_of(tmp_path, [speech("one", 40)])
    suggested = [profiles[0], replace(profiles[1], suggested=0.9)]
    scale = Calibration(-4.0, 20.0, 0.5, 0.0, 0.7, 0.0, 0.1, 0.0, 2.0)
    settings = SETTINGS.model_copy(update={"scale": "calibrated", "fast_path_probability": 0.5})
    cast = monologue(audio, suggested, settings, revision=2, extractor=extractor, token=CancelToken(), calibration=scale)
    assert cast is not None
    (decision,) = cast.decisions
    by_place = [next(s for s in place.scores if s.name == "Ann") for place in decision.evidence]
    for score, (start, end) in zip(by_place, places(40.0), strict=True):
        assert score.log_ratio == pytest.approx(scale.log_ratio(score.score, end - start), abs=1e-4)
    tenth = float(np.percentile([score.probability or 0.0 for score in by_place], 10))
    assert cast.turns[0].confidence == pytest.approx(tenth, abs=1e-4)
    assert next(s for s in decision.scores if s.name == "Bob").threshold == settings.other_threshold


def test_the_fast_path_begins_at_24_seconds(extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path) -> None:
    for seconds, taken in ((24.0, True), (23.9, False)):
        audio = audio_of(tmp_path, [speech("one", seconds)], str(seconds))
        cast = monologue(audio, profiles, SETTINGS, revision=1, extractor=extractor, token=CancelToken())
        assert (cast is not None) is taken


def test_a_guest_who_appears_late_takes_the_full_path(extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path) -> None:
    audio = audio_of(tmp_path, [speech("one", 70), speech("other", 20)])
    journal = Journal()
    arguments = {"revision": 2, "extractor": extractor, "token": CancelToken(), "journal": journal}
    assert monologue(audio, profiles, SETTINGS, **arguments) is None  # type: ignore[arg-type]
    (event,) = [e for e in journal.after(0).items if e.kind == "fast path"]
    assert event.data["taken"] is False
    assert "10th percentile" in event.text


@pytest.mark.parametrize("case", ["no primary", "switched off", "too short", "silence"])
def test_without_certainty_the_full_path_is_taken(
    case: str, extractor: VoiceExtractor, profiles: list[Profile], tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(
        update={"primary": None} if case == "no primary" else {"fast_path": False} if case == "switched off" else {}
    )
    parts = [speech("one", 40)] if case != "silence" else [speech("one", 30), silence(15), speech("one", 10)]
    audio = audio_of(tmp_path, parts if case != "too short" else [speech("one", 20)])
    journal = Journal()
    arguments = {"revision": 1, "extractor": extractor, "token": CancelToken(), "journal": journal}
    assert monologue(audio, profiles, settings, **arguments) is None  # type: ignore[arg-type]
    said = [e.text for e in journal.after(0).items if e.kind == "fast path"]
    assert [text.endswith("places give no voice") for text in said] == ([True] if case == "silence" else [])


def test_a_failing_extraction_takes_the_full_path_and_a_cancel_ends(profiles: list[Profile], tmp_path: Path) -> None:
    class Broken:
        id = profiles[0].model
        device = "cpu"

        def embed(self, batch: object) -> object:
            raise Transient("the device is gone")

    broken = Broken()
    extractor = VoiceExtractor(lambda: broken, voice_batcher(lambda: broken, lambda: 60.0))  # type: ignore[arg-type, return-value]
    audio = audio_of(tmp_path, [speech("one", 40)])
    try:
        journal = Journal()
        arguments = {"revision": 1, "extractor": extractor, "token": CancelToken(), "journal": journal}
        assert monologue(audio, profiles, SETTINGS, **arguments) is None  # type: ignore[arg-type]
        (event,) = [e for e in journal.after(0).items if e.kind == "fast path"]
        assert (event.level, "the device is gone" in event.text) == ("warning", True)
        token = CancelToken()
        token.cancel("stop")
        with pytest.raises(Cancelled):
            monologue(audio, profiles, SETTINGS, revision=1, extractor=extractor, token=token)
    finally:
        extractor.close()
