"""The terms of the domain as frozen values. Times are seconds from the start of the recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gainstage.engine.options import NO_OPTIONS, RecordingOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector: TypeAlias = NDArray[np.float32]
else:  # without numpy, which most commands never need
    Vector = Any
"""A one-dimensional float32 vector; voices and text vectors are L2-normalised."""

SAMPLE_RATE = 16_000
"""Samples per second of all decoded audio."""

UNKNOWN_PREFIX = "Speaker "
"""Unknown people are named Speaker 1, Speaker 2 ... by first appearance, per recording."""


LIMIT_SHARE, LIMIT_S = 0.03, 5.0
"""Speech left without words, or words where nobody speaks, are worth a warning above both: a share of the speech, and seconds."""


class Status(StrEnum):
    """Where a recording stands. ``stored``, ``failed``, ``skipped`` and ``cancelled`` are terminal."""

    QUEUED = "queued"
    RUNNING = "running"
    STORED = "stored"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class Provenance(StrEnum):
    """How a speaker label came about."""

    FAST_PATH = "fast path"
    CLUSTER = "cluster"
    PER_SEGMENT = "per segment"
    SMOOTHED = "smoothed"
    MANUAL = "manual"
    CORRECTED = "corrected"  # decided again after somebody corrected a label that is alike


@dataclass(frozen=True, slots=True)
class Recording:
    """One video or audio item. ``id`` is ours, safe in file names; ``key`` is the identity: ``extractor:id``, ``sha256:...``."""

    id: str
    key: str
    source: str  # a URL or an absolute path
    title: str
    duration: float | None = None  # seconds, unknown until listed or decoded
    priority: int = 0
    published: str | None = None  # ISO date
    channel: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    options: RecordingOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class Audio:
    """A recording decoded once: 16 kHz mono int16 PCM, memory-mapped from ``path``.

    ``lines`` are the people who have a track or channel of their own, in the recording's time; empty where all share one.
    """

    path: Path
    samples: int
    fingerprint: str  # sha256 of the PCM, hex
    lines: tuple[SpeakerTrack, ...] = ()

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE

    def read(self, start: float = 0.0, end: float | None = None) -> NDArray[np.float32]:
        """Samples of [start, end) seconds as float32 in [-1, 1); clipped to the recording."""
        import numpy as np  # here: whoever only looks at terms needs none of it

        a = min(max(0, round(start * SAMPLE_RATE)), self.samples)
        b = self.samples if end is None else min(max(a, round(end * SAMPLE_RATE)), self.samples)
        if a == b:
            return np.zeros(0, np.float32)
        pcm = np.memmap(self.path, np.int16, "r", offset=2 * a, shape=(b - a,))
        samples = pcm.astype(np.float32)
        samples /= 32768.0  # in place: hours of audio are read at once for the diarizer
        return samples


@dataclass(frozen=True, slots=True)
class SpeakerTrack:
    """The audio of one person alone, and where it was found ("track 2", "channel 1")."""

    audio: Audio
    name: str


@dataclass(frozen=True, slots=True)
class RecordingWarning:
    """What an operator should know of a recording that is stored all the same: a header that lied, a track left out, no speech.

    ``cause`` is a short stable word group that warnings are grouped by ("no speech"); ``hint`` says what to do, where there is
    something to do.
    """

    cause: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word; ``speaker`` and ``overlap`` are filled in when words meet turns."""

    text: str
    start: float
    end: float
    probability: float
    speaker: str | None = None
    overlap: bool = False


@dataclass(frozen=True, slots=True)
class Coverage:
    """The account of one recording: ``speech_s`` = ``worded_s`` + ``judged_silent_s`` + ``left_s``.

    ``left`` are the spans whose words were not good enough to keep. ``stray_words`` lie where no speech was found.
    """

    speech_s: float = 0.0
    worded_s: float = 0.0
    judged_silent_s: float = 0.0
    left_s: float = 0.0
    stray_words: int = 0
    stray_s: float = 0.0
    heard_again: int = 0
    left: tuple[tuple[float, float], ...] = ()

    @property
    def too_little(self) -> bool:
        """Whether more speech is without words than a recording should have."""
        return self.left_s > max(LIMIT_S, LIMIT_SHARE * self.speech_s)

    @property
    def too_much(self) -> bool:
        """Whether more time has words and no speech than a recording should have."""
        return self.stray_s > max(LIMIT_S, LIMIT_SHARE * self.speech_s)

    def facts(self) -> dict[str, Any]:
        """As kept with the recording."""
        return {
            "speech_s": round(self.speech_s, 2),
            "worded_s": round(self.worded_s, 2),
            "judged_silent_s": round(self.judged_silent_s, 2),
            "left_s": round(self.left_s, 2),
            "stray_words": self.stray_words,
            "stray_s": round(self.stray_s, 2),
            "heard_again": self.heard_again,
            "left": [[round(a, 2), round(b, 2)] for a, b in self.left],
        }


@dataclass(frozen=True, slots=True)
class Caption:
    """One line of a publisher's captions or transcript; ``start`` and ``end`` are None where the publisher gives no times."""

    start: float | None
    end: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Captions:
    """Captions or a transcript made by people, as the publisher of a recording offers them. Never automatic captions."""

    origin: str  # "subtitles" of a site, "podcast:transcript" of a feed
    format: str  # "srt", "vtt", "ass", "ttml", "json", "html", "text"
    language: str  # as the publisher writes it ("en-GB"); empty when unknown
    lines: tuple[Caption, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of a recording in time order, and the utterances they came in as (start, end) word index ranges.

    ``model`` names the recogniser, or the captions that the words were taken from.
    """

    words: tuple[Word, ...]
    utterances: tuple[tuple[int, int], ...]
    language: str
    language_probability: float
    average_log_probability: float | None
    model: str
    looped: tuple[tuple[float, float], ...] = ()  # spans flagged as repetition loops of the recogniser
    coverage: Coverage = Coverage()
    interpolated: bool = False  # from captions: a word's time is its share of its line's


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody speaks: the diarizer's anonymous cluster from start to end."""

    start: float
    end: float
    cluster: str

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class DiarizationResult:
    """``turns`` may overlap (who speaks at all); ``exclusive`` never do (whom words are given to)."""

    turns: tuple[Turn, ...]
    exclusive: tuple[Turn, ...]
    model: str


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """A turn with a name on it. ``profile`` is the enrolled profile's id, None when unknown."""

    start: float
    end: float
    cluster: str
    speaker: str
    profile: int | None
    confidence: float | None  # similarity the label rests on; None when unknown rests on none
    provenance: Provenance
    similarity: float | None = None  # of this turn's own voice to the primary profile
    smoothed: bool = False
    voice: Vector | None = None

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class ProfileScore:
    """One profile compared with a cluster or turn."""

    profile: int
    name: str
    score: float
    threshold: float  # in force
    primary: bool = False
    own: bool = False  # the threshold is the profile's own, not the setting's
    probability: float | None = None  # that it is this person; None on the cosine scale
    log_ratio: float | None = None  # natural logarithm of the likelihood ratio of this person; None on the cosine scale


@dataclass(frozen=True, slots=True)
class TurnEvidence:
    """What is known of one turn: its scores against every profile, so that labels can be replayed without a model."""

    start: float
    end: float
    scores: tuple[ProfileScore, ...]
    similarity: float | None  # to the reference of the cluster (primary profile, else leave-one-out centroid)
    refused: str | None = None  # why it has no voice: "too short", "silent"
    follows: bool = False  # nobody else speaks between it and the cluster's turn before


@dataclass(frozen=True, slots=True)
class Decision:
    """What was concluded for one cluster of one recording, with every number it rests on."""

    cluster: str
    seconds: float  # speech of the cluster
    turns: int
    similarities: tuple[float, ...]  # of the samples to ``reference``
    reference: str  # "primary" or "self"
    mean: float | None
    variance: float | None
    low: float | None
    high: float | None
    spread: float | None  # range = high - low
    bimodality: float | None  # gap between the two modes of the similarities
    split: bool
    rule: str  # the rule that fired: "variance", "range", "under limits", "too short", "too few", "fast path"
    limits: dict[str, float]  # the settings in force, by key
    revision: int
    scores: tuple[ProfileScore, ...]  # cluster level, best first
    margin: float | None
    speaker: str | None  # cluster-level label; None when split or unknown
    seconds_by_speaker: dict[str, float]
    provenance: Provenance
    evidence: tuple[TurnEvidence, ...]
    why: str  # one sentence in words
    massive: bool = False  # the cluster is one long turn
    sample_s: tuple[float, ...] = ()  # seconds of speech behind each similarity
    variance_spreads: float | None = None  # of the similarities, in variances of one voice; None on the cosine scale
    range_spreads: float | None = None  # in standard deviations of one voice


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody in a recording: named turns in time order and the decisions behind the names."""

    turns: tuple[SpeakerTurn, ...]
    decisions: tuple[Decision, ...]
    overlaps: tuple[tuple[float, float], ...] = ()
    fast_path: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """A stored passage: one speaker, start, end, text and its words."""

    start: float
    end: float
    speaker: str
    profile: int | None
    confidence: float | None
    provenance: Provenance
    text: str
    words: tuple[Word, ...]
    looped: bool = False
    voice: Vector | None = None
    vector: Vector | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """Where the speech seconds went; labelled + unknown = speech."""

    speech: float
    labelled: float
    unknown: float


@dataclass(frozen=True, slots=True)
class ModelId:
    """Which model wrote a vector: name, revision (hub commit or content hash) and dimension.

    ``content`` is the hash of its weights, empty while unknown: models of equal content are one, whatever they are called.
    """

    name: str
    revision: str
    dimension: int
    content: str = field(default="", compare=False)

    def is_same(self, other: ModelId) -> bool:
        """Whether vectors of both can be compared."""
        return self == other or (bool(self.content) and self.content == other.content and self.dimension == other.dimension)
