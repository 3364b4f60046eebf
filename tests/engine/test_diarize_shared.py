"""The diarizer that shares frames: the vectors and turns of the stock pipeline with a part of its work, read in blocks."""

from __future__ import annotations

import os
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from speech_kit import audio_of, demo_settings, dialogue, models

from gainstage.engine.errors import OutOfMemory
from gainstage.engine.flow.adaptive_budget import AdaptiveBudget
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models import quiet
from gainstage.engine.speech.diarize import audible
from gainstage.engine.terms import SAMPLE_RATE, Audio, DiarizationResult

_slot: dict[str, Any] = {}


def diarized(audio: Audio, engine: str, **settings: object) -> DiarizationResult:
    wanted = demo_settings(diarization__engine=engine, **{f"diarization__{k}": v for k, v in settings.items()})
    return models().diarizer(_slot).diarize(audio, wanted.diarization, token=CancelToken())


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Audio:
    return audio_of(tmp_path_factory.mktemp("talk"), dialogue())


@pytest.fixture(scope="module")
def network() -> Any:
    """WeSpeaker's ResNet34 in full size with random weights."""
    with quiet.importing():
        import torch
        from pyannote.audio.models.embedding import WeSpeakerResNet34

        torch.manual_seed(0)
        return WeSpeakerResNet34().eval()


def masks_of(chunks: int, frames: int = 589) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Three speakers a chunk: one in the first half, one in the second, one who is not heard."""
    masks = np.zeros((chunks, 3, frames), np.float32)
    masks[:, 0, : frames // 2] = 1
    masks[:, 1, frames // 2 :] = 1
    return masks


@pytest.mark.parametrize("batch", [None, 1, 3])
def test_the_turns_are_those_of_the_stock_pipeline(talk: Audio, batch: int | None) -> None:
    stock = diarized(talk, "stock")
    assert stock.turns
    assert diarized(talk, "stacked", batch=batch).turns == stock.turns
    assert diarized(talk, "once", batch=batch).turns == stock.turns  # the demo's encoder shares no frames


def test_a_longer_step_makes_fewer_chunks(talk: Audio) -> None:
    from gainstage.engine.models.speaker_pipeline import Work

    pipeline = models().diarizer(_slot)._pipeline
    fine, coarse = (pipeline.get_segmentations({"work": Work(talk, AdaptiveBudget, step=step)}) for step in (0.25, 0.5))
    assert len(coarse.data) == pytest.approx(len(fine.data) / 2, abs=1)
    assert coarse.sliding_window.step == 2 * fine.sliding_window.step
    assert diarized(talk, "stacked", step=0.5).turns


@pytest.mark.parametrize("samples", [1, 31_999, 32_000, 32_001, 40_000, 47_999, 48_000, 100_001])
def test_every_chunk_is_read_as_in_the_stock_pipeline(tmp_path: Path, samples: int) -> None:
    import torch

    from gainstage.engine.models.speaker_pipeline import Work

    noise = 0.1 * np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    audio = audio_of(tmp_path, noise)
    pipeline = models().diarizer(_slot)._pipeline
    with quiet.working():
        stock = pipeline.get_segmentations(
            {"waveform": torch.from_numpy(audio.read())[None], "sample_rate": SAMPLE_RATE, "uri": "a"}
        )
        ours = pipeline.get_segmentations({"work": Work(audio, AdaptiveBudget, batch=lambda: 32)})
    assert np.array_equal(stock.data, ours.data)
    assert stock.sliding_window.step == ours.sliding_window.step


@pytest.mark.parametrize(
    ("size", "step", "chunks"), [("demo", 8000, 1), ("demo", 8000, 10), ("demo", 4010, 7), ("real", 16_000, 3)]
)
@pytest.mark.parametrize("sound", ["talk", "offset", "silence"])
def test_filters_shared_by_chunks_give_the_output_of_the_network(
    talk: Audio, size: str, step: int, chunks: int, sound: str
) -> None:
    import torch

    from gainstage.engine.bench.diarize import real_size
    from gainstage.engine.models.shared_filters import SharedFilters

    model, window = (
        (models().diarizer(_slot).parts.segmentation, 32_000) if size == "demo" else (real_size(0).segmentation, 160_000)
    )
    samples = window + (chunks - 1) * step
    audio = torch.from_numpy(np.resize(talk.read(), samples))
    audio = {"talk": audio, "offset": 0.5 * audio + 0.4, "silence": torch.zeros(samples)}[sound]
    assert SharedFilters.fit(model, step)
    with torch.inference_mode():
        alone = model(audio.unfold(0, window, step)[:, None].contiguous())
        shared = SharedFilters(model, window, step)(audio)
    assert shared.shape == alone.shape
    assert (shared - alone).abs().max() < 1e-4  # logarithms of probabilities
    assert torch.equal(shared.argmax(-1), alone.argmax(-1)) or sound == "silence"  # in silence several are alike


def test_filters_are_shared_only_where_they_can_be(network: Any) -> None:
    from gainstage.engine.models.shared_filters import SharedFilters

    segmentation = models().diarizer(_slot).parts.segmentation
    assert not SharedFilters.fit(segmentation, 8005), "a chunk that begins between two values of the filters"
    assert not SharedFilters.fit(network, 8000)


def test_stacked_vectors_are_those_of_one_pass_per_speaker_to_rounding(network: Any) -> None:
    import torch

    from gainstage.engine.models.speaker_pipeline import stacked

    chunks = torch.from_numpy(0.1 * np.random.default_rng(1).standard_normal((2, 1, 160_000)).astype(np.float32))
    masks = masks_of(2)
    passes = 0
    forward = network.resnet.forward_frames

    def counted(features: Any) -> Any:
        nonlocal passes
        passes += len(features)
        return forward(features)

    network.resnet.forward_frames = counted
    try:
        with torch.inference_mode():
            ours = np.concatenate(
                [stacked(network, chunks[n : n + 1], torch.from_numpy(masks[n : n + 1]), torch.device("cpu")) for n in (0, 1)]
            )
    finally:
        network.resnet.forward_frames = forward
    with torch.inference_mode():
        alone = [network(chunks[c][None], weights=torch.from_numpy(masks[c, s])[None]).numpy()[0] for c in (0, 1) for s in (0, 1)]
    assert passes == 2
    assert np.abs(ours[:, :2].reshape(4, -1) - np.stack(alone)).max() < 1e-6  # of entries around 0.01; sums run in another order


def test_frames_read_once_give_nearly_the_vectors_of_each_chunk(network: Any, tmp_path: Path) -> None:
    import torch

    from gainstage.engine.models.speaker_frames import FrameReader, Pooled
    from gainstage.engine.models.speaker_pipeline import read_chunk, stacked

    audio = audio_of(tmp_path, dialogue())
    chunks = int(audio.seconds) - 9
    assert chunks >= 3
    masks = masks_of(chunks)
    device = torch.device("cpu")
    with torch.inference_mode():
        reader = FrameReader(network, audio, device)
        pooled = Pooled(reader, masks, 10.0, 1.0)
        parts = []
        for first in range(0, chunks, 2):  # in batches, giving up what is behind
            parts.append(pooled.vectors(first, min(chunks, first + 2)))
            reader.forget_before(first + 2.0)
        ours = np.concatenate(parts)
        whole = Pooled(FrameReader(network, audio, device), masks, 10.0, 1.0).vectors(0, chunks)
        there = [0, chunks - 1]
        rows = [torch.from_numpy(read_chunk(audio, n * SAMPLE_RATE, 160_000))[None, None] for n in there]
        theirs = np.concatenate(
            [stacked(network, row, torch.from_numpy(masks[n : n + 1]), device) for n, row in zip(there, rows, strict=True)]
        )
    assert reader.blocks == 1
    assert np.allclose(ours[:, :2], whole[:, :2], atol=1e-4)
    assert np.isnan(ours[:, 2]).all()  # who is not heard has no vector

    def cosine(a: Any, b: Any) -> Any:
        return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)

    same = cosine(ours[there][:, :2], theirs[:, :2])
    assert same.min() > 0.99
    assert same.min() > cosine(ours[there][:, 0], theirs[:, 1]).max()  # nearer than another person of the same chunk


@pytest.mark.parametrize("calls", [1, 3])
@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError(), OutOfMemory("voices")]
)
def test_a_batch_out_of_memory_is_halved_and_nothing_is_lost(talk: Audio, calls: int, error: Exception) -> None:
    from gainstage.engine.models.speaker_pipeline import CallPlan, Work

    told: list[tuple[str, int]] = []
    work = Work(talk, AdaptiveBudget, batch=lambda: 16, on_oom=lambda *what: told.append(what))
    sizes = []

    def call(first: int, last: int) -> list[int]:
        sizes.append(last - first)
        if last - first > 4:
            raise error
        return list(range(first, last))

    done = [n for _, _, part in work.batches("embeddings", 21, CallPlan(8, calls), call) for n in part]
    assert done == list(range(21))
    if calls == 1:
        assert sizes[:3] == [16, 8, 4]
        assert max(sizes[3:]) == 4
    assert max(sizes[-3:]) <= 4
    assert told[0] == ("embeddings", 16)

    def hopeless(first: int, last: int) -> None:
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(work.batches("segmentation", 3, CallPlan(8, calls), hopeless))
    assert told[-1] == ("segmentation", 1)


@pytest.mark.parametrize("calls", [1, 2])
def test_slots_whose_smallest_calls_do_not_fit_beside_each_other_make_them_one_after_the_other(talk: Audio, calls: int) -> None:
    """Three slots that run out of memory at the same moment would do so at every attempt of their recordings."""
    from gainstage.engine.models.speaker_pipeline import CallPlan, Work

    lock, left, refused = threading.Lock(), [10], threading.Event()

    def call(first: int, last: int) -> list[int]:
        with lock:
            if left[0] < 6:
                refused.set()
                raise RuntimeError("CUDA out of memory")
            left[0] -= 6
        try:
            assert refused.wait(20.0), "another slot calls meanwhile"
            return list(range(first, last))
        finally:
            with lock:
                left[0] += 6

    def slot(told: list[int]) -> list[int]:
        work = Work(talk, AdaptiveBudget, batch=lambda: 1, on_oom=lambda _, chunks: told.append(chunks))
        return [n for _, _, part in work.batches("embeddings", 7, CallPlan(1, calls), call) for n in part]

    failed: list[list[int]] = [[], [], []]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(slot, failed)) == [list(range(7))] * 3
    assert {chunks for told in failed for chunks in told} == {1}, "some did not fit at first"


def test_calls_beside_each_other_give_their_results_in_order(talk: Audio) -> None:
    import torch

    from gainstage.engine.models.speaker_pipeline import CallPlan, Work

    both = threading.Barrier(2, timeout=30)
    ended = {first: threading.Event() for first in range(0, 12, 2)}
    threads = set()

    def call(first: int, last: int) -> list[int]:
        both.wait()  # breaks unless two calls are under way
        threads.add((threading.get_ident(), torch.get_num_threads(), torch.is_inference_mode_enabled()))
        if first % 4 == 0:  # the second of each two is done first
            assert ended[first + 2].wait(30)
        ended[first].set()
        return list(range(first, last))

    work = Work(talk, AdaptiveBudget)
    found = list(work.batches("embeddings", 12, CallPlan(2, calls=2, threads=1), call))
    assert [(first, last) for first, last, _ in found] == [(n, n + 2) for n in range(0, 12, 2)]
    assert [n for _, _, part in found for n in part] == list(range(12))
    assert work.calls["embeddings"] == 6
    assert len({ident for ident, _, _ in threads} - {threading.get_ident()}) == 2
    assert {(count, inferring) for _, count, inferring in threads} == {(1, True)}


def test_a_call_alone_takes_all_cores(talk: Audio) -> None:
    import torch

    from gainstage.engine.models.speaker_pipeline import CallPlan, Work

    found = list(
        Work(talk, AdaptiveBudget).batches("embeddings", 2, CallPlan(1, calls=1, threads=2), lambda *_: [torch.get_num_threads()])
    )
    assert [part for _, _, part in found] == [[2], [2]]


def test_nothing_computes_any_more_when_a_recording_is_left_between_calls(talk: Audio) -> None:
    from gainstage.engine.models.speaker_pipeline import CallPlan, Work

    ended = []

    def call(first: int, last: int) -> list[int]:
        if first:  # still under way when the first has ended
            time.sleep(0.3)
        ended.append(first)
        return [first]

    work = Work(talk, AdaptiveBudget)
    with closing(work.batches("embeddings", 100, CallPlan(1, calls=2), call)) as batches:
        next(batches)
    assert ended == [0, 1]


def test_two_cores_give_the_turns_of_one(talk: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    from gainstage.engine.models import speaker_pipeline

    monkeypatch.setattr(speaker_pipeline, "cores_of_a_diarizer", lambda: 1)
    alone = diarized(talk, "stacked")
    monkeypatch.setattr(speaker_pipeline, "cores_of_a_diarizer", lambda: 2)
    assert diarized(talk, "stacked").turns == alone.turns


@pytest.mark.parametrize(("rows", "every"), [(0, 1), (1, 1), (6000, 1), (6001, 2), (43_000, 8)])
def test_vectors_to_cluster_are_thinned_evenly(rows: int, every: int) -> None:
    from gainstage.engine.models.speaker_pipeline import MOST_CLUSTERED, thinned

    vectors, chunks, speakers = thinned(lambda n: (np.zeros((n, 4)), np.arange(n), np.arange(n) % 3), rows)
    assert list(chunks) == list(range(0, rows, every))
    assert list(speakers) == [n % 3 for n in chunks]
    assert len(vectors) == len(chunks) <= MOST_CLUSTERED


def test_a_long_recording_is_clustered_by_a_part_of_its_chunks(talk: Audio, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyannote.audio.pipelines import clustering

    from gainstage.engine.models import speaker_pipeline

    clustered = []
    linkage = clustering.linkage

    def counted(vectors: Any, *args: Any, **options: Any) -> Any:
        clustered.append(len(vectors))
        return linkage(vectors, *args, **options)

    monkeypatch.setattr(clustering, "linkage", counted)
    whole = diarized(talk, "stacked")
    monkeypatch.setattr(speaker_pipeline, "MOST_CLUSTERED", clustered[0] // 2)
    part = diarized(talk, "stacked")
    assert clustered[0] // 3 < clustered[1] <= clustered[0] // 2
    assert len({t.cluster for t in part.turns}) == len({t.cluster for t in whole.turns}) > 1
    assert abs(sum(t.end - t.start for t in part.turns) - sum(t.end - t.start for t in whole.turns)) < 1.0


def test_hours_of_silence_cost_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "six-hours.pcm"
    samples = 6 * 3600 * SAMPLE_RATE
    with path.open("wb") as file:
        os.truncate(file.fileno(), 2 * samples)
    tracemalloc.start()
    try:
        assert not audible(Audio(path, samples, "silence"))
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
