"""Calibrations in the database: fitted once per model and set of profiles, fitted again on request, corrected turns with them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from gainstage.config.settings import Identify
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import Balance, Provenance, Recording, Segment
from gainstage.engine.voices.calibrating import Calibrations, key_of
from gainstage.engine.voices.extract import VoiceExtractor, voice_batcher
from gainstage.engine.voices.identify import as_primary
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import Profile
from gainstage.engine.voices.profiles import ProfileStore, Version
from tests.engine.voices_kit import clip, encoder


@pytest.fixture(scope="module")
def extractor() -> Iterator[VoiceExtractor]:
    found = VoiceExtractor(encoder, voice_batcher(encoder, lambda: 60.0))
    yield found
    found.close()


def enrolled(database: Database) -> tuple[Profile, ...]:
    """Two people enrolled from the bundled clips."""
    store, model = ProfileStore(database), encoder().id
    for who, names in (("Ann", ("one_a", "one_b")), ("Bob", ("other",))):
        samples = np.concatenate([clip(name) for name in names] * 4)[: 16_000 * 12]
        windows = np.stack([samples[k : k + 24_000] for k in range(0, len(samples) - 24_000, 12_000)])
        if store.rows() == () or all(r.name != who for r in store.rows()):
            store.save(who, Version(model, encoder().embed(windows)))
    return tuple(as_primary(store.load(model), "Ann"))


def refuse() -> VoiceExtractor:
    raise AssertionError("the cohort is heard already")


def test_a_calibration_is_fitted_once_and_again_when_asked(database: Database, extractor: VoiceExtractor) -> None:
    profiles, calibrations, token = enrolled(database), Calibrations(database), CancelToken()
    model = extractor.model
    assert calibrations.stored(profiles, model) is None
    first = calibrations.current(profiles, model, lambda: extractor, token)
    assert first is not None
    assert first.people == 2
    assert calibrations.current(profiles, model, refuse, token) == first
    again = calibrations.renew(profiles, model, refuse, token)  # the cohort's voices are stored
    assert again is not None
    assert again.calibration == first
    with database.connection() as connection:
        assert connection.execute("select count(*) from voice_calibration").fetchone() == (2,)
    assert Limits.from_settings(Identify(), first).calibration == first


def test_another_set_of_profiles_has_a_calibration_of_its_own(database: Database, extractor: VoiceExtractor) -> None:
    profiles, calibrations, token = enrolled(database), Calibrations(database), CancelToken()
    both = calibrations.current(profiles, extractor.model, lambda: extractor, token)
    alone = calibrations.current(profiles[:1], extractor.model, refuse, token)
    nobody = calibrations.current((), extractor.model, refuse, token)
    assert both is not None
    assert alone is not None
    assert nobody is not None
    assert [c.people for c in (nobody, alone, both)] == [0, 1, 2]
    assert len({key_of(profiles), key_of(profiles[:1]), key_of(())}) == 3


def test_turns_labelled_by_hand_are_trials(database: Database, extractor: VoiceExtractor) -> None:
    profiles, calibrations, token = enrolled(database), Calibrations(database), CancelToken()
    before = calibrations.renew(profiles, extractor.model, lambda: extractor, token)
    ann = profiles[0]
    voices = [ann.exemplars[k] for k in range(4)]
    RecordingStore(database).store(
        Recording("rec", "test:rec", "/rec.wav", "Talk"),
        [
            Segment(4.0 * k, 4.0 * k + 3, ann.name, ann.id, 1.0, provenance, "said", (), voice=v)
            for k, (v, provenance) in enumerate(zip(voices, [Provenance.MANUAL] * 3 + [Provenance.CLUSTER], strict=True))
        ],
        (),
        models={"voice": extractor.model},
        revision=1,
        facts={},
        spans=(),
        fingerprint="audio",
        balance=Balance(15.0, 15.0, 0.0),
    )
    after = calibrations.renew(profiles, extractor.model, lambda: extractor, token)
    assert before is not None
    assert after is not None
    assert before.corrected == (0, 0)
    assert after.corrected == (3, 3)
