"""Who says what, on talk of real people with exact truth: words by speaker (cpWER) against the bare libraries put together, and
words where two speak at once.

Runs where the models are: ``make real-models``, then GAINSTAGE_REAL_MODELS names their folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gainstage.config.settings import Asr, Diarization
from gainstage.engine.evaluation.intervals import Figure, Share, figure, paired, pooled
from gainstage.engine.evaluation.measures import measured
from gainstage.engine.evaluation.references import Said, Talk
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.resolve import find
from gainstage.engine.speech.decode import decode
from gainstage.engine.speech.diarize import Diarizer
from gainstage.engine.speech.recogniser import load_transcriber
from gainstage.engine.speech.transcribe import Transcriber
from gainstage.engine.speech.words import assign
from gainstage.engine.terms import SAMPLE_RATE, Audio, DiarizationResult, Provenance, SpeakerTurn, Word
from gainstage.engine.voices.spans import overlaps
from tests.real.test_real_turns import MODELS, parts

CLIPS = Path(__file__).parent.parent / "data" / "real"
WHISPER = Path(MODELS) / "whisper-base"
LEVEL = 0.08
"""Root mean square of every turn of a generated talk."""

PAIRS = 5
"""Turns of each reader in it."""

SEEDS = range(6)
OTHERS = ("1998", "533")
"""The second reader, by seed."""

PAUSES, OVERLAPS = (0.2, 0.7), (-1.2, -0.4)
"""Seconds between two turns, drawn from this range."""

pytestmark = [
    pytest.mark.skipif(
        not MODELS or not WHISPER.is_dir() or not (Path(MODELS) / "diarization").is_dir(),
        reason="no real models: make real-models, set GAINSTAGE_REAL_MODELS",
    ),
    pytest.mark.timeout(900),
]


@cache
def transcriber() -> Transcriber:
    return load_transcriber(find("asr", str(WHISPER), None, WHISPER), "cpu", "int8", threads=2, workers=1, warn=print)


def said(clip: str) -> list[Said]:
    """The turns of a clip with their words, in order of time."""
    found = json.loads((CLIPS / clip).with_suffix(".json").read_text("utf-8"))["said"]
    return [Said(who, start, end, text) for start, end, who, text in found]


def joined(folder: Path, seed: int, pauses: tuple[float, float] = PAUSES) -> tuple[Audio, list[Said]]:
    """A reader of LJ Speech and one of LibriSpeech in turns, of the words of both clips; with pauses below 0 a turn begins before the
    last one ends."""
    rng = np.random.default_rng(seed)
    tracks = {name: decode(CLIPS / name, _place(folder, name), token=CancelToken()) for name in ("lj_tel8k.wav", "conv_short.flac")}
    other = OTHERS[seed % len(OTHERS)]
    lot = {
        "lj_tel8k.wav": said("lj_tel8k.wav"),
        "conv_short.flac": [p for p in said("conv_short.flac") if p.speaker == other and len((p.text or "").split()) >= 4],
    }
    order = {name: list(rng.permutation(len(parts))) for name, parts in lot.items()}
    whole = np.zeros(120 * SAMPLE_RATE, np.float32)
    truth: list[Said] = []
    at = 0.0
    for _ in range(PAIRS):
        for name in lot:
            part = lot[name][order[name].pop()]
            samples = tracks[name].read(part.start, part.end)
            first = round(at * SAMPLE_RATE)
            whole[first : first + len(samples)] += samples * (LEVEL / max(float(samples.std()), 1e-6))
            truth.append(replace(part, start=at, end=at + len(samples) / SAMPLE_RATE))
            at = max(at + 0.1, truth[-1].end + rng.uniform(*pauses))
    whole = whole[: round((truth[-1].end + 0.5) * SAMPLE_RATE)]
    path = folder / f"joined-{seed}-{pauses[0]}.pcm"
    (np.clip(whole, -1, 1) * 32767).astype("<i2").tofile(path)
    return Audio(path, len(whole), path.stem), truth


def _place(folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir(exist_ok=True)
    return place


def ours(audio: Audio) -> tuple[list[Word], DiarizationResult]:
    """Our words, each with the speaker it is stored with where nobody is enrolled, and our turns."""
    words = transcriber().transcribe(audio, Asr(batch=4, language="en"), token=CancelToken()).words
    result = Diarizer(parts()).diarize(audio, Diarization(), token=CancelToken())
    named = [SpeakerTurn(t.start, t.end, t.cluster, t.cluster, None, None, Provenance.CLUSTER) for t in result.exclusive]
    return list(assign(words, named, overlaps(result.turns))), result


def bare(audio: Audio) -> tuple[list[Word], DiarizationResult]:
    """The words of faster-whisper's batched pipeline, each with the speaker of the stock diarizer's turn nearest to its middle."""
    from faster_whisper import BatchedInferencePipeline

    segments, _ = BatchedInferencePipeline(transcriber()._model).transcribe(
        audio.read(), batch_size=4, word_timestamps=True, language="en"
    )
    words = [Word(w.word.strip(), w.start, w.end, w.probability) for s in segments for w in s.words]
    result = Diarizer(parts()).diarize(audio, Diarization(engine="stock"), token=CancelToken())

    def nearest(word: Word) -> str:
        middle = (word.start + word.end) / 2
        return min(result.turns, key=lambda t: max(t.start - middle, middle - t.end, 0.0)).cluster

    return [replace(w, speaker=nearest(w)) for w in words], result


def shares(truth: Sequence[Said], words: Sequence[Word], result: DiarizationResult) -> dict[str, Share]:
    turns = [Said(t.cluster, t.start, t.end) for t in result.turns]
    understood = tuple(Said(w.speaker or "nobody", w.start, w.end, w.text) for w in words)
    return measured(Talk("talk", tuple(truth)), Talk("talk", understood), turns)


def test_who_says_what_is_no_worse_than_from_the_bare_libraries(tmp_path: Path) -> None:
    """Talks of two readers joined at random."""
    own: dict[str, dict[int, Share]] = {}
    their: dict[str, dict[int, Share]] = {}
    for seed in SEEDS:
        audio, truth = joined(tmp_path, seed)
        for kept, (words, result) in ((own, ours(audio)), (their, bare(audio))):
            for name, share in shares(truth, words, result).items():
                kept.setdefault(name, {})[seed] = share
        one, two = own["cpwer"][seed], their["cpwer"][seed]
        print(f"\n{seed}: cpWER {one.errors:.0f} of {one.of:.0f} words, bare {two.errors:.0f}", end="", flush=True)
    print(f"\n{len(SEEDS)} talks of two readers; value, 95 % interval by talk")
    for name in ("wer", "cpwer", "tcpwer", "wder", "der", "speaker_count_right"):
        one, two = (figure(list(kept[name].values()), pooled) for kept in (own, their))
        difference = paired(their[name], own[name])
        assert difference is not None
        print(f"{name:<20}{_shown(one)}  bare {_shown(two)}  difference {difference.low:.3f} to {difference.high:.3f}")
        better = difference.high >= 0 if name == "speaker_count_right" else difference.low <= 0
        assert better, f"{name} is surely worse than that of the bare libraries"
    assert figure(list(own["cpwer"].values()), pooled).value <= figure(list(their["cpwer"].values()), pooled).value + 0.01


def _shown(one: Figure) -> str:
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def test_words_where_two_speak_at_once_are_flagged_and_belong_to_one_of_them(tmp_path: Path) -> None:
    flagged = right = total = 0
    for seed in SEEDS:
        audio, truth = joined(tmp_path, seed, OVERLAPS)
        words, result = ours(audio)
        people = _people(truth, result)
        print(f"\n{seed}: {flagged} of {total} words so far are flagged, {right} right", end="", flush=True)
        both = [(b.start, a.end, {a.speaker, b.speaker}) for a, b in pairwise(truth) if a.end > b.start]
        for word in words:
            middle = (word.start + word.end) / 2
            for start, end, speakers in both:
                if start <= middle <= end:
                    total += 1
                    flagged += word.overlap
                    right += people.get(word.speaker or "") in speakers
    print(f"\n{total} words while two speak: {flagged / total:.1%} flagged, {right / total:.1%} given to one of the two")
    assert total >= 5 * len(SEEDS)
    assert flagged >= 0.7 * total
    assert right >= 0.95 * total


def _people(truth: Sequence[Said], result: DiarizationResult) -> dict[str, str]:
    """Who speaks most in each cluster."""
    seconds: dict[str, dict[str, float]] = {}
    for turn in result.turns:
        for part in truth:
            shared = max(0.0, min(turn.end, part.end) - max(turn.start, part.start))
            lot = seconds.setdefault(turn.cluster, {})
            lot[part.speaker] = lot.get(part.speaker, 0.0) + shared
    return {cluster: max(lot, key=lambda name: lot[name]) for cluster, lot in seconds.items()}
