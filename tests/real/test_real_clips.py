"""Any clips of real people with a truth beside them, through models with real weights: words, language, silence and turns.

Runs where GAINSTAGE_REAL_CLIPS names their folder and GAINSTAGE_REAL_MODELS the models' (``make real-models``). The truth is a json of
the clip's name: ``text`` (empty where nobody speaks), ``lang`` (a code, or several joined by +), ``turns`` [start, end, speaker].
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gainstage.config.settings import Asr, Diarization
from gainstage.engine.evaluation.measures import diarization_errors, normaliser, word_errors
from gainstage.engine.evaluation.references import Said
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.speech.decode import decode
from gainstage.engine.speech.diarize import Diarizer
from gainstage.engine.terms import Audio
from tests.real.test_real_turns import FOLDER, parts
from tests.real.test_real_words import WHISPER, transcriber

CLIPS = Path(os.environ.get("GAINSTAGE_REAL_CLIPS") or os.devnull)
TRUTHS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(CLIPS.glob("*.json"))}
A_WORD_OR_TWO = 2
"""Errors more than the bare library that are chance."""

pytestmark = [
    pytest.mark.skipif(
        not TRUTHS or not WHISPER.is_dir() or not FOLDER.is_dir(),
        reason="no real models or clips: make real-models, set GAINSTAGE_REAL_MODELS and GAINSTAGE_REAL_CLIPS",
    ),
    pytest.mark.timeout(900),
]


def clips(key: str, empty: bool | None = None) -> list[str]:
    """The clips whose truth has this key; with ``empty``, only those in which it is so, or only the others."""
    return [name for name, truth in TRUTHS.items() if key in truth and (empty is None or (not truth[key]) == empty)]


def audio(folder: Path, name: str) -> Audio:
    (path,) = (p for p in CLIPS.iterdir() if p.stem == name and p.suffix != ".json")
    return decode(path, folder, token=CancelToken())


def bare(audio: Audio, **options: Any) -> list[str]:
    from faster_whisper import BatchedInferencePipeline

    model = transcriber()._model
    segments, _ = (BatchedInferencePipeline(model) if options else model).transcribe(audio.read(), **options)
    return [s.text for s in segments]


@pytest.mark.parametrize("name", clips("text", empty=False))
def test_no_more_word_errors_than_the_better_of_the_bare_libraries(tmp_path: Path, name: str) -> None:
    sound, plain = audio(tmp_path, name), normaliser("en")
    own = [w.text for w in transcriber().transcribe(sound, Asr(), token=CancelToken()).words]
    errors = [
        word_errors(plain(TRUTHS[name]["text"]), plain(" ".join(words))) for words in (own, bare(sound, batch_size=4), bare(sound))
    ]
    print(
        f"\n{name}: {errors[0].errors:.0f} of {errors[0].of:.0f} words wrong, batched {errors[1].errors:.0f}, sequential {errors[2].errors:.0f}"
    )
    assert errors[0].errors <= min(one.errors for one in errors[1:]) + A_WORD_OR_TWO


@pytest.mark.parametrize("name", clips("text", empty=True))
def test_no_words_where_nobody_speaks(tmp_path: Path, name: str) -> None:
    assert transcriber().transcribe(audio(tmp_path, name), Asr(), token=CancelToken()).words == ()


@pytest.mark.parametrize("name", clips("lang"))
def test_the_language_is_the_true_one(tmp_path: Path, name: str) -> None:
    found = transcriber().transcribe(audio(tmp_path, name), Asr(), token=CancelToken())
    assert found.language in TRUTHS[name]["lang"].split("+")


@pytest.mark.parametrize("name", clips("turns"))
def test_turns_are_no_worse_than_the_stock_pipelines_with_as_many_people(tmp_path: Path, name: str) -> None:
    sound, true = audio(tmp_path, name), [Said(who, start, end) for start, end, who in TRUTHS[name]["turns"]]
    own, stock = (Diarizer(parts()).diarize(sound, Diarization(engine=one), token=CancelToken()) for one in ("stacked", "stock"))
    rates = []
    for result in (own, stock):
        share = diarization_errors(true, [Said(t.cluster, t.start, t.end) for t in result.turns])["der"]
        rates.append(share.errors / share.of)
    people = {p.speaker for p in true}
    print(f"\n{name}: DER {rates[0]:.3f} (stock {rates[1]:.3f}), {len({t.cluster for t in own.turns})} of {len(people)} people")
    assert rates[0] <= rates[1] + 0.001
    assert len({t.cluster for t in own.turns}) == len(people)
