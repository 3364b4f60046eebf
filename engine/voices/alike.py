"""What in the store is like a corrected voice, and what would be decided of it now. No model is needed: voices are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier

from gainstage.engine.store.vectors import VectorTable
from gainstage.engine.terms import Vector
from gainstage.engine.voices.analysis import bonus, judge
from gainstage.engine.voices.evidence import ClusterEvidence
from gainstage.engine.voices.exemplars import inliers
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import Profile, ProfileIndex

NOISE = 0.7
"""A speaker whose mean voice reaches a similarity has a passage that reaches this share of it: the mean of unit vectors whose
cosines are at least .5 is at least that long (real windows of 1.5 s have .55)."""

TWO_VOICES = 0.25
"""Distance between the two modes of the similarities to a voice from which on a speaker holds two voices; one voice gives about
1.6 standard deviations, .1 to .2."""

SURE_S = 1.5
"""The voice of a passage shorter than this many seconds is too uncertain to decide by."""

MOST_PASSAGES = 20_000
MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class StoredSpeaker:
    """All passages of one name in one recording that nobody set by hand, and the mean of their voices."""

    recording: str
    title: str
    name: str
    profile: int | None
    start: float
    seconds: float
    passages: int
    voice: Vector


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A stored passage that is compared with others: its name, its seconds of speech and its voice, a unit vector."""

    recording: str
    title: str
    ordinal: int
    name: str
    seconds: float
    voice: Vector


@dataclass(frozen=True, slots=True)
class NewName:
    """The person a speaker is decided to be; ``profile`` None is unknown, without a name at first."""

    profile: int | None
    name: str
    score: float | None


def same_voice(voice: Vector, others: NDArray[np.float32], seconds: Sequence[float]) -> NDArray[np.bool_]:
    """Which of one speaker's other passages (n, d) are the corrected voice (d,): all where the speaker is one voice, those alike
    where it is two, none where the corrected one is alone."""
    if not len(others):
        return np.zeros(0, bool)
    alike = others @ voice
    sure = np.asarray(seconds) >= SURE_S
    judged = alike[sure] if sure.sum() >= 2 else alike
    gap, limit = _modes(judged)
    if gap >= TWO_VOICES:
        return np.asarray(alike >= limit)
    long = others[sure] if sure.sum() >= 2 else others
    one = bool(inliers(np.concatenate([voice[None], long]))[0])
    return np.full(len(others), one)


def _modes(values: NDArray[np.float32]) -> tuple[float, float]:
    """Distance between the two groups that the best cut separates (Otsu), and the cut."""
    ranked = np.sort(values.astype(np.float64))
    best, split = 0.0, (0.0, 0.0)
    for k in range(1, len(ranked)):
        low, high = float(ranked[:k].mean()), float(ranked[k:].mean())
        between = k * (len(ranked) - k) * (high - low) ** 2
        if between > best:
            best, split = between, (high - low, float(ranked[k - 1] + ranked[k]) / 2)
    return split


def speakers_near(
    connection: Connection[TupleRow], table: VectorTable, voice: Vector, least: float, without: tuple[str, str]
) -> tuple[StoredSpeaker, ...]:
    """Every speaker of each recording in which one may reach the similarity ``least`` to a voice; ``without`` is left out."""
    vectors, near = Identifier(table.name), HalfVector(voice)
    ids = [
        id
        for (id,) in connection.execute(
            SQL(
                "select distinct s.recording from {} v join segment s on s.id = v.segment"
                " where v.vector <=> %s <= %s and s.provenance <> %s"
            ).format(vectors),
            [near, 1 - NOISE * least, MANUAL],
        )
    ]
    connection.execute("select set_config('work_mem', '256MB', true)")
    rows = connection.execute(
        SQL(
            "select g.recording, r.title, g.speaker, g.profile, g.start, g.seconds, g.passages, g.voice from (select s.recording,"
            " s.speaker, min(s.profile) as profile, min(s.start_s) as start, sum(s.end_s - s.start_s) as seconds,"
            " count(*)::int as passages, avg(v.vector) as voice from {} v join segment s on s.id = v.segment"
            " where s.provenance <> %s and s.recording = any(%s) group by 1, 2) g join recording r on r.id = g.recording"
            " where (g.recording, g.speaker) <> (%s, %s)"
        ).format(vectors),
        [MANUAL, ids, *without],
        binary=True,
    ).fetchall()
    speakers = []
    for recording, title, name, profile, start, seconds, passages, mean in rows:
        vector = np.asarray(mean.to_numpy(), np.float32)
        length = float(np.linalg.norm(vector))
        if length > 1e-6:
            speakers.append(StoredSpeaker(recording, title, name, profile, start, seconds, passages, vector / np.float32(length)))
    return tuple(speakers)


def passages_near(
    connection: Connection[TupleRow], table: VectorTable, voice: Vector, least: float, profile: int, people: Sequence[Profile]
) -> tuple[StoredPassage, ...]:
    """Passages at least this similar to a voice, and more so than to the person they are labelled with, the most similar first.
    Those of the person ``profile`` are left out."""
    rows = connection.execute(
        SQL(
            "select n.recording, r.title, n.ordinal, n.speaker, n.seconds, n.vector from (select s.recording, s.ordinal, s.speaker,"
            " s.end_s - s.start_s as seconds, v.vector, v.vector <=> %(voice)s as distance from {} v join segment s on s.id = v.segment"
            " left join unnest(%(ids)s::int[], %(middles)s::text[]) as p (id, middle) on p.id = s.profile where"
            " (p.id is null or v.vector <=> %(voice)s < v.vector <=> p.middle::halfvec) and v.vector <=> %(voice)s <= %(far)s and s.provenance <> %(manual)s and s.profile is distinct from %(profile)s"
            " and s.end_s - s.start_s >= %(sure)s order by distance limit %(most)s) n join recording r on r.id = n.recording"
            " order by n.distance"
        ).format(Identifier(table.name)),
        {
            "voice": HalfVector(voice),
            "far": 1 - least,
            "manual": MANUAL,
            "profile": profile,
            "sure": SURE_S,
            "most": MOST_PASSAGES,
            "ids": [p.id for p in people],
            "middles": [HalfVector(p.centroid).to_text() for p in people],
        },
        binary=True,
    ).fetchall()
    return tuple(
        StoredPassage(recording, title, ordinal, name, seconds, np.asarray(vector.to_numpy(), np.float32))
        for recording, title, ordinal, name, seconds, vector in rows
    )


def touched(speakers: Sequence[StoredSpeaker], before: ProfileIndex, after: ProfileIndex, limits: Limits) -> set[str]:
    """Recordings in which a score that can decide differs between two states of the profiles."""
    if not speakers:
        return set()
    voices = np.stack([s.voice for s in speakers])
    old, new = before.scores(before.similarities(voices)), after.scores(after.similarities(voices))
    recordings = set()
    for k, speaker in enumerate(speakers):
        by_id = {c.id: old[k, column] for column, c in enumerate(before.candidates)}
        for column, c in enumerate(after.candidates):
            least = limits.threshold(c.primary, c.threshold) / bonus(speaker.seconds)
            score, earlier = new[k, column], by_id.get(c.id, -1.0)
            if score != earlier and max(score, earlier) >= least - limits.margin:
                recordings.add(speaker.recording)
    return recordings


def decided(speakers: Sequence[StoredSpeaker], index: ProfileIndex, limits: Limits) -> dict[tuple[str, str], NewName]:
    """Who each (recording, name) is by the rules of a live run, each speaker taken as one cluster."""
    if not speakers:
        return {}
    scores = index.scores(index.similarities(np.stack([s.voice for s in speakers])))
    by_recording: dict[str, list[ClusterEvidence]] = {}
    for speaker, row in zip(speakers, scores.tolist(), strict=True):
        evidence = ClusterEvidence(
            cluster=speaker.name,
            seconds=speaker.seconds,
            start=speaker.start,
            similarities=(1.0,),
            reference="self",
            candidates=index.candidates,
            scores=tuple(row),
            massive=False,
            turns=(),
        )
        by_recording.setdefault(speaker.recording, []).append(evidence)
    decisions = {}
    for recording, clusters in by_recording.items():
        for ruling in judge(clusters, limits):
            who = ruling.accepted
            new = NewName(who.id, who.name, ruling.label.confidence if ruling.label else None) if who else NewName(None, "", None)
            decisions[recording, ruling.evidence.cluster] = new
    return decisions
