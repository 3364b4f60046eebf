"""Do header, panels, table, ``status --json`` and the database say the same at any moment of a live engine?

``gainstage bench truth``. An engine takes simulated recordings, some of which fail or are tried again, in several runs; at random
moments the console is drawn and read back from its screen, between two counts of the rows in the database.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gainstage.config.origins import load
from gainstage.config.paths import Paths
from gainstage.engine.desk.postgres import PostgresDesk
from gainstage.engine.queue.backlog import Backlog
from gainstage.engine.runtime.engine import Engine
from gainstage.engine.runtime.simulated import simulated, simulated_recordings
from gainstage.engine.sources.choice import Choice
from gainstage.engine.sources.enqueue import Origin, enqueue
from gainstage.engine.store.database import Database
from gainstage.engine.views.rows import Query
from gainstage.engine.views.scopes import scoped
from gainstage.engine.views.snapshot import SCOPES, ScopeName, Snapshot
from gainstage.tui.bench.screenshots import settle
from gainstage.tui.console.app import GainstageApp
from gainstage.tui.widgets.bars import SCOPE_WORDS

SETTINGS = {"fetch.disk_floor": 0, "watch.record": False, "in_flight": 6, "retry.backoff": 1.0, "queue.heartbeat": 1}

SIZE = (160, 48)

BATCH = 12
"""Recordings of each run; the next one is queued when little is left."""

STATUSES = ("queued", "running", "stored", "failed", "skipped", "cancelled")

_WHICH: dict[ScopeName, str] = {
    "run": "run = %(run)s",
    "today": "status in ('queued', 'running') or (changed >= date_trunc('day', now()) and status <> 'stored')"
    " or stored >= date_trunc('day', now())",
    "all": "true",
}


_PAST: dict[ScopeName, str] = {"run": "run = %(run)s", "today": "ended >= date_trunc('day', now())", "all": "false"}
"""Of the recordings that a later run took again."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    moment: int
    scope: str
    text: str


def run(recordings: int = 200, seed: int = 0, *, database_url: str | None = None) -> dict[str, Any]:
    """Look at ``recordings`` random moments (the option's name is that of the other benchmarks)."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gainstage-truth-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        database = stack.enter_context(Database.open(database_url, folder / "postgres"))
        engine = Engine(load(environ={}, overrides=SETTINGS), Paths.of(folder / "home"), database, flow=simulated, models=False)
        source = Supply(database, random.Random(seed))
        source.more()
        with _running(engine):
            disagreements, exact = asyncio.run(_moments(database, folder, source, recordings, random.Random(seed + 1)))
    return {
        "moments": recordings,
        "disagreements": len(disagreements),
        "unmoved": exact,
        "examples": [asdict(one) for one in disagreements[:10]],
    }


def document(result: Mapping[str, Any]) -> dict[str, Any]:
    return dict(result)


def table(result: Mapping[str, Any]) -> str:
    lines = [
        f"moments looked at        {result['moments']}",
        f"  with nothing moving    {result['unmoved']}",
        f"disagreements            {result['disagreements']}",
    ]
    return "\n".join([*lines, *(f"  moment {e['moment']} ({e['scope']}): {e['text']}" for e in result["examples"])])


class Supply:
    """Runs of simulated recordings, one after the other; one recording in ten fails, one in ten at its first attempt."""

    def __init__(self, database: Database, draw: random.Random) -> None:
        self.backlog, self.draw, self.runs = Backlog(database), draw, 0

    def more(self) -> None:
        """Queue another run when fewer than a third of one are left; sometimes later, so that there is an end to be seen."""
        counts = self.backlog.counts()
        if counts.queued + counts.running > BATCH // 3 or (
            self.runs and counts.queued + counts.running and self.draw.random() < 0.7
        ):
            return
        self.runs += 1
        again = self.runs > 1 and self.draw.random() < 0.3  # taken once more by another run
        made = [
            replace(r, extra={**r.extra, **self.draw.choice(({},) * 8 + ({"fail": "decode"}, {"flaky": "transcribe"}))})
            for r in simulated_recordings(BATCH, seed=self.runs - again, scale=12.0)
        ]
        enqueue(self.backlog, Choice(tuple(made), (), BATCH), Origin("run", (f"/run-{self.runs}",)), force=again)


async def _moments(
    database: Database, folder: Path, source: Supply, moments: int, draw: random.Random
) -> tuple[list[Disagreement], int]:
    disagreements: list[Disagreement] = []
    exact = 0
    desk = PostgresDesk(database)
    app = GainstageApp(desk, manual=True, log=folder / "console.log", exports=folder)
    async with app.run_test(size=SIZE) as pilot:
        while desk.snapshot() is None:
            await asyncio.sleep(0.1)
        for moment in range(moments):
            await asyncio.sleep(draw.uniform(0.0, 0.2))
            source.more()
            scope = draw.choice(SCOPES)
            app.frames.scope = scope
            desk.run = None
            before, run = _rows(database, scope, desk)
            app.poller.poll()
            app.tick()
            await settle(app, pilot)
            frame = app.frame.snapshot
            page = desk.recordings(Query(limit=1))
            status = desk.snapshot()
            after, _ = _rows(database, scope, desk, run)
            if frame is None or status is None:
                disagreements.append(Disagreement(moment, scope, "nothing is shown"))
                continue
            said = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
            problems = [*screen_problems(frame, said), *bracket_problems(frame, before, after, "screen")]
            shown = json.loads(json.dumps(asdict(scoped(status, scope))))
            problems += bracket_problems(scoped(status, scope), before, after, "status --json")
            problems += [] if shown["run"]["stored"] == scoped(status, scope).run.stored else ["status --json is not the snapshot"]
            total = sum(getattr(status.run, name) for name in STATUSES)
            problems += [] if page.total == total else [f"the table holds {page.total}, the database {total}"]
            disagreements += [Disagreement(moment, scope, text) for text in problems]
            exact += before == after
    return disagreements, exact


def screen_problems(frame: Snapshot, said: str) -> list[str]:
    """Where the screen, and the parts of a frame, contradict the frame's counts."""
    run, verdict = frame.run, frame.verdict
    ended = run.stored + run.failed + run.skipped + run.cancelled
    left = run.queued + run.running
    expected = {
        "header": (rf"{SCOPE_WORDS[frame.scope]}\s+([\d,]+)/([\d,]+) recordings", (ended, ended + left)),
        "in flight": (r"in flight\s+([\d,]+)\s+waiting ([\d,]+)", (len(frame.flights), run.queued)),
        "throughput": (r"failed ([\d,]+)\s+retrying ([\d,]+)\s+skipped ([\d,]+)", (run.failed, run.retrying, run.skipped)),
    }
    problems = []
    for place, (pattern, wanted) in expected.items():
        match = re.search(pattern, said)
        seen = None if match is None else tuple(int(text.replace(",", "")) for text in match.groups())
        if seen != wanted and not (place == "throughput" and seen is None):  # a new change stands there for five minutes
            problems.append(f"{place} shows {seen}, the frame has {wanted}")
    over = left == 0 and ended > 0
    if (verdict.health == "done") != over:
        problems.append(f"verdict {verdict.health} with {left} left and {ended} ended")
    if over and f"{run.stored:,} stored" not in verdict.reason:
        problems.append(f"the verdict says {verdict.reason!r} of {run.stored} stored")
    if run.retrying > run.queued:
        problems.append(f"{run.retrying} wait for their next try, {run.queued} are queued")
    return problems


def bracket_problems(frame: Snapshot, before: Mapping[str, int], after: Mapping[str, int], place: str) -> list[str]:
    """Counts of a frame that lie outside what was in the rows before and after it."""
    problems = []
    for name in STATUSES:
        shown, low, high = getattr(frame.run, name), before.get(name, 0), after.get(name, 0)
        if before == after:
            if shown != low:
                problems.append(f"{place}: {shown} {name}, the rows say {low}")
        elif name in ("stored", "failed") and not low <= shown <= high:  # these only grow
            problems.append(f"{place}: {shown} {name}, the rows said {low} before and {high} after")
    return problems


def _rows(database: Database, scope: ScopeName, desk: PostgresDesk, run: int | None = None) -> tuple[dict[str, int], int | None]:
    """Rows of a scope by status, counted one by one, and the run at hand."""
    if run is None:
        snapshot = desk.snapshot()
        run = next((s.run for s in snapshot.scopes if s.name == "run"), None) if snapshot else None
        desk.run = run  # so that the next run does not come between two looks
    with database.connection() as connection:
        rows = connection.execute(
            f"select status, count(*) from (select status from recording where {_WHICH[scope]} union all"
            f" select status from run_past where {_PAST[scope]}) as each group by status",
            {"run": run},
        )
        counted = {str(status): int(n) for status, n in rows}
    return counted, run


@contextmanager
def _running(engine: Engine) -> Iterator[None]:
    thread = threading.Thread(target=engine.run, name="engine")
    thread.start()
    try:
        yield
    finally:
        engine.run_state.stop("bench")
        thread.join(60)
        engine.close()
