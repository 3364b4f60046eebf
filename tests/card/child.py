"""Parts of gainstage with their PyTorch models on the device of card.cpp, in a process of its own: the device stays registered."""

from __future__ import annotations

import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

CARD = "card"


class CardModule:
    """What PyTorch asks of the module of a device."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False


def register(library: str) -> None:
    torch.ops.load_library(library)
    torch.utils.rename_privateuse1_backend(CARD)
    torch._register_device_module(CARD, CardModule())  # type: ignore[no-untyped-call]
    torch.utils.generate_methods_for_privateuse1_backend()


def engine(*arguments: str) -> int:
    """``gainstage engine`` with its models on the card; with ``--limit=MB`` first, it has as much memory."""
    from gainstage.engine import process
    from gainstage.engine.runtime import models

    limit, *rest = arguments
    torch.ops.card.limit(round(float(limit) * 1e6))
    models.torch_device = lambda device, key: CARD
    status = process.main(rest)
    used, peak, refused = torch.ops.card.memory()
    print(json.dumps({"used": used, "peak": peak, "refused": refused}), flush=True)
    return status


class CardMemory:
    """See :class:`gainstage.engine.bench.gpu_memory.Memory`."""

    def used(self) -> int:
        return int(torch.ops.card.memory()[0])

    def peak(self) -> int:
        return int(torch.ops.card.memory()[1])

    def limit(self, most: int | None) -> None:
        torch.ops.card.limit(most or 0)


def drill(engine_name: str, seconds: str) -> int:
    """The drill of ``bench gpu`` on networks of real size."""
    from gainstage.engine.bench.gpu_memory import slots

    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(slots(CARD, Path(folder), float(seconds), CardMemory(), engine_name)), flush=True)
    return 0


def slots(engine_name: str) -> int:
    """Three slots of the demo's diarizer on the card, each built anew for every recording, against the turns of the CPU."""
    from gainstage.engine.bench.diarize import talk
    from gainstage.engine.bench.quality import demo_settings
    from gainstage.engine.flow.cancel import CancelToken
    from gainstage.engine.models.diarizer import DiarizerParts, load_diarizer
    from gainstage.engine.models.resolve import DEMO, find
    from gainstage.engine.models.voice import load_voice_encoder
    from gainstage.engine.speech.diarize import Diarizer
    from gainstage.engine.terms import Turn

    settings = demo_settings({"diarization.engine": engine_name}).diarization

    def parts(device: str) -> DiarizerParts:
        def voice_at(name: str, folder: Path):  # type: ignore[no-untyped-def]
            return load_voice_encoder(find("voice", str((folder / name).resolve()), None, DEMO), device)

        return load_diarizer(find("diarization", str(DEMO / "diarization"), None, DEMO), device, voice_at)

    with tempfile.TemporaryDirectory() as folder:
        audio = talk(Path(folder), 20.0)

        def turns(shared: DiarizerParts) -> tuple[Turn, ...]:
            return Diarizer(shared).diarize(audio, settings, token=CancelToken()).turns

        expected, on_card = turns(parts("cpu")), parts(CARD)
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda _: turns(on_card), range(6)))
    print(json.dumps({"turns": len(expected), "same": [one == expected for one in found]}), flush=True)
    return 0


if __name__ == "__main__":
    register(sys.argv[1])
    sys.exit({"engine": engine, "slots": slots, "drill": drill}[sys.argv[2]](*sys.argv[3:]))
