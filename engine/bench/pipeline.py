"""How well the gates keep the bottleneck busy, and their overhead: simulated stages through the real gates.

``python -m gainstage.engine.bench.pipeline`` prints it. Simulated work sleeps, so the figures show the loss in the flow itself, on
any machine; the overheads are CPU time of this one.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from gainstage.config.settings import Workers
from gainstage.engine.flow.batcher import Batcher
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.run_parallel import run_parallel
from gainstage.engine.flow.stage import Stage
from gainstage.engine.telemetry.journal import Journal
from gainstage.engine.telemetry.meters import Recent

SERVICE_S: Mapping[str, float] = {
    "fetch": 0.05,
    "decode": 0.02,
    "transcribe": 0.25,
    "diarize": 0.1,
    "identify": 0.03,
    "segment": 0.002,
    "embed": 0.01,
    "store": 0.01,
}
"""Mean service time of each stage in seconds; a recording's own is 0.5 to 1.5 times that, by seed."""

HEAD = ("fetch", "decode")
BRANCHES = ("transcribe", "diarize")
TAIL = ("identify", "segment", "embed", "store")

GOAL = 0.95
"""Least share of the makespan in which the bottleneck should be busy, for 50 recordings."""

Times = Mapping[str, float]


def run(
    recordings: int = 50, seed: int = 0, *, in_flight: int = 24, scale: float = 1.0, overhead_passes: int = 20_000
) -> dict[str, Any]:
    """Send recordings through the gates of a real engine, one thread each, and measure.

    ``scale`` multiplies every service time; ``overhead_passes`` is the number of measurements of each overhead. ``busy_share`` is
    the time the gate counts as busy, ``work_share`` the given service times alone, both over capacity times makespan. ``ideal_s``
    is a lower bound of the makespan: the bottleneck's work without a gap, after the shortest time to reach it and before the
    shortest time to finish from it.
    """
    workers = Workers()
    stages = {name: Stage(name, getattr(workers, name, in_flight)) for name in SERVICE_S}
    plans = [plan(seed, n, scale) for n in range(recordings)]
    makespan_s = _fly(plans, stages, Stage("intake", in_flight))
    rows: dict[str, dict[str, Any]] = {}
    for name, stage in stages.items():
        totals, slot_s = stage.totals(), stage.capacity * makespan_s
        rows[name] = {
            "capacity": stage.capacity,
            "done": totals.done,
            "busy_share": totals.served_s / slot_s,
            "work_share": sum(p[name] for p in plans) / slot_s,
            "wait_p50_s": totals.wait_p50_s,
            "service_p50_s": totals.service_p50_s,
            "service_p95_s": totals.service_p95_s,
        }
    ideal_s, bottleneck = ideal(plans, {name: stage.capacity for name, stage in stages.items()})
    return {
        "recordings": recordings,
        "seed": seed,
        "in_flight": in_flight,
        "makespan_s": makespan_s,
        "ideal_s": ideal_s,
        "efficiency": ideal_s / makespan_s,
        "bottleneck": bottleneck,
        "busy_share": rows[bottleneck]["busy_share"],
        "work_share": rows[bottleneck]["work_share"],
        "goal": GOAL,
        "reached": rows[bottleneck]["busy_share"] >= GOAL,
        "stages": rows,
        "overhead": overheads(overhead_passes),
    }


def plan(seed: int, n: int, scale: float = 1.0) -> Times:
    """Service times of recording ``n``, the same for the same seed."""
    dice = random.Random(f"{seed}/{n}")
    return {name: scale * mean * dice.uniform(0.5, 1.5) for name, mean in SERVICE_S.items()}


def ideal(plans: list[Times], capacities: Mapping[str, int]) -> tuple[float, str]:
    """(lower bound of the makespan in seconds, the stage it comes from)."""

    def bound(stage: str) -> float:
        work = sum(p[stage] for p in plans) / capacities[stage]
        return min(_way_in(p, stage) for p in plans) + work + min(_way_out(p, stage) for p in plans)

    bottleneck = max(SERVICE_S, key=lambda stage: sum(p[stage] for p in plans) / capacities[stage])
    longest = max(_way_in(p, "store") + p["store"] for p in plans)
    return max(longest, *(bound(stage) for stage in SERVICE_S)), bottleneck


def table(result: Mapping[str, Any]) -> str:
    """The result as plain text."""
    lines = [
        f"{result['recordings']} recordings, {result['in_flight']} in flight, seed {result['seed']}",
        f"makespan {result['makespan_s']:.3f} s, ideal {result['ideal_s']:.3f} s ({result['efficiency']:.1%} of it reached)",
        f"bottleneck {result['bottleneck']}: busy {result['busy_share']:.1%} of the makespan, given work alone "
        f"{result['work_share']:.1%}; goal {result['goal']:.0%}: {'reached' if result['reached'] else 'MISSED'}",
        "",
        f"{'stage':<12}{'slots':>6}{'done':>6}{'busy':>8}{'work':>8}{'wait p50':>10}{'took p50':>10}{'took p95':>10}",
    ]
    lines += [
        f"{name:<12}{row['capacity']:>6}{row['done']:>6}{row['busy_share']:>8.1%}{row['work_share']:>8.1%}"
        f"{_seconds(row['wait_p50_s']):>10}{_seconds(row['service_p50_s']):>10}{_seconds(row['service_p95_s']):>10}"
        for name, row in result["stages"].items()
    ]
    lines += ["", "overhead, median:"]
    lines += [f"  {name:<44}{us:>9.2f} us" for name, us in result["overhead"].items()]
    return "\n".join(lines)


def overheads(passes: int = 20_000) -> dict[str, float]:
    """Microseconds of each part of the flow, median of batches of calls."""
    token, recent, journal = CancelToken(), Recent(time.monotonic()), Journal()
    gate, reported = Stage("gate", 2), Stage("gate", 2, on_span=journal.span)

    def enter(stage: Stage) -> Callable[[], object]:
        def once() -> None:
            with stage.enter("rec", token=token):
                pass

        return once

    with Batcher("bench", _same, cost=_one, budget=64.0, linger_s=0.0) as batcher:
        texts = ["text"] * 64
        result = {
            "gate pass, uncontended": _median_us(enter(gate), passes),
            "gate pass with its span in the journal": _median_us(enter(reported), passes),
            "gate pass, 8 threads at 1 slot": _contended_us(passes // 80 + 1),
            "a service time recorded": _median_us(lambda: recent.record(0.25), passes),
            "journal line": _median_us(lambda: journal.log("info", "a line", n=1), passes),
            "token check": _median_us(token.check, passes),
            "stage view for the snapshot": _median_us(reported.view, passes // 100 + 1),
            "batcher, per item of 64": _median_us(lambda: batcher.submit(texts, token=token), passes // 200 + 1) / 64,
        }
    return result


def _fly(plans: list[Times], stages: Mapping[str, Stage], intake: Stage) -> float:
    """Seconds until every recording has finished."""
    token = CancelToken()

    def work(n: int, name: str, after: str | None, its_token: CancelToken) -> None:
        before = stages[after] if after else None
        with stages[name].enter(f"r{n}", token=its_token, age=float(n), after=before):
            its_token.wait(plans[n][name])

    def fly(n: int) -> None:
        with intake.enter(f"r{n}", token=token, age=float(n)):
            work(n, "fetch", None, token)
            work(n, "decode", "fetch", token)
            run_parallel(token, lambda t: work(n, "transcribe", "decode", t), lambda t: work(n, "diarize", "decode", t))
            for after, name in zip(("diarize", *TAIL), TAIL, strict=False):
                work(n, name, after, token)

    threads = [threading.Thread(target=fly, args=(n,), name=f"bench-{n}", daemon=True) for n in range(len(plans))]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _way_in(times: Times, stage: str) -> float:
    """Least seconds from the start to a stage."""
    before = 0.0
    for name in HEAD:
        if name == stage:
            return before
        before += times[name]
    if stage in BRANCHES:
        return before
    before += max(times[name] for name in BRANCHES)
    return before + sum(times[name] for name in TAIL[: TAIL.index(stage)])


def _way_out(times: Times, stage: str) -> float:
    """Least seconds from the end of a stage to the end of the recording."""
    if stage in TAIL:
        return sum(times[name] for name in TAIL[TAIL.index(stage) + 1 :])
    after = sum(times[name] for name in TAIL)
    if stage in BRANCHES:
        return after
    after += max(times[name] for name in BRANCHES)
    return after + sum(times[name] for name in HEAD[HEAD.index(stage) + 1 :])


def _median_us(call: Callable[[], object], times: int, batches: int = 21) -> float:
    each = max(1, times // batches)
    took = []
    for _ in range(batches):
        began = time.perf_counter()
        for _ in range(each):
            call()
        took.append((time.perf_counter() - began) / each)
    return statistics.median(took) * 1e6


def _contended_us(passes: int, crowd: int = 8) -> float:
    """Microseconds per pass of one slot that ``crowd`` threads take in turn."""
    stage, token = Stage("gate", 1), CancelToken()
    start = threading.Barrier(crowd + 1)

    def visit() -> None:
        start.wait()
        for _ in range(passes):
            with stage.enter("rec", token=token):
                pass

    threads = [threading.Thread(target=visit, name="bench-gate", daemon=True) for _ in range(crowd)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - began) / (crowd * passes) * 1e6


def _same(items: list[str]) -> list[str]:
    return items


def _one(_item: str) -> float:
    return 1.0


def _seconds(value: float | None) -> str:
    return "·" if value is None else f"{value:.3f} s"


if __name__ == "__main__":
    print(table(run()))
