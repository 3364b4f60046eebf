"""The comparison with a plain script measures every way on the same recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from gainstage.engine.bench import diarize, peers
from gainstage.engine.bench.peers_ways import Weights
from gainstage.engine.models.resolve import DEMO


def test_every_way_is_measured_on_the_same_recordings() -> None:
    result = peers.run(recordings=2, repeats=1, long=1)  # on one minute a single word decides which is better
    for way in ("seed", "plain", "ours"):
        assert result[way]["rtfx"] > 0
        assert result[way]["peak_mb"] > 100
        assert result[way]["wer"] < 0.2
        assert result[way]["der"] < 0.4
    assert result["ours"]["wer"] <= result["plain"]["wer"]
    assert "whisperx" in result
    assert result["models"] == "bundled"
    assert set(result["phases"]["seed"]) == {"load", "decode", "recognise", "diarize", "voices", "texts"}
    assert set(result["phases"]["plain"]) == {"decode", "recognise", "diarize", "voices", "texts"}
    assert result["ratio_seed_scripts"][1] > result["ratio_seed"][1], "a script for each recording imports each time"
    assert "ours one long recording" in peers.table(result)


def test_a_folder_of_real_models_replaces_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "whisper-base").mkdir()
    real = Weights.of(str(tmp_path))
    assert (real.asr, real.embed) == (str(tmp_path / "whisper-base"), "demo:text")
    assert "chunk_length" not in real.known, "windows of ten seconds are those of the bundled recogniser"
    assert Weights.of(None) == Weights()
    assert Weights().known["chunk_length"] == 10


def test_the_errors_of_shared_frames_are_given_or_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    one = diarize.media_with_truth(DEMO / "recordings")[:1]
    monkeypatch.setattr(diarize, "media_with_truth", lambda _: one)
    result = diarize.run(seconds=3.0)
    assert result["identical"]
    assert result["der_stock"] == result["der_stacked"]
    assert result["der_once"] is None
    assert "cannot share frames" in result["der_once_why"]
    assert "cannot share frames" in diarize.table(result)
