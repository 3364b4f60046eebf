"""The settings of speaker identification, on both scales."""

from __future__ import annotations

from typing import Literal

from gainstage.config.knobs import Effect, Section, knob


class Identify(Section):
    scale: Literal["calibrated", "cosine"] = knob(
        "calibrated",
        "What limits are set on: probabilities calibrated for the model and the voices enrolled, or the model's own cosines.",
    )
    probability: float = knob(
        0.99,
        "How sure a name must be. At most the rest of strangers get one, however many people are enrolled.",
        ge=0.5,
        le=0.9999,
        step=0.005,
    )
    turn_probability: float = knob(
        0.25,
        "In a split cluster, how sure the name of one turn must be; such a cluster mostly holds people who are known.",
        ge=0.05,
        le=0.9999,
        step=0.05,
    )
    range_spreads: float = knob(
        7.5,
        "Split a cluster when the range of its similarities exceeds this many times one voice's deviation.",
        ge=0,
        le=100,
        step=0.25,
    )
    variance_spreads: float = knob(
        6.5,
        "Split a cluster when the variance of its similarities exceeds this many times one voice's variance.",
        ge=0,
        le=1000,
        step=0.5,
    )
    fast_path_probability: float = knob(
        0.9,
        "How sure nine of ten places must be of the primary speaker for the fast path.",
        effect=Effect.ITEM,
        ge=0.5,
        le=0.9999,
        step=0.01,
    )
    range_limit: float = knob(
        0.5, "Cosine scale: split a cluster when the range of its similarities exceeds this.", ge=0, le=2, step=0.01
    )
    variance_limit: float = knob(
        0.05, "Cosine scale: split a cluster when the variance of its similarities exceeds this.", ge=0, le=1, step=0.005
    )
    split_threshold: float = knob(
        0.65, "Cosine scale: in a split cluster, a turn at least this similar is the primary speaker.", ge=0, le=1, step=0.01
    )
    primary_threshold: float = knob(0.62, "Cosine scale: similarity needed for the primary profile.", ge=0, le=1, step=0.01)
    other_threshold: float = knob(
        0.82, "Cosine scale: similarity needed for any other profile without a threshold of its own.", ge=0, le=1, step=0.01
    )
    margin: float = knob(0.05, "Cosine scale: lead needed over the runner-up profile.", ge=0, le=1, step=0.01)
    fast_path: bool = knob(True, "Skip diarization when the whole recording is the primary speaker.", effect=Effect.ITEM)
    fast_path_mean: float = knob(
        0.72, "Cosine scale: mean similarity the fast path asks for.", effect=Effect.ITEM, ge=0, le=1, step=0.01
    )
    fast_path_low: float = knob(
        0.62, "Cosine scale: 10th percentile of similarity the fast path asks for.", effect=Effect.ITEM, ge=0, le=1, step=0.01
    )
    smooth_below: float = knob(
        1,
        "A differing turn shorter than this, between two turns of one speaker, joins them; a longer one is mostly a real answer.",
        ge=0,
        le=300,
        step=0.5,
        unit="s",
    )
    primary: str | None = knob(None, "Name of the primary profile (the host); empty for none.", effect=Effect.ITEM)
