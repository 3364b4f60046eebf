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
    stats, spreads = ruling.stats, ruling.spreads
    if spreads is not None and ruling.rule in ("variance", "range", "under limits"):
        return _unity_in_spreads(ruling.rule, spreads.variance, spreads.spread, limits)
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


def _unity_in_spreads(rule: str, variance: float, spread: float, limits: Limits) -> str:
    if rule == "variance":
        return f"Split: variance {variance:.1f} times that of one voice is above {limits.variance_spreads:.1f}."
    if rule == "range":
        return f"Split: range {spread:.1f} deviations of one voice is above {limits.range_spreads:.1f}."
    return (
        f"One voice: variance {variance:.1f} and range {spread:.1f}, in one voice's own deviation, "
        f"stay within {limits.variance_spreads:.1f} and {limits.range_spreads:.1f}."
    )


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
    if ruling.probability is not None and best.threshold is None:
        return _by_probability(ruling, limits, f"{best.name} at {score:.3f} over {sum(evidence.sample_s):.0f} s")
    if ruling.verdict == "below threshold":
        return f"{unknown}: the best is {best.name} at {said}, below {needed:.2f}."
    reaches = f"at {said} reaches {needed:.2f}"
    if ruling.verdict == "too close":
        return f"{unknown}: {best.name} {reaches} but leads by {ruling.margin:.3f}, less than {limits.margin:.2f}."
    if ruling.verdict == "taken":
        return f"{unknown}: {best.name} {reaches} but is cluster {ruling.holder} already, which scores higher."
    lead = "nobody else is enrolled" if ruling.margin is None else f"leads by {ruling.margin:.3f}"
    return f"{best.name} {reaches} and {lead}."


def _by_probability(ruling: Ruling, limits: Limits, said: str) -> str:
    sure = f"{said} is {100 * (ruling.probability or 0.0):.1f} % likely"
    needed = f"{100 * limits.probability:.4g} %"
    if ruling.verdict == "below threshold":
        return f"{ruling.unknown} is unknown: the best is {sure}, less than {needed}."
    if ruling.verdict == "taken":
        return f"{ruling.unknown} is unknown: {sure} but is cluster {ruling.holder} already, which scores higher."
    return f"{sure}, at least {needed}."


def _shares(ruling: Ruling, seconds: Mapping[str, float]) -> str:
    """How many turns of a split cluster each speaker has."""
    turns: dict[str, int] = {}
    for label in ruling.labels:
        turns[ruling.name(label)] = turns.get(ruling.name(label), 0) + 1
    parts = [f"{name} {count} ({seconds[name]:.0f} s)" for name, count in sorted(turns.items(), key=lambda x: -seconds[x[0]])]
    changed = sum(label.smoothed for label in ruling.labels)
    tail = f", {changed} of them smoothed" if changed else ""
    return f"Turns: {', '.join(parts)}{tail}."
