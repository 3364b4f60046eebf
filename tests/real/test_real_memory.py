"""Memory stays that of the weights while recordings of many lengths pass models with real weights.

Runs where the models are: ``make real-models``, then GAINSTAGE_REAL_MODELS names their folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = os.environ.get("GAINSTAGE_REAL_MODELS", "")
RECORDINGS = 41

pytestmark = [
    pytest.mark.skipif(
        not MODELS or not (Path(MODELS) / "campp").is_dir(), reason="no real models: make real-models, set GAINSTAGE_REAL_MODELS"
    ),
    pytest.mark.timeout(900),
]


def test_forty_recordings_take_at_most_twice_what_the_loaded_models_take() -> None:
    command = [sys.executable, "-m", "tests.real.memory", str(RECORDINGS)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    loaded, *after = json.loads(done.stdout)
    print(f"\n{loaded:.0f} MB with the models loaded, at most {max(after):.0f} MB over {RECORDINGS} recordings")
    assert len(after) == RECORDINGS
    assert max(after) <= 2 * loaded
    assert max(after[RECORDINGS // 2 :]) <= 1.1 * max(after[: RECORDINGS // 2]), "it grows"
