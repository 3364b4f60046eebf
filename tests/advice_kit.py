"""Frames and cases of a busy pipeline, with what a test of the advisor changes in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gainstage.engine.advisor.advice import Case
from gainstage.engine.views.snapshot import Advice, Bottleneck, Snapshot


def stage(frame: Snapshot, name: str, **what: Any) -> Snapshot:
    return replace(frame, stages=tuple(replace(s, **what) if s.name == name else s for s in frame.stages))


def gpu(frame: Snapshot, **what: Any) -> Snapshot:
    if "sm" in what:
        what.setdefault("sm_history", ())
    return replace(frame, devices=tuple(replace(d, **what) for d in frame.devices))


def host(frame: Snapshot, **what: Any) -> Snapshot:
    return replace(frame, host=replace(frame.host, **what))


def run(frame: Snapshot, **what: Any) -> Snapshot:
    return replace(frame, run=replace(frame.run, **what))


def case(*history: Snapshot, of: str | None = "transcribe", kind: Any = "stage", **settings: Any) -> Case:
    known = {"workers.transcribe": 2, "workers.diarize": 3, "workers.decode": 2, "in_flight": 24}
    return Case(history, Bottleneck(of, kind, ""), {**known, **{key.replace("__", "."): value for key, value in settings.items()}})


def new(found: Advice | None) -> Any:
    return None if found is None else found.new
