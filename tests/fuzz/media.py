"""Mutants of media files through the decoder: every one ends in audio or a typed refusal, soon and in little memory.

``python -m tests.fuzz.media --count 5000`` (``make fuzz-media``). A mutant is a function of its number; what breaks is kept in ``--keep``
and named by it. Each is decoded in a child under limits, so that neither a crash nor a hang ends the run. A hang is ten seconds in which
the child ran or waited for anything but a processor: a loaded machine makes none.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from gainstage.engine.errors import EngineError, Permanent
from gainstage.engine.flow.cancel import CancelToken
from tests.engine.speech_kit import dialogue, write_media

HANG_S = 10.0
"""Seconds that a mutant may take, running or waiting for anything but a processor."""

STUCK_S = 120.0
"""Seconds of the clock after which it is a hang on a machine of any load."""

MOST_BYTES = 500 * 1024**2
MOST_S = 3600.0

CODECS = {
    "a.wav": "pcm_s16le", "b.wav": "adpcm_ms", "a.aiff": "pcm_s16be", "a.au": "pcm_s16be", "a.caf": "pcm_s16le", "a.w64": "pcm_s16le",
    "a.flac": None, "a.mp3": None, "a.ogg": None, "a.opus": None, "a.mp4": None, "a.mov": None, "a.mkv": None, "a.webm": None,
    "a.ts": "aac", "a.flv": "aac", "a.avi": "libmp3lame", "a.aac": "aac", "a.asf": "libmp3lame",
}  # fmt: skip
"""The formats that are mutated, with their codec where it is not the usual one."""


def originals(folder: Path) -> list[Path]:
    """One small file per format: synthetic talk of six seconds."""
    made = []
    for name, codec in CODECS.items():
        made.append(write_media(folder / name, dialogue()[: 16_000 * 6], codec=codec, channels=2 if name[0] == "b" else 1))
    return made


def mutant(number: int, files: Sequence[bytes]) -> bytes:
    """The mutant of a number."""
    draw = random.Random(number)
    data = bytearray(draw.choice(files))
    for _ in range(draw.choice((1, 1, 2, 3, 8, 30))):
        draw.choice(MUTATIONS)(data, draw, files)
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


def _place(data: bytearray, draw: random.Random) -> int:
    """Headers are hit as often as all the rest."""
    return draw.randrange(min(len(data), draw.choice((64, 512, 4096, len(data)))))


def _bytes(data: bytearray, draw: random.Random, files: Sequence[bytes]) -> None:
    at = _place(data, draw)
    data[at : at + 1] = bytes([draw.randrange(256)])


def _number(data: bytearray, draw: random.Random, files: Sequence[bytes]) -> None:
    """A field made extreme."""
    at = _place(data, draw)
    value = draw.choice((0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, draw.getrandbits(32)))
    form = draw.choice(("<I", ">I", "<H", ">H"))
    packed = struct.pack(form, value & (0xFFFF if form[1] == "H" else 0xFFFFFFFF))
    data[at : at + len(packed)] = packed


def _block(data: bytearray, draw: random.Random, files: Sequence[bytes]) -> None:
    at, length = _place(data, draw), draw.choice((8, 64, 1024, 20_000))
    data[at : at + length] = draw.randbytes(min(length, len(data) - at))


def _cut(data: bytearray, draw: random.Random, files: Sequence[bytes]) -> None:
    del data[draw.randrange(len(data)) :]


def _remove(data: bytearray, draw: random.Random, files: Sequence[bytes]) -> None:
    at = _place(data, draw)
    del data[at : at + draw.choice((1, 4, 100, 5000))]


def _repeat(data: bytearray, draw: random.Random, files: Sequence[bytes]) -> None:
    at, length = _place(data, draw), draw.choice((4, 188, 4096))
    data[at:at] = bytes(data[at : at + length]) * draw.choice((1, 2, 50))


def _splice(data: bytearray, draw: random.Random, files: Sequence[bytes]) -> None:
    other = draw.choice(files)
    data[draw.randrange(len(data)) :] = other[draw.randrange(len(other)) :]


Mutation = Callable[[bytearray, random.Random, Sequence[bytes]], None]
MUTATIONS: tuple[Mutation, ...] = (_bytes, _bytes, _number, _number, _number, _block, _cut, _remove, _repeat, _splice)


def serve(pipe: Connection) -> None:
    """The child: paths in, (outcome, detail, bytes of memory at its peak) out."""
    from gainstage.engine.speech.decode import decode_recording

    resource.setrlimit(resource.RLIMIT_AS, (4 * 1024**3, 4 * 1024**3))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024**3, 1024**3))
    while True:
        source = pipe.recv()
        with tempfile.TemporaryDirectory() as work:
            try:
                audio = decode_recording(Path(source), Path(work), token=CancelToken(), max_seconds=MOST_S).audio
                outcome, detail = "audio", f"{audio.seconds:.1f}"
            except Permanent as error:
                outcome, detail = "refused", error.cause
            except EngineError as error:
                outcome, detail = "tried again", error.cause
            except Exception as error:
                outcome, detail = "untyped", f"{type(error).__name__}: {error}"
        pipe.send((outcome, detail, peak_bytes()))


def peak_bytes() -> int:
    """The most memory this process has had. Linux hands ``ru_maxrss`` on from the parent, so its own account is read there."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Child:
    """A decoder in a process of its own, replaced when it dies, hangs or has grown."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self.slowest_s, self.slowest_cpu_s, self.most_bytes = 0.0, 0.0, 0
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self.first = True

    def decode(self, source: Path) -> tuple[str, str]:
        """(outcome, detail): "audio", "refused", or a fault: "untyped", "tried again" (for nothing), "crash", "hang", "memory"."""
        began, before, worked = time.monotonic(), self._unserved_s(), self._worked_s()
        self._pipe.send(str(source))
        slack = 6 if self.first else 1  # the first call imports the libraries
        self.first = False
        while not self._pipe.poll(1.0):
            clock_s = time.monotonic() - began
            own_s = clock_s - (self._unserved_s() - before)
            if own_s > HANG_S * slack or clock_s > STUCK_S * slack:
                self.close()
                self._start()
                return "hang", f"{own_s:.1f} s of its own, {clock_s:.0f} s of the clock"
        if slack == 1:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.slowest_cpu_s = max(self.slowest_cpu_s, self._worked_s() - worked)
        try:
            outcome, detail, peak = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self._start()
            return "crash", f"exit code {code}"
        self.most_bytes = max(self.most_bytes, peak)
        if peak > MOST_BYTES:
            self.close()
            self._start()
            return "memory", f"{peak / 1024**2:.0f} MB"
        return outcome, detail

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    def _unserved_s(self) -> float:
        """Seconds for which the child was ready to run and got no processor, of the thread that waited longest; 0 where unknown."""
        waited = [0.0]
        for account in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # the thread has ended
                waited.append(int(account.read_text().split()[1]) / 1e9)
        return max(waited)

    def _worked_s(self) -> float:
        """Seconds of processor time of the child; 0 after its end."""
        with suppress(psutil.Error):
            times = psutil.Process(self.pid).cpu_times()
            return float(times.user + times.system)
        return 0.0

    def close(self) -> None:
        self._process.kill()
        self._process.join()


FAULTS = ("untyped", "tried again", "crash", "hang", "memory")


@dataclass(slots=True)
class Report:
    """What became of mutants: outcomes counted, faults in words; the longest time of the clock, the most processor time and the most
    memory of one.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest_cpu_s: float = 0.0
    most_bytes: int = 0


def run(numbers: range, keep: Path, until: float = float("inf")) -> Report:
    """Decode the mutants of these numbers."""
    report, child = Report(), Child()
    try:
        with tempfile.TemporaryDirectory() as place:
            files = [path.read_bytes() for path in originals(Path(place))]
            source = Path(place) / "mutant"
            for number in numbers:
                if time.monotonic() > until:
                    break
                source.write_bytes(mutant(number, files))
                outcome, detail = child.decode(source)
                report.outcomes[outcome if outcome != "refused" else f"refused: {detail}"] += 1
                if outcome in FAULTS:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"media-{number}").write_bytes(source.read_bytes())
                    report.faults.append(f"mutant {number}: {outcome}, {detail}")
    finally:
        child.close()
    report.slowest_s, report.slowest_cpu_s, report.most_bytes = child.slowest_s, child.slowest_cpu_s, child.most_bytes
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="mutants (default: 5000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default: 0)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-kept"), help="folder for mutants that broke something")
    args = parser.parse_args()
    report = run(range(args.first, args.first + args.count), args.keep, time.monotonic() + 60 * args.minutes)
    for outcome, count in report.outcomes.most_common():
        print(f"{count:6}  {outcome}")
    print(
        f"{report.outcomes.total()} mutants from number {args.first}: {len(report.faults)} faults, the slowest took {report.slowest_s:.1f} s"
        f" of the clock, the busiest {report.slowest_cpu_s:.1f} s of a processor, the most memory was {report.most_bytes / 1024**2:.0f} MB"
    )
    for fault in report.faults:
        print(fault)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
