"""What shared frames save in the diarizer: networks of real size with random weights for speed, the demo's models for errors.

Ratios are CPU time of the stock pipeline over ours, in one run on the same audio with one thread. Random weights cost the same as
trained ones, but their turns mean nothing: the errors come from trained models, the demo's where no others are named. Its encoder
cannot share frames over a recording, so ``der_once`` is unknown there.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from gainstage.engine.bench.quality import demo_settings, media_with_truth
from gainstage.engine.evaluation.quality import Hypothesis, Spoken, load_truth, score
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models import quiet
from gainstage.engine.models.diarizer import DiarizerParts
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.speech.diarize import Diarizer
from gainstage.engine.terms import SAMPLE_RATE, Audio

SECONDS = 16.0
ENGINES = ("stock", "stacked", "once")


def run(seconds: float = SECONDS, seed: int = 0, models: str | None = None) -> dict[str, Any]:
    """``stacked_ratio`` and ``once_ratio`` (speed relative to the stock pipeline), ``identical`` (stacked turns equal the stock
    ones), ``der_stock``, ``der_stacked`` and ``der_once`` on the bundled recordings, the last with ``der_once_why`` where it is None.

    ``models`` is a folder whose ``diarization`` is measured for the errors in place of the bundled one.
    """
    with quiet.importing():
        import torch
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            audio = talk(Path(folder), seconds)
            turns, cost, alike = {}, {}, {}
            diarizer = Diarizer(real_size(seed))
            for engine in ENGINES:
                settings = demo_settings({"diarization.engine": engine}).diarization
                began = time.process_time()
                result = diarizer.diarize(audio, settings, token=CancelToken())
                cost[engine] = time.process_time() - began
                turns[engine] = result.turns
                alike[engine] = result.turns == turns["stock"]
    finally:
        torch.set_num_threads(threads)
    with quiet.working():
        errors, why = _errors(Path(models) if models else DEMO)
    return {
        "audio_s": round(audio.seconds, 1),
        "stacked_ratio": round(cost["stock"] / cost["stacked"], 2),
        "once_ratio": round(cost["stock"] / cost["once"], 2),
        "identical": alike["stacked"],
        "der_stock": errors["stock"],
        "der_stacked": errors["stacked"],
        "der_once": errors["once"],
        "der_once_why": why,
        "processor_s": {engine: round(seconds, 2) for engine, seconds in cost.items()},
    }


def real_size(seed: int, device: str = "cpu") -> DiarizerParts:
    """pyannote's segmentation network and WeSpeaker's ResNet34 in full size, with random weights, clustered without a PLDA."""
    with quiet.importing():
        import torch
        from pyannote.audio.core.plda import PLDA
        from pyannote.audio.core.task import Problem, Resolution, Specifications
        from pyannote.audio.models.embedding import WeSpeakerResNet34
        from pyannote.audio.models.segmentation import PyanNet

        torch.manual_seed(seed)
        segmentation = PyanNet(sincnet={"stride": 10})
        segmentation.specifications = Specifications(
            problem=Problem.MONO_LABEL_CLASSIFICATION,
            resolution=Resolution.FRAME,
            duration=10.0,
            warm_up=(0.0, 0.0),
            classes=["1", "2", "3"],
            powerset_max_classes=2,
            permutation_invariant=True,
        )
        segmentation.build()
        return DiarizerParts(
            label="real size, random weights",
            device=device,
            segmentation=segmentation.eval(),
            embedding=WeSpeakerResNet34().eval(),
            plda=PLDA.from_pretrained(DEMO / "diarization" / "plda"),
            options={
                "clustering": "AgglomerativeClustering",
                "segmentation_batch_size": 32,
                "embedding_batch_size": 32,
                "embedding_exclude_overlap": True,
            },
            parameters={
                "segmentation": {"min_duration_off": 0.0},
                "clustering": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7},
            },
        )


def talk(folder: Path, seconds: float) -> Audio:
    """The bundled recordings one after the other, repeated to ``seconds``."""
    from gainstage.engine.speech.decode import decode

    paths = media_with_truth(DEMO / "recordings")
    parts: list[Any] = []
    while sum(map(len, parts)) < seconds * SAMPLE_RATE:
        (folder / str(len(parts))).mkdir()
        audio = decode(paths[len(parts) % len(paths)], folder / str(len(parts)), token=CancelToken())
        parts.append(np.memmap(audio.path, np.int16, "r", shape=(audio.samples,)))
    samples = np.concatenate(parts)[: round(seconds * SAMPLE_RATE)]
    path = folder / "talk.pcm"
    path.write_bytes(samples.tobytes())
    return Audio(path, len(samples), "talk")


def _errors(folder: Path) -> tuple[dict[str, float | None], str | None]:
    """Diarization error rates over the bundled recordings by engine, weighted by speech, with the models of a folder that holds
    ``diarization`` and the speaker network its config names; and why there is none of "once"."""
    from gainstage.engine.models.diarizer import load_diarizer
    from gainstage.engine.models.resolve import find
    from gainstage.engine.models.speaker_frames import FrameReader
    from gainstage.engine.models.voice import VoiceEncoder, load_voice_encoder
    from gainstage.engine.speech.decode import decode

    def voice_at(name: str, config: Path) -> VoiceEncoder:
        return load_voice_encoder(find("voice", str((config / name).resolve()), None, folder), "cpu")

    parts = load_diarizer(find("diarization", str(folder / "diarization"), None, folder), "cpu", voice_at)
    shares, errors = FrameReader.can_read(parts.embedding), {}
    diarizer = Diarizer(parts)
    for engine in ENGINES if shares else ENGINES[:2]:
        settings, total = demo_settings({"diarization.engine": engine}).diarization, None
        for path in media_with_truth(DEMO / "recordings"):
            with tempfile.TemporaryDirectory() as place:
                turns = diarizer.diarize(decode(path, Path(place), token=CancelToken()), settings, token=CancelToken()).turns
            said = [Spoken(t.start, t.end, t.cluster) for t in turns]
            quality = score(load_truth(path.with_suffix(".json")), Hypothesis([], said, said))
            total = quality if total is None else total + quality
        assert total is not None, "the demo brings recordings"
        errors[engine] = round(float(total.der), 4)
    why = None if shares else f"{type(parts.embedding).__name__} cannot share frames over a recording; a WeSpeaker ResNet can"
    return {engine: errors.get(engine) for engine in ENGINES}, why


def table(result: dict[str, Any]) -> str:
    """The result as plain text."""
    cost = result["processor_s"]
    lines = [
        f"{result['audio_s']:.0f} s of talk, networks of real size with random weights, one thread",
        f"{'':<10}{'processor':>12}{'to stock':>10}",
    ]
    lines += [f"{engine:<10}{cost[engine]:>10.1f} s{cost['stock'] / cost[engine]:>9.1f}x" for engine in ENGINES]
    same = "the same" if result["identical"] else "NOT the same"
    once = result["der_once_why"] if result["der_once"] is None else f"{result['der_once']:.1%}"
    lines += [
        f"turns of stacked and stock: {same}",
        f"DER on the bundled recordings: stock {result['der_stock']:.1%}, stacked {result['der_stacked']:.1%}, once: {once}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(run()))
