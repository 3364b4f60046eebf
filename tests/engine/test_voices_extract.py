"""Voices from audio: the same alone or in any batch, refusals with their reason, memory, the cache."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gainstage.engine.errors import Cancelled, EngineError, OutOfMemory
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.store.database import Database
from gainstage.engine.telemetry.journal import Journal
from gainstage.engine.terms import SAMPLE_RATE, Audio, ModelId
from gainstage.engine.voices.cache import VoiceCache
from gainstage.engine.voices.evidence import Refusal
from gainstage.engine.voices.extract import Extraction, VoiceExtractor, voice_batcher
from gainstage.engine.voices.windows import MOST_WINDOWS, PREPROCESSING, RATIO, batch_of, grid, samples_of, windows
from tests.engine.voices_kit import audio_of, encoder, silence, speech


class FakeEncoder:
    """A model whose voice of a span is a few sums over it, and that can be told to fail."""

    id = ModelId("fake", "1", 4)
    device = "cuda"

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self.most_seconds = float("inf")
        self.broken = False

    def embed(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if batch.size / SAMPLE_RATE > self.most_seconds:
            raise OutOfMemory("too large")
        if self.broken:
            raise ValueError("a bug")
        self.calls.append(batch.shape)
        voices = np.stack([np.abs(batch).mean(1), batch.std(1), batch.max(1), batch.min(1)], axis=1)
        return (voices / np.linalg.norm(voices, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Audio:
    folder = tmp_path_factory.mktemp("talk")
    return audio_of(folder, [speech("one", 40), speech("other", 20), silence(5), speech("one", 15, 3)])


@pytest.fixture(scope="module")
def extractor() -> Iterator[VoiceExtractor]:
    found = VoiceExtractor(encoder, voice_batcher(encoder, lambda: 60.0))
    yield found
    found.close()


@pytest.fixture
def fake() -> Iterator[tuple[FakeEncoder, VoiceExtractor]]:
    model = FakeEncoder()
    found = VoiceExtractor(lambda: model, voice_batcher(lambda: model, lambda: 30.0))
    yield model, found
    found.close()


def voices_of(found: Extraction) -> NDArray[np.float32]:
    return np.stack([v for v in found.voices if not isinstance(v, Refusal)])


span = st.tuples(st.floats(0, 55), st.floats(0.5, 15)).map(lambda s: (s[0], s[0] + s[1]))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(span, min_size=2, max_size=6))
def test_a_voice_is_the_same_alone_and_in_any_batch(
    extractor: VoiceExtractor, talk: Audio, spans: list[tuple[float, float]]
) -> None:
    together = voices_of(extractor.extract(talk, spans, token=CancelToken()))
    alone = np.concatenate([voices_of(extractor.extract(talk, [s], token=CancelToken())) for s in spans])
    assert 1 - np.einsum("ij,ij->i", together, alone).min() < 0.001


@given(st.integers(1, 20 * SAMPLE_RATE))
@example(11_180)
def test_a_grid_length_is_at_most_half_a_step_and_half_a_frame_away(samples: int) -> None:
    found = grid(samples)
    assert found % 160 == 0
    if samples >= SAMPLE_RATE // 2:
        assert samples * RATIO**-0.5 - 80 <= found <= samples * RATIO**0.5 + 80


@given(st.integers(0, 70_000), st.integers(1, 300_000))
def test_windows_of_a_span_have_one_length_and_lie_inside_it(start_ms: int, length_ms: int) -> None:
    samples = np.broadcast_to(np.int16(0), 400 * SAMPLE_RATE)
    found = windows(samples, start_ms, start_ms + length_ms)
    spoken = min(len(samples), (start_ms + length_ms) * 16) - start_ms * 16
    assert len({w.length for w in found}) == 1
    assert all(0 < len(w.pcm) <= w.length for w in found)
    assert len(found) <= MOST_WINDOWS
    if SAMPLE_RATE // 2 <= spoken <= 36 * SAMPLE_RATE:
        assert 0.85 < sum(w.length for w in found) / spoken < 1.15


def test_windows_are_read_as_they_lie_and_repeated_where_they_are_short(tmp_path: Path) -> None:
    audio = audio_of(tmp_path, [np.linspace(-0.5, 0.5, 10_000, dtype=np.float32)])
    (short,) = windows(samples_of(audio), 0, 560)
    rows = batch_of([short, short])
    assert rows.shape == (2, short.length)
    assert np.array_equal(rows[0], np.resize(audio.read(0, 0.56), short.length))
    (cut,) = windows(samples_of(audio), 0, 540)
    assert np.array_equal(batch_of([cut])[0], audio.read()[: 540 * 16][(540 * 16 - cut.length) // 2 :][: cut.length])


def test_the_longest_turn_there_is_gives_few_lengths() -> None:
    samples = np.broadcast_to(np.int16(0), 4000 * SAMPLE_RATE)
    assert len({w.length for ms in range(500, 300_000, 321) for w in windows(samples, 0, ms)}) <= 16


def test_two_people_sound_different_and_one_alike(extractor: VoiceExtractor, talk: Audio) -> None:
    one, again, other = voices_of(extractor.extract(talk, [(2, 8), (66, 72), (42, 48)], token=CancelToken()))
    assert one @ again > 0.7
    assert one @ other < 0.4


def test_spans_without_a_voice_say_why_and_leave_the_others_alone(extractor: VoiceExtractor, talk: Audio) -> None:
    spans = [(2.0, 5.0), (60.5, 64.0), (7.0, 7.3), (500.0, 504.0), (2.0, 5.0)]
    found = extractor.extract(talk, spans, token=CancelToken())
    reasons = [v.reason if isinstance(v, Refusal) else None for v in found.voices]
    assert reasons == [None, "silent", "too short", "silent", None]
    assert np.array_equal(voices_of(found)[0], voices_of(found)[1])
    assert found.windows == 1
    assert extractor.view().refused >= 3


def test_windows_of_one_length_share_a_call(fake: tuple[FakeEncoder, VoiceExtractor], talk: Audio) -> None:
    model, extractor = fake
    found = extractor.extract(talk, [(i * 2.0, i * 2.0 + 2.0 + i / 100) for i in range(10)], token=CancelToken())
    assert found.batches == len(model.calls) == 1
    assert model.calls[0][0] == 10
    view = extractor.view()
    assert (view.items, view.batches, view.padding_waste) == (10, 1, 0.0)


def test_a_call_stays_within_the_budget(fake: tuple[FakeEncoder, VoiceExtractor], talk: Audio) -> None:
    model, extractor = fake
    extractor.extract(talk, [(i * 1.0, i * 1.0 + 3.0) for i in range(40)], token=CancelToken())
    assert len(model.calls) >= 4
    assert all(n * length <= 30 * SAMPLE_RATE for n, length in model.calls)


def test_out_of_memory_halves_the_call_and_keeps_the_order(fake: tuple[FakeEncoder, VoiceExtractor], talk: Audio) -> None:
    model, extractor = fake
    spans = [(i * 1.0, i * 1.0 + 3.0) for i in range(20)]
    expected = voices_of(extractor.extract(talk, spans, token=CancelToken()))
    model.most_seconds = 10.0
    assert np.array_equal(voices_of(extractor.extract(talk, spans, token=CancelToken())), expected)
    assert extractor.view().out_of_memory >= 1
    assert extractor.view().budget < 30


def test_a_span_that_never_fits_is_a_typed_error(fake: tuple[FakeEncoder, VoiceExtractor], talk: Audio) -> None:
    model, extractor = fake
    model.most_seconds = 1.0
    with pytest.raises(OutOfMemory):
        extractor.extract(talk, [(0, 5)], token=CancelToken())


def test_a_failing_model_is_a_typed_error(fake: tuple[FakeEncoder, VoiceExtractor], talk: Audio) -> None:
    model, extractor = fake
    model.broken = True
    with pytest.raises(EngineError, match="a bug"):
        extractor.extract(talk, [(0, 5)], token=CancelToken())


def test_a_voice_that_is_not_finite_is_refused(fake: tuple[FakeEncoder, VoiceExtractor], talk: Audio) -> None:
    model, extractor = fake
    model.embed = lambda batch: np.full((len(batch), 4), np.nan, np.float32)  # type: ignore[method-assign]
    assert extractor.extract(talk, [(0, 5)], token=CancelToken()).voices == (Refusal("no finite voice"),)


def test_a_cancelled_extraction_ends(fake: tuple[FakeEncoder, VoiceExtractor], talk: Audio) -> None:
    token = CancelToken()
    token.cancel("stop")
    with pytest.raises(Cancelled):
        fake[1].extract(talk, [(0, 5)], token=token)


def test_recordings_in_flight_share_calls(talk: Audio) -> None:
    model, together = FakeEncoder(), threading.Barrier(6)
    extractor = VoiceExtractor(lambda: model, voice_batcher(lambda: model, lambda: 1000.0, linger_s=1.0))

    def recording(number: int) -> None:
        together.wait()
        extractor.extract(talk, [(number + i, number + i + 2.0) for i in range(5)], token=CancelToken())

    threads = [threading.Thread(target=recording, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    extractor.close()
    assert sum(n for n, _ in model.calls) == 30
    assert len(model.calls) < 6


def test_the_journal_says_what_was_extracted(talk: Audio) -> None:
    journal, model = Journal(), FakeEncoder()
    extractor = VoiceExtractor(lambda: model, voice_batcher(lambda: model, lambda: 30.0), None, journal)
    extractor.extract(talk, [(0, 5), (5, 5.2)], token=CancelToken(), recording="rec")
    extractor.close()
    (event,) = journal.after(0).items
    assert (event.recording, event.data["segments"], event.data["batches"]) == ("rec", 2, 1)
    assert "no voice: 1 too short" in event.text


def test_a_second_run_extracts_nothing(database: Database, talk: Audio) -> None:
    model = FakeEncoder()
    spans = [(0.0, 4.0), (4.0, 8.5), (60.5, 64.0), (9.0, 9.1)]
    results = []
    for _ in range(2):
        extractor = VoiceExtractor(lambda: model, voice_batcher(lambda: model, lambda: 30.0), VoiceCache(database))
        results.append(extractor.extract(talk, spans, token=CancelToken()))
        calls, view = len(model.calls), extractor.view()
        extractor.close()
    first, second = results
    assert (first.hits, second.hits, second.windows, second.batches) == (0, 3, 0, 0)
    assert (view.cache_hits, view.cache_misses) == (3, 0)
    assert len(model.calls) == calls
    assert all(np.array_equal(a, b) for a, b in zip(voices_of(first), voices_of(second), strict=True))
    assert first.voices[2] == second.voices[2] == Refusal("silent")


def test_the_cache_tells_models_preprocessing_and_audio_apart(database: Database) -> None:
    cache, model, voice = VoiceCache(database), ModelId("m", "1", 4), np.array([1, 0, 0, 0], np.float32)
    cache.put("audio", {(0, 1000): voice}, model, PREPROCESSING)
    assert list(cache.get("audio", [(0, 1000), (0, 1001)], model, PREPROCESSING)) == [(0, 1000)]
    assert not cache.get("audio", [(0, 1000)], ModelId("m", "2", 4), PREPROCESSING)
    assert not cache.get("audio", [(0, 1000)], model, "another")
    assert not cache.get("other audio", [(0, 1000)], model, PREPROCESSING)
    assert (cache.hits, cache.misses) == (1, 4)


def test_a_cache_that_is_switched_off_keeps_and_gives_nothing(database: Database) -> None:
    cache, model = VoiceCache(database, enabled=lambda: False), ModelId("m", "1", 4)
    cache.put("audio", {(0, 1000): np.array([1, 0, 0, 0], np.float32)}, model, PREPROCESSING)
    assert not VoiceCache(database).get("audio", [(0, 1000)], model, PREPROCESSING)
    assert not cache.get("audio", [(0, 1000)], model, PREPROCESSING)


def test_a_database_that_is_away_only_costs_the_cache(tmp_path: Path, database_url: str, talk: Audio) -> None:
    database = Database.open(database_url, tmp_path)
    model, cache = FakeEncoder(), VoiceCache(database)
    cache.get("warm", [(0, 1)], model.id, PREPROCESSING)
    extractor = VoiceExtractor(lambda: model, voice_batcher(lambda: model, lambda: 30.0), cache)
    database.close()
    try:
        with pytest.raises(EngineError):
            database.ping()
        assert len(extractor.extract(talk, [(0, 5)], token=CancelToken()).voices) == 1
    finally:
        extractor.close()


def test_convolutions_without_padding_give_the_voices_of_the_library() -> None:
    from gainstage.engine.models.hyperparams import build_encoder
    from gainstage.engine.models.resolve import find
    from gainstage.engine.models.voice import VoiceEncoder, load_classifier

    files = find("voice", "demo:voice", None, Path(), download=False)
    published = build_encoder((files.folder / "hyperparams.yaml").read_text("utf-8"), files.folder, "cpu")
    ours = load_classifier(files, "cpu")
    unpadded = [name for name, module in ours.named_modules() if getattr(module, "padding", None) == "valid"]
    assert len(unpadded) == 16
    batch = 0.1 * np.random.default_rng(5).standard_normal((3, 20_000)).astype(np.float32)
    assert np.array_equal(VoiceEncoder(ours, files, "cpu").raw(batch), VoiceEncoder(published, files, "cpu").raw(batch))
