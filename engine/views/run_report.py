"""The report of a run: frozen values, whatever they are shown as."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gainstage.engine.views.rows import ChangeRow
from gainstage.engine.views.runs import RunRow


@dataclass(frozen=True, slots=True)
class ReportedRecording:
    """One recording of a run: how it ended, and seconds waited and served over all stages."""

    id: str
    title: str
    source: str
    status: str
    duration_s: float | None
    segments: int | None
    speakers: int | None
    waited_s: float
    served_s: float
    cause: str | None
    note: str | None  # the error, or whose audio it is


@dataclass(frozen=True, slots=True)
class StageShare:
    """Passes of one stage over the run. ``share`` is of all service time."""

    name: str
    passes: int
    failed: int
    waited_s: float
    served_s: float
    share: float
    wait_p50_s: float | None
    service_p50_s: float | None
    service_p95_s: float | None


@dataclass(frozen=True, slots=True)
class ReportedFailure:
    """Failed recordings of one cause."""

    cause: str
    count: int
    hint: str | None
    examples: tuple[str, ...]  # titles, at most three


@dataclass(frozen=True, slots=True)
class SpeakerTotal:
    """A speaker over a run: seconds of speech, and in how many recordings."""

    name: str
    seconds: float
    recordings: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the throughput picture: audio seconds per second of work, None without work."""

    wall: float
    seconds: float
    rtfx: float | None


@dataclass(frozen=True, slots=True)
class RunReport:
    """All a report says of a run. ``coverage`` maps what was found in recordings to its share, ``kwh`` is None where power is not known."""

    run: RunRow
    recordings: tuple[ReportedRecording, ...]
    stages: tuple[StageShare, ...]
    failures: tuple[ReportedFailure, ...]
    speakers: tuple[SpeakerTotal, ...]
    coverage: dict[str, float]
    changes: tuple[ChangeRow, ...]
    throughput: tuple[Stretch, ...]
    kwh: float | None = None  # None where the power is not known
    engines: tuple[tuple[str, int], ...] = ()  # and how many recordings each stored, as far back as the journal goes

    def document(self) -> dict[str, Any]:
        """The report as JSON knows it."""
        made = asdict(self)
        made["run"] |= {"total": self.run.total, "progress": self.run.progress, "rtfx": self.run.rtfx}
        return made
