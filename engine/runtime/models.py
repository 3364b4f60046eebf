"""Every model of an engine: loaded when first needed, one copy per device, checked before use, swapped on demand."""

from __future__ import annotations

import gc
import shlex
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gainstage.config.settings import Settings
from gainstage.engine.errors import Cancelled, EngineError, Misconfigured, Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models import quiet, selftest
from gainstage.engine.models.content import content_of, family_of
from gainstage.engine.models.cpu_threads import divide
from gainstage.engine.models.device_calls import free_cached
from gainstage.engine.models.download import Progress, check_room, damaged
from gainstage.engine.models.oom import is_out_of_memory
from gainstage.engine.models.resolve import ResolvedModel, find, plan_of
from gainstage.engine.stages import ROLES
from gainstage.engine.telemetry.cores import threads_of, torch_device
from gainstage.engine.terms import Audio, ModelId
from gainstage.engine.views.events import Level
from gainstage.engine.views.snapshot import ModelView

if TYPE_CHECKING:
    import torch

    from gainstage.engine.models.diarizer import DiarizerParts
    from gainstage.engine.models.rate import Rate
    from gainstage.engine.models.voice import VoiceEncoder
    from gainstage.engine.speech.diarize import Diarizer
    from gainstage.engine.speech.transcribe import Transcriber
    from gainstage.engine.text.embed import TextEncoder


class OnEvent(Protocol):
    """Called with what happens to models, for the journal."""

    def __call__(self, level: Level, text: str, **data: Any) -> None: ...


@dataclass
class _Role:
    """One model: its lock is held while it loads, ``view`` is replaced as a whole and read without it."""

    view: ModelView
    lock: threading.RLock = field(default_factory=threading.RLock)
    value: Any = None
    detail: str = ""
    since: float = 0.0  # monotonic, when loading began


class Models:
    """The models of one engine. Every method may be called from any thread.

    ``settings`` gives those in force at the moment of loading, ``cache`` is where downloads go, ``on_event`` is called
    with what happens.
    """

    def __init__(self, settings: Callable[[], Settings], cache: Path, on_event: OnEvent | None = None) -> None:
        self._settings = settings
        self._cache = cache
        self._on_event = on_event
        self.self_test = True
        """Whether a model must judge known cases correctly before it is used; benchmarks with random weights switch it off."""
        self.stopped: Callable[[], bool] = lambda: False
        """Whether a download is to end; set by the run, which may be asked to stop."""
        self.on_progress: Callable[[str, Progress], object] = lambda role, progress: None
        """Gets the role and the progress of a download, twice a second."""
        self.on_loaded: Callable[[str], object] = lambda role: None
        """Gets the role of a model that is ready."""
        self._roles = {role: _Role(ModelView(role, getattr(settings(), role).model, None, None, "not loaded")) for role in ROLES}
        self._loaders: dict[str, Callable[[Settings], tuple[Any, ResolvedModel, str]]] = {
            "asr": self._load_asr,
            "voice": self._load_voice,
            "diarization": self._load_diarization,
            "embed": self._load_embed,
        }
        # the diarizer may use the same voice model: one copy per content and device, for as long as anybody holds it
        self._voices: weakref.WeakValueDictionary[tuple[str, str], torch.nn.Module] = weakref.WeakValueDictionary()
        self._voices_lock = threading.Lock()

    # -- the models -------------------------------------------------------------------------------------------------

    def transcriber(self) -> Transcriber:
        """The recogniser, shared by all slots. Raises :class:`Misconfigured`."""
        transcriber: Transcriber = self._get("asr")
        return transcriber

    def diarizer(self, slot_state: dict[str, Any]) -> Diarizer:
        """The diarizer of a slot, kept in the slot's own dict: a pipeline of its own over shared weights.

        Built again after a reload. Raises :class:`Misconfigured`.
        """
        parts: DiarizerParts = self._get("diarization")
        diarizer: Diarizer | None = slot_state.get("diarizer")
        if diarizer is None or diarizer.parts is not parts:
            from gainstage.engine.speech.diarize import Diarizer

            diarizer = slot_state["diarizer"] = Diarizer(parts)
        return diarizer

    def voice_encoder(self) -> VoiceEncoder:
        """The voice model, shared. Raises :class:`Misconfigured`."""
        encoder: VoiceEncoder = self._get("voice")
        return encoder

    def text_encoder(self) -> TextEncoder:
        """The text model, shared. Raises :class:`Misconfigured`."""
        encoder: TextEncoder = self._get("embed")
        return encoder

    def loaded(self, role: str) -> Any:
        """The model of a role, None while it is not loaded; never waits."""
        return self._roles[role].value

    def load(self, roles: Iterable[str] = ROLES) -> None:
        """Load what is not loaded yet. Raises :class:`Misconfigured` for the first that cannot be used."""
        for role in roles:
            self._get(role)

    def reload(self, role: str) -> None:
        """Drop a model and load what the settings name now. To be called when nobody uses the old one any more: its stage
        has drained. Raises :class:`Misconfigured`; the role is without a model then."""
        state = self._roles[role]
        with state.lock:
            state.value = None
            gc.collect()  # torch modules hang together in cycles
            free_cached()
            self._get(role)

    def ids(self) -> Mapping[str, ModelId]:
        """Who makes the vectors that are stored: "voice" and "embed"."""
        return {"voice": self.voice_encoder().id, "embed": self.text_encoder().id}

    def views(self) -> tuple[ModelView, ...]:
        """One row per role, for the snapshot; never waits for a load."""
        return tuple(self._row(state) for state in self._roles.values())

    def _row(self, state: _Role) -> ModelView:
        view = state.view
        if view.state == "loading":
            return replace(view, load_s=time.monotonic() - state.since)
        rate: Rate | None = getattr(state.value, "rate", None)
        note = " · ".join(part for part in (state.detail, str(rate or "")) if part)
        return replace(view, note=note or view.note)

    # -- loading ----------------------------------------------------------------------------------------------------

    def _get(self, role: str) -> Any:
        state = self._roles[role]
        value = state.value
        if value is not None:
            return value
        with state.lock:
            if state.value is None:
                state.value = self._loaded(role, state)
                self.on_loaded(role)
            return state.value

    def _loaded(self, role: str, state: _Role) -> Any:
        settings = self._settings()
        name = getattr(settings, role).model
        state.since = time.monotonic()
        state.detail = ""
        state.view = ModelView(role, name, None, None, "loading")
        self._report("info", f"loading {role} model {name}", role=role)
        try:
            value, files, state.detail = self._loaders[role](settings)
        except Exception as error:  # each library has its own errors for a broken file; all leave here as one of ours
            known = self._damaged(role, name) or _explained(role, name, error) if not isinstance(error, Cancelled) else error
            state.view = ModelView(role, name, None, None, "failed", note=known.message)
            self._report("error", str(known), role=role)
            raise known from error
        took = time.monotonic() - state.since
        state.view = ModelView(role, name, files.revision, value.device, "ready", load_s=took, memory=_weights_bytes(value))
        detail = f" ({state.detail})" if state.detail else ""
        self._report("info", f"{role} model {name} ready on {value.device} in {took:.1f} s{detail}", role=role, load_s=took)
        return value

    def _damaged(self, role: str, name: str) -> Misconfigured | None:
        """A cached file whose bytes are not those the hub sent, named with the command that removes it."""
        try:
            resolved = find(role, name, getattr(self._settings(), role).revision, self._cache, download=False)
        except (EngineError, OSError):
            return None
        wrong = damaged(resolved.folder) if resolved.origin == "hub" else []
        if not wrong:
            return None
        file = shlex.quote(str((resolved.folder / wrong[0]).resolve()))
        return Misconfigured(
            f"{role} model {name}: the cached file {wrong[0]} is damaged",
            cause="cached model damaged",
            hint=f"Run: rm {file}   The next start fetches it again.",
        )

    def _find(self, role: str, name: str, revision: str | None, shown_as: str | None = None) -> ResolvedModel:
        state = self._roles[shown_as or role]

        def report(progress: Progress) -> None:
            state.view = replace(state.view, note=str(progress))
            self.on_progress(role, progress)

        resolved = find(role, name, revision, self._cache, stopped=lambda: self.stopped(), report=report)
        state.view = replace(state.view, note="")
        return resolved

    def _identified(self, role: str, resolved: ResolvedModel) -> ResolvedModel:
        return replace(resolved, content=content_of(role, resolved, self._cache))

    def content_here(self, role: str, name: str, revision: str) -> str:
        """The content of a model under a stored name and revision; empty when it is not on this machine any more."""
        try:
            resolved = find(role, name, None if revision.startswith("sha256:") else revision or None, self._cache, download=False)
            if revision and resolved.revision != revision:
                return ""
            return content_of(role, resolved, self._cache)
        except (EngineError, OSError):
            return ""

    def check_hub(self, roles: Iterable[str] = ROLES) -> None:
        """Ask for all models that are not here before the first byte of any: licences, names, and room for their sum.

        Raises :class:`Misconfigured`.
        """
        settings, plans = self._settings(), []
        for role in roles:
            section = getattr(settings, role)
            try:
                find(role, section.model, section.revision, self._cache, download=False)
            except Misconfigured as error:
                if error.cause != "hub unreachable":  # that is how a model reads that is not on this machine
                    raise
                plans.append(plan_of(role, section.model, section.revision))
        if plans:
            check_room(plans, self._cache)

    def _load_asr(self, settings: Settings) -> tuple[Transcriber, ResolvedModel, str]:
        from gainstage.engine.speech.recogniser import CALLS, load_transcriber

        files = self._find("asr", settings.asr.model, settings.asr.revision)
        transcriber = load_transcriber(
            files,
            settings.asr.device,
            settings.asr.compute,
            threads=threads_of(CALLS),
            workers=CALLS,
            warn=lambda text: self._report("warning", text, role="asr"),
        )
        divide(settings)
        figures = _heard_well(files.name, transcriber, settings.asr.language) if self.self_test else ""
        return transcriber, files, " · ".join(part for part in (transcriber.compute, figures) if part)

    def _load_voice(self, settings: Settings) -> tuple[VoiceEncoder, ResolvedModel, str]:
        files = self._identified("voice", self._find("voice", settings.voice.model, settings.voice.revision))
        encoder, figures = self._encoder(files, self._device(settings.voice.device, "voice"))
        return encoder, files, figures

    def _load_diarization(self, settings: Settings) -> tuple[DiarizerParts, ResolvedModel, str]:
        from gainstage.engine.models.diarizer import load_diarizer

        files = self._find("diarization", settings.diarization.model, settings.diarization.revision)
        device = self._device(settings.diarization.device, "diarization")

        def voice_at(name: str, folder: Path) -> VoiceEncoder:
            beside = (folder / name).resolve()
            hub_name, _, revision = name.partition("@")
            voice = self._find("voice", str(beside) if beside.is_dir() else hub_name, revision or None, shown_as="diarization")
            return self._encoder(voice, device)[0]

        parts = load_diarizer(files, device, voice_at)
        return parts, files, _told_apart(files.name, parts) if self.self_test else ""

    def _load_embed(self, settings: Settings) -> tuple[TextEncoder, ResolvedModel, str]:
        from gainstage.engine.text.embed import load_text_encoder

        files = self._identified("embed", self._find("embed", settings.embed.model, settings.embed.revision))
        family = family_of(files, files.content, self._cache)
        encoder = load_text_encoder(files, self._device(settings.embed.device, "embed"), settings.embed.dtype, family)
        figures = selftest.check_texts(files.name, encoder.encode) if self.self_test else ""
        return encoder, files, " · ".join(part for part in (encoder.dtype, figures) if part)

    def _encoder(self, files: ResolvedModel, device: str) -> tuple[VoiceEncoder, str]:
        """The voice model of a folder on a device, tested, and the figures of its test."""
        from gainstage.engine.models.voice import VoiceEncoder, load_classifier

        key = (files.revision or str(files.folder), device)
        with self._voices_lock:
            weights = self._voices.get(key)
            if weights is None:
                weights = self._voices[key] = load_classifier(files, device)
        encoder = VoiceEncoder(weights, files, device)
        return encoder, selftest.check_voices(files.name, encoder.embed) if self.self_test else ""

    def _device(self, wanted: str, role: str) -> str:
        with quiet.importing():
            import torch  # noqa: F401

            divide(self._settings())
            return torch_device(wanted, f"{role}.device")

    def _report(self, level: Level, text: str, **data: Any) -> None:
        if self._on_event is not None:
            self._on_event(level, text, **data)


def _explained(role: str, name: str, error: Exception) -> EngineError:
    if is_out_of_memory(error):
        return Misconfigured(
            f"{role} model {name} does not fit into memory",
            cause="out of memory",
            hint=f"Choose a smaller {role}.model, set {role}.device to cpu, or free memory on the device.",
        )
    if isinstance(error, EngineError):
        return error
    return Misconfigured(
        f"{role} model {name} cannot be loaded: {type(error).__name__}: {error}",
        cause="model cannot be loaded",
        hint=f"Its files are broken or of another kind: fetch them again, or choose another {role}.model.",
    )


def _heard_well(name: str, transcriber: Transcriber, language: str) -> str:
    """The self-test of a recogniser: its words count where it claims their language, and nobody set another one."""
    claims = transcriber.knows(selftest.SPOKEN_IN) and language in ("auto", selftest.SPOKEN_IN)
    spoken = selftest.SPOKEN_IN if claims else language if language != "auto" else transcriber.languages[0]
    result = transcriber.sample(selftest.clip("one_a"), spoken)
    said = selftest.Recognised(tuple(w.text for w in result.words), result.log_probability, result.compression)
    return selftest.check_words(name, said, claims=claims)


def _told_apart(name: str, parts: DiarizerParts) -> str:
    """The self-test of a diarizer: a conversation of the bundled clips through its whole pipeline."""
    import torch

    from gainstage.config.settings import Diarization
    from gainstage.engine.speech.diarize import Diarizer

    samples, _ = selftest.conversation()
    with tempfile.TemporaryDirectory(prefix="gainstage-") as folder:
        path = Path(folder) / "conversation.pcm"
        path.write_bytes((samples * 32767).astype("<i2").tobytes())
        try:
            result = Diarizer(parts).diarize(Audio(path, len(samples), ""), Diarization(), token=CancelToken())
        except Permanent as error:
            raise Misconfigured(
                f"diarization model {name}: its parts do not fit each other: {error.message}",
                cause="model files do not fit",
                hint="Take all files of one pipeline: fetch it again, or choose another diarization.model.",
            ) from error

    def embed(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            signal = torch.from_numpy(batch)[:, None].to(parts.device)
            return np.asarray(parts.embedding.to(parts.device)(signal).cpu())

    return selftest.check_turns(name, [(t.start, t.end, t.cluster) for t in result.turns], embed)


def _weights_bytes(value: Any) -> int | None:
    """What the weights take on their device; None where the library does not say."""
    modules = value.modules() if hasattr(value, "modules") else ()
    tensors = {t.data_ptr(): t for m in modules for t in (*m.parameters(), *m.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values()) or None
