"""``python -m gainstage.engine.models.demo.recipe --help``: one entry to every step of the recipe."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gainstage.engine.models.demo.recipe import recordings
from gainstage.engine.models.demo.recipe.voices import ENROLLED

BUNDLED = Path(__file__).parents[1]
WORK = Path(tempfile.gettempdir()) / "gainstage-recipe"

_EPILOG = """\
Everything is written under --out; copy what you want to keep over the bundled files. A whole run:

  python -m gainstage.engine.models.demo.recipe all            an hour and a half of CPU time, then measure with
  python -m gainstage.engine.bench.quality --fresh 12          (see engine/bench/quality.py)

Fresh recordings with their truth, to measure beyond the bundled ones:

  python -m gainstage.engine.models.demo.recipe recordings --seed 100 --count 10 --out /tmp/fresh
"""


def main() -> None:
    """Run the steps asked for, in the order of the recipe."""
    asked = _parser().parse_args()
    if asked.step == "all":
        for step in STEPS:
            print(f"-- {step}", flush=True)
            STEPS[step](asked)
    else:
        STEPS[asked.step](asked)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gainstage.engine.models.demo.recipe",
        description="Make the demo's voices, recordings and models again.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("step", choices=[*STEPS, "all"], help="which step")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the clip bank (1.3 GB; default %(default)s)")
    parser.add_argument("--out", type=Path, default=WORK / "demo", help="where results go (default %(default)s)")
    parser.add_argument("--seed", type=int, help="recordings: make fresh ones from this seed on, instead of the bundled ones")
    parser.add_argument("--count", type=int, default=6, help="recordings: how many fresh ones (default %(default)s)")
    parser.add_argument("--minutes", type=float, help="CPU minutes of training (default: what the bundled weights took)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the training (default %(default)s)")
    parser.add_argument("--go-on", type=Path, metavar="DIR", help="asr, segmentation: train on from this folder's weights")
    return parser


def _voices(asked: argparse.Namespace) -> None:
    for person in ENROLLED:
        print(recordings.make_voice(person, asked.out / "voices"))


def _bank(asked: argparse.Namespace) -> None:
    from gainstage.engine.models.demo.recipe import bank

    bank.build(asked.work, processes=asked.threads)


def _recordings(asked: argparse.Namespace) -> None:
    if asked.seed is not None:
        for seed in range(asked.seed, asked.seed + asked.count):
            print(recordings.make(recordings.fresh(seed), asked.out))
        return
    for piece in recordings.BUNDLED:
        print(recordings.make(piece, asked.out / "recordings"))
    for piece in recordings.HARD:
        print(recordings.make(piece, asked.out / "tests"))
    print(recordings.make_people(asked.out / "tests"))


def _ecapa(asked: argparse.Namespace) -> None:
    from gainstage.engine.models.demo.recipe import train_voice

    train_voice.train(_train_bank(asked), asked.out / "voice", asked.minutes or 5, report=_say)


def _segmentation(asked: argparse.Namespace) -> None:
    from gainstage.engine.models.demo.recipe import train_segmentation

    folder = asked.out / "diarization" / "segmentation"
    train_segmentation.train(_train_bank(asked), folder, asked.minutes or 16, start=asked.go_on, report=_say)


def _plda(asked: argparse.Namespace) -> None:
    from gainstage.engine.models.demo.recipe import plda
    from gainstage.engine.models.resolve import find
    from gainstage.engine.models.voice import load_voice_encoder

    made = asked.out / "voice"
    found = find("voice", str(made if made.exists() else BUNDLED / "voice"), None, asked.work)
    plda.estimate(_train_bank(asked), load_voice_encoder(found, "cpu"), asked.out / "diarization" / "plda")


def _asr(asked: argparse.Namespace) -> None:
    from gainstage.engine.models.demo.recipe import asr_tokens
    from gainstage.engine.models.demo.recipe.train_asr import Stage, train

    bank = _train_bank(asked)
    asked.out.mkdir(parents=True, exist_ok=True)
    tokens = asr_tokens.Tokens(asked.go_on / "tokenizer.json") if asked.go_on else asr_tokens.build(asked.out / "tokenizer.json")
    minutes = asked.minutes or 60
    peak = 1e-3 if asked.go_on else 1.5e-3
    stages = (Stage("short", 0.7 * minutes, 14, False, peak), Stage("padded", 0.3 * minutes, 6, True, peak / 2))
    train(bank, tokens, asked.out / "asr", stages, start=asked.go_on, report=_say)


def _text(asked: argparse.Namespace) -> None:
    from gainstage.engine.models.demo.recipe import train_text

    train_text.train(asked.out / "text", report=_say)
    first, five = train_text.retrieval(asked.out / "text")
    _say(f"text: the sentence asked for is the first of {first:.0%} of queries, among the first five of {five:.0%}")


STEPS: dict[str, Callable[[argparse.Namespace], None]] = {
    "voices": _voices,
    "bank": _bank,
    "recordings": _recordings,
    "ecapa": _ecapa,
    "segmentation": _segmentation,
    "plda": _plda,
    "asr": _asr,
    "text": _text,
}


def _train_bank(asked: argparse.Namespace) -> Any:
    import torch

    from gainstage.engine.models.demo.recipe.bank import Bank

    torch.set_num_threads(asked.threads)
    if not (asked.work / "train.npy").exists():
        raise SystemExit(f"there is no clip bank in {asked.work}: run the step `bank` first")
    return Bank(asked.work, "train")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
