"""The one table of the pipeline's shape: which stages a recording passes, after which others, with which models.

The flow itself is :mod:`gainstage.engine.pipeline`; everything that reasons about the flow (bottleneck, forecast, simulation,
measured effects, model reload, alerts) reads its shape here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageShape:
    """One stage. ``after`` are the stages that feed it, ``models`` the roles whose model it calls (also the names of their
    sections of the settings), ``sections`` the sections whose settings act on it, ``gpu`` whether it computes on the GPU,
    ``batched`` whether its slots share one batcher (else each slot computes for itself), ``outside`` whether it waits for others
    (hosts, the database) rather than computes.
    """

    name: str
    after: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    gpu: bool = False
    batched: bool = False
    outside: bool = False


PIPELINE = (
    StageShape("fetch", sections=("fetch", "retry"), outside=True),
    StageShape("decode", after=("fetch",)),
    StageShape("transcribe", after=("decode",), models=("asr",), sections=("asr",), gpu=True),
    StageShape("diarize", after=("decode",), models=("diarization", "voice"), sections=("diarization",), gpu=True),
    StageShape(
        "identify", after=("transcribe", "diarize"), models=("voice",), sections=("voice", "identify"), gpu=True, batched=True
    ),
    StageShape("segment", after=("identify",), sections=("segment",)),
    StageShape("embed", after=("segment",), models=("embed",), sections=("embed",), gpu=True, batched=True),
    StageShape("store", after=("embed",), sections=("store",), outside=True),
)
"""In the order of the flow. ``transcribe`` and ``diarize`` run side by side; on the fast path ``diarize`` is skipped."""

STAGES = tuple(stage.name for stage in PIPELINE)
GPU_STAGES = frozenset(stage.name for stage in PIPELINE if stage.gpu)
GPU_SLOT_STAGES = frozenset(stage.name for stage in PIPELINE if stage.gpu and not stage.batched)
"""Where one slot more is one recording more on the GPU at once."""

OUTSIDE_STAGES = frozenset(stage.name for stage in PIPELINE if stage.outside)
INSIDE_STAGES = frozenset(STAGES) - OUTSIDE_STAGES
"""Whose work this machine does itself."""

FEEDERS = {stage.name: stage.after for stage in PIPELINE}
"""Stage to the stages that feed it."""

ROLES = ("asr", "voice", "diarization", "embed")
"""Model roles, in the order in which an engine loads them."""

ROLES_OF_FLOW = tuple(dict.fromkeys(role for stage in PIPELINE for role in stage.models))
"""The same roles in the order in which a recording meets them."""

STAGES_OF_ROLE = {role: tuple(stage.name for stage in PIPELINE if role in stage.models) for role in ROLES}
"""Model role to the stages that must have drained before its model is swapped."""

MODEL_OF_STAGE = {stage.name: stage.models[0] for stage in PIPELINE if stage.models}
"""Stage to the role of the model it is named for."""

STAGE_OF_SECTION = {section: stage.name for stage in PIPELINE for section in stage.sections}
"""Section of the settings to the stage its settings act on."""


def feeds(stage: str) -> tuple[str, ...]:
    """The stages that ``stage`` hands work to."""
    return tuple(name for name, after in FEEDERS.items() if stage in after)
