"""Verification: the equal error rate of the voice model on spans of one, two and three seconds.

``python -m gainstage.engine.bench.same_speaker PANEL`` prints it for a panel of people (an audio file with a ``.panel.json`` beside
it that says who speaks when; ``tests/data/people.opus`` is one).
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gainstage.engine.flow.cancel import CancelToken

SECONDS = (1.0, 2.0, 3.0)


@dataclass(frozen=True, slots=True)
class PairRow:
    """All pairs of spans of one length within a group of people; cosines as (5th, 50th, 95th) percentiles."""

    group: str
    seconds: float
    spans: int
    error: float
    threshold: float
    same: tuple[float, float, float]
    different: tuple[float, float, float]


def run(panel: Path, encoder: Any = None) -> list[PairRow]:
    """Measure a panel with ``encoder`` (the demo's when None) through the engine's own extraction."""
    from gainstage.engine.models.resolve import find
    from gainstage.engine.models.voice import load_voice_encoder
    from gainstage.engine.speech.decode import decode
    from gainstage.engine.voices.extract import VoiceExtractor, voice_batcher

    model = encoder or load_voice_encoder(find("voice", "demo:voice", None, panel.parent), "cpu")
    extractor = VoiceExtractor(lambda: model, voice_batcher(lambda: model, lambda: 120.0))
    people = json.loads(panel.with_suffix(".panel.json").read_text("utf-8"))["voices"]
    rows = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            audio = decode(panel, Path(folder), token=CancelToken())
            for group in dict.fromkeys(person["group"] for person in people):
                for seconds in SECONDS:
                    spans = [(who["voice"], span) for who in people if who["group"] == group for span in _cut(who, seconds)]
                    voices = extractor.extract(audio, [span for _, span in spans], token=CancelToken()).voices
                    voiced = [(who, voice) for (who, _), voice in zip(spans, voices, strict=True) if isinstance(voice, np.ndarray)]
                    rows.append(_row(group, seconds, [who for who, _ in voiced], np.stack([voice for _, voice in voiced])))
    finally:
        extractor.close()
    return rows


def _cut(person: dict[str, Any], seconds: float) -> list[tuple[float, float]]:
    """As many spans of one length as fit, one after the other."""
    count = int((person["end"] - person["start"]) / seconds + 1e-6)
    return [(person["start"] + k * seconds, person["start"] + (k + 1) * seconds) for k in range(count)]


def _row(group: str, seconds: float, people: list[str], voices: np.ndarray[Any, np.dtype[np.float32]]) -> PairRow:
    from gainstage.engine.voices.openset import equal_error

    names = np.array(people)
    first, second = np.triu_indices(len(names), 1)
    cosines = (voices @ voices.T)[first, second]
    alike = names[first] == names[second]
    point = equal_error(cosines[alike], cosines[~alike])
    return PairRow(group, seconds, len(names), point.rate, point.threshold, _spread(cosines[alike]), _spread(cosines[~alike]))


def _spread(cosines: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[float, float, float]:
    low, middle, high = np.percentile(cosines, (5, 50, 95))
    return float(low), float(middle), float(high)


def table(rows: list[PairRow]) -> str:
    """The result as plain text."""
    lines = [f"{'people':<12}{'span':>6}{'spans':>7}{'EER':>8}{'at':>7}   same 5/50/95 %        different 5/50/95 %"]
    for row in rows:
        same, different = ("/".join(f"{value:5.2f}" for value in values) for values in (row.same, row.different))
        lines.append(
            f"{row.group:<12}{row.seconds:>5.0f}s{row.spans:>7}{row.error:>8.1%}{row.threshold:>7.2f}   {same}     {different}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(run(Path(sys.argv[1]))))
