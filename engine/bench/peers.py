"""gainstage beside what a user would pick: the seed's old way, a plain script, whisperX, on the same recordings, weights and machine.

Each way runs in a process of its own, in alternation; the seed's way in one for each recording, as scripts are started. Times begin when
the models are loaded, but for the seed's way, which loads them for each recording. The script stores nothing; we store everything,
and the peak of our memory leaves the database out.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import wave
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from gainstage.engine.bench.peers_ways import Weights
from gainstage.engine.bench.quality import media_with_truth
from gainstage.engine.evaluation.quality import Hypothesis, Quality, Spoken, TrueWord, Truth, load_truth, score
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models import quiet
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.telemetry.cores import torch_device
from gainstage.engine.terms import SAMPLE_RATE

MIXED = (1, 4, 1, 2, 3, 1, 2, 3)
"""Bundled recordings joined to each of the eight: about one minute each."""

LONG = 10
REPEATS = 3

OURS, PLAIN, SEED = "ours", "plain", "seed"


@dataclass(frozen=True, slots=True)
class Sample:
    """A recording and its truth."""

    path: Path
    truth: Truth


def run(
    recordings: int = len(MIXED),
    repeats: int = REPEATS,
    seed: int = 0,
    long: int = LONG,
    models: str | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """``seed``, ``plain``, ``whisperx`` (None where it is not installed) and ``ours``, each with ``rtfx``, ``peak_mb``, ``wer`` and
    ``der``; ``ratio_plain``, ``ratio_seed`` and ``ratio_long`` (one long recording, to the plain script), each [least, median, most].

    ``phases`` are the seconds of each step of the seed's way and the script; ``ratio_seed_scripts`` is ``ratio_seed`` with the
    imports of the libraries, which every one of its processes pays. ``models`` is a folder with ``whisper-base`` and ``minilm``, used in
    place of the bundled recogniser and text model by all ways. All models of all ways run on ``device``.
    """
    with quiet.importing():
        weights = Weights.of(models, torch_device(device, "--device"))
    with tempfile.TemporaryDirectory(prefix="gainstage-peers-") as folder:
        lot = np.random.default_rng(seed)
        mixed = [joined(Path(folder) / f"mixed-{n}.wav", count, lot) for n, count in enumerate(MIXED[:recordings])]
        whole = [joined(Path(folder) / "long.wav", long, lot)]
        measured: dict[str, list[dict[str, Any]]] = {SEED: [], PLAIN: [], OURS: []}
        alone: dict[str, list[dict[str, Any]]] = {PLAIN: [], OURS: []}
        for turn in range(repeats):
            for way in (SEED, PLAIN, OURS) if turn == 0 else (PLAIN, OURS) if turn % 2 else (OURS, PLAIN):
                measured[way].append(_measured(way, mixed, weights))
            for way in (PLAIN, OURS) if turn % 2 == 0 else (OURS, PLAIN):
                alone[way].append(_measured(way, whole, weights))
    return {
        **{way: _best(times) for way, times in measured.items()},
        "whisperx": None,
        "whisperx_why": why_no_whisperx(),
        "ratio_plain": _ratios(measured[OURS], measured[PLAIN]),
        "ratio_seed": _ratios(measured[OURS], measured[SEED]),
        "ratio_seed_scripts": _ratios(measured[OURS], [{"rtfx": one["script_rtfx"]} for one in measured[SEED]]),
        "ratio_long": _ratios(alone[OURS], alone[PLAIN]),
        "audio_s": round(sum(s.truth.duration for s in mixed), 1),
        "models": models or "bundled",
        "device": weights.device,
        "phases": {way: {name: round(s, 1) for name, s in measured[way][0]["phases"].items()} for way in (SEED, PLAIN)},
    }


def why_no_whisperx() -> str:
    """Why there is no figure of whisperX."""
    if importlib.util.find_spec("whisperx") is None:
        return "not installed: whisperx 3.8 needs torch 2.8 and huggingface-hub below 1.0, which exclude this environment"
    return "installed, but it has no alignment model for the bundled weights"


def joined(path: Path, count: int, lot: np.random.Generator) -> Sample:
    """Bundled recordings in random order, one after the other, with their truth; nobody is the same stranger in two of them."""
    from gainstage.engine.speech.decode import decode

    media = media_with_truth(DEMO / "recordings")
    turns: list[Spoken] = []
    words: list[TrueWord] = []
    at = 0
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        for n in lot.integers(len(media), size=count):
            truth = load_truth(media[n].with_suffix(".json"))
            with tempfile.TemporaryDirectory() as folder:
                gain = 32767 * lot.uniform(0.8, 1.0)  # the same audio twice would be one recording
                samples = (decode(media[n], Path(folder), token=CancelToken()).read() * gain).astype("<i2")
            file.writeframes(samples.tobytes())
            start = at / SAMPLE_RATE
            names = {name: f"{name} of {media[n].stem}" for name in truth.strangers}
            turns += [Spoken(t.start + start, t.end + start, names.get(t.speaker, t.speaker)) for t in truth.turns]
            words += [TrueWord(w.text, w.start + start, names.get(w.speaker, w.speaker)) for w in truth.words]
            at += len(samples)
    return Sample(path, Truth(path.stem, at / SAMPLE_RATE, tuple(turns), tuple(words)))


def _measured(way: str, samples: Sequence[Sample], weights: Weights) -> dict[str, Any]:
    answer = _sum([_answer(way, [one], weights) for one in samples]) if way == SEED else _answer(way, samples, weights)
    quality: Quality | None = None
    for sample in samples:
        result = answer["results"][sample.path.name]
        words = [SimpleNamespace(text=text, start=start) for text, start in result["words"]]
        turns = [Spoken(start, end, cluster) for start, end, cluster in result["turns"]]
        one = score(sample.truth, Hypothesis(words, turns, turns))
        quality = one if quality is None else quality + one
    assert quality is not None
    audio_s = sum(s.truth.duration for s in samples)
    return {
        "rtfx": audio_s / answer["wall_s"],
        "peak_mb": answer["peak_mb"],
        "wer": float(quality.wer),
        "der": float(quality.der),
        "processor_s": answer["processor_s"],
        "script_rtfx": audio_s / answer["script_s"],
        "phases": answer["phases"],
    }


def _answer(way: str, samples: Sequence[Sample], weights: Weights) -> dict[str, Any]:
    """What a process of :mod:`gainstage.engine.bench.peers_ways` prints."""
    command = [
        sys.executable,
        "-m",
        "gainstage.engine.bench.peers_ways",
        way,
        json.dumps(asdict(weights)),
        *(str(s.path) for s in samples),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{way} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _sum(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Processes one after the other as one."""
    return {
        **{name: sum(one[name] for one in answers) for name in ("wall_s", "script_s", "processor_s")},
        "peak_mb": max(one["peak_mb"] for one in answers),
        "results": {name: result for one in answers for name, result in one["results"].items()},
        "phases": {name: sum(one["phases"][name] for one in answers) for name in answers[0]["phases"]},
    }


def _best(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians; errors do not differ between repeats."""
    digits = {"rtfx": 1, "peak_mb": 0, "wer": 4, "der": 4, "processor_s": 1}
    return {name: round(float(np.median([one[name] for one in found])), n) for name, n in digits.items()}


def _ratios(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> list[float]:
    """[least, median, most] of our speed over theirs, by turn."""
    ratios = [a["rtfx"] / theirs[min(n, len(theirs) - 1)]["rtfx"] for n, a in enumerate(ours)]
    return [round(float(value), 2) for value in (min(ratios), np.median(ratios), max(ratios))]


def table(result: dict[str, Any]) -> str:
    """The result as plain text."""
    lines = [f"{result['audio_s']:.0f} s of audio", f"{'':<12}{'x real time':>12}{'peak':>10}{'WER':>8}{'DER':>8}"]
    for way in (SEED, PLAIN, "whisperx", OURS):
        one = result[way]
        if one is None:
            lines.append(f"{way:<12}{result['whisperx_why']}")
            continue
        lines.append(f"{way:<12}{one['rtfx']:>12.1f}{one['peak_mb']:>7.0f} MB{one['wer']:>8.1%}{one['der']:>8.1%}")
    for name, text in (
        ("ratio_plain", "to the plain script"),
        ("ratio_seed", "to the old way"),
        ("ratio_seed_scripts", "with its imports"),
        ("ratio_long", "one long recording"),
    ):
        low, middle, high = result[name]
        lines.append(f"ours {text:<22}{middle:.2f}x ({low:.2f} to {high:.2f})")
    for way in (SEED, PLAIN):
        spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result["phases"][way].items())
        lines.append(f"{way:<12}{spent}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(run()))
