"""A ruling as one or two plain sentences with the numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping

from gainstage.engine.voices.analysis import FEWEST_VOICES, SHORTEST_CLUSTER_S, Ruling, bonus
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import SMALLEST_COHORT


def why(ruling: Ruling, limits: Limits, seconds_by_speaker: Mapping[str, float]) -> str:
    """One or two sentences for the operator; ``seconds_by_speaker`` is used for a split cluster."""
    return " ".join(part for part in (_unity(ruling, limits), _name(ruling, limits, seconds_by_speaker)) if part)


def _unity(ruling: Ruling, limits: Limits) -> str:
    stats = ruling.stats
    if ruling.rule == "variance" and stats is not None:
        return f"Split: variance {stats.variance:.3f} is above {limits.variance_limit:.3f}."
    if ruling.rule == "range" and stats is not None:
        return f"Split: range {stats.spread:.3f} is above {limits.range_limit:.2f}."
    if ruling.rule == "under limits" and stats is not None:
        return (
            f"One voice: variance {stats.variance:.3f} and range {stats.spread:.3f} "
            f"stay within {limits.variance_limit:.3f} and {limits.range_limit:.2f}."
        )
    if ruling.rule == "too few" and ruling.evidence.similarities:
        count = len(ruling.evidence.similarities)
        return f"Taken as one voice: {count} of the {FEWEST_VOICES} voices that statistics need."
    return ""


def _name(ruling: Ruling, limits: Limits, seconds: Mapping[str, float]) -> str:
    evidence = ruling.evidence
    if ruling.verdict == "split":
        return _shares(ruling, seconds)
    unknown = f"{ruling.unknown} is unknown"
    if ruling.verdict == "too short":
        return f"{unknown}: {evidence.seconds:.1f} s of speech, {SHORTEST_CLUSTER_S:.0f} s are needed."
    if ruling.verdict == "no voice":
        reasons = sorted({t.refused for t in evidence.turns if t.refused})
        return f"{unknown}: no turn gave a voice ({', '.join(reasons)})."
    if ruling.verdict == "nobody enrolled" or ruling.who is None:
        return f"{unknown}: nobody is enrolled."
    best = evidence.candidates[ruling.who]
    score = evidence.scores[ruling.who]
    factor = bonus(evidence.seconds)
    said = f"{score:.3f}" + (f" x {factor:.2f} = {score * factor:.3f}" if factor != 1.0 else "")
    if len(evidence.candidates) > SMALLEST_COHORT:
        said += ", normalised,"
    needed = limits.threshold(best.primary, best.threshold)
    if ruling.verdict == "below threshold":
        return f"{unknown}: the best is {best.name} at {said}, below {needed:.2f}."
    reaches = f"at {said} reaches {needed:.2f}"
    if ruling.verdict == "too close":
        return f"{unknown}: {best.name} {reaches} but leads by {ruling.margin:.3f}, less than {limits.margin:.2f}."
    if ruling.verdict == "taken":
        return f"{unknown}: {best.name} {reaches} but is cluster {ruling.holder} already, which scores higher."
    lead = "nobody else is enrolled" if ruling.margin is None else f"leads by {ruling.margin:.3f}"
    return f"{best.name} {reaches} and {lead}."


def _shares(ruling: Ruling, seconds: Mapping[str, float]) -> str:
    """How many turns of a split cluster each speaker has."""
    turns: dict[str, int] = {}
    for label in ruling.labels:
        turns[ruling.name(label)] = turns.get(ruling.name(label), 0) + 1
    parts = [f"{name} {count} ({seconds[name]:.0f} s)" for name, count in sorted(turns.items(), key=lambda x: -seconds[x[0]])]
    changed = sum(label.smoothed for label in ruling.labels)
    tail = f", {changed} of them smoothed" if changed else ""
    return f"Turns: {', '.join(parts)}{tail}."
