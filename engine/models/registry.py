"""Every model of an engine: found, loaded once per device, tested, shared, swapped."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from config.settings import Settings
from engine.desk import Level
from engine.errors import Misconfigured
from engine.models import quiet
from engine.models.oom import is_out_of_memory
from engine.models.resolve import find
from engine.terms import ModelId
from engine.watch.snapshot import ModelView

if TYPE_CHECKING:
    from engine.models.diarizer import DiarizerParts
    from engine.models.voice import VoiceEncoder
    from engine.speech.diarize import Diarizer
    from engine.speech.transcribe import Transcriber
    from engine.text.embed import TextEncoder

__all__ = ["ROLES", "Models", "is_out_of_memory"]

ROLES = ("voice", "diarization", "asr", "embed")
"""In the order they are loaded: the cheap ones that can be wrong first."""


class OnEvent(Protocol):
    def __call__(self, level: Level, text: str, **data: Any) -> object: ...


@dataclass(slots=True)
class _Held:
    """One role's model, or why there is none."""

    view: ModelView
    model: Any = None
    began: float | None = None


class Models:
    """The models of one engine, each loaded at its first use or by :meth:`load`, under a lock of its own. Thread-safe.

    Every getter raises :class:`Misconfigured` when the model cannot be had: it says which, and what to do.
    """

    def __init__(self, settings: Callable[[], Settings], cache: Path, on_event: OnEvent | None = None) -> None:
        self._settings = settings
        self._cache = cache
        self._tell = on_event or (lambda level, text, **data: None)
        self._locks = {role: threading.RLock() for role in ROLES}
        self._held = {role: _Held(_absent(role, settings())) for role in ROLES}
        self._others: dict[Path, VoiceEncoder] = {}  # encoders a diarizer asks for beside the engine's own

    # -- the models -------------------------------------------------------------------------------------------------

    def transcriber(self) -> Transcriber:
        model: Transcriber = self._get("asr")
        return model

    def diarizer(self, slot_state: dict[str, Any]) -> Diarizer:
        """The slot's own pipeline over the shared weights, kept in the slot's state."""
        from engine.speech.diarize import Diarizer

        parts: DiarizerParts = self._get("diarization")
        held: Diarizer | None = slot_state.get("diarizer")
        if held is None or held.parts is not parts:
            held = slot_state["diarizer"] = Diarizer(parts)
        return held

    def voice_encoder(self) -> VoiceEncoder:
        model: VoiceEncoder = self._get("voice")
        return model

    def text_encoder(self) -> TextEncoder:
        model: TextEncoder = self._get("embed")
        return model

    def ids(self) -> dict[str, ModelId]:
        """Who makes the vectors that are stored: ``voice`` and ``embed``."""
        return {"voice": self.voice_encoder().id, "embed": self.text_encoder().id}

    # -- loading ----------------------------------------------------------------------------------------------------

    def load(self, roles: Iterable[str] = ROLES) -> None:
        """Load these now, one after the other."""
        for role in roles:
            self._get(role)

    def reload(self, role: str) -> None:
        """Load the model of the settings in force and let the old one go. To be called while no stage uses it; when the new
        one cannot be had the old one stays, and :class:`Misconfigured` is raised.
        """
        with self._locks[role]:
            self._load(role)
        if role == "voice":  # diarizers that share it must not keep the old one
            with self._locks["diarization"]:
                if self._held["diarization"].model is not None:
                    self._load("diarization")
        _free_device_memory()

    def views(self) -> tuple[ModelView, ...]:
        """Every role for the snapshot."""
        return tuple(self._held[role].view for role in ("asr", "diarization", "voice", "embed"))

    def loading(self) -> tuple[str, ...]:
        """What is being loaded now, in words: "asr demo:asr 1.2 s"."""
        now = time.monotonic()
        return tuple(
            f"{role} {held.view.name} {now - held.began:.1f} s" for role, held in self._held.items() if held.began is not None
        )

    def _get(self, role: str) -> Any:
        held = self._held[role]
        if held.model is None:
            with self._locks[role]:
                if held.model is None:
                    self._load(role)
        return held.model

    def _load(self, role: str) -> None:
        """Find, load and test one model; what was held before is replaced only by a model that works."""
        settings, held = self._settings(), self._held[role]
        before = held.view
        held.view = replace(_absent(role, settings), state="loading")
        held.began = time.monotonic()
        try:
            quiet.hush()
            model, revision, device, note = getattr(self, f"_load_{role}")(settings)
        except Misconfigured as error:
            held.view = (
                replace(before, note=error.message) if held.model else replace(held.view, state="failed", note=error.message)
            )
            self._tell("error", f"{role} model: {error}", role=role)
            raise
        finally:
            took, held.began = time.monotonic() - (held.began or 0.0), None
        held.model = model
        held.view = replace(held.view, revision=revision, device=device, state="ready", load_s=took, note=note)
        self._tell("info", f"{role} model {held.view.name} on {device} in {took:.1f} s; {note}", role=role, load_s=took)

    def _load_asr(self, settings: Settings) -> tuple[Transcriber, str | None, str, str]:
        from engine.models.recogniser import load_transcriber

        s, cores = settings.asr, os.cpu_count() or 1
        found = find("asr", s.model, s.revision, self._cache)
        workers = max(1, min(settings.workers.transcribe, cores))
        model = load_transcriber(
            found,
            s.device,
            s.compute,
            threads=max(1, cores // workers),
            workers=workers,
            warn=self._warn_asr,
        )
        return model, found.revision, model.device, model.compute

    def _warn_asr(self, text: str) -> None:
        self._tell("warning", text, role="asr")

    def _load_diarization(self, settings: Settings) -> tuple[DiarizerParts, str | None, str, str]:
        from engine.models.diarizer import load_diarizer

        s = settings.diarization
        found = find("diarization", s.model, s.revision, self._cache)
        device = _device("diarization", s.device)
        parts = load_diarizer(found, device, lambda name, beside: self._voice_at(name, beside, device))
        return parts, found.revision, device, "weights shared by every slot"

    def _load_voice(self, settings: Settings) -> tuple[VoiceEncoder, str | None, str, str]:
        from engine.models.selftest import check_voices
        from engine.models.voice import load_voice_encoder

        s = settings.voice
        found = find("voice", s.model, s.revision, self._cache)
        encoder = load_voice_encoder(found, _device("voice", s.device))
        return encoder, found.revision, encoder.device, "self-test: " + check_voices(found.name, encoder.embed)

    def _load_embed(self, settings: Settings) -> tuple[TextEncoder, str | None, str, str]:
        from engine.models.selftest import check_texts
        from engine.text.embed import load_text_encoder

        s = settings.embed
        found = find("embed", s.model, s.revision, self._cache)
        encoder = load_text_encoder(found, _device("embed", s.device), s.dtype)
        return encoder, found.revision, encoder.device, "self-test: " + check_texts(found.name, encoder.encode)

    def _voice_at(self, name: str, beside: Path, device: str) -> VoiceEncoder:
        """The encoder a diarizer's config names: the engine's own when it is that one, so that its weights are held once."""
        from engine.models.voice import load_voice_encoder

        own = self._settings().voice
        local = (beside / name).resolve()
        found = find("voice", str(local) if local.is_dir() else name, None, self._cache)
        mine = find("voice", own.model, own.revision, self._cache)
        if mine.folder.resolve() == found.folder.resolve() and _device("voice", own.device) == device:
            return self.voice_encoder()
        if found.folder not in self._others:
            self._others[found.folder] = load_voice_encoder(found, device)
        return self._others[found.folder]


def _absent(role: str, settings: Settings) -> ModelView:
    section = getattr(settings, role)
    return ModelView(role, section.model, section.revision, None, "not loaded")


def _device(role: str, asked: str) -> str:
    """The device torch really has. Raises :class:`Misconfigured` for a GPU that is not there."""
    if asked == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise Misconfigured(
            f"{role}.device is cuda and PyTorch sees no GPU",
            cause="no GPU",
            hint=f"Set {role}.device to auto, or check the driver.",
        )
    return "cpu"


def _free_device_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
