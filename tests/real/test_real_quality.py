"""The table of ``bench quality`` on real talk, with models with real weights.

Runs where the models are: ``make real-models``, then GAINSTAGE_REAL_MODELS names their folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gainstage.engine.bench.quality import document, real_talk, table
from gainstage.engine.errors import Misconfigured

MODELS = os.environ.get("GAINSTAGE_REAL_MODELS", "")

pytestmark = pytest.mark.timeout(900)


@pytest.mark.skipif(
    not MODELS or not (Path(MODELS) / "campp").is_dir(), reason="no real models: make real-models, set GAINSTAGE_REAL_MODELS"
)
def test_real_talk_has_the_table_of_the_others() -> None:
    rows = real_talk(Path(MODELS))
    print("\n" + table(rows))
    assert [row.kind for row in rows] == ["real", "real"]
    figures = document(rows)
    for key, most in (("wer", 0.15), ("der", 0.25), ("cllr", 0.2), ("uncovered_speech_s", 2.0)):
        assert figures[key]["value"] <= most, key
    assert figures["speaker_count_right"]["value"] == 1.0


def test_without_the_models_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="whisper-base") as caught:
        real_talk(tmp_path)
    assert "make real-models" in caught.value.hint
