"""An engine whose clocks run fast: ``python -m tests.chaos.hurried FACTOR`` and the options of ``gainstage engine``.

What an engine does at times of its own (frames, recorded frames, snapshots kept in the database, looks at disk, work folders and
vector indexes) comes FACTOR times as often and is kept FACTOR times as short, as far as the machine can: see ``LEAST_S``.
"""

from __future__ import annotations

import sys
from functools import partial

from gainstage.engine import process
from gainstage.engine.queue import engines
from gainstage.engine.runtime import context, housekeeping, snapshot_publisher
from gainstage.engine.telemetry import recorder
from gainstage.engine.telemetry.journal import Journal

LEAST_S = {"frame": 0.05, "snapshot": 0.1, "look": 0.5, "index": 5.0}
"""No more often than this: beyond, the engine would do nothing else."""

JOURNAL_BYTES = 2_000_000
"""Of each file of the journal, so that its files are turned over as often as in days."""


def hurry(factor: float) -> None:
    """Divide the intervals of this process's engine."""
    snapshot_publisher.WATCHED_S = snapshot_publisher.ALONE_S = LEAST_S["frame"]
    recorder.FRAME_S = max(LEAST_S["frame"], recorder.FRAME_S / factor)
    engines.HISTORY_EVERY_S = max(LEAST_S["snapshot"], engines.HISTORY_EVERY_S / factor)
    engines.HISTORY_S = max(10.0, engines.HISTORY_S / factor)
    housekeeping.TRIM_EVERY_S = max(LEAST_S["look"], housekeeping.TRIM_EVERY_S / factor)
    housekeeping.SWEEP_EVERY_S = max(LEAST_S["look"], housekeeping.SWEEP_EVERY_S / factor)
    housekeeping.INDEX_FIRST_S = housekeeping.INDEX_EVERY_S = max(LEAST_S["index"], housekeeping.INDEX_EVERY_S / factor)
    context.Journal = partial(Journal, max_bytes=JOURNAL_BYTES)  # type: ignore[misc, assignment]


if __name__ == "__main__":
    hurry(float(sys.argv[1]))
    sys.exit(process.main(sys.argv[2:]))
