"""Speed of batch extraction of voices: five ways through one full-size ECAPA-TDNN, each in its own process.

``python -m gainstage.engine.bench.voices`` prints it. The speed of a shared machine drifts by a quarter within minutes, more than
the ways differ: so all processes run at once and take turns on slices of the spans, only one working at any time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any

from gainstage.engine.bench.voices_ways import ARRIVAL_BATCH, LONGEST_S, SHORTEST_S, spans_of

SEGMENTS = 281
WAYS = ("per_segment", "one_by_one", "arrival_order", "ours", "floor")
WORDS = {
    "per_segment": "a temporary wav for each",
    "one_by_one": "one by one from memory",
    "arrival_order": "batches of 32 as they come, padded",
    "ours": "batches of equal length",
    "floor": "the same frames, perfectly equal",
}
GOAL_TO_FLOOR = 1.15
GOAL_SPEEDUP = 26.0
"""Speed relative to the usual way, on a GPU."""

GOAL_DISTANCE = 0.001

Slice = tuple[int, int]
"""First and end (exclusive) of consecutive spans, by index."""


def run(
    segments: int = SEGMENTS,
    seed: int = 0,
    *,
    ways: Sequence[str] = WAYS,
    repeats: int | None = None,
    device: str | None = None,
    threads: int = 1,
    equality: int = 1000,
) -> dict[str, Any]:
    """Measure ``ways`` over spans of 1 to 8 s from ten minutes of audio.

    A GPU processes all spans in one call, three times, and the median counts; a CPU processes slices of 32 once each (``repeats``
    changes how often), which are summed: there a larger call is no faster. ``threads`` is for the CPU. ``equality`` random spans
    are extracted in batches and alone: ``max_cosine_distance`` is the largest difference, ``max_cosine_distance_uncut`` the one to
    the same spans before they are cut to a grid length. ``peak_mb`` is the memory of the process, on a GPU that of the device.
    Raises ``RuntimeError`` with the last output of a process that ended early.
    """
    device = device or _device()
    on_gpu = device.startswith("cuda")
    repeats = repeats or (3 if on_gpu else 1)
    given = {"segments": segments, "seed": seed, "device": device, "threads": threads}
    figures, name = _in_turn(ways, slices_of(segments, segments if on_gpu else ARRIVAL_BATCH), repeats, given)
    seconds, worked = ({way: f.total(of) for way, f in figures.items()} for of in ("seconds", "cpu_seconds"))
    for by_way in (seconds, worked):
        if "one_by_one" in by_way and "floor" in by_way:
            by_way["floor"] = min(by_way["floor"], by_way["one_by_one"])
    same: dict[str, Any] = {}
    if equality:
        with _process("equality", {**given, "segments": equality}) as child:
            same = child.answer()
    return {
        "device": name or device,
        "segments": segments,
        "audio_seconds": round(sum(end - start for start, end in spans_of(segments, seed)), 1),
        "threads": None if on_gpu else threads,
        "repeats": repeats,
        "seconds": {way: round(s, 3) for way, s in seconds.items()},
        "cpu_seconds": {way: round(s, 3) for way, s in worked.items()},
        "peak_mb": {way: round(f.peak_mb) for way, f in figures.items()},
        "batches": round(figures["ours"].total("batches")) if "ours" in figures else None,
        "max_cosine_distance": same.get("distance"),
        "max_cosine_distance_uncut": same.get("uncut"),
    }


def table(result: Mapping[str, Any]) -> str:
    """The result of :func:`run` as plain text, with the goals. On a CPU the ratios are of CPU time, which other programs on the
    machine affect less than wall time."""
    on_gpu = str(result["device"]).startswith("cuda")
    seconds, peak = result["seconds"], result["peak_mb"]
    figure = seconds if on_gpu else result["cpu_seconds"]
    threads = "" if on_gpu else f", {result['threads']} thread"
    lines = [
        f"{result['segments']} segments of {SHORTEST_S:.0f}-{LONGEST_S:.0f} s ({result['audio_seconds']:.0f} s of audio), full-size "
        f"ECAPA-TDNN on {result['device']}{threads}, median of {result['repeats']}",
        "",
        f"{'way':36s} {'seconds':>8s} {'cpu s':>8s} {'segments/s':>11s} {'x usual':>8s} {'x floor':>8s} {'peak MB':>8s}",
    ]
    for way in seconds:
        usual = f"{figure['per_segment'] / figure[way]:8.2f}" if "per_segment" in figure else f"{'·':>8s}"
        floor = f"{figure[way] / figure['floor']:8.2f}" if "floor" in figure else f"{'·':>8s}"
        rate = result["segments"] / figure[way]
        cpu = result["cpu_seconds"][way]
        lines.append(f"{WORDS[way]:36s} {seconds[way]:8.2f} {cpu:8.2f} {rate:11.1f} {usual} {floor} {peak[way]:8d}")
    lines.append("")
    if "floor" in figure and "ours" in figure:
        lines.append(_goal("ours to the floor", figure["ours"] / figure["floor"], GOAL_TO_FLOOR, "x", below=True))
    if "per_segment" in figure and "ours" in figure and on_gpu:
        lines.append(_goal("ours over the usual way", figure["per_segment"] / figure["ours"], GOAL_SPEEDUP, "x", below=False))
    elif "per_segment" in figure and "ours" in figure:
        gain = 100 * (1 - figure["ours"] / figure["per_segment"])
        lines.append(
            f"{'ours over the usual way':34s} {gain:.0f} % less: one by one is a CPU's floor; files and padding are what is saved"
        )
    if result["max_cosine_distance"] is not None:
        lines.append(_goal("cosine distance, batched to alone", result["max_cosine_distance"], GOAL_DISTANCE, "", below=True))
        uncut = result["max_cosine_distance_uncut"]
        lines.append(
            f"{'cosine distance, cut to the grid':34s} {uncut:.3f} at most from the span as it is (see engine/voices/windows.py)"
        )
    return "\n".join(lines)


def _goal(what: str, value: float, goal: float, unit: str, *, below: bool) -> str:
    reached = value <= goal if below else value >= goal
    return f"{what:34s} {value:.4g}{unit} (goal {'<=' if below else '>='} {goal:g}{unit}: {'reached' if reached else 'missed'})"


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


# -- turn by turn ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VoiceFigures:
    """Measurements of one way: for every slice the results of its process, one per repeat."""

    slices: tuple[tuple[Mapping[str, float], ...], ...]

    def total(self, of: str) -> float:
        """The sum over the slices of the median over their repeats."""
        return sum(statistics.median(answer[of] for answer in answers) for answers in self.slices)

    @property
    def peak_mb(self) -> float:
        return max(answer["peak_mb"] for answers in self.slices for answer in answers)


def slices_of(count: int, most: int) -> list[Slice]:
    """``count`` spans in slices of ``most``; the last slice has the rest."""
    return [(first, min(first + most, count)) for first in range(0, count, most)]


def turns(ways: Sequence[str], slices: int, repeats: int) -> Iterator[tuple[int, list[str]]]:
    """The rounds: the index of a slice, and the order of the ways, with another one first each time."""
    for number in range(slices * repeats):
        by = number % len(ways) if ways else 0
        yield number % slices, [*ways[by:], *ways[:by]]


def _in_turn(
    ways: Sequence[str], slices: Sequence[Slice], repeats: int, given: Mapping[str, Any]
) -> tuple[dict[str, VoiceFigures], str]:
    """Run every way on every slice ``repeats`` times; also returns the name of the device."""
    with ExitStack() as stack:
        children = {way: stack.enter_context(_process(way, given)) for way in ways}
        name = ""
        for child in children.values():
            name = str(child.answer()["device"])
        parts: dict[str, list[list[Mapping[str, float]]]] = {way: [[] for _ in slices] for way in ways}
        for number, (which, order) in enumerate(turns(ways, len(slices), repeats), 1):
            for way in order:
                _progress(f"slice {number} of {len(slices) * repeats}: {WORDS[way]}")
                parts[way][which].append(children[way].ask(slices[which]))
        _progress("")
    return {way: VoiceFigures(tuple(tuple(answers) for answers in by_slice)) for way, by_slice in parts.items()}, name


def _progress(text: str) -> None:
    """Show a line that the next one replaces, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class _WayProcess:
    """A process of :mod:`gainstage.engine.bench.voices_ways`."""

    way: str
    process: subprocess.Popen[str]
    words: IO[str]  # its stderr

    def ask(self, part: Slice) -> dict[str, Any]:
        """Send it a slice and wait for the measurement."""
        if self.process.stdin is None:
            raise RuntimeError(f"{self.way} cannot be asked")
        try:
            self.process.stdin.write(json.dumps(part) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self.answer()

    def answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise self._ended()
        parsed: dict[str, Any] = json.loads(line)
        return parsed

    def _ended(self) -> RuntimeError:
        status = self.process.wait()
        self.words.seek(0)
        return RuntimeError(f"{self.way} ended with {status}:\n{self.words.read()[-2000:]}")


@contextmanager
def _process(way: str, given: Mapping[str, Any]) -> Iterator[_WayProcess]:
    """A process that measures one way, ended with the block."""
    arguments = [part for key, value in given.items() for part in (f"--{key}", str(value))]
    with (
        tempfile.TemporaryDirectory() as folder,  # created here, so that a killed process leaves no files
        tempfile.TemporaryFile("w+") as words,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "gainstage.engine.bench.voices_ways", way, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            env=os.environ | {"TMPDIR": folder},
        ) as process,
    ):
        try:
            yield _WayProcess(way, process, words)
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--segments", type=int, default=SEGMENTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--device", default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--equality", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = run(args.segments, args.seed, repeats=args.repeats, device=args.device, threads=args.threads, equality=args.equality)
    print(json.dumps(result) if args.json else table(result))


if __name__ == "__main__":
    main()
