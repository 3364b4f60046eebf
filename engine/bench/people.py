"""How often the number of people is right, on generated talk of one to six.

``python -m gainstage.engine.bench.people`` prints it. The talk is made anew by the demo's generator, which needs espeak-ng and flite on
this machine and a clone of the repository. Up to a fifth of the changes of speaker come before the last one has ended.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gainstage.engine.bench.quality import Chain, demo_settings
from gainstage.engine.errors import Misconfigured
from gainstage.engine.evaluation.intervals import Share, figure, pooled
from gainstage.engine.evaluation.quality import load_truth
from gainstage.engine.flow.cancel import CancelToken

if TYPE_CHECKING:
    from gainstage.engine.models.demo.recipe.recordings import Piece

RECORDINGS, MOST, GOAL = 24, 6, 0.95
_ALONE_S, _EACH_S = 30.0, 15.0
_TOPICS = ("garden", "sky", "sea")
_OVERLAPS = (0.0, 0.1, 0.2)


def run(recordings: int = RECORDINGS, seed: int = 0) -> dict[str, Any]:
    """``rows``: for each recording its true number of people, that of the diarizer's clusters and that of the named turns;
    ``diarizer`` and ``named``: the share that is right, with its interval by recording."""
    rows = []
    with tempfile.TemporaryDirectory() as name, Chain(demo_settings()) as chain:
        for number in range(seed, seed + recordings):
            path = _made(number, Path(name))
            people = {t.speaker for t in load_truth(path.with_suffix(".json")).turns}
            audio = chain.decode(path)
            turns = chain.diarizer.diarize(audio, chain.settings.diarization, token=CancelToken())
            cast = chain.named(audio, turns)
            found = len({t.cluster for t in turns.turns}), len({t.speaker for t in cast.turns})
            rows.append(
                {"seed": number, "seconds": round(audio.seconds), "people": len(people), "diarizer": found[0], "named": found[1]}
            )
    return {"rows": rows, **{key: asdict(figure(_right(rows, key), pooled)) for key in ("diarizer", "named")}}


def _right(rows: Sequence[Mapping[str, Any]], key: str) -> list[Share]:
    return [Share(float(row[key] == row["people"]), 1.0) for row in rows]


def _made(number: int, folder: Path) -> Path:
    try:
        from gainstage.engine.models.demo.recipe.recordings import make
    except ImportError as error:
        raise Misconfigured(
            "talk is made by the demo's recipe, which an installed gainstage does not hold",
            cause="no recipe",
            hint="Measure in a clone of the repository.",
        ) from error
    return make(piece(number), folder)


def piece(number: int) -> Piece:
    """The talk of a number: one person in the first, six in the sixth, one again in the seventh; who and on what by lot."""
    from gainstage.engine.models.demo.recipe.recordings import Piece, monologue, talk
    from gainstage.engine.models.demo.recipe.voices import PEOPLE

    lot, count = random.Random(f"people {number}"), 1 + number % MOST
    cast, topic = lot.sample(list(PEOPLE), count), lot.choice(_TOPICS)
    seconds = _ALONE_S + _EACH_S * count
    overlap = _OVERLAPS[number // MOST % len(_OVERLAPS)]
    compose = monologue(topic, seconds, cast[0]) if count == 1 else talk(cast, topic, seconds, overlap)
    return Piece(f"people-{number:04d}.flac", f"{count} people on the {topic}", compose, 5000 + number)


def table(result: Mapping[str, Any]) -> str:
    """The result of :func:`run` as plain text."""
    rows = result["rows"]
    lines = [
        f"{len(rows)} generated recordings of 1 to {MOST} people: share with the right number, 95 % interval (goal {GOAL:.0%})"
    ]
    for key, text in (("diarizer", "clusters of the diarizer"), ("named", "people in the named turns")):
        one = result[key]
        interval = "" if one["low"] is None else f"  {one['low']:.0%} to {one['high']:.0%}"
        lines.append(f"{text:<28}{one['value']:>6.0%}{interval}")
    wrong = [row for row in rows if row["named"] != row["people"] or row["diarizer"] != row["people"]]
    lines += [
        f"number {r['seed']}, {r['seconds']} s: {r['people']} people, {r['diarizer']} clusters, {r['named']} named" for r in wrong
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--recordings", type=int, default=RECORDINGS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    measured = run(args.recordings, args.seed)
    print(json.dumps(measured) if args.json else table(measured))
