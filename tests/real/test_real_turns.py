"""Real people through a diarizer with real weights: who speaks when, against the truth and the stock pipeline of the same run.

Runs where the models are: ``make real-models``, then GAINSTAGE_REAL_MODELS names their folder.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import pytest

from gainstage.config.settings import Diarization
from gainstage.engine.bench.campp import load
from gainstage.engine.evaluation.measures import diarization_errors
from gainstage.engine.evaluation.references import Said
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.diarizer import DiarizerParts, load_diarizer
from gainstage.engine.models.resolve import find
from gainstage.engine.speech.decode import decode
from gainstage.engine.speech.diarize import Diarizer
from gainstage.engine.terms import DiarizationResult

CLIPS = Path(__file__).parent.parent / "data" / "real"
MODELS = os.environ.get("GAINSTAGE_REAL_MODELS", "")
FOLDER = Path(MODELS) / "diarization"

pytestmark = [
    pytest.mark.skipif(not MODELS or not FOLDER.is_dir(), reason="no real models: make real-models, set GAINSTAGE_REAL_MODELS"),
    pytest.mark.timeout(900),
]


@cache
def parts() -> DiarizerParts:
    encoder = load(Path(MODELS) / "campp")
    return load_diarizer(find("diarization", str(FOLDER), None, FOLDER), "cpu", lambda _name, _folder: encoder)


def diarized(folder: Path, clip: str, settings: Diarization) -> DiarizationResult:
    return Diarizer(parts()).diarize(decode(CLIPS / clip, folder, token=CancelToken()), settings, token=CancelToken())


def errors(clip: str, result: DiarizationResult) -> dict[str, float]:
    turns = json.loads((CLIPS / clip).with_suffix(".json").read_text("utf-8"))["turns"]
    true = [Said(who, start, end) for start, end, who in turns]
    shares = diarization_errors(true, [Said(t.cluster, t.start, t.end) for t in result.turns])
    return {name: share.errors / share.of for name, share in shares.items()}


@pytest.mark.parametrize(("clip", "people"), [("conv_short.flac", 2), ("lj_tel8k.wav", 1)])
def test_turns_are_those_of_the_stock_pipeline_with_as_many_people(tmp_path: Path, clip: str, people: int) -> None:
    ours, stock = (diarized(tmp_path, clip, Diarization(engine=engine)) for engine in ("stacked", "stock"))
    figures, reference = errors(clip, ours), errors(clip, stock)
    print(f"\n{clip}: {', '.join(f'{name} {figures[name]:.3f} (stock {reference[name]:.3f})' for name in figures)}")
    assert len({t.cluster for t in ours.turns}) == people
    assert all(figures[name] <= reference[name] + 0.001 for name in figures)


def test_bounds_on_the_number_of_people_are_kept(tmp_path: Path) -> None:
    alone = diarized(tmp_path, "conv_short.flac", Diarization(min_speakers=1, max_speakers=1))
    assert len({t.cluster for t in alone.turns}) == 1
