"""The ways that ``gainstage.engine.bench.peers`` compares, each in a process of its own: the same files, weights and threads.

``seed`` and ``plain`` are what a user would write with the same libraries; ``ours`` is the engine with its database.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gainstage.config.origins import load
from gainstage.config.paths import Paths
from gainstage.engine.models import quiet
from gainstage.engine.models.resolve import find
from gainstage.engine.terms import SAMPLE_RATE

if TYPE_CHECKING:
    from gainstage.engine.runtime.context import EngineContext

OVERRIDES = {"fetch.disk_floor": 0, "watch.record": False, "fetch.duplicates": "process"}
BATCH, BEAM = 16, 5
KNOWN: dict[str, Any] = {"chunk_length": 10, "without_timestamps": True, "condition_on_previous_text": False, "vad_filter": True}
"""What the bundled recogniser was trained for: the sequential way's own 30-second windows with timestamps cost it half of the words."""
SHORTEST_S, LONGEST_S = 0.5, 30.0
"""Turns outside are not given to the voice model."""

Result = dict[str, Any]
"""``words`` as [text, start] and ``turns`` as [start, end, cluster]."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The models all ways use, and where they run: the bundled ones, but for those that a folder of real ones holds
    (``whisper-base``, ``minilm``). A recogniser with random weights ends no window by itself: it is stopped after ``tokens``.
    """

    asr: str = "demo:asr"
    embed: str = "demo:text"
    diarization: str = "demo:diarization"
    voice: str = "demo:voice"
    device: str = "cpu"
    tokens: int | None = None

    @classmethod
    def of(cls, folder: str | None, device: str = "cpu") -> Weights:
        def at(name: str, bundled: str) -> str:
            place = Path(folder or "") / name
            return str(place) if folder and place.is_dir() else bundled

        return cls(at("whisper-base", cls().asr), at("minilm", cls().embed), device=device)

    @property
    def known(self) -> dict[str, Any]:
        """Options of sequential recognition."""
        return KNOWN if self.asr == "demo:asr" else {"condition_on_previous_text": False, "vad_filter": True}

    @property
    def overrides(self) -> dict[str, Any]:
        """The same as settings."""
        roles = ("asr", "embed", "diarization", "voice")
        models = {f"{role}.model": getattr(self, role) for role in roles}
        return {**models, **{f"{role}.device": self.device for role in roles}, "asr.language": "en", "asr.compute": "auto"}


class Phases:
    """Seconds by step of a way."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


class LoadedModels:
    """The models as the libraries load them."""

    def __init__(self, weights: Weights) -> None:
        from faster_whisper import WhisperModel
        from sentence_transformers import SentenceTransformer

        from gainstage.engine.models.diarizer import load_diarizer
        from gainstage.engine.models.hyperparams import build_encoder
        from gainstage.engine.models.voice import VoiceEncoder

        models = Path()
        asr, text = find("asr", weights.asr, None, models), find("embed", weights.embed, None, models)
        voice, device = find("voice", weights.voice, None, models), weights.device
        self.voice = VoiceEncoder(
            build_encoder((voice.folder / "hyperparams.yaml").read_text(), voice.folder, device), voice, device
        )
        compute = "int8" if device == "cpu" else "float16"
        self.recogniser = WhisperModel(str(asr.folder), device=device, compute_type=compute, local_files_only=True)
        self.recogniser.max_length = weights.tokens or self.recogniser.max_length
        diarizer = find("diarization", weights.diarization, None, models)
        self.diarizer = load_diarizer(diarizer, device, lambda _name, _folder: self.voice).pipeline()
        self.texts = SentenceTransformer(str(text.folder), device=device, local_files_only=True)


def plain(paths: Sequence[Path], weights: Weights, phase: Phases) -> tuple[float, dict[str, Result]]:
    """A script: models loaded once, batched recognition, stock diarization, one voice after the other, texts of a recording at once."""
    from faster_whisper import BatchedInferencePipeline, decode_audio

    models = LoadedModels(weights)
    batched = BatchedInferencePipeline(models.recogniser)
    began, texts = time.perf_counter(), {}
    for path in paths:
        with phase("decode"):
            audio = decode_audio(str(path), sampling_rate=SAMPLE_RATE)
        with phase("recognise"):
            segments, _ = batched.transcribe(audio, batch_size=BATCH, beam_size=BEAM, word_timestamps=True, language="en")
            segments_list = list(segments)
        with phase("diarize"):
            turns = _diarized(models, audio)
        with phase("voices"):
            for start, end, _cluster in turns:
                if end - start >= SHORTEST_S:
                    models.voice.embed(_cut(audio, start, end)[None])
        with phase("texts"):
            models.texts.encode([s.text for s in segments_list] or [""])
        texts[path.name] = _result(segments_list, turns)
    return time.perf_counter() - began, texts


def seed(paths: Sequence[Path], weights: Weights, phase: Phases) -> tuple[float, dict[str, Result]]:
    """The old way: models loaded for each recording, temporary files, sequential recognition, voices and texts one at a time."""
    import soundfile
    from faster_whisper import decode_audio

    began, texts = time.perf_counter(), {}
    for path in paths:
        with phase("load"):
            models = LoadedModels(weights)
        with tempfile.TemporaryDirectory() as folder:
            wav = Path(folder) / "audio.wav"
            with phase("decode"):
                soundfile.write(wav, decode_audio(str(path), sampling_rate=SAMPLE_RATE), SAMPLE_RATE)
            with phase("recognise"):
                options = {"beam_size": BEAM, "word_timestamps": True, "language": "en", **weights.known}
                segments_list = list(models.recogniser.transcribe(str(wav), **options)[0])
            with phase("diarize"):
                audio, _rate = soundfile.read(wav, dtype="float32")
                turns = _diarized(models, audio)
            with phase("voices"):
                for n, (start, end, _cluster) in enumerate(turns):
                    if end - start >= SHORTEST_S:
                        piece = Path(folder) / f"{n}.wav"
                        soundfile.write(piece, _cut(audio, start, end), SAMPLE_RATE)
                        again, _rate = soundfile.read(piece, dtype="float32")
                        models.voice.embed(again[None])
                        piece.unlink()
            with phase("texts"):
                for segment in segments_list:
                    models.texts.encode([segment.text])
        texts[path.name] = _result(segments_list, turns)
    return time.perf_counter() - began, texts


def ours(
    paths: Sequence[Path],
    overrides: Mapping[str, Any] | None = None,
    *,
    self_test: bool = True,
    prepare: Callable[[EngineContext], object] = lambda _: None,
) -> tuple[float, dict[str, Result]]:
    """The engine: from the first claim to the last recording stored, in its own Postgres. ``overrides`` are further settings;
    without ``self_test`` models with random weights are used too; ``prepare`` is called before the first claim.
    """
    from gainstage.engine.pipeline import ingest
    from gainstage.engine.queue.backlog import Backlog
    from gainstage.engine.runtime.engine import Engine
    from gainstage.engine.sources.local import file_recording
    from gainstage.engine.store.database import Database
    from gainstage.engine.store.recordings import RecordingStore

    began: list[float] = []
    with tempfile.TemporaryDirectory(prefix="gainstage-peers-") as folder:
        home = Paths.of(Path(folder)).ensure()
        with Database.open(None, home.database) as database:
            recordings = {file_recording(path).id: path.name for path in paths}
            Backlog(database).add([file_recording(path) for path in paths])

            def ready(context: EngineContext) -> None:
                prepare(context)
                began.append(time.time())

            given = {**OVERRIDES, "asr.batch": BATCH, "asr.beam": BEAM, **(overrides or {})}
            loaded = load(profile="demo", environ={}, overrides=given)
            engine = Engine(loaded, home, database, flow=ingest, until_empty=True, prepare=ready)
            engine.context.models.self_test = self_test
            try:
                engine.run()
            finally:
                engine.close()
            store, texts = RecordingStore(database), {}
            last = began[0]
            for id, name in recordings.items():
                stored = store.get(id)
                if stored is None or stored.stored_wall is None:
                    raise RuntimeError(f"{name} was not stored: {stored and stored.row.error}")
                last = max(last, stored.stored_wall)
                words = sorted(((w.text, w.start) for s in store.segments(id) for w in s.words), key=lambda w: w[1])
                texts[name] = {"words": words, "turns": stored.facts["diarized"]}
    return last - began[0], texts


def engine(paths: Sequence[Path], weights: Weights, _phase: Phases) -> tuple[float, dict[str, Result]]:
    """:func:`ours` with the same weights; its stages overlap, so they have no phases."""
    return ours(paths, weights.overrides)


WAYS: dict[str, Callable[[Sequence[Path], Weights, Phases], tuple[float, dict[str, Result]]]] = {
    "seed": seed,
    "plain": plain,
    "ours": engine,
}


def _diarized(models: LoadedModels, audio: NDArray[np.float32]) -> list[tuple[float, float, str]]:
    import torch

    output = models.diarizer({"waveform": torch.from_numpy(audio)[None], "sample_rate": SAMPLE_RATE, "uri": "audio"})
    annotation = getattr(output, "speaker_diarization", output)
    return [(span.start, span.end, str(label)) for span, _, label in annotation.itertracks(yield_label=True)]


def _cut(audio: NDArray[np.float32], start: float, end: float) -> NDArray[np.float32]:
    return audio[round(start * SAMPLE_RATE) : round(min(end, start + LONGEST_S) * SAMPLE_RATE)]


def _result(heard: Sequence[Any], turns: Sequence[tuple[float, float, str]]) -> Result:
    return {
        "words": [[w.word.strip(), float(w.start)] for segment in heard for w in segment.words or ()],
        "turns": [list(turn) for turn in turns],
    }


def main() -> None:
    way, weights, *names = sys.argv[1:]
    quiet.hush()
    began, phase = time.perf_counter(), Phases()
    with quiet.importing():
        import faster_whisper  # noqa: F401
        import pyannote.audio.pipelines  # noqa: F401
        import sentence_transformers  # noqa: F401
        import torch
    import_s = time.perf_counter() - began
    torch.set_grad_enabled(False)
    before = time.process_time()
    with quiet.working():
        wall_s, results = WAYS[way]([Path(name) for name in names], Weights(**json.loads(weights)), phase)
    used = {"script_s": import_s + wall_s, "processor_s": time.process_time() - before, "phases": phase.seconds}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mb = peak / 2**20 if sys.platform == "darwin" else peak / 1024
    print(json.dumps({"wall_s": wall_s, "peak_mb": peak_mb, "results": results, **used}))


if __name__ == "__main__":
    main()
