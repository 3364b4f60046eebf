"""gainstage from Python: :func:`transcribe` for one file without a database, :func:`open` for a running system.

    from gainstage.engine import transcribe

    result = transcribe("talk.mp3", profile="cpu", voices={"Ada": "ada.wav"})
    for segment in result.segments:
        print(f"{segment.start:7.1f}  {segment.speaker}: {segment.text}")

The settings are those of the profile, of the environment (``GAINSTAGE_...``) and of ``settings``, in this order. Errors are those
of :mod:`gainstage.engine.errors`, :class:`gainstage.config.origins.SettingError` and
:class:`gainstage.engine.views.commands.DeskError`; each says what to do.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

from gainstage.config.origins import Loaded, load, parse
from gainstage.config.paths import Paths
from gainstage.config.settings import Settings, value_of
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.desk.summary import TERMINAL, standing
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.run_parallel import run_parallel
from gainstage.engine.options import RecordingOptions
from gainstage.engine.runtime.models import Models
from gainstage.engine.stages import ROLES
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Cast, Decision, DiarizationResult, ModelId, Segment, SpeakerTurn, Vector, Word
from gainstage.engine.views.commands import Command, DeskError
from gainstage.engine.views.rows import Query, RecordingRow
from gainstage.engine.views.search_rows import SearchHit

AnyPath = str | PathLike[str]
Voices = Mapping[str, AnyPath | Sequence[AnyPath]]
"""Name to the recording or recordings in which nobody but this person speaks, 30 s of speech or more."""

POLL_S = 0.2
"""Between two looks at what is waited for in a database."""


@dataclass(frozen=True, slots=True)
class Result:
    """Who said what, and when. Times are seconds from the start of the recording."""

    seconds: float
    language: str
    words: tuple[Word, ...]  # in time order, each with its speaker
    cast: Cast
    segments: tuple[Segment, ...]  # passages of one speaker, without text vectors

    @property
    def turns(self) -> tuple[SpeakerTurn, ...]:
        """Who speaks when, in time order."""
        return self.cast.turns

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What was concluded for each cluster of voices, with every number it rests on."""
        return self.cast.decisions

    @property
    def speakers(self) -> dict[str, float]:
        """Seconds of speech by name, most first; unknown people are Speaker 1, Speaker 2 and so on."""
        seconds: dict[str, float] = {}
        for turn in self.turns:
            seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + turn.seconds
        return dict(sorted(seconds.items(), key=lambda pair: -pair[1]))


def transcribe(
    path: AnyPath,
    profile: str = "cpu",
    voices: Voices | None = None,
    *,
    primary: str | None = None,
    settings: Mapping[str, Any] | None = None,
    home: AnyPath | None = None,
) -> Result:
    """Take one audio or video file apart, here and now: no database, no engine, nothing kept but the downloaded models.

    ``voices`` are the people to recognise, ``primary`` the one most of it is about. ``profile`` is a bundled one or a ``.toml``
    file, ``settings`` changes its values by key, ``home`` is where models are kept. The models stay loaded for the next call with
    the same settings.
    """
    from gainstage.engine.speech.decode import decode
    from gainstage.engine.speech.words import assign
    from gainstage.engine.text.segments import cut
    from gainstage.engine.voices.extract import VoiceExtractor, voice_batcher
    from gainstage.engine.voices.fast_path import monologue
    from gainstage.engine.voices.identify import identify
    from gainstage.engine.voices.spoken import spoken

    chosen = load(profile=profile, overrides={**(settings or {}), **({"identify.primary": primary} if primary else {})}).settings
    models, token = _models(_roles(chosen), Paths.of(None if home is None else Path(home)).models), CancelToken()
    extractor = VoiceExtractor(models.voice_encoder, voice_batcher(models.voice_encoder, lambda: chosen.voice.batch_seconds))
    with tempfile.TemporaryDirectory(prefix="gainstage-") as folder:
        try:
            profiles = [_profile(n, name, paths, extractor, token) for n, (name, paths) in enumerate((voices or {}).items(), 1)]
            audio = decode(Path(path), Path(folder), token=token, max_seconds=chosen.fetch.max_duration)
            scale = _calibration(profiles, extractor, token) if chosen.identify.scale == "calibrated" else None

            def voices_of(token: CancelToken) -> Cast | DiarizationResult:
                alone = None
                if chosen.identify.fast_path and profiles:
                    alone = monologue(
                        audio, profiles, chosen.identify, revision=0, extractor=extractor, token=token, calibration=scale
                    )
                return alone or models.diarizer({}).diarize(audio, chosen.diarization, token=token)

            transcript, speakers = run_parallel(
                token, lambda token: models.transcriber().transcribe(audio, chosen.asr, token=token), voices_of
            )
            if isinstance(speakers, Cast):
                cast = spoken(speakers, transcript.words)
            else:
                cast = identify(
                    audio, speakers, profiles, chosen.identify, revision=0, extractor=extractor, token=token, calibration=scale
                )
        finally:
            extractor.close()
    words = assign(transcript.words, cast.turns, cast.overlaps)
    return Result(audio.seconds, transcript.language, words, cast, cut(words, cast.turns, transcript, chosen.segment))


def _roles(settings: Settings) -> str:
    """The sections that say which models are loaded, and how."""
    return settings.model_dump_json(include=set(ROLES))


@lru_cache(maxsize=1)
def _models(roles: str, cache: Path) -> Models:
    """The models of these sections, loaded when first used."""
    settings = Settings.model_validate_json(roles)
    return Models(lambda: settings, cache)


_cohorts: dict[Any, Any] = {}
"""The shipped cohort as each voice model of this process hears it."""


def _calibration(profiles: Sequence[Any], extractor: Any, token: CancelToken) -> Any:
    from gainstage.engine.voices import cohort
    from gainstage.engine.voices.calibrating import calibrate

    if extractor.model not in _cohorts:
        _cohorts[extractor.model] = cohort.listen(extractor, token)
    calibration = calibrate(profiles, _cohorts[extractor.model], extractor.model)
    return None if calibration is None else calibration.calibration


def _profile(number: int, name: str, paths: AnyPath | Sequence[AnyPath], extractor: Any, token: CancelToken) -> Any:
    from gainstage.engine.speech.decode import decode
    from gainstage.engine.voices.enrol import listened_profile

    with tempfile.TemporaryDirectory(prefix="gainstage-") as folder:
        audios = []
        for n, path in enumerate([paths] if isinstance(paths, (str, PathLike)) else paths):
            part = Path(folder) / str(n)
            part.mkdir()
            audios.append(decode(Path(path), part, token=token))
        return listened_profile(number, name, audios, extractor, token=token)


class System:
    """A home or a database as a program sees it: what :func:`open` gives. Any number of threads may use one."""

    def __init__(self, database: Database, loaded: Loaded, paths: Paths) -> None:
        self.desk = PostgresDesk(database, loaded=loaded, embed=self._embed, audio=paths.audio)
        self._loaded, self._paths = loaded, paths

    def search(self, text: str, mode: str = "both", *, speaker: str | None = None, limit: int = 20) -> tuple[SearchHit, ...]:
        """Passages, best first; ``mode`` is meaning, words or both. Without a text model at hand, "both" finds words only."""
        return self.desk.search(text, mode, speaker, limit).hits

    def recordings(self, text: str = "", *, status: Iterable[str] = (), limit: int = 200) -> tuple[RecordingRow, ...]:
        """Recordings whose id or title holds ``text``, the one that changed last first."""
        return self.desk.recordings(Query(text=text, status=tuple(status), limit=limit)).rows

    def segments(self, id: str) -> tuple[Segment, ...]:
        """The stored passages of a recording, in time order."""
        return self.desk.store.segments(id)

    def submit(self, *sources: AnyPath, force: bool = False, priority: int = 0, **selection: Any) -> tuple[str, ...]:
        """Queue files, folders and addresses; the ids of what is to be done. An engine has to run for it to be done.

        ``selection``: the fields of :class:`gainstage.engine.sources.selection.Selection` (``limit``, ``since``, ``match`` ...) and of
        :class:`gainstage.engine.options.RecordingOptions` (``language="de"``, ``speakers="2..4"``, ``hotwords="Kea"``).
        """
        from gainstage.engine.sources.choose import choose
        from gainstage.engine.sources.enqueue import Origin, enqueue
        from gainstage.engine.sources.selection import Selection

        wanted, options = Selection.of({**selection, "force": force}), RecordingOptions.of(selection)
        names = [str(source) for source in sources]
        choice = choose(names, self.desk.in_force(), self.desk.database, wanted, token=CancelToken())
        enqueue(self.desk.queue, choice, Origin("python", tuple(names)), force=force, priority=priority, options=options)
        return tuple(recording.id for recording in choice.taken)

    def settings(self) -> dict[str, Any]:
        """Every setting in force, by key; secrets as ``***``."""
        return {row.key: row.value for row in self.desk.settings()}

    def set(self, key: str, value: Any, *, timeout_s: float = 15.0) -> None:
        """Change a setting on the running system. Raises :class:`DeskError` where it is refused."""
        value = parse(key, value) if isinstance(value, str) else value
        ack = self.desk.send(Command("set", {"key": key, "value": value}, by="python"))
        end = time.monotonic() + timeout_s
        while ack.state == "pending" and time.monotonic() < end:
            time.sleep(POLL_S)
            ack = self.desk.ack(ack.id)
        if ack.state != "done":
            raise DeskError(f"{key} is not changed: {ack.state} {ack.text}".strip())

    def wait(self, ids: Iterable[str], *, timeout_s: float = float("inf")) -> dict[str, str]:
        """Wait until all have ended; status by id (stored, failed, skipped, cancelled). Raises ``TimeoutError``."""
        wanted, end = list(ids), time.monotonic() + timeout_s
        while (now := standing(self.desk.database, wanted)).left:
            if time.monotonic() > end:
                raise TimeoutError(f"{now.left} of {len(wanted)} recordings have not ended (ends are {', '.join(TERMINAL)})")
            time.sleep(POLL_S)
        return {id: status for id, status, _, _ in now.ended}

    def _embed(self, text: str) -> tuple[Vector, ModelId]:
        """A question's vector made here, for when no engine lives that could."""
        settings = self.desk.in_force()
        encoder = _models(_roles(settings), self._paths.models).text_encoder()
        return encoder.encode([text], query=True)[0], encoder.id


@contextmanager
def open(home_or_url: AnyPath | None = None, *, profile: str | None = None) -> Iterator[System]:
    """A system: a home (a folder, or None for the platform's own), whose Postgres is started if need be, or a Postgres address.

    To be used in a ``with`` statement. ``profile`` matters only where no engine says which models are in use.
    """
    address = str(home_or_url) if str(home_or_url).startswith(("postgres://", "postgresql://")) else None
    paths = Paths.of(None if address or home_or_url is None else Path(home_or_url))
    loaded = load(profile=profile, user_file=paths.settings_file)
    secret = value_of(loaded.settings, "store.database")
    with Database.open(address or (secret.get_secret_value() if secret else None), paths.ensure().database) as database:
        yield System(database, loaded, paths)
