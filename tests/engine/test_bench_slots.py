"""Every configuration of slots is measured, and the autopilot comes from the worst to the best: on a machine where that is known."""

from __future__ import annotations

from functools import partial

import pytest

from gainstage.engine.bench import slots
from gainstage.engine.runtime.simulated import simulated, simulated_recordings

TIMES = {"fetch": 0.01, "decode": 0.01, "transcribe": 0.6, "diarize": 0.05, "identify": 0.01, "embed": 0.01}
"""Transcribe is the bottleneck whatever diarize has."""


@pytest.mark.long
def test_the_autopilot_comes_from_the_worst_to_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "cores", lambda: 2)
    monkeypatch.setattr(slots, "WINDOW_S", 4.0)
    machine = partial(
        slots.demo_machine, more=lambda n: simulated_recordings(100, seed=n, times=TIMES), flow=simulated, models=False
    )
    result = slots.run(machine=machine)
    assert result["start"]["workers.transcribe"] == 1
    assert result["best"]["workers.transcribe"] == 2
    assert result["found"]["workers.transcribe"] == 2
    assert result["found_of_best"] > 0.85
    assert result["start_of_best"] < 0.7
    assert result["changes"] >= 1
    assert "autopilot transcribe 2" in slots.table(result)
