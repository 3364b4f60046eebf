"""Mutation testing: plant one small fault at a time and see whether a test notices.

    python -m tests.mutation                       # every module of MODULES, some hours
    python -m tests.mutation engine/flow/gate.py   # one of them, some minutes

A mutant changes one comparison, operator, constant, condition, call or return value. It runs in a fork of this process, in which
only the modules that depend on the changed one are imported anew, with the tests that executed the changed line, quickest first,
up to the first failure or the time limit. Survivors are printed; those listed with a reason in ``mutation-survivors.md`` count as
explained, any other makes the exit status 1.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import importlib.abc
import importlib.util
import io
import math
import os
import pickle
import re
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest

from tests.mutants import ROOT, Mutant, mutants

EXPLAINED = ROOT / "tests" / "mutation-survivors.md"

RULES = ("tests/unit/test_advisor.py", "tests/unit/test_advisor_edges.py")
STAGE = (
    "tests/unit/test_stage_exact.py",
    "tests/unit/test_stage.py",
    "tests/unit/test_stage_figures.py",
    "tests/unit/test_stage_totals.py",
    "tests/unit/test_stage_gate.py",
    "tests/unit/test_flow_edges.py",
)
BATCH = (
    "tests/unit/test_batcher_exact.py",
    "tests/unit/test_batcher_waits.py",
    "tests/unit/test_batcher.py",
    "tests/unit/test_batcher_pending.py",
    "tests/unit/test_batcher_failures.py",
    "tests/unit/test_batch_stats.py",
    "tests/unit/test_flow_edges.py",
)
VOICES = (
    "tests/unit/test_voices_edges.py",
    "tests/unit/test_voices_analysis.py",
    "tests/unit/test_voices_evidence.py",
    "tests/unit/test_voices_library.py",
    "tests/unit/test_voices_probabilities.py",
)
QUEUE = ("tests/engine/test_queue_exact.py", "tests/engine/test_queue_claims.py", "tests/engine/test_queue_recover.py")
MODULES: dict[str, tuple[str, ...]] = {
    "engine/voices/analysis.py": VOICES,
    "engine/voices/labelling.py": ("tests/unit/test_labelling_exact.py", *VOICES),
    "engine/voices/fast_path.py": (
        "tests/unit/test_fast_path.py",
        "tests/unit/test_voices_probabilities.py",
        "tests/unit/test_voices_edges.py",
    ),
    "engine/voices/posterior.py": ("tests/unit/test_posterior_exact.py",),
    "engine/speech/words.py": ("tests/engine/test_words.py",),
    "engine/text/segments.py": ("tests/engine/test_segments.py",),
    "engine/text/joining.py": ("tests/unit/test_joining_exact.py",),
    "engine/text/sentences.py": ("tests/unit/test_joining_exact.py",),
    "engine/advisor/advice.py": ("tests/unit/test_advice_exact.py", "tests/unit/test_advice_chosen.py", *RULES),
    "engine/advisor/bands.py": ("tests/unit/test_advisor_bands.py",),
    "engine/advisor/bottleneck.py": ("tests/unit/test_bottleneck.py",),
    "engine/advisor/forecast.py": (
        "tests/unit/test_forecast_exact.py",
        "tests/unit/test_forecast_edges_exact.py",
        "tests/unit/test_forecast.py",
        "tests/unit/test_advisor_edges.py",
    ),
    "engine/advisor/happenings.py": ("tests/unit/test_happenings.py",),
    "engine/advisor/measured_effects.py": (
        "tests/unit/test_effects_exact.py",
        "tests/unit/test_effects.py",
        "tests/unit/test_effects_limits.py",
    ),
    "engine/advisor/measured_gain.py": ("tests/unit/test_measured_gain_exact.py", "tests/unit/test_measured_gain.py"),
    "engine/advisor/predicted.py": ("tests/unit/test_predicted.py",),
    "engine/advisor/run_summary.py": ("tests/unit/test_run_summary.py",),
    "engine/advisor/simulation.py": ("tests/unit/test_simulation_exact.py", "tests/unit/test_forecast_simulation.py"),
    "engine/advisor/slot_search.py": ("tests/unit/test_slot_search.py",),
    "engine/advisor/track_record.py": ("tests/unit/test_track_record.py",),
    "engine/advisor/verdict.py": ("tests/unit/test_verdict_exact.py", *RULES),
    "engine/advisor/verdict_cache.py": ("tests/unit/test_verdict_cache.py", "tests/unit/test_advisor.py"),
    "engine/queue/retrying.py": ("tests/unit/test_queue_retrying.py",),
    "engine/queue/jobs.py": QUEUE,
    "engine/sources/budget.py": ("tests/unit/test_sources_budget.py",),
    "engine/store/writing.py": ("tests/unit/test_store_prepared.py", "tests/engine/test_store_recordings.py"),
    "engine/flow/adaptive_budget.py": BATCH,
    "engine/flow/batch_stats.py": BATCH,
    "engine/flow/batcher.py": BATCH,
    "engine/flow/pending.py": BATCH,
    "engine/flow/cancel.py": ("tests/unit/test_cancel.py",),
    "engine/flow/gate.py": ("tests/unit/test_gate_exact.py", "tests/unit/test_stage_gate.py"),
    "engine/flow/kept.py": ("tests/unit/test_kept_exact.py", "tests/unit/test_kept.py"),
    "engine/flow/slot.py": STAGE,
    "engine/flow/stage.py": STAGE,
    "engine/flow/stage_stats.py": STAGE,
    "engine/flow/utilisation.py": ("tests/unit/test_utilisation.py", *STAGE),
    "engine/flow/locks.py": ("tests/unit/test_locks.py", "tests/unit/test_work_folder.py"),
    "engine/flow/run_parallel.py": ("tests/unit/test_flow_edges.py",),
}
"""Module to the tests that are to notice its faults. None of a module that deletes files: a mutant of the work folders took the root of
the file system for one and emptied it."""

DATABASE = ("engine/queue/jobs.py", "engine/store/writing.py")
"""Modules whose tests need a server: it is kept up between the mutants."""


UNNEEDED = ("unraisableexception", "threadexception")
"""Plugins of pytest that collect garbage five times at the end of a run, which costs more than most runs."""


# -- running tests --------------------------------------------------------------------------------------------------------


class _Swapped(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from given code instead of its file."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self.name, self.path, self.code = name, path, code

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None  # type: ignore[arg-type]

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)  # noqa: S102  (the code is a mutant of our own)


class _Coverage:
    """A pytest plugin: which tests executed which lines of a file, and how long each took."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.lines: dict[int, set[str]] = defaultdict(set)
        self.took: dict[str, float] = {}
        self._test = ""

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename != self.path:
            return None
        self.lines[frame.f_lineno].add(self._test)
        return self._trace

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._test, began = item.nodeid, time.monotonic()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        yield
        sys.settrace(None)
        self.took[item.nodeid] = time.monotonic() - began


def _pytest(arguments: Sequence[str], plugins: Sequence[object] = ()) -> int:
    quiet = ["-q", "-x", "-o", "addopts=", "--hypothesis-seed=0", "--no-header", "--tb=no", "-W", "ignore"]
    quiet += [
        word
        for plugin in ("xdist", "cacheprovider", "textual-snapshot", "faulthandler", "junitxml", *UNNEEDED)
        for word in ("-p", f"no:{plugin}")
    ]
    return int(pytest.main([*quiet, *arguments], plugins=list(plugins)))


def forked(work: Callable[[], Any], limit_s: float, limit_cpu_s: float | None = None) -> Any:
    """The result of ``work`` in a fork of this process; None when it took longer, needed more of the processor, or broke."""
    handle, name = tempfile.mkstemp()
    os.close(handle)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        try:
            if limit_cpu_s is not None:
                resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit_cpu_s),) * 2)
            Path(name).write_bytes(pickle.dumps(work()))
        finally:
            os._exit(0)
    end = time.monotonic() + limit_s
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            break
        time.sleep(0.01)
    data = Path(name).read_bytes()
    os.unlink(name)
    return pickle.loads(data) if data else None  # noqa: S301  (written by our own fork)


def dependents(name: str) -> set[str]:
    """The module and every loaded one of ours that imports it, directly or not."""
    ours = {n for n in sys.modules if n.split(".")[0] in ("gainstage", "tests", "conftest") or n.startswith("test_")}
    imports: dict[str, set[str]] = defaultdict(set)
    for module in ours:
        file = getattr(sys.modules[module], "__file__", None)
        if file is None or not file.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(Path(file).read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                imports[module] |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
            elif isinstance(node, ast.Import):
                imports[module] |= {a.name for a in node.names}
    reached = {name}
    while more := {m for m in ours - reached if imports[m] & reached}:
        reached |= more
    return reached


def module_name(path: str) -> str:
    return "gainstage." + path.removesuffix(".py").replace("/", ".")


@dataclass(slots=True)
class Score:
    """What became of the mutants of one module."""

    killed: int = 0
    slow: int = 0  # of these, by the time limit
    survivors: list[Mutant] = field(default_factory=list)

    @property
    def all(self) -> int:
        return self.killed + len(self.survivors)


def look(
    path: str, tests: Sequence[str], chosen_of: Callable[[list[Mutant]], list[Mutant]], tell: Callable[[str], object] = print
) -> Score:
    """Run the chosen mutants of one module."""
    seen = forked(lambda: _covered(path, tests), 1200.0)
    if seen is None:
        raise SystemExit(f"{path}: its tests do not pass, or not in time")
    lines, took = seen
    name, score = module_name(path), Score()
    with contextlib.redirect_stdout(io.StringIO()):
        _pytest(["--collect-only", *tests])  # every fork inherits what this has imported, but for what depends on the module
    stale = dependents(name)
    gc.collect()
    gc.freeze()
    for mutant in chosen_of(mutants(path)):
        chosen = sorted(lines.get(mutant.line, {""}) | (lines.get(0, set())), key=lambda t: took.get(t, 0.0))
        chosen = list(took) if "" in chosen else chosen
        limit_s = 20.0 + 5 * sum(took[t] for t in chosen)
        limit_cpu_s = 5.0 + 3 * sum(took[t] for t in chosen)
        status = forked(lambda m=mutant, c=chosen: _run(m, name, stale, c), limit_s, limit_cpu_s) if chosen else 0
        if status == 0:
            score.survivors.append(mutant)
            tell(survived(mutant))
        else:
            score.killed += 1
            score.slow += status is None
    return score


def survived(mutant: Mutant) -> str:
    return f"  survived {mutant.path}:{mutant.line} {mutant.where}: {mutant.before}  →  {mutant.after}"


def _covered(path: str, tests: Sequence[str]) -> tuple[dict[int, set[str]], dict[str, float]]:
    plugin = _Coverage(ROOT / path)
    if _pytest(list(tests), [plugin]) != 0:
        raise RuntimeError
    return dict(plugin.lines), plugin.took


def _run(mutant: Mutant, name: str, stale: set[str], tests: Sequence[str]) -> int:
    for module in list(sys.modules):
        if module in stale:
            del sys.modules[module]
            package, _, own = module.rpartition(".")
            if package in sys.modules:  # it would hand out the old one: from package import module
                vars(sys.modules[package]).pop(own, None)
    sys.meta_path.insert(0, _Swapped(name, ROOT / mutant.path, mutant.code))
    return _pytest(tests)


def explained() -> Mapping[str, str]:
    """Reasons by :attr:`Mutant.key` from the list of explained survivors."""
    if not EXPLAINED.exists():
        return {}
    return dict(re.findall(r"^- (engine/\S+ .+`) – (.+)$", EXPLAINED.read_text("utf-8"), re.MULTILINE))


def _preload(stack: ExitStack, paths: Sequence[str]) -> None:
    """Import what every fork needs once, here, without the modules that are to be changed."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    sys.path.insert(0, str(ROOT))
    import hypothesis.configuration
    import numpy
    import pgvector.psycopg
    import psycopg
    import psycopg_pool
    import pydantic

    assert numpy, (pydantic, psycopg, psycopg_pool, pgvector.psycopg)
    hypothesis.configuration.set_hypothesis_home_dir(stack.enter_context(tempfile.TemporaryDirectory()))
    if set(paths) & set(DATABASE):
        from tests.conftest import QUICK, EmbeddedPostgres, quick_folder

        server = EmbeddedPostgres(quick_folder() / f"gainstage-tests-{os.getuid()}", settings=QUICK).start()
        stack.callback(server.stop)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="paths of modules; all by default")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th mutant")
    parser.add_argument(
        "--first", type=int, default=0, metavar="K", help="of these, begin with mutant K (0 to N-1): K runs make a whole"
    )
    parser.add_argument("--again", type=Path, metavar="FILE", help="only those that survived by what an earlier run printed")
    args = parser.parse_args()
    paths = args.modules or list(MODULES)
    if os.geteuid() == 0:
        parser.error("a mutant may do anything that its user may: not as root")
    if unknown := [p for p in paths if p not in MODULES]:
        parser.error(f"not in MODULES: {', '.join(unknown)}")
    before = None if args.again is None else args.again.read_text("utf-8").splitlines()

    def chosen(every: list[Mutant]) -> list[Mutant]:
        some = every if before is None else [mutant for mutant in every if survived(mutant) in before]
        return some[args.first :: args.every]

    os.chdir(ROOT)
    reasons, open_ones = explained(), 0
    with ExitStack() as stack:
        _preload(stack, paths)
        for path in paths:
            began = time.monotonic()
            score = look(path, MODULES[path], chosen, lambda line: print(line, flush=True))
            left = [m for m in score.survivors if m.key not in reasons]
            stale = {key for key in reasons if key.startswith(f"{path} ")} - {m.key for m in mutants(path)}
            for key in sorted(stale):
                print(f"  explained, and no mutant any more: {key}")
            open_ones += len(left) + len(stale)
            print(
                f"{path}: {score.killed} of {score.all} killed ({score.slow} by the time limit), "
                f"{len(score.survivors) - len(left)} explained, {len(left)} open, {time.monotonic() - began:.0f} s",
                flush=True,
            )
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(main())
