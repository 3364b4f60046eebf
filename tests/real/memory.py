"""The resident memory of a process in which recordings of many lengths pass the recogniser, the diarizer and the voice
model, all with real weights: ``python -m tests.real.memory COUNT`` prints it in MB, with the models loaded and after each recording."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from gainstage.config.settings import Asr, Diarization
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models import quiet

quiet.hush()


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * 4096 / 1e6, 1)


def main(count: int) -> None:
    from gainstage.engine.bench.campp import load
    from gainstage.engine.speech.decode import decode
    from gainstage.engine.speech.diarize import Diarizer
    from gainstage.engine.terms import SAMPLE_RATE, Audio
    from gainstage.engine.voices.extract import VoiceExtractor, voice_batcher
    from tests.real.test_real_people import CLIPS, transcriber
    from tests.real.test_real_turns import MODELS, parts

    with tempfile.TemporaryDirectory() as name:
        folder, token, lot = Path(name), CancelToken(), np.random.default_rng(0)
        speech = np.concatenate([decode(CLIPS / clip, folder, token=token).read() for clip in ("conv_short.flac", "lj_tel8k.wav")])
        words, diarizer, encoder = transcriber(), Diarizer(parts()), load(Path(MODELS) / "campp")
        voices = VoiceExtractor(lambda: encoder, voice_batcher(lambda: encoder, lambda: 60.0))

        def one(seconds: float, n: int) -> None:
            first = int(lot.integers(0, len(speech) - round(seconds * SAMPLE_RATE)))
            samples = speech[first : first + round(seconds * SAMPLE_RATE)]
            path = folder / f"{n}.pcm"
            (np.clip(samples, -1, 1) * 32767).astype("<i2").tofile(path)
            audio = Audio(path, len(samples), f"{n}")
            words.transcribe(audio, Asr(language="en"), token=token)
            turns = diarizer.diarize(audio, Diarization(), token=token).turns
            voices.extract(audio, [(t.start, t.end) for t in turns if t.end - t.start >= 0.5], token=token)

        one(2.0, 0)
        found = [resident_mb()]
        print(found[0], file=sys.stderr, flush=True)
        for n in range(1, count + 1):
            one(float(lot.uniform(3.0, 14.0)), n)
            found.append(resident_mb())
            print(found[-1], file=sys.stderr, flush=True)
        voices.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
