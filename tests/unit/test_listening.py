"""How long a window is padded to: the rule of a model, with fine steps where the encoder's time counts."""

from __future__ import annotations

import pytest

from gainstage.engine.speech.listening import Listening


@pytest.mark.parametrize(("seconds", "padded"), [(0.5, 10), (8.0, 10), (8.1, 30), (15.0, 30), (30.0, 30)])
def test_two_lengths_fill_the_calls_of_a_gpu(seconds: float, padded: int) -> None:
    assert Listening().context_of(seconds) == padded


@pytest.mark.parametrize(("seconds", "padded"), [(0.5, 10), (8.0, 10), (8.1, 15), (13.0, 15), (13.1, 20), (27.9, 30), (30.0, 30)])
def test_steps_leave_two_seconds_of_silence(seconds: float, padded: int) -> None:
    assert Listening(step_s=5).context_of(seconds) == padded


@pytest.mark.parametrize("seconds", [0.5, 8.0, 10.0])
def test_steps_are_never_shorter_than_a_model_was_trained_for(seconds: float) -> None:
    assert Listening(short_context_s=30, window_s=10.0, step_s=5).context_of(seconds) == 30
