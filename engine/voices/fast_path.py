"""The fast path: a recording in which only the primary speaker talks is not diarized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gainstage.config.settings import Identify
from gainstage.engine.errors import Cancelled, EngineError, Misconfigured
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.terms import Audio, Cast, Decision, Provenance, SpeakerTurn, TurnEvidence
from gainstage.engine.views.events import Level
from gainstage.engine.voices.analysis import statistics, two_mode_gap
from gainstage.engine.voices.calibration import Calibration
from gainstage.engine.voices.evidence import Refusal, profile_scores
from gainstage.engine.voices.extract import Span, VoiceExtractor
from gainstage.engine.voices.identify import as_primary
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.posterior import probabilities
from gainstage.engine.voices.profile_index import Candidate, Profile, ProfileIndex, on_cosines
from gainstage.engine.voices.vectors import DECIMALS, mean_voice

if TYPE_CHECKING:
    from gainstage.engine.telemetry.journal import Journal

PLACES = 12
PLACE_S = 5.0
SHORTEST_S = 24.0
"""Shortest recording for the fast path, in seconds: a shorter one has no room for twelve useful samples and is diarized fast."""

CLUSTER = "all"


@dataclass(frozen=True, slots=True)
class Places:
    """Evidence of the sampled spans: ``similarities`` to the primary (n,), ``scores`` against every profile (n, p)."""

    spans: tuple[Span, ...]
    similarities: tuple[float, ...]
    scores: NDArray[np.float64]
    candidates: tuple[Candidate, ...] = ()

    @property
    def mean(self) -> float:
        return round(float(np.mean(self.similarities)), DECIMALS)

    @property
    def low(self) -> float:
        """The 10th percentile of the similarities."""
        return round(float(np.percentile(self.similarities, 10)), DECIMALS)

    def probability(self, calibration: Calibration, primary: int) -> float:
        """The 10th percentile of the probabilities that a place is the primary speaker."""
        rows = zip(self.spans, self.scores.tolist(), strict=True)
        sure = [probabilities(self.candidates, row, end - start, calibration)[primary] or 0.0 for (start, end), row in rows]
        return round(float(np.percentile(sure, 10)), DECIMALS)


def places(seconds: float) -> tuple[Span, ...]:
    """Twelve spans (start, end in seconds) spread evenly over a recording, 5 s each, or shorter where they would overlap."""
    step = seconds / PLACES
    length = min(PLACE_S, step)
    return tuple((step * (i + 0.5) - length / 2, step * (i + 0.5) + length / 2) for i in range(PLACES))


def doubt(samples: Places, limits: Limits, primary: int) -> str | None:
    """Why the fast path is not taken; None when every sample is the primary speaker. Pure."""
    if limits.calibration is not None:
        sure = samples.probability(limits.calibration, primary)
        if sure < limits.fast_path_probability:
            return f"nine of ten places are {100 * sure:.1f} % sure, less than {100 * limits.fast_path_probability:.4g} %"
    elif samples.mean < limits.fast_path_mean:
        return f"mean {samples.mean:.3f} is below {limits.fast_path_mean:.2f}"
    elif samples.low < limits.fast_path_low:
        return f"10th percentile {samples.low:.3f} is below {limits.fast_path_low:.2f}"
    if (samples.scores.argmax(axis=1) != primary).any():
        return "somebody else is more alike at one place"
    return None


def monologue(
    audio: Audio,
    profiles: Sequence[Profile],
    settings: Identify,
    *,
    revision: int,
    extractor: VoiceExtractor,
    token: CancelToken,
    journal: Journal | None = None,
    recording: str | None = None,
    calibration: Calibration | None = None,
) -> Cast | None:
    """The cast of a recording in which the primary speaker talks throughout. None after any doubt or failure: it is diarized then.

    Raises :class:`Cancelled`, and :class:`Misconfigured` for profiles that cannot be used.
    """
    limits = Limits.from_settings(settings, calibration)
    known = as_primary(profiles, settings.primary)
    index = ProfileIndex(known if limits.calibration else on_cosines(known), extractor.model)
    if not settings.fast_path or index.primary is None or audio.seconds < SHORTEST_S:
        return None
    try:
        spans = places(audio.seconds)
        voices = extractor.extract(audio, spans, token=token, recording=recording).voices
        silent = sum(isinstance(v, Refusal) for v in voices)
        sound = np.stack([v for v in voices if not isinstance(v, Refusal)]) if silent == 0 else None
    except (Cancelled, Misconfigured):
        raise
    except EngineError as error:
        _say(journal, recording, "warning", f"fast path failed, full path taken: {error.message}", {})
        return None
    if sound is None:
        _say(journal, recording, "info", f"fast path not taken: {silent} of {PLACES} places give no voice", {})
        return None
    alike = index.similarities(sound)
    samples = Places(spans, tuple(alike[:, index.primary].tolist()), index.scores(alike), index.candidates)
    why = doubt(samples, limits, index.primary)
    figures = {"similarities": list(samples.similarities), "mean": samples.mean, "low": samples.low, "taken": why is None}
    if why is not None:
        _say(journal, recording, "info", f"fast path not taken: {why}", figures)
        return None
    _say(journal, recording, "info", f"fast path: mean {samples.mean:.3f}, 10th percentile {samples.low:.3f}", figures)
    return _cast(audio, samples, sound, index, index.primary, limits, revision)


def _cast(
    audio: Audio,
    samples: Places,
    voices: NDArray[np.float32],
    index: ProfileIndex,
    primary: int,
    limits: Limits,
    revision: int,
) -> Cast:
    """A cast of one turn from start to end, with one decision."""
    person, middle = index.profiles[primary], mean_voice(voices)
    lengths = tuple(round(end - start, 3) for start, end in samples.spans)
    middle_scores = index.scores(index.similarities(middle[None]))[0].tolist()
    ranked = profile_scores(index.candidates, middle_scores, limits, sum(lengths))
    sure = None if limits.calibration is None else samples.probability(limits.calibration, primary)
    stats = statistics(samples.similarities)
    turn = SpeakerTurn(
        0.0,
        audio.seconds,
        CLUSTER,
        person.name,
        person.id,
        samples.mean if sure is None else sure,
        Provenance.FAST_PATH,
        samples.mean,
        voice=middle,
    )
    others = [s.score for s in ranked if not s.primary]
    decision = Decision(
        cluster=CLUSTER,
        seconds=audio.seconds,
        turns=1,
        similarities=samples.similarities,
        reference="primary",
        mean=stats and stats.mean,
        variance=stats and stats.variance,
        low=stats and stats.low,
        high=stats and stats.high,
        spread=stats and stats.spread,
        bimodality=two_mode_gap(samples.similarities),
        split=False,
        rule="fast path",
        limits=limits.record(),
        revision=revision,
        scores=tuple(sorted(ranked, key=lambda s: -s.score)),
        margin=round(ranked[primary].score - max(others), 6) if others else None,
        speaker=person.name,
        seconds_by_speaker={person.name: audio.seconds},
        provenance=Provenance.FAST_PATH,
        evidence=tuple(
            TurnEvidence(start, end, profile_scores(index.candidates, row, limits, end - start), similarity)
            for (start, end), row, similarity in zip(samples.spans, samples.scores.tolist(), samples.similarities, strict=True)
        ),
        why=_why(person.name, samples, limits, sure),
        sample_s=lengths,
    )
    return Cast((turn,), (decision,), fast_path=True)


def _why(name: str, heard: Places, limits: Limits, sure: float | None) -> str:
    said = f"{name} alone: {PLACES} places over the whole recording have mean {heard.mean:.3f} and 10th percentile {heard.low:.3f}"
    if sure is None:
        return f"{said}, at least {limits.fast_path_mean:.2f} and {limits.fast_path_low:.2f}."
    return f"{said}; nine of ten are {100 * sure:.1f} % sure, at least {100 * limits.fast_path_probability:.4g} %."


def _say(journal: Journal | None, recording: str | None, level: Level, text: str, figures: dict[str, Any]) -> None:
    if journal is not None:
        journal.log(level, text, kind="fast path", stage="identify", recording=recording, **figures)
