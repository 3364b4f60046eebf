"""The recording for the README: thirty seconds in which bottleneck, advice, apply and measured effect are seen."""

from __future__ import annotations

import json

from gainstage.tui.bench.recording import BEATS, SIZE, cast, length_s, pictures


async def test_a_recording_shows_bottleneck_advice_apply_and_effect() -> None:
    taken = await pictures()
    said = ["\n".join("".join(segment.text for segment in line) for line in picture.lines) for picture in taken]
    order = ["BOTTLENECK  transcribe", "Try this?", "effect is being measured", "measured +"]
    first = [next(n for n, text in enumerate(said) if words in text) for words in order]
    assert first == sorted(first)
    assert "predicted +" in said[first[3]], "the prediction stands beside what came of it"
    assert 25 <= length_s() <= 35
    head, *events = (json.loads(line) for line in cast(taken).splitlines())
    assert (head["version"], head["width"], head["height"]) == (2, *SIZE)
    assert len(events) == len(BEATS) + 1
    assert [at for at, _, _ in events] == sorted(at for at, _, _ in events)
    assert {kind for _, kind, _ in events} == {"o"}
    assert len(events[2][2]) < len(events[0][2]) / 2, "only what changed is written again"
