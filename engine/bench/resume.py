"""What is done again after kill -9: an engine process works on a long recording and is killed at random moments.

Each process notes the audio of every call of the recogniser and of the diarizer's networks when the call begins. Audio of a call that
had begun before a kill and begins again after it counts as done again, so the call that was broken off counts in full.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gainstage.config.origins import load
from gainstage.config.paths import Paths
from gainstage.engine.bench.quality import media_with_truth
from gainstage.engine.desk.summary import TERMINAL
from gainstage.engine.errors import EngineError
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.pipeline import ingest
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.engine import Engine
from gainstage.engine.sources.local import file_recording
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import SAMPLE_RATE

if TYPE_CHECKING:
    from gainstage.engine.runtime.context import EngineContext

KILLS, MINUTES = 10, 40.0
LATEST_S, WINDOW_S = 3.0, 10.0
"""A kill comes at a random moment of so many seconds after the first call; of so many calls, where the recogniser is slowed down."""

_PATIENCE_S = 600.0
_OVERRIDES = {"fetch.disk_floor": 0, "watch.record": False, "queue.heartbeat": 1, "fetch.duplicates": "process"}


def run(kills: int = KILLS, minutes: float = MINUTES, seed: int = 0, slow: float = 0.0) -> dict[str, Any]:
    """``redone_s_p95`` and ``redone_s`` (seconds of audio done again, by kill), the same of the recogniser and the diarizer alone,
    ``kills``, ``identical`` (the stored passages are those of a run without kills).

    With ``slow``, each second of audio takes a call of the recogniser that many seconds longer, as with large weights.
    """
    lot = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="gainstage-resume-") as place:
        folder = Path(place)
        home, trace = folder / "home", folder / "trace"
        recording = file_recording(long_recording(folder / "long.wav", minutes, seed))
        paths = Paths.of(home).ensure()
        with Database.open(None, paths.database) as database:
            backlog, store = Backlog(database), RecordingStore(database)
            backlog.add([recording])
            runs: list[list[tuple[str, float]]] = []
            killed = 0
            while killed < kills:
                with _engine(home, trace, slow) as process:
                    if _killed(process, trace, lot.uniform(0, LATEST_S * max(1.0, WINDOW_S * slow))):
                        killed += 1
                        runs.append(_calls(trace))
                        continue
                runs.append([])  # it was stored before the kill: taken again, from the start
                _wait_stored(database, recording.id)
                backlog.add([recording], force=True)
            with _engine(home, trace) as process:
                process.wait(_PATIENCE_S)
            _wait_stored(database, recording.id)
            runs.append(_calls(trace))
            interrupted = [(s.start, s.text) for s in store.segments(recording.id)]
            backlog.add([recording], force=True)
            with _engine(home, trace) as process:
                process.wait(_PATIENCE_S)
            _wait_stored(database, recording.id)
            whole = [(s.start, s.text) for s in store.segments(recording.id)]
    redone, windows = _redone(runs), _redone(runs, "window ")
    diarized = [both - one for both, one in zip(redone, windows, strict=True)]
    return {
        "redone_s_p95": _p95(redone),
        "recognised_s_p95": _p95(windows),
        "diarized_s_p95": _p95(diarized),
        "kills": len(redone),
        "redone_s": [round(seconds, 1) for seconds in redone],
        "identical": interrupted == whole,
        "audio_s": round(minutes * 60, 1),
    }


def long_recording(path: Path, minutes: float, seed: int) -> Path:
    """Bundled speech joined in random order, as a WAV file."""
    from gainstage.engine.speech.decode import decode

    lot = np.random.default_rng(seed)
    pieces = []
    for media in media_with_truth(DEMO / "recordings"):
        with tempfile.TemporaryDirectory() as folder:
            pieces.append((decode(media, Path(folder), token=CancelToken()).read() * 32767).astype("<i2"))
    left = round(minutes * 60 * SAMPLE_RATE)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        while left > 0:
            piece = pieces[int(lot.integers(len(pieces)))][:left]
            file.writeframes(piece.tobytes())
            left -= len(piece)
    return path


def _p95(seconds: Sequence[float]) -> float | None:
    return round(float(np.percentile(seconds, 95)), 1) if seconds else None


def _redone(runs: Sequence[Sequence[tuple[str, float]]], kind: str = "") -> list[float]:
    """Seconds done again after each kill: of calls that began in any earlier run on the recording and began once more in the next.
    ``kind`` is what their keys begin with.
    """
    redone: list[float] = []
    begun: dict[str, float] = {}
    for calls in runs:
        if not calls:
            begun = {}
            continue
        if begun:
            redone.append(sum({key: seconds for key, seconds in calls if key in begun and key.startswith(kind)}.values()))
        begun.update(calls)
    return redone


@contextmanager
def _engine(home: Path, trace: Path, slow: float = 0.0) -> Iterator[subprocess.Popen[bytes]]:
    """An engine process on the home, ended at the latest with the block."""
    trace.unlink(missing_ok=True)
    log = home / "bench.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gainstage.engine.bench.resume", str(home), str(trace), str(slow)], stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _killed(process: subprocess.Popen[bytes], trace: Path, after_s: float) -> bool:
    """Kill the engine ``after_s`` seconds after its first call; False when it had ended by itself."""
    end = time.monotonic() + _PATIENCE_S
    while not trace.exists() and process.poll() is None:
        if time.monotonic() > end:
            raise EngineError("the engine does not begin", cause="engine hangs", hint="See bench.log in its home.")
        time.sleep(0.01)
    try:
        process.wait(after_s)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True


def _calls(trace: Path) -> list[tuple[str, float]]:
    """(key, seconds of audio) of the calls that a process began."""
    lines = trace.read_text().splitlines() if trace.exists() else []
    return [(str(key), float(seconds)) for key, seconds in map(json.loads, lines)]


def _wait_stored(database: Database, id: str) -> None:
    with database.connection() as connection:
        ((status, error),) = connection.execute("select status, error from recording where id = %s", [id]).fetchall()
    if status != "stored":
        raise EngineError(f"the recording is {status}, not stored: {error}", cause="not stored", hint=f"Ends are {TERMINAL}.")


# -- the engine's process -----------------------------------------------------------------------------------------------


def trace_calls(note: Callable[[str, float], None], slow: float = 0.0) -> None:
    """Have ``note`` called with a key and the seconds of audio whenever a call of a model begins in this process; ``slow`` as for
    :func:`run`."""
    from gainstage.engine.models import speaker_pipeline
    from gainstage.engine.speech import recognition, transcribe

    decode, batches = recognition.decode, speaker_pipeline.Work.batches

    def traced_decode(model: Any, windows: Sequence[Any], device: str) -> Any:
        for window in windows:
            features = np.ascontiguousarray(window.features)
            note("window " + hashlib.blake2b(features.tobytes() + repr(window.decoding).encode()).hexdigest()[:16], window.seconds)
        if slow:
            time.sleep(slow * sum(window.seconds for window in windows))
        return decode(model, windows, device)

    def traced_batches(
        work: speaker_pipeline.Work,
        step: str,
        total: int,
        plan: speaker_pipeline.CallPlan,
        call: Callable[[int, int], Any],
        first: int = 0,
    ) -> Generator[tuple[int, int, Any], None, None]:
        step_s = work.audio.seconds / max(1, total)

        def traced(start: int, end: int) -> Any:
            for n in range(start, end):
                note(f"{step} {n}", step_s)
            return call(start, end)

        return batches(work, step, total, plan, traced, first)

    for owner, name, traced_one in (
        (transcribe, "decode", traced_decode),
        (speaker_pipeline.Work, "batches", traced_batches),
    ):
        setattr(owner, name, traced_one)


def _serve(home: Path, trace: Path, slow: float) -> int:
    file = os.open(trace.with_suffix(".open"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def note(key: str, seconds: float) -> None:
        os.write(file, (json.dumps([key, seconds]) + "\n").encode())
        if not trace.exists():
            os.link(trace.with_suffix(".open"), trace)

    def prepare(context: EngineContext) -> None:
        trace_calls(note, slow)

    paths = Paths.of(home)
    loaded = load(profile="demo", environ={}, overrides=_OVERRIDES)
    with Database.open(None, paths.database) as database:
        engine = Engine(loaded, paths, database, flow=ingest, until_empty=True, prepare=prepare)
        try:
            engine.run()
        finally:
            engine.close()
    return 0


def table(result: dict[str, Any]) -> str:
    """The result as plain text."""
    return (
        f"audio done again     {result['redone_s_p95']} s (p95 of {result['kills']} kills; the call under way counts in full)\n"
        f"recogniser, diarizer {result['recognised_s_p95']} s, {result['diarized_s_p95']} s\n"
        f"passages             {'the same as without kills' if result['identical'] else 'DIFFERENT'}"
    )


if __name__ == "__main__":
    sys.exit(_serve(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
