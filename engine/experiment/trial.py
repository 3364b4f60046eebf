"""An experiment: the same recordings under two or more sides in alternation, on shadow results, kept as it goes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gainstage.config.origins import load, parse
from gainstage.config.paths import Paths
from gainstage.config.settings import SPECS, Settings, changed
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.errors import Permanent
from gainstage.engine.evaluation.experiments import (
    BASE,
    Differences,
    MeasuredRecording,
    SideConclusion,
    SideRun,
    conclude,
    moved_seconds,
)
from gainstage.engine.evaluation.measures import scorers_missing, word_errors
from gainstage.engine.evaluation.references import Talk
from gainstage.engine.experiment.shadow import Shadow, shadow
from gainstage.engine.queue import changes, experiments
from gainstage.engine.store.database import Database
from gainstage.engine.store.kept_audio import kept_file
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import Recording
from gainstage.engine.views.passes import PARTIAL
from gainstage.engine.views.rows import Query

ALL_CHANGES = "after"
MOST_REPEATS = 100


@dataclass(frozen=True, slots=True)
class ExperimentSpec:
    """What an experiment compares. ``sets`` are KEY=VALUE as typed; ``against`` is current, a revision, or a profile."""

    recordings: tuple[str, ...]
    sets: tuple[str, ...]
    against: str = "current"
    repeat: int = 3

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> ExperimentSpec:
        """From what was kept of an earlier one."""
        return cls(tuple(document["recordings"]), tuple(document["sets"]), str(document["against"]), int(document["repeat"]))


@dataclass(slots=True)
class ExperimentOutcome:
    """What is known so far."""

    id: int
    runs: list[SideRun] = field(default_factory=list)
    conclusions: list[SideConclusion] = field(default_factory=list)
    state: str = "running"

    @property
    def verdict(self) -> str:
        several = len(self.conclusions) > 1
        return "\n".join(f"{c.side}: {c.verdict}" if several else c.verdict for c in self.conclusions)


Results = dict[str, tuple[str, list[tuple[float, float, str]]]]
"""By recording: its words, and its turns (start, end, speaker)."""


WITH_AUDIO = "Files and folders have; store.keep_audio=opus keeps that of addresses."
"""Which recordings have their audio on this machine."""


def sample(desk: PostgresDesk, audio: Any, count: int, *, newest: bool, simulated: bool = False) -> tuple[str, ...]:
    """Ids of stored recordings whose audio lies on this machine: the newest, or evenly over their lengths."""
    page = desk.recordings(Query(status=("stored",), sort="added", descending=True, limit=max(200, 4 * count)))
    rows = [r for r in page.rows if simulated or local_of(desk.store, r.id, audio) is not None]
    if not rows:
        raise Permanent(
            "no stored recording has its audio on this machine",
            cause="experiment: no audio",
            hint=WITH_AUDIO,
        )
    if newest or len(rows) <= count:
        return tuple(r.id for r in rows[:count])
    ordered = sorted(rows, key=lambda r: r.duration_s or 0.0)
    return tuple(ordered[round(k * (len(ordered) - 1) / max(1, count - 1))].id for k in range(count))


def local_of(store: RecordingStore, id: str, audio: Any) -> Recording | None:
    """A stored recording with a file of this machine as its source; None where there is none."""
    from pathlib import Path

    stored = store.get(id)
    if stored is None:
        return None
    kept = kept_file(audio, stored.fingerprint) if stored.fingerprint else None
    if kept is None and not stored.recording.source.startswith("/"):
        return None
    file = kept or Path(stored.recording.source)
    return replace(stored.recording, source=str(file)) if file.is_file() else None


def sides_of(spec: ExperimentSpec, desk: PostgresDesk) -> dict[str, Settings]:
    """Settings by side: before, after, and each change alone where there are several. Raises ``SettingError``."""
    current = desk.in_force()
    before = current if spec.against == "current" else _named(spec.against, current, desk.database)
    pairs = [(key.strip(), value) for key, _, value in (text.partition("=") for text in spec.sets)]
    after = current
    for key, value in pairs:
        after = changed(after, key, parse(key, value))
    sides = {BASE: before, ALL_CHANGES: after}
    if len(pairs) > 1:
        sides |= {f"{key}={value}": changed(before, key, parse(key, value)) for key, value in pairs}
    return sides


def _named(name: str, current: Settings, database: Database) -> Settings:
    """The settings of a revision, or of a profile."""
    if not name.isdigit():
        return load(profile=name).settings
    settings, newest = current, changes.history(database, 10_000)
    if not any(row.revision == int(name) for row in newest) and int(name) != 0:
        raise Permanent(f"no revision {name}", cause="no such revision", hint="`gainstage settings --history` lists them.")
    for row in newest:
        later = row.revision is not None and row.revision > int(name) and row.state != "refused"
        if later and row.key in SPECS and not SPECS[row.key].secret:
            settings = changed(settings, row.key, row.old)
    return settings


def run(
    spec: ExperimentSpec,
    desk: PostgresDesk,
    paths: Paths,
    report: Callable[[str], None],
    truth: Sequence[Talk] = (),
    *,
    simulated: bool = False,
) -> ExperimentOutcome:
    """Do it. Interrupted, what is done is kept and concluded from, and the interruption is raised again."""
    sides = sides_of(spec, desk)
    recordings = _recordings(spec, desk, paths, simulated)
    outcome = ExperimentOutcome(experiments.begin(desk.database, asdict(spec)))
    results: dict[str, Results] = {}
    number, total = itertools.count(1), len(sides) * spec.repeat
    try:
        with shadow(desk.database, paths, outcome.id) as made:
            for repeat in range(spec.repeat):
                order = list(sides) if repeat % 2 == 0 else list(reversed(sides))
                for side in order:
                    words = f"run {next(number)} of {total}, {side}"
                    measured, stored = _one(made, side, repeat, recordings, sides[side], words, report, simulated)
                    outcome.runs.append(measured)
                    results.setdefault(side, stored)
                    _keep(desk.database, outcome, sides, results, truth, "running")
    except KeyboardInterrupt:
        _keep(desk.database, outcome, sides, results, truth, "ended early")
        raise
    except Exception:
        _keep(desk.database, outcome, sides, results, truth, "failed")
        raise
    _keep(desk.database, outcome, sides, results, truth, "done")
    return outcome


def _recordings(spec: ExperimentSpec, desk: PostgresDesk, paths: Paths, simulated: bool) -> list[Recording]:
    recordings = []
    for id in spec.recordings:
        stored = desk.store.get(id)
        one = stored.recording if simulated and stored else local_of(desk.store, id, paths.audio)
        if one is None:
            raise Permanent(
                f"the audio of {id} is not on this machine",
                cause="experiment: no audio",
                hint=WITH_AUDIO,
                recording=id,
            )
        recordings.append(one)
    return recordings


def _one(
    made: Shadow,
    side: str,
    repeat: int,
    recordings: Sequence[Recording],
    settings: Settings,
    words: str,
    report: Callable[[str], None],
    simulated: bool,
) -> tuple[SideRun, Results]:
    name = f"run_{repeat}_{abs(hash(side)) % 10**8}"
    report(f"{words}: starting an engine")
    with made.database(name) as database:
        rss, gpu = made.work(
            database,
            name,
            recordings,
            settings,
            lambda done: report(f"{words}: {done} of {len(recordings)} recordings"),
            simulated=simulated,
        )
        measured, wall_s = _measured(database, [r.id for r in recordings])
        return SideRun(side, repeat, wall_s, rss, gpu, tuple(measured)), _results(RecordingStore(database), measured)


def _measured(database: Database, ids: list[str]) -> tuple[list[MeasuredRecording], float]:
    """What the spans of the recordings say, and the seconds from the first to the last."""
    with database.connection() as connection:
        rows = connection.execute(
            "select id, status, cause, coalesce(duration, 0), spans from recording where id = any(%s)", [ids]
        ).fetchall()
    stored, starts, ends = [], [], []
    for id, status, cause, duration, spans in rows:
        whole = [s for s in spans or () if s.get("note") != PARTIAL]
        stages: dict[str, float] = {}
        for span in whole:
            stages[span["stage"]] = stages.get(span["stage"], 0.0) + (span.get("service_s") or 0.0)
        first = min((s["start_wall"] for s in whole), default=0.0)
        last = max((s["start_wall"] + (s.get("wait_s") or 0.0) + (s.get("service_s") or 0.0) for s in whole), default=0.0)
        if whole:
            starts.append(first)
            ends.append(last)
        stored.append(MeasuredRecording(id, status, float(duration), last - first, stages, cause))
    return stored, max(ends) - min(starts) if ends else 0.0


def _results(store: RecordingStore, measured: Sequence[MeasuredRecording]) -> Results:
    results: Results = {}
    for one in measured:
        stored = store.get(one.id) if one.status == "stored" else None
        if stored is not None:
            text = " ".join(w.text for s in store.segments(one.id) for w in s.words)
            results[one.id] = (text, [(float(t[0]), float(t[1]), str(t[3])) for t in stored.facts.get("turns", ())])
    return results


def _keep(
    database: Database,
    outcome: ExperimentOutcome,
    sides: Mapping[str, Settings],
    results: Mapping[str, Results],
    truth: Sequence[Talk],
    state: str,
) -> None:
    done = {run.side for run in outcome.runs}
    outcome.conclusions = [
        conclude(outcome.runs, side, differences(results[BASE], results[side], truth))
        for side in sides
        if side != BASE and {side, BASE} <= done
    ]
    outcome.state = state
    experiments.keep(
        database, outcome.id, [asdict(r) for r in outcome.runs], [c.document() for c in outcome.conclusions], outcome.verdict, state
    )


def differences(first: Results, second: Results, truth: Sequence[Talk] = ()) -> Differences:
    """What two sides understood differently, and how right each is where the truth is known."""
    words = of_words = moved_s = speech_s = 0.0
    for id in first.keys() & second.keys():
        (text, turns), (other, others) = first[id], second[id]
        errors = word_errors(_plain(text), _plain(other))
        moved, speech = moved_seconds(turns, others)
        words, of_words, moved_s, speech_s = words + errors.errors, of_words + errors.of, moved_s + moved, speech_s + speech
    against = {name: _truth(results, truth) for name, results in ((BASE, first), (ALL_CHANGES, second))} if truth else {}
    return Differences(words, of_words, round(moved_s, 3), round(speech_s, 3), against)


def _plain(text: str) -> str:
    """Words without case and punctuation, by whisper-normalizer where it is installed."""
    if not scorers_missing():
        from gainstage.engine.evaluation.measures import normaliser

        return normaliser("")(text)
    return " ".join("".join(c for c in word if c.isalnum() or c == "'") for word in text.casefold().split())


def _truth(results: Results, truth: Sequence[Talk]) -> dict[str, float | None]:
    """Word and diarization error rate of one side over the recordings that a reference is named after."""
    from gainstage.engine.evaluation.intervals import Share, pooled
    from gainstage.engine.evaluation.measures import diarization_errors
    from gainstage.engine.evaluation.references import Said

    shares: dict[str, list[Share]] = {"wer": [], "der": []}
    for talk in truth:
        if talk.name not in results:
            continue
        text, turns = results[talk.name]
        if talk.worded:
            shares["wer"].append(word_errors(_plain(talk.text), _plain(text)))
        if talk.timed and (errors := diarization_errors(talk.turns, [Said(n, a, b) for a, b, n in turns])):
            shares["der"].append(errors["der"])
    return {name: pooled(of) for name, of in shares.items() if of}
