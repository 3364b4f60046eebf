"""Enrolment: from recordings of one person to a profile, with a report on its quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.errors import Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.terms import Audio, ModelId
from gainstage.engine.voices.evidence import Refusal
from gainstage.engine.voices.exemplars import cohesion, inliers, spread_exemplars
from gainstage.engine.voices.extract import Span, VoiceExtractor
from gainstage.engine.voices.openset import own_scores, suggest
from gainstage.engine.voices.profile_index import Profile, ProfileIndex, profile
from gainstage.engine.voices.profile_store import ProfileStore, Version, checked_name
from gainstage.engine.voices.vectors import checked, same_model

if TYPE_CHECKING:
    from gainstage.engine.store.recordings import RecordingStore

WINDOW_S = 3.0
HOP_S = 1.5
LEAST_S = 30.0
"""Least seconds of speech that a profile is made from."""

QUIET_BELOW_LOUD_DB = 30.0
FLOOR_DB = -60.0
SHORTEST_SEGMENT_S = 1.5
HELD_OUT = 5
"""Every fifth window is held out of the exemplars, so that the profile is scored against speech it was not made from."""


@dataclass(frozen=True, slots=True)
class EnrolmentReport:
    """Quality of a profile. Seconds count the speech that was used; cosines lie in -1..1."""

    name: str
    profile: int
    version: int
    seconds: float
    windows: int  # used
    silent: int
    outliers: int
    exemplars: int
    cohesion: float | None  # mean pairwise cosine of the windows used
    held_out: float | None  # mean score of the windows held out of the exemplars
    nearest: str | None  # the most similar other profile
    nearest_cosine: float | None  # between both centroids
    suggested: float | None  # threshold on the cosine scale while the profile has none of its own
    reason: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gathered:
    """Voices of one person before outliers are rejected. ``seconds`` (n,) is the speech that each voice adds."""

    voices: NDArray[np.float32]
    seconds: NDArray[np.float64]
    silent: int


def enrol(
    store: ProfileStore,
    name: str,
    audios: Sequence[Audio],
    extractor: VoiceExtractor,
    *,
    token: CancelToken,
    provenance: str,
    ranges: Sequence[Sequence[Span] | None] | None = None,
    add: bool = False,
) -> EnrolmentReport:
    """Enrol a person from audio in which nobody else speaks, or save the next version of an enrolled person.

    ``ranges`` limits each audio to spans in seconds. ``add`` keeps the present exemplars and adds to them. Windows of 3 s start
    every 1.5 s; quiet windows are skipped and outliers rejected. Raises :class:`Permanent` when less than 30 s of speech is left.
    """
    gathered = _gather(audios, ranges or [None] * len(audios), extractor, token)
    source = {"text": provenance, "fingerprints": [a.fingerprint for a in audios]}
    return _save(store, name, gathered, extractor.model, source, add)


def listened_profile(id: int, name: str, audios: Sequence[Audio], extractor: VoiceExtractor, *, token: CancelToken) -> Profile:
    """A profile made by the rules of :func:`enrol` but not stored. Raises :class:`Permanent` with less than 30 s of speech."""
    name = checked_name(name)
    gathered = _gather(audios, [None] * len(audios), extractor, token)
    kept, _ = _usable(name, gathered)
    return profile(id, name, extractor.model, spread_exemplars(gathered.voices[kept]))


def enrol_speaker(
    store: ProfileStore,
    name: str,
    recordings: RecordingStore,
    recording: str,
    speaker: str,
    model: ModelId,
    *,
    add: bool = False,
) -> EnrolmentReport:
    """Enrol a speaker of a stored recording from the voices stored with its segments; neither audio nor a model is needed.

    Raises :class:`Permanent` when no speaker of that name has enough speech there, or when another model made the voices.
    """
    stored = recordings.get(recording)
    segments = [s for s in recordings.segments(recording, vectors=True) if s.speaker == speaker]
    if stored is None or not segments:
        raise Permanent(
            f"nobody called {speaker} speaks in {recording}",
            cause="no such speaker",
            hint=f"`gainstage show {recording}` lists the speakers.",
        )
    if (maker := store.maker(recording)) is not None:
        same_model(maker, model, what=f"the voices of {recording}")
    seconds: dict[bytes, float] = {}  # segments of a recording that took the fast path share one voice
    for s in segments:
        if s.voice is not None and s.end - s.start >= SHORTEST_SEGMENT_S:
            seconds[s.voice.tobytes()] = seconds.get(s.voice.tobytes(), 0.0) + s.end - s.start
    voices = np.zeros((0, model.dimension), np.float32)
    if seconds:
        voices = checked(np.stack([np.frombuffer(voice, np.float32) for voice in seconds]), model.dimension)
    source = {"text": f"{recording}:{speaker}", "fingerprints": [stored.fingerprint] if stored.fingerprint else []}
    return _save(store, name, Gathered(voices, np.array(list(seconds.values()), np.float64), 0), model, source, add)


def _gather(
    audios: Sequence[Audio], ranges: Sequence[Sequence[Span] | None], extractor: VoiceExtractor, token: CancelToken
) -> Gathered:
    """Extract the voices of several audios, each limited to its spans in seconds; None uses the whole audio."""
    parts = [_listen(a, spans or [(0.0, a.seconds)], extractor, token) for a, spans in zip(audios, ranges, strict=True)]
    return Gathered(
        np.concatenate([p.voices for p in parts]) if parts else np.zeros((0, extractor.model.dimension), np.float32),
        np.concatenate([p.seconds for p in parts]) if parts else np.zeros(0),
        sum(p.silent for p in parts),
    )


def _usable(name: str, gathered: Gathered) -> tuple[NDArray[np.bool_], float]:
    """Which voices are not outliers (n,) bool, and their seconds of speech. Raises :class:`Permanent` with less than 30 s."""
    kept = inliers(gathered.voices)
    seconds = float(gathered.seconds[kept].sum())
    if seconds < LEAST_S:
        raise Permanent(
            f"{seconds:.0f} s of speech are left for {name} ({gathered.silent} windows silent, {int((~kept).sum())} outliers), "
            f"{LEAST_S:.0f} s are needed",
            cause="too little speech to enrol",
            hint="Give more or longer recordings of this person alone.",
        )
    return kept, seconds


def _listen(audio: Audio, spans: Sequence[Span], extractor: VoiceExtractor, token: CancelToken) -> Gathered:
    """Voices of the audible windows of an audio. They are not cached: the profile holds the only copy."""
    wanted: list[Span] = []
    for start, end in spans:
        end = min(end, audio.seconds)
        count = int((end - start - WINDOW_S) // HOP_S) + 1
        wanted += [(start + i * HOP_S, start + i * HOP_S + WINDOW_S) for i in range(max(0, count))]
    loud = [_level_db(audio, *w) for w in wanted]
    line = max(FLOOR_DB, float(np.percentile(loud, 95)) - QUIET_BELOW_LOUD_DB) if loud else FLOOR_DB
    audible = [w for w, level in zip(wanted, loud, strict=True) if level >= line]
    results = extractor.extract(audio, audible, token=token, cached=False).voices
    voiced = [(v, w) for v, w in zip(results, audible, strict=True) if not isinstance(v, Refusal)]
    dimension = extractor.model.dimension
    voices = np.stack([v for v, _ in voiced]) if voiced else np.zeros((0, dimension), np.float32)
    return Gathered(voices, _own_seconds([w for _, w in voiced]), len(wanted) - len(voiced))


def _level_db(audio: Audio, start: float, end: float) -> float:
    samples = audio.read(start, end)
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return 10 * np.log10(power) if power > 0 else -np.inf


def _own_seconds(windows: Sequence[Span]) -> NDArray[np.float64]:
    """Seconds each window adds to those before it (n,), so that overlapping windows are not counted twice."""
    seconds, reached = [], -np.inf
    for start, end in windows:
        seconds.append(end - max(start, min(reached, end)))
        reached = max(reached, end)
    return np.array(seconds, np.float64)


def _save(
    store: ProfileStore, name: str, gathered: Gathered, model: ModelId, source: Mapping[str, object], add: bool
) -> EnrolmentReport:
    name = checked_name(name)
    kept, seconds = _usable(name, gathered)
    voices = gathered.voices[kept]
    is_held_out = np.arange(len(voices)) % HELD_OUT == HELD_OUT - 1
    enrolled = store.load(model)
    before = next((p for p in enrolled if p.name == name), None)
    base = voices[~is_held_out] if before is None or not add else np.concatenate([before.voices, voices[~is_held_out]])
    exemplars = spread_exemplars(base)
    others = [p for p in enrolled if p.name != name]
    report = _judged(profile(0, name, model, exemplars), voices, voices[is_held_out], others, gathered, int((~kept).sum()), seconds)
    kept_report = {k: v for k, v in asdict(report).items() if k not in ("profile", "version")}
    made_from = dict(source)
    if before is not None and add:
        row = next(r for r in store.rows() if r.id == before.id)
        kept_report["seconds"] = round(row.seconds + report.seconds, 2)
        made_from["text"] = f"{row.provenance} + {made_from['text']}" if row.provenance else made_from["text"]
    id = store.save(name, Version(model, exemplars, None, made_from, kept_report))
    saved = next(p for p in store.load(model) if p.id == id)
    return replace(report, profile=id, version=saved.version)


def _judged(
    made: Profile,
    voices: NDArray[np.float32],
    held_out: NDArray[np.float32],
    others: Sequence[Profile],
    gathered: Gathered,
    outliers: int,
    seconds: float,
) -> EnrolmentReport:
    index = ProfileIndex([made], made.model)
    fresh: list[float] = index.similarities(held_out)[:, 0].tolist() if len(held_out) else []
    strange: list[float] = [s for p in others for s in index.similarities(p.voices)[:, 0].tolist()]
    alike = max(((float(p.centroid @ made.centroid), p.name) for p in others), default=None)
    suggestion = suggest(fresh + own_scores(made.exemplars), strange)
    together = cohesion(voices)
    total = len(gathered.voices)
    warnings = []
    if outliers > total / 4:
        warnings.append(f"{outliers} of {total} windows are unlike the rest: more than one person may speak")
    if suggestion.equal_error is not None and suggestion.equal_error.rate > 0.05:
        warnings.append("hard to tell from somebody already enrolled")
    return EnrolmentReport(
        name=made.name,
        profile=0,
        version=0,
        seconds=round(seconds, 2),
        windows=len(voices),
        silent=gathered.silent,
        outliers=outliers,
        exemplars=len(made.exemplars),
        cohesion=None if together is None else round(together, 4),
        held_out=round(float(np.mean(fresh)), 4) if fresh else None,
        nearest=alike[1] if alike else None,
        nearest_cosine=round(alike[0], 4) if alike else None,
        suggested=suggestion.threshold,
        reason=suggestion.reason,
        warnings=tuple(warnings),
    )
