"""The comparison with a plain script measures every way on the same recordings."""

from __future__ import annotations

from gainstage.engine.bench import peers


def test_every_way_is_measured_on_the_same_recordings() -> None:
    result = peers.run(recordings=2, repeats=1, long=1)  # on one minute a single word decides which is better
    for way in ("seed", "plain", "ours"):
        assert result[way]["rtfx"] > 0
        assert result[way]["peak_mb"] > 100
        assert result[way]["wer"] < 0.2
        assert result[way]["der"] < 0.4
    assert result["ours"]["wer"] <= result["plain"]["wer"]
    assert "whisperx" in result
    assert "ours one long recording" in peers.table(result)
