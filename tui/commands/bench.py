"""``bench``: figures of this machine, as ratios to a reference of the same run."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from gainstage.tui.commands.common import print_json, speaking, waiting

EXAMPLES = {
    "bench": """what is measured:
  pipeline        is the bottleneck busy, what does a gate cost
  live            status, claims and commands with a long queue, cost of a frame
  fleet           engines beside each other; claims, console and status of 64 on long tables
  voices          batch extraction against the usual ways and the floor
  voices-quality  who is recognised by how much speech, what each rule is worth
  decisions       stored decisions decided again under other limits
  corrections     the diff of one correction over 1,200 h, names repaired by five
  diarize         what shared frames save the diarizer, at which errors
  recogniser      shared calls: batch fill, the same words, processor time
  search          the vector index: recall, latency, stores beside its build
  gpu             a card: install checks, every model on networks of real size
  peers           beside a plain script and the old way, on the same recordings and weights
  resume          what is done again after kill -9
  quality         word, diarization and speaker errors, against the truth
  people          how often the number of speakers is right, one to six
  sources         long feeds listed, many downloads, against the server's own speed
  advice          predicted gains and times left against simulated pipelines
  autopilot       the search for slots against pipelines tried exhaustively
  slots           every configuration of slots on the demo, and what the autopilot comes to
  truth           header, panels, table, status and database at random moments
  console         first picture, processor, keys, memory, what it takes from an engine

examples:
  gainstage bench pipeline
  gainstage bench live --recordings 100000
  gainstage bench fleet --recordings 200000 --minutes 1
  gainstage bench voices --segments 60
  gainstage bench search --segments 300000
  gainstage bench quality --fresh 2
  gainstage bench console --json""",
}

MODULES = {
    "pipeline": "gainstage.engine.bench.pipeline",
    "live": "gainstage.engine.bench.live",
    "fleet": "gainstage.engine.bench.fleet",
    "voices": "gainstage.engine.bench.voices",
    "gpu": "gainstage.engine.bench.gpu",
    "peers": "gainstage.engine.bench.peers",
    "resume": "gainstage.engine.bench.resume",
    "quality": "gainstage.engine.bench.quality",
    "people": "gainstage.engine.bench.people",
    "recogniser": "gainstage.engine.bench.recogniser",
    "console": "gainstage.tui.bench.console",
    "search": "gainstage.engine.bench.search",
    "advice": "gainstage.engine.bench.advice",
    "autopilot": "gainstage.engine.bench.autopilot",
    "slots": "gainstage.engine.bench.slots",
    "truth": "gainstage.tui.bench.truth",
    "sources": "gainstage.engine.bench.sources",
    "decisions": "gainstage.engine.bench.decisions",
    "corrections": "gainstage.engine.bench.corrections",
    "diarize": "gainstage.engine.bench.diarize",
    "voices-quality": "gainstage.engine.bench.voices_quality",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("what", choices=sorted(MODULES), help="what is measured, see below")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--segments", type=int, help="voices, search: how many")
    parser.add_argument(
        "--recordings",
        type=int,
        help="pipeline, live, fleet, corrections, peers, people: how many; truth: moments, advice, autopilot: pipelines",
    )
    parser.add_argument("--fresh", type=int, help="quality: new recordings by the generator, beside the bundled ones")
    parser.add_argument("--kills", type=int, help="resume: how many")
    parser.add_argument("--slow", type=float, help="resume: seconds that a second of audio takes the recogniser longer")
    parser.add_argument("--minutes", type=float, help="resume: length of the recording; gpu: longest time; fleet: of claims")
    parser.add_argument("--device", help="gpu, peers: cpu, cuda or auto")
    parser.add_argument("--tiny", action="store_true", default=None, help="gpu: small networks, to try the script")
    parser.add_argument("--full", action="store_true", default=None, help="gpu: end to end on networks of real size on a CPU too")
    parser.add_argument(
        "--models",
        metavar="FOLDER",
        help="peers: whisper-base and minilm, diarize: diarization, used in place of the bundled ones; quality: real talk too, by them",
    )
    parser.add_argument("--repeats", type=int, help="peers, recogniser, slots: how often each way runs")
    parser.add_argument("--seed", type=int, help="seed of everything that is drawn by lot")


def run(name: str, args: argparse.Namespace) -> int:
    module: Any = importlib.import_module(MODULES[args.what])
    wanted = {
        k: v
        for k, v in vars(args).items()
        if k
        in ("recordings", "segments", "fresh", "kills", "minutes", "repeats", "device", "tiny", "seed", "slow", "full", "models")
        and v is not None
    }
    with waiting(f"measuring {args.what}; seconds for some, minutes for others"):
        result = module.run(**wanted)
    if speaking(args):
        print(module.table(result))
    else:
        print_json(module.document(result) if hasattr(module, "document") else result)
    return 0
