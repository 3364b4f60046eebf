"""Names for the turns of a recording: voices are extracted in batches, then decisions are made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gainstage.config.settings import Identify
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.terms import Audio, Cast, DiarizationResult
from gainstage.engine.voices.calibration import Calibration
from gainstage.engine.voices.evidence import build_evidence, wanted
from gainstage.engine.voices.extract import VoiceExtractor
from gainstage.engine.voices.labelling import decide
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import Profile, ProfileIndex, on_cosines
from gainstage.engine.voices.rejoin import rejoined
from gainstage.engine.voices.spans import clusters, merged, overlaps, renamed

if TYPE_CHECKING:
    from gainstage.engine.telemetry.journal import Journal


def identify(
    audio: Audio,
    diarization: DiarizationResult,
    profiles: Sequence[Profile],
    settings: Identify,
    *,
    revision: int,
    extractor: VoiceExtractor,
    token: CancelToken,
    journal: Journal | None = None,
    recording: str | None = None,
    together: Iterable[Collection[str]] = (),
    calibration: Calibration | None = None,
) -> Cast:
    """Who speaks when, with the decisions behind the names.

    The exclusive turns are named. Voices of all turns of at least half a second are extracted in one request, so that other limits
    can be tried later without audio or model. ``together`` groups clusters that are known to be one person. ``calibration`` makes probabilities of
    scores; without one, cosines are judged. Raises
    ``ForeignVoice`` for a profile of another model, and the errors of :meth:`VoiceExtractor.extract`.
    """
    limits = Limits.from_settings(settings, calibration)
    known = as_primary(profiles, settings.primary)
    index = ProfileIndex(known if limits.calibration else on_cosines(known), extractor.model)
    joined = merged(diarization, together)
    spans = clusters(joined.exclusive)
    extraction = extractor.extract(audio, wanted(spans), token=token, recording=recording)
    if limits.calibration is not None and (pairs := rejoined(spans, extraction.voices, limits.calibration)):
        joined = renamed(joined, dict(pairs))
        spans = clusters(joined.exclusive)
        extraction = extractor.extract(audio, wanted(spans), token=token, recording=recording)
    evidence, voices = build_evidence(spans, extraction.voices, index, unity=limits.calibration is not None)
    cast = decide(evidence, limits, revision, voices=voices, overlaps=overlaps(joined.turns))
    if journal is not None:
        unknown = sum(t.seconds for t in cast.turns if t.profile is None)
        journal.log(
            "info",
            f"{len(cast.decisions)} clusters, {sum(d.split for d in cast.decisions)} split, {unknown:.0f} s unknown",
            kind="identified",
            stage="identify",
            recording=recording,
            clusters=len(cast.decisions),
            split=sum(d.split for d in cast.decisions),
            speech_s=sum(t.seconds for t in cast.turns),
            unknown_s=unknown,
        )
    return cast


def as_primary(profiles: Sequence[Profile], primary: str | None) -> list[Profile]:
    """The profiles with the one named ``primary`` marked as primary; unchanged when no name is given."""
    return list(profiles) if not primary else [replace(p, primary=p.name == primary) for p in profiles]
