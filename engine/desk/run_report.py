"""What a run took, what became of it, where its time went, what was changed meanwhile and what that did: read from the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

import numpy as np

from gainstage.engine.queue import changes, runs
from gainstage.engine.queue.rows import Link
from gainstage.engine.stages import STAGES
from gainstage.engine.store.database import Database
from gainstage.engine.views.passes import PARTIAL
from gainstage.engine.views.rows import ChangeRow
from gainstage.engine.views.run_report import ReportedFailure, ReportedRecording, RunReport, SpeakerTotal, StageShare, Stretch
from gainstage.engine.views.runs import RunRow

BINS = 60
"""Stretches of the throughput picture, at most."""

LEAST_BIN_S = 60.0
"""How long each is at least, of a run of :data:`FEW_BINS` of them or longer."""
FEW_BINS = 12
"""Stretches of a shorter run."""

JOULES_PER_KWH = 3.6e6

_MEMBERS = """
with member as (
  select r.*, null::jsonb as voices from recording r where r.run = %(run)s
  union all
  select (jsonb_populate_record(null::recording, p.row)).*, p.voices from run_past p where p.run = %(run)s
)
select m.id, m.title, m.source, m.status, m.duration, m.segments, m.speakers, m.stage, m.cause, m.error, m.hint, (
    select jsonb_agg(pass) from jsonb_array_elements(m.spans) as pass where (pass ->> 'start_wall')::float8 >= %(added)s
  ),
  m.facts -> 'coverage', coalesce(m.voices, (
    select jsonb_object_agg(speaker, seconds)
    from (select s.speaker, sum(s.end_s - s.start_s) as seconds from segment s where s.recording = m.id group by s.speaker) as each
  ), '{}'), m.duplicate_of
from member m order by m.added, m.id
"""
"""The passes of the last run stay with a recording that was stored before, until it is stored again: they are left out."""

_ENGINES = """
with member as (
  select id, extract(epoch from stored) as stored_s from recording where run = %(run)s and status = 'stored'
  union all select recording, extract(epoch from ended) from run_past where run = %(run)s and status = 'stored'
)
select engine, count(*) as stored from (
  select distinct on (m.id) e.engine from member m join event e on e.recording = m.id
  where e.kind = 'stored' and e.wall >= %(added)s order by m.id, abs(e.wall - m.stored_s)
) each group by engine order by stored desc, engine
"""
"""Of a recording that was taken again by a later run, the line of the journal that is next to when this one stored it."""

_COVERAGE = ("speech_s", "worded_s", "judged_silent_s", "left_s")


def report(database: Database, which: str | None = None) -> RunReport:
    """The report of a run by number, name or start of its name; of the newest without one.

    Raises :class:`gainstage.engine.errors.Permanent` when there is none.
    """
    with database.transaction() as connection:
        run = runs.find(connection, which)
        its = {"run": run.id, "added": run.added_wall}
        rows = connection.execute(_MEMBERS, its).fetchall()
        changed = _changes(connection, run)
        engines = connection.execute(_ENGINES, its).fetchall()
    spans = [(row[0], row[4] if row[3] == "stored" else None, row[11] or ()) for row in rows]
    return RunReport(
        run=run,
        recordings=tuple(_recording(row) for row in rows),
        stages=_stages(span for _, _, of in spans for span in of),
        failures=_failures(rows),
        speakers=_speakers(row[13] for row in rows if row[3] == "stored"),
        coverage=_coverage(row[12] for row in rows if row[3] == "stored"),
        changes=changed,
        throughput=throughput([(audio_s, of) for _, audio_s, of in spans]),
        kwh=None if run.energy_j is None else run.energy_j / JOULES_PER_KWH,
        engines=tuple((str(engine), int(stored)) for engine, stored in engines),
    )


def _recording(row: Sequence[Any]) -> ReportedRecording:
    id, title, source, status, duration, segments, speakers, _, cause, error, _, spans, _, _, twin = row
    waited = sum(span.get("wait_s") or 0.0 for span in spans or ())
    served = sum(span.get("service_s") or 0.0 for span in spans or ())
    note = error or (f"same audio as {twin}" if twin else None)
    return ReportedRecording(
        id, title, source, status, duration, segments, speakers, round(waited, 2), round(served, 2), cause, note
    )


def _stages(spans: Iterable[dict[str, Any]]) -> tuple[StageShare, ...]:
    passes: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        passes.setdefault(span["stage"], []).append(span)
    served = {name: sum(span.get("service_s") or 0.0 for span in of) for name, of in passes.items()}
    total = sum(served.values())
    return tuple(
        StageShare(
            name=name,
            passes=len(of := [span for span in passes[name] if span.get("note") != PARTIAL]),
            failed=sum(span.get("outcome", "ok") == "failed" for span in of),
            waited_s=round(sum(span.get("wait_s") or 0.0 for span in passes[name]), 2),
            served_s=round(served[name], 2),
            share=round(served[name] / total, 4) if total else 0.0,
            wait_p50_s=_quantile([span.get("wait_s") for span in of], 0.5),
            service_p50_s=_quantile([span.get("service_s") for span in of], 0.5),
            service_p95_s=_quantile([span.get("service_s") for span in of], 0.95),
        )
        for name in sorted(passes, key=lambda name: STAGES.index(name) if name in STAGES else len(STAGES))
    )


def _quantile(values: Iterable[float | None], q: float) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.quantile(known, q)), 3) if known else None


def _failures(rows: Sequence[Sequence[Any]]) -> tuple[ReportedFailure, ...]:
    causes: dict[str, list[Sequence[Any]]] = {}
    for row in rows:
        if row[3] == "failed":
            causes.setdefault(row[8] or "unknown", []).append(row)
    groups = [
        ReportedFailure(cause, len(of), next((row[10] for row in of if row[10]), None), tuple(str(row[1]) for row in of[:3]))
        for cause, of in causes.items()
    ]
    return tuple(sorted(groups, key=lambda group: (-group.count, group.cause)))


def _speakers(voices: Iterable[dict[str, float]]) -> tuple[SpeakerTotal, ...]:
    seconds: dict[str, float] = {}
    recordings: dict[str, int] = {}
    for of in voices:
        for name, spoken_s in of.items():
            seconds[name] = seconds.get(name, 0.0) + float(spoken_s)
            recordings[name] = recordings.get(name, 0) + 1
    return tuple(
        SpeakerTotal(name, round(seconds[name], 2), recordings[name]) for name in sorted(seconds, key=lambda n: (-seconds[n], n))
    )


def _coverage(accounts: Iterable[dict[str, Any] | None]) -> dict[str, float]:
    """Speech seconds of the whole run, and where they went; empty where no recording has an account."""
    known = [account for account in accounts if account]
    return {name: round(sum(float(account.get(name) or 0.0) for account in known), 2) for name in _COVERAGE} if known else {}


def _changes(connection: Link, run: RunRow) -> tuple[ChangeRow, ...]:
    """Changes of settings that were made while the run was worked on, oldest first."""
    if run.began_wall is None:
        return ()
    until = float("inf") if run.ended_wall is None else run.ended_wall
    rows = changes.history_of(connection, 500)
    return tuple(row for row in reversed(rows) if row.state != "refused" and run.began_wall <= row.wall <= until)


def throughput(recordings: Sequence[tuple[float | None, Sequence[dict[str, Any]]]]) -> tuple[Stretch, ...]:
    """Audio seconds per second of work over the time of a run.

    ``recordings``: (audio seconds stored, None when it was not; its spans). The audio of a recording counts evenly over the time
    in which stages served it; a second in which any recording was in a stage is a second of work.
    """
    served: list[tuple[float, float]] = []
    dealt: list[tuple[float, float, float]] = []  # start, end, audio seconds
    for audio_s, spans in recordings:
        passes = [(span["start_wall"], span.get("wait_s") or 0.0, span.get("service_s") or 0.0) for span in spans]
        busy = [(start + waited, start + waited + service) for start, waited, service in passes if service > 0]
        served += [(start, start + waited + service) for start, waited, service in passes]
        total = sum(end - start for start, end in busy)
        if audio_s and total > 0:
            dealt += [(start, end, audio_s * (end - start) / total) for start, end in busy]
    if not served:
        return ()
    first, last = min(start for start, _ in served), max(end for _, end in served)
    span = max(last - first, 1.0)
    width = max(span / BINS, min(LEAST_BIN_S, span / FEW_BINS))
    edges = first + width * np.arange(ceil(span / width - 1e-9) + 1)
    audio, work = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for start, end, amount in dealt:
        audio += amount * _overlap(edges, start, end) / (end - start)
    for start, end in merged(served):
        work += _overlap(edges, start, end)
    return tuple(
        Stretch(round(float(edge), 3), round(width, 3), round(float(a / w), 3) if w >= 0.05 * width else None)
        for edge, a, w in zip(edges, audio, work, strict=False)
    )


def _overlap(edges: np.ndarray[Any, Any], start: float, end: float) -> np.ndarray[Any, Any]:
    """Seconds of [start, end] in each stretch between the edges."""
    overlap: np.ndarray[Any, Any] = np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0.0, None)
    return overlap


def merged(stretches: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The union of stretches of time, in order."""
    union: list[tuple[float, float]] = []
    for start, end in sorted(stretches):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(union[-1][1], end))
        else:
            union.append((start, end))
    return union
