"""Speaker decisions as pure functions: from evidence and limits to rulings. No audio, model or clock is read here.

:func:`judge` is what a live run and a replay both call; :mod:`gainstage.engine.voices.labelling` turns its rulings into a cast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from gainstage.engine.terms import UNKNOWN_PREFIX, Provenance
from gainstage.engine.voices.evidence import ClusterEvidence
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.posterior import probabilities
from gainstage.engine.voices.profile_index import Candidate

SHORTEST_CLUSTER_S = 3.0
FEWEST_VOICES = 3
BONUSES = ((10.0, 1.05), (5.0, 1.02))
"""(seconds, factor): the best score of a cluster longer than this is multiplied by the factor before the threshold test."""

Rule = Literal["variance", "range", "under limits", "too short", "too few"]
ClusterResult = Literal["accepted", "too short", "no voice", "nobody enrolled", "below threshold", "too close", "taken", "split"]


class Stats(NamedTuple):
    """Statistics of the similarities of a cluster's samples. ``variance`` is the population variance, at most ``spread``² / 4."""

    mean: float
    variance: float
    low: float
    high: float
    spread: float


class TurnLabel(NamedTuple):
    """The label of one turn: ``who`` is the index of the cluster's candidate, None is unknown."""

    who: int | None
    confidence: float | None
    provenance: Provenance
    smoothed: bool = False


NOBODY = TurnLabel(None, None, Provenance.CLUSTER)


class Ruling(NamedTuple):
    """The decision about one cluster. ``who`` and ``margin`` are those of the best candidate for its mean voice, accepted or
    not."""

    evidence: ClusterEvidence
    stats: Stats | None
    split: bool
    rule: Rule
    verdict: ClusterResult
    who: int | None
    margin: float | None
    label: TurnLabel | None  # of the whole cluster; None when it is split
    labels: tuple[TurnLabel, ...] = ()  # one per turn when the cluster is split
    unknown: str | None = None  # the name of its unknown turns
    holder: str | None = None  # the cluster that the person was assigned to instead
    probability: float | None = None  # of the best candidate; None on the cosine scale
    spreads: Stats | None = None  # of the similarities in standard deviations of one voice; None on the cosine scale

    def label_of(self, turn: int) -> TurnLabel:
        """The label of a turn, by the turn's index in the evidence."""
        return self.labels[turn] if self.label is None else self.label

    @property
    def accepted(self) -> Candidate | None:
        """The person that the whole cluster was assigned to; None when it was not accepted."""
        return self.evidence.candidates[self.who] if self.verdict == "accepted" and self.who is not None else None

    def name(self, label: TurnLabel) -> str:
        """The speaker's name for a label of this cluster."""
        return (self.unknown or UNKNOWN_PREFIX) if label.who is None else self.evidence.candidates[label.who].name


def statistics(similarities: Sequence[float]) -> Stats | None:
    """Statistics of at least 3 similarities; None for fewer."""
    n = len(similarities)
    if n < FEWEST_VOICES:
        return None
    mean = sum(similarities) / n
    variance = sum((s - mean) ** 2 for s in similarities) / n
    low, high = min(similarities), max(similarities)
    return Stats(mean, variance, low, high, high - low)


def two_mode_gap(values: Sequence[float]) -> float:
    """Distance between the means of the two groups that the best cut separates (Otsu: largest variance between groups).

    Two voices in one cluster give the distance between them, one voice gives a small value. 0 for fewer than two values.
    """
    ranked = sorted(values)
    n, total = len(ranked), sum(ranked)
    best, gap, below = 0.0, 0.0, 0.0
    for k in range(1, n):
        below += ranked[k - 1]
        apart = (total - below) / (n - k) - below / k
        between = k * (n - k) * apart * apart
        if between > best:
            best, gap = between, max(0.0, apart)
    return gap


def split_rule(stats: Stats | None, limits: Limits, spreads: Stats | None = None) -> tuple[bool, Rule]:
    """Whether a cluster holds more than one voice, and the rule that decided it. ``spreads`` are the statistics of the same
    similarities in standard deviations of one voice (see :func:`in_spreads`); they are judged where they are given."""
    if stats is None:
        return False, "too few"
    judged = stats if spreads is None else spreads
    variance, spread = (
        (limits.variance_limit, limits.range_limit) if spreads is None else (limits.variance_spreads, limits.range_spreads)
    )
    if judged.variance > variance:
        return True, "variance"
    if judged.spread > spread:
        return True, "range"
    return False, "under limits"


def in_spreads(evidence: ClusterEvidence, limits: Limits) -> Stats | None:
    """Statistics of the similarities as distances from what one voice has at their length; None on the cosine scale."""
    scale = limits.calibration
    if scale is None or not calibrated(evidence, limits):
        return None
    return statistics([scale.in_spreads(s, d) for s, d in zip(evidence.similarities, evidence.sample_s, strict=True)])


def bonus(seconds: float) -> float:
    """Factor on the score of a cluster, 1 unless it is long (see ``BONUSES``). ``seconds`` is its speech."""
    for longer, factor in BONUSES:
        if seconds > longer:
            return factor
    return 1.0


def judge(evidence: Sequence[ClusterEvidence], limits: Limits) -> tuple[Ruling, ...]:
    """Rulings on all clusters of one recording, ordered by first appearance; the order of ``evidence`` does not matter."""
    ordered = sorted(evidence, key=lambda e: (e.start, e.cluster))
    return _numbered(_exclusive([_rule(e, limits) for e in ordered]))


def _rule(evidence: ClusterEvidence, limits: Limits) -> Ruling:
    if evidence.seconds < SHORTEST_CLUSTER_S:
        return Ruling(evidence, None, False, "too short", "too short", None, None, NOBODY)
    stats = statistics(evidence.similarities)
    spreads = in_spreads(evidence, limits)
    split, rule = split_rule(stats, limits, spreads)
    who, margin, verdict, sure = _cluster_level(evidence, limits)
    if split:
        labels = smoothed(evidence, _per_segment(evidence, limits), limits)
        return Ruling(evidence, stats, True, rule, "split", who, margin, None, labels, probability=sure, spreads=spreads)
    label = NOBODY
    if verdict == "accepted" and who is not None:
        label = TurnLabel(who, evidence.scores[who] if sure is None else sure, Provenance.CLUSTER)
    return Ruling(evidence, stats, False, rule, verdict, who, margin, label, probability=sure, spreads=spreads)


def _cluster_level(evidence: ClusterEvidence, limits: Limits) -> tuple[int | None, float | None, ClusterResult, float | None]:
    """The index of the best candidate for the mean voice, its lead over the runner-up, whether it is accepted, its probability."""
    scores = evidence.scores
    if not evidence.similarities:
        return None, None, "no voice", None
    if not scores:
        return None, None, "nobody enrolled", None
    if calibrated(evidence, limits):
        return _by_probability(evidence, limits)
    who = max(range(len(scores)), key=scores.__getitem__)
    margin = _lead(scores, who)
    best = evidence.candidates[who]
    if scores[who] * bonus(evidence.seconds) < limits.threshold(best.primary, best.threshold):
        return who, margin, "below threshold", None
    if margin is not None and margin < limits.margin:
        return who, margin, "too close", None
    return who, margin, "accepted", None


def calibrated(evidence: ClusterEvidence, limits: Limits) -> bool:
    """Whether scores are judged as probabilities: there is a calibration, and the evidence was measured for it."""
    return limits.calibration is not None and evidence.reference == "main"


def _by_probability(evidence: ClusterEvidence, limits: Limits) -> tuple[int, float | None, ClusterResult, float | None]:
    sure = [p or 0.0 for p in probabilities(evidence.candidates, evidence.scores, sum(evidence.sample_s), limits.calibration)]
    who = max(range(len(sure)), key=lambda i: (sure[i], evidence.scores[i]))
    passed = _passes(evidence, who, evidence.scores[who], sure[who], limits.probability)
    return who, _lead(evidence.scores, who), "accepted" if passed else "below threshold", sure[who]


def _passes(evidence: ClusterEvidence, who: int, score: float, sure: float, limit: float) -> bool:
    """Whether a name is sure enough. A threshold that the profile was given by hand, a cosine, takes the place of the limit."""
    own = evidence.candidates[who].threshold
    return sure >= limit if own is None else score >= own


def _lead(scores: Sequence[float], who: int) -> float | None:
    """The score of ``who`` minus the best other score, rounded like scores; None when there is no other candidate."""
    best = None
    for i, score in enumerate(scores):
        if i != who and (best is None or score > best):
            best = score
    return None if best is None else round(scores[who] - best, 6)


def _exclusive(rulings: list[Ruling]) -> list[Ruling]:
    """Assign a person to one cluster of a recording at most: the one with the best claim; the others become unknown."""
    holders: dict[int, int] = {}
    for i, r in enumerate(rulings):
        person = r.accepted
        if person is None:
            continue
        rival = holders.setdefault(person.id, i)
        if rival != i and _claim(r) > _claim(rulings[rival]):
            holders[person.id] = i
    result = []
    for i, r in enumerate(rulings):
        person = r.accepted
        if person is None or holders[person.id] == i:
            result.append(r)
        else:
            holder = rulings[holders[person.id]].evidence.cluster
            result.append(r._replace(verdict="taken", holder=holder, label=NOBODY))
    return result


def _claim(ruling: Ruling) -> tuple[float, float]:
    """Sort key of a cluster's claim on its person: the score with its bonus, then seconds of speech."""
    evidence = ruling.evidence
    if ruling.probability is not None and ruling.who is not None:
        return evidence.scores[ruling.who], evidence.seconds
    return max(evidence.scores) * bonus(evidence.seconds), evidence.seconds


def _per_segment(evidence: ClusterEvidence, limits: Limits) -> tuple[TurnLabel, ...]:
    """A label for each turn of a split cluster by its own voice: the primary from ``split_threshold`` on, else the best other
    person that passes threshold and margin."""
    if calibrated(evidence, limits):
        return _filled(evidence, [_turn_label(evidence, i, limits) for i in range(len(evidence.turns))])
    primary = next((i for i, c in enumerate(evidence.candidates) if c.primary), None)
    labels = []
    for turn in evidence.turns:
        who, confidence = None, None
        if turn.scores and primary is not None and turn.similarity is not None and turn.similarity >= limits.split_threshold:
            who, confidence = primary, turn.similarity
        elif turn.scores:
            who = _best_other(evidence, turn.scores, primary, limits)
            confidence = None if who is None else turn.scores[who]
        labels.append(TurnLabel(who, confidence, Provenance.PER_SEGMENT))
    return tuple(labels)


def _filled(evidence: ClusterEvidence, labels: list[TurnLabel]) -> tuple[TurnLabel, ...]:
    """Turns without a voice of their own take the label of the turn nearest in time that has one: they are nobody else's."""
    voiced = [i for i, turn in enumerate(evidence.turns) if turn.scores]
    if not voiced:
        return tuple(labels)
    for i, turn in enumerate(evidence.turns):
        if not turn.scores:
            near = min(voiced, key=lambda k: (max(turn.start - evidence.turns[k].end, evidence.turns[k].start - turn.end), k))
            labels[i] = TurnLabel(labels[near].who, None, Provenance.PER_SEGMENT)
    return tuple(labels)


def _turn_label(evidence: ClusterEvidence, turn: int, limits: Limits) -> TurnLabel:
    sure = _turn_probabilities(evidence, turn, limits)
    if not sure:
        return TurnLabel(None, None, Provenance.PER_SEGMENT)
    scores = evidence.turns[turn].scores
    who = max(range(len(sure)), key=lambda i: (sure[i], scores[i]))
    if not _passes(evidence, who, scores[who], sure[who], limits.turn_probability):
        return TurnLabel(None, None, Provenance.PER_SEGMENT)
    return TurnLabel(who, sure[who], Provenance.PER_SEGMENT)


def _turn_probabilities(evidence: ClusterEvidence, turn: int, limits: Limits) -> list[float]:
    row = evidence.turns[turn]
    sure = probabilities(evidence.candidates, row.scores, row.end - row.start, limits.calibration) if row.scores else ()
    return [p or 0.0 for p in sure]


def _best_other(evidence: ClusterEvidence, scores: Sequence[float], primary: int | None, limits: Limits) -> int | None:
    others = [i for i in range(len(scores)) if i != primary]
    if not others:
        return None
    who = max(others, key=scores.__getitem__)
    margin = _lead(scores, who)
    if scores[who] < limits.threshold(False, evidence.candidates[who].threshold) or (margin is not None and margin < limits.margin):
        return None
    return who


def smoothed(evidence: ClusterEvidence, labels: tuple[TurnLabel, ...], limits: Limits) -> tuple[TurnLabel, ...]:
    """Smooth a split cluster in one pass in time order: a turn shorter than ``smooth_below`` takes the label of its neighbours.

    It does so when the cluster's turns directly before and after it, with no other speaker in between, have the same label and
    it has another. A changed turn counts for no other turn, neither with its old nor with its new label, so changes do not cascade.
    On the calibrated scale a turn as sure of its name as a whole cluster must be keeps it.
    """
    below_s, firm = limits.smooth_below, limits.probability if calibrated(evidence, limits) else None
    smooth, turns = list(labels), evidence.turns
    for i in range(1, len(turns) - 1):
        turn = turns[i]
        if turn.end - turn.start >= below_s or not (turn.follows and turns[i + 1].follows):
            continue
        left, right = smooth[i - 1], smooth[i + 1]
        if firm is not None and smooth[i].who is not None and (smooth[i].confidence or 0.0) >= firm:
            continue
        if not left.smoothed and left.who == right.who != smooth[i].who:
            smooth[i] = TurnLabel(left.who, _own_score(evidence, i, left.who, limits), Provenance.SMOOTHED, True)
    return tuple(smooth)


def _own_score(evidence: ClusterEvidence, turn: int, who: int | None, limits: Limits) -> float | None:
    """Confidence of a turn's own voice in ``who``; None for an unknown person and for a turn without a voice."""
    row = evidence.turns[turn]
    if who is None or not row.scores:
        return None
    if calibrated(evidence, limits):
        return _turn_probabilities(evidence, turn, limits)[who]
    return row.similarity if evidence.candidates[who].primary else row.scores[who]


def _numbered(rulings: list[Ruling]) -> tuple[Ruling, ...]:
    """Name the unknown speakers: one name per cluster with unknown turns, numbered by the start of the first of them."""
    first: dict[int, float] = {}
    for r, ruling in enumerate(rulings):
        if ruling.label is not None:
            starts = [ruling.evidence.start] if ruling.label.who is None else []
        else:
            starts = [t.start for t, label in zip(ruling.evidence.turns, ruling.labels, strict=True) if label.who is None]
        if starts:
            first[r] = min(starts)
    ranked = sorted(first, key=lambda r: (first[r], rulings[r].evidence.cluster))
    names = {r: f"{UNKNOWN_PREFIX}{k}" for k, r in enumerate(ranked, 1)}
    return tuple(ruling._replace(unknown=names[r]) if r in names else ruling for r, ruling in enumerate(rulings))
