"""What became of a set of recordings: the summary a run ends with. Everything is read back from the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gainstage.engine.stages import STAGES
from gainstage.engine.store.database import Database
from gainstage.engine.terms import Status
from gainstage.engine.views.passes import PARTIAL

TERMINAL = (Status.STORED, Status.FAILED, Status.SKIPPED, Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a set of recordings stands: (id, status, title, note) of those that have ended, and how many have not."""

    ended: tuple[tuple[str, str, str, str], ...]
    left: int

    @property
    def done(self) -> int:
        return len(self.ended)

    def news(self, known: set[str]) -> Iterator[tuple[str, str, str, str]]:
        return (row for row in self.ended if row[0] not in known)


def standing(database: Database, ids: list[str]) -> Standing:
    """Which of these recordings have ended and how, in order of their end, and how many have not."""
    with database.connection() as connection:
        rows = connection.execute(
            "select id, status, title, coalesce(error, segments || ' segments, ' || speakers || ' speakers', '') from recording"
            " where id = any(%s) and status = any(%s) order by changed",
            [ids, [str(s) for s in TERMINAL]],
        ).fetchall()
    return Standing(tuple((str(i), str(s), str(t), str(n)) for i, s, t, n in rows), len(set(ids)) - len(rows))


def summary(database: Database, ids: list[str], *, demo: bool = False) -> dict[str, Any]:
    """The JSON object of ``run --json``. Times are those of the recordings' own spans; quality only where truth is bundled."""
    with database.connection() as connection:
        rows = connection.execute(
            "select id, title, status, error, segments, speakers, speech_s, labelled_s, unknown_s, duration, spans,"
            " extract(epoch from stored) from recording where id = any(%s) order by array_position(%s, id)",
            [ids, ids],
        ).fetchall()
    recordings, starts, ends, audio_s = [], [], [], 0.0
    passes: dict[str, list[dict[str, Any]]] = {name: [] for name in STAGES}
    for id, title, status, error, segments, speakers, speech, labelled, unknown, duration, spans, stored in rows:
        recordings.append(
            {
                "id": id,
                "title": title,
                "status": status,
                "error": error,
                "segments": segments,
                "speakers": speakers,
                "speech_seconds": speech,
                "labelled_seconds": labelled,
                "unknown_seconds": unknown,
            }
        )
        for span in spans or ():
            if span.get("note") != PARTIAL:
                passes.setdefault(span["stage"], []).append(span)
            starts.append(span["start_wall"])
        if status == Status.STORED:
            audio_s += duration or 0.0
            ends.append(float(stored))
    wall_s = max(0.0, max(ends) - min(starts)) if ends and starts else 0.0
    return {
        "stored": sum(r["status"] == Status.STORED for r in recordings),
        "failed": sum(r["status"] == Status.FAILED for r in recordings),
        "audio_seconds": round(audio_s, 3),
        "wall_seconds": round(wall_s, 3),
        "rtfx": round(audio_s / wall_s, 3) if wall_s else None,
        "stages": {name: _figures(spans) for name, spans in passes.items() if spans},
        "recordings": recordings,
        "quality": _quality(database, ids) if demo else {"wer": None, "der": None, "speaker_accuracy": None},
    }


def _figures(spans: list[dict[str, Any]]) -> dict[str, Any]:
    served = [s["service_s"] for s in spans if s["service_s"] is not None]
    return {
        "count": len(spans),
        "wait_p50_s": round(float(np.median([s["wait_s"] for s in spans])), 4),
        "service_p50_s": round(float(np.median(served)), 4) if served else None,
        "service_p95_s": round(float(np.quantile(served, 0.95)), 4) if served else None,
    }


def _quality(database: Database, ids: list[str]) -> dict[str, float | None]:
    from gainstage.engine.runtime.demo import score_demo

    return score_demo(database, ids)
