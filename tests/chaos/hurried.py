"""An engine whose clocks run fast: ``python -m tests.chaos.hurried FACTOR`` and the options of ``gainstage engine``.

What an engine does at times of its own (snapshots kept in the database, looks at disk, work folders and vector indexes) comes FACTOR
times as often, and what it remembers for a time is remembered FACTOR times as short, as far as the machine can: see ``LEAST_S``. Its
frames come once a second, as without a console: :mod:`tests.chaos.soak_frames` is for them.
"""

from __future__ import annotations

import sys
from functools import partial

from gainstage.engine import process
from gainstage.engine.advisor.verdict_cache import VerdictCache
from gainstage.engine.queue import engines
from gainstage.engine.runtime import context, housekeeping, run_totals, snapshot_publisher, threads
from gainstage.engine.telemetry.journal import Journal

LEAST_S = {"snapshot": 0.2, "look": 0.5, "index": 5.0, "memory": 20.0}
"""No more often than this: beyond, the engine would do nothing else."""

JOURNAL_BYTES = 2_000_000
"""Of each file of the journal, so that its files are turned over as often as in days."""

JOURNAL_LINES = 2_000
"""In memory, so that they turn over early and the rest of the run is steady."""


def hurry(factor: float) -> None:
    """Divide the intervals of this process's engine."""
    snapshot_publisher.WATCHED_S = snapshot_publisher.ALONE_S
    remembered = {"keep_s": max(LEAST_S["memory"], 900.0 / factor)}
    snapshot_publisher.VerdictCache = partial(VerdictCache, **remembered)  # type: ignore[misc, assignment, arg-type]
    threads.HISTORY_FRAMES = max(round(LEAST_S["memory"]), round(threads.HISTORY_FRAMES / factor))
    run_totals.WINDOW_S = max(LEAST_S["memory"], run_totals.WINDOW_S / factor)
    run_totals.FINISHED_S = max(LEAST_S["memory"], run_totals.FINISHED_S / factor)
    engines.HISTORY_EVERY_S = max(LEAST_S["snapshot"], engines.HISTORY_EVERY_S / factor)
    engines.HISTORY_S = max(10.0, engines.HISTORY_S / factor)
    housekeeping.TRIM_EVERY_S = max(LEAST_S["look"], housekeeping.TRIM_EVERY_S / factor)
    housekeeping.SWEEP_EVERY_S = max(LEAST_S["look"], housekeeping.SWEEP_EVERY_S / factor)
    housekeeping.INDEX_FIRST_S = housekeeping.INDEX_EVERY_S = max(LEAST_S["index"], housekeeping.INDEX_EVERY_S / factor)
    context.Journal = partial(Journal, capacity=JOURNAL_LINES, max_bytes=JOURNAL_BYTES)  # type: ignore[misc, assignment]


if __name__ == "__main__":
    hurry(float(sys.argv[1]))
    sys.exit(process.main(sys.argv[2:]))
