"""Names for the turns of a recording: voices extracted in batches, then decided."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gainstage.config.settings import Identify
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.terms import Audio, Cast, DiarizationResult
from gainstage.engine.voices.evidence import build_evidence, wanted
from gainstage.engine.voices.extract import VoiceExtractor
from gainstage.engine.voices.labelling import decide
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import Profile, ProfileIndex
from gainstage.engine.voices.spans import clusters, merged, overlaps

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
) -> Cast:
    """Who speaks when, with the decisions behind the names.

    The exclusive turns are named: each of at least half a second gets a voice, all of them in one go, so that any limit can be
    tried later without audio or model. ``together`` names clusters that are one person on purpose. Raises ``ForeignVoice`` for
    a profile of another model, and what extraction raises.
    """
    index = ProfileIndex(as_primary(profiles, settings.primary), extractor.model)
    heard = merged(diarization, together)
    spans = clusters(heard.exclusive)
    found = extractor.extract(audio, wanted(spans), token=token, recording=recording)
    evidence, voices = build_evidence(spans, found.voices, index)
    cast = decide(evidence, Limits.from_settings(settings), revision, voices=voices, overlaps=overlaps(heard.turns))
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
    """The profiles with the one called ``primary`` as the primary; as they are without a name."""
    return list(profiles) if not primary else [replace(p, primary=p.name == primary) for p in profiles]
