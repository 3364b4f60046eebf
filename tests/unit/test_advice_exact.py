"""Each rule of the advice by itself, at the figures where its answer changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gainstage.config.settings import SPECS
from gainstage.engine.advisor import advice as rules
from gainstage.engine.advisor import forecast
from gainstage.engine.advisor.advice import Case
from gainstage.engine.views.snapshot import Advice, Bottleneck, Snapshot
from tests.advice_kit import case, gpu, host, new, run, stage
from tests.frames_kit import GIB, busy_frame

Rule = Callable[[Case], Advice | None]


@pytest.fixture(scope="module")
def busy() -> Snapshot:
    return busy_frame()


# -- what the rules read ----------------------------------------------------------------------------------------------------


def test_a_setting_that_is_not_given_has_its_default(busy: Snapshot) -> None:
    assert Case([busy], Bottleneck(None, "none", ""), {}).value("asr.batch") == SPECS["asr.batch"].default
    assert case(busy, watch__memory_limit=80).memory_limit == 0.8


def test_the_fullest_gpu_is_that_with_the_largest_share_in_use(busy: Snapshot) -> None:
    card = busy.devices[0]
    empty = tuple(replace(card, index=n, memory_used=0, memory_total=total) for n, total in enumerate((80, 24)))
    found = case(replace(busy, devices=empty)).fullest
    assert found is not None
    assert found.index == 0, "both are empty: the first"
    half = tuple(replace(card, index=n, memory_used=used, memory_total=80) for n, used in enumerate((10, 40, 20)))
    found = case(replace(busy, devices=half)).fullest
    assert found is not None
    assert found.index == 1
    sizes = tuple(
        replace(card, index=n, memory_used=used, memory_total=total) for n, (used, total) in enumerate(((30, 40), (40, 80)))
    )
    found = case(replace(busy, devices=sizes)).fullest
    assert found is not None
    assert found.index == 0, "the smaller one is fuller"
    without = replace(card, index=2, memory_total=0)
    assert case(replace(busy, devices=(without,))).fullest is None


def test_a_slot_may_take_what_the_engine_has_over_all_its_slots(busy: Snapshot) -> None:
    assert forecast.slot_memory(busy) == 6 * GIB  # 30 GiB over two of transcribe and three of diarize
    two = replace(busy, devices=(*busy.devices, replace(busy.devices[0], index=1, memory_ours=50 * GIB)))
    assert forecast.slot_memory(two) == 10 * GIB
    assert forecast.slot_memory(gpu(busy, memory_ours=None)) is None
    assert forecast.slot_memory(replace(busy, stages=())) is None


def test_reasons_to_be_slow_are_those_that_harm(busy: Snapshot) -> None:
    assert rules.slowed(gpu(busy, throttle=("power cap", "thermal", "sync boost", "brake"))) == ("thermal", "brake")
    assert rules.slowed(gpu(busy, throttle=None)) == ()


# -- one rule at a time -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, 4), ({"sm": 0.599}, 4), ({"sm": 0.6}, 3), ({"sm": 0.849}, 3), ({"sm": 0.85}, None), ({"sm": None, "sm_history": ()}, 3),
        ({"throttle": ("thermal",)}, None), ({"throttle": ("power cap",)}, 4),
    ],
)  # fmt: skip
def test_a_gpu_stage_gets_slots_by_the_share_of_the_gpu(busy: Snapshot, change: dict[str, Any], wanted: int | None) -> None:
    assert new(rules.more_gpu_slots(case(gpu(busy, **change)))) == wanted


@pytest.mark.parametrize(("cpu", "wanted"), [(None, 4), (0.799, 4), (0.8, None)])
def test_a_gpu_stage_gets_slots_while_the_cpu_has_room(busy: Snapshot, cpu: float | None, wanted: int | None) -> None:
    assert new(rules.more_gpu_slots(case(host(busy, cpu=cpu)))) == wanted


@pytest.mark.parametrize(("used", "wanted"), [(61, 4), (62, 3), (67, 3), (68, None)])
def test_a_gpu_stage_gets_as_many_slots_as_fit_below_the_limit(busy: Snapshot, used: int, wanted: int | None) -> None:
    """A slot takes 6 GiB, the limit is 92.5 % of 80: 74 GiB are too many."""
    assert new(rules.more_gpu_slots(case(gpu(busy, memory_used=used * GIB), watch__memory_limit=92.5))) == wanted


def test_nothing_is_known_of_the_memory_where_it_cannot_be_read(busy: Snapshot) -> None:
    for unknown in ({"memory_used": None}, {"memory_ours": None}, {"memory_total": None}):
        assert new(rules.more_gpu_slots(case(gpu(busy, **unknown)))) == 4
        assert rules.smaller_asr_batch(case(gpu(busy, sm=0.99, **unknown))) is None


def test_other_stages_and_other_bottlenecks_get_no_slot_on_the_gpu(busy: Snapshot) -> None:
    assert rules.more_gpu_slots(case(busy, of="decode")) is None
    assert rules.more_gpu_slots(case(busy, of="embed")) is None
    assert rules.more_gpu_slots(case(busy, kind="source")) is None
    diarize = rules.more_gpu_slots(case(busy, of="diarize"))
    assert diarize is not None
    assert (diarize.id, diarize.key, diarize.old, diarize.new) == ("more-diarize", "workers.diarize", 3, 5)


def test_slots_end_at_the_range_of_the_setting(busy: Snapshot) -> None:
    most = int(SPECS["workers.transcribe"].high or 0)
    assert new(rules.more_gpu_slots(case(busy, workers__transcribe=most - 1))) == most
    assert rules.more_gpu_slots(case(busy, workers__transcribe=most)) is None


def test_the_evidence_of_room_on_the_gpu(busy: Snapshot) -> None:
    found = rules.more_gpu_slots(case(busy))
    assert found is not None
    assert found.evidence == "SM 55%, memory 44% → about 59%, CPU 44%"
    assert found.text == "workers.transcribe 2 → 4"
    blind = rules.more_gpu_slots(case(host(gpu(busy, sm=None, sm_history=(), memory_used=None), cpu=None)))
    assert blind is not None
    assert blind.evidence == ""


@pytest.mark.parametrize(
    ("sm", "used", "wanted"), [(0.95, 69, 12), (0.9499, 69, None), (0.95, 68, None), (None, 69, None), (1.0, 79, 12)]
)
def test_a_full_gpu_with_full_memory_gets_a_smaller_batch(busy: Snapshot, sm: float | None, used: int, wanted: int | None) -> None:
    full = gpu(busy, sm=sm, memory_used=used * GIB)
    found = rules.smaller_asr_batch(case(full, watch__memory_limit=92.5, asr__batch=16))
    assert new(found) == wanted
    if found is not None:
        assert found.evidence == f"SM {sm:.0%}, memory nearly full"
    least = int(SPECS["asr.batch"].low or 0)
    assert rules.smaller_asr_batch(case(full, asr__batch=least, watch__memory_limit=92.5)) is None


@pytest.mark.parametrize(("sm", "of", "holds"), [(0.95, "diarize", True), (0.9499, "diarize", False), (1.0, "decode", False)])
def test_a_full_gpu_is_the_ceiling_of_its_stages(busy: Snapshot, sm: float, of: str, holds: bool) -> None:
    found = rules.gpu_ceiling(case(gpu(busy, sm=sm), of=of))
    assert (found is not None) is holds
    if found is not None:
        assert (found.id, found.confidence, found.key, found.evidence) == ("gpu-bound", "high", None, "SM 95%")
    assert rules.gpu_ceiling(case(gpu(busy, sm=None, sm_history=()), of=of)) is None


@pytest.mark.parametrize(
    ("of", "cpu", "wanted"),
    [
        ("decode", 0.799, 3), ("decode", 0.8, None), ("decode", None, 3), ("transcribe", 0.1, None), ("fetch", 0.1, None),
        ("store", 0.1, None), (None, 0.1, None),
    ],
)  # fmt: skip
def test_a_cpu_stage_gets_a_slot_while_the_cpu_has_room(
    busy: Snapshot, of: str | None, cpu: float | None, wanted: int | None
) -> None:
    found = rules.more_cpu_slots(case(host(busy, cpu=cpu), of=of))
    assert new(found) == wanted
    if found is not None:
        assert found.evidence == ("" if cpu is None else "CPU 80%")
    assert rules.more_cpu_slots(case(host(busy, cpu=cpu), of=of, kind="source")) is None


@pytest.mark.parametrize(
    ("of", "cpu", "cores", "engine", "id"),
    [
        ("decode", 0.9, 10, 7.0, "cpu-others"), ("decode", 0.9, 10, 7.5, "cpu-bound"), ("decode", 0.899, 10, 9.0, None),
        ("decode", None, 10, 9.0, None), ("decode", 0.9, None, 9.0, "cpu-full"), ("fetch", 0.99, 10, 9.0, None),
        ("transcribe", 0.9, 8, 7.2, "cpu-bound"),
    ],
)  # fmt: skip
def test_a_full_cpu_is_the_ceiling_or_somebody_elses(
    busy: Snapshot, of: str, cpu: float | None, cores: int | None, engine: float, id: str | None
) -> None:
    alone = host(replace(busy, devices=()), cpu=cpu, cores=cores, engine_cpu=engine)
    found = rules.cpu_ceiling(case(alone, of=of))
    assert (None if found is None else found.id) == id
    assert rules.cpu_ceiling(case(replace(alone, devices=busy.devices), of=of)) is None, "the GPU does the work"
    assert rules.cpu_ceiling(case(alone, of=of, kind="source")) is None


def test_the_words_of_a_full_cpu(busy: Snapshot) -> None:
    alone = host(replace(busy, devices=()), cpu=0.9, cores=10, engine_cpu=6.0)
    others = rules.cpu_ceiling(case(alone))
    assert others is not None
    assert others.text == "Something else on this machine takes 30% of its CPU: end it, or move the engine"
    assert (others.evidence, others.confidence) == ("CPU 90%: engine 60%, others 30%", "high")
    unknown = rules.cpu_ceiling(case(host(alone, engine_cpu=None)))
    assert unknown is not None
    assert (unknown.evidence, unknown.confidence) == ("CPU 90%", "low")


def test_hosts_that_do_not_complain_are_asked_more(busy: Snapshot) -> None:
    assert new(rules.more_fetch_slots(case(busy, of="fetch", workers__fetch=8))) == 10
    most = int(SPECS["workers.fetch"].high or 0)
    assert rules.more_fetch_slots(case(busy, of="fetch", workers__fetch=most)) is None
    assert rules.more_fetch_slots(case(busy, of="fetch", kind="source")) is None
    assert rules.more_fetch_slots(case(busy, of="decode")) is None
    assert rules.more_fetch_slots(case(run(busy, throttled_10m=1), of="fetch")) is None


def test_hosts_that_complain_are_asked_less(busy: Snapshot) -> None:
    found = rules.fewer_fetch_slots(case(run(busy, throttled_10m=3), workers__fetch=9))
    assert found is not None
    assert (found.new, found.evidence) == (6, "3 throttled requests in 10 m")
    assert found.text == "workers.fetch 9 → 6, or set fetch.proxy"
    assert rules.fewer_fetch_slots(case(run(busy, throttled_10m=2), workers__fetch=9)) is None
    assert rules.fewer_fetch_slots(case(run(busy, throttled_10m=9), workers__fetch=1)) is None


@pytest.mark.parametrize(("depth", "p95", "wanted"), [(1, 0.101, 3), (0, 0.5, None), (1, 0.1, None), (1, None, None)])
def test_work_that_waits_for_a_slow_database_gets_a_slot(busy: Snapshot, depth: int, p95: float | None, wanted: int | None) -> None:
    held = replace(stage(busy, "store", depth=depth), database=replace(busy.database, latency_p95_s=p95))
    found = rules.more_store_slots(case(held, workers__store=2))
    assert new(found) == wanted
    if found is not None:
        assert found.evidence == "1 wait, database p95 101 ms"
        assert found.text == "workers.store 2 → 3, or see whether an index is being built"
    gone = replace(held, stages=tuple(s for s in held.stages if s.name != "store"))
    assert rules.more_store_slots(case(gone, workers__store=2)) is None
    assert rules.more_store_slots(case(held, workers__store=int(SPECS["workers.store"].high or 0))) is None


def voices(frame: Snapshot, out_of_memory: int, budget: float) -> Snapshot:
    changed = tuple(replace(b, out_of_memory=out_of_memory, budget=budget) if b.name == "voices" else b for b in frame.batchers)
    return replace(frame, batchers=changed)


def test_voices_that_ran_out_of_memory_twice_get_a_smaller_batch(busy: Snapshot) -> None:
    def found(*frames: tuple[int, float], setting: float = 120.0) -> Advice | None:
        return rules.smaller_voice_batch(case(*(voices(busy, *frame) for frame in frames), voice__batch_seconds=setting))

    told = found((0, 120.0), (2, 60.0))
    assert told is not None
    assert (told.new, told.evidence) == (60.0, "out of memory 2 times, 60 s fits now")
    assert new(found((2, 60.0))) == 60.0, "of one frame all that it counted"
    assert found((1, 60.0)) is None
    assert found((0, 120.0), (1, 60.0)) is None
    assert found((1, 120.0), (2, 60.0)) is None, "once in this time"
    assert found((1, 120.0), (3, 60.0)) is not None
    assert found((0, 120.0), (2, 60.0), setting=119.0) is None, "lowered since"
    assert new(found((0, 45.0), (2, 22.5), setting=45.0)) == 22.5, "seconds need not be whole"
    assert rules.smaller_voice_batch(case(replace(busy, batchers=()))) is None
    low = float(SPECS["voice.batch_seconds"].low or 0)
    assert found((0, low), (2, low), setting=low) is None


@pytest.mark.parametrize(
    ("usual", "clusters", "split", "holds"),
    [(0.2, 20, 9, True), (0.2, 20, 8, False), (0.2, 19, 19, False), (None, 100, 90, False), (0.0, 100, 90, False)],
)
def test_more_splits_than_twice_the_usual_are_told(
    busy: Snapshot, usual: float | None, clusters: int, split: int, holds: bool
) -> None:
    odd = replace(busy, decisions=replace(busy.decisions, split_share_24h=usual, clusters=clusters, split=split, grey=4))
    found = rules.splits_moved(case(odd))
    assert (found is not None) is holds
    if found is not None:
        assert found.evidence == "45% of clusters split, 20% over the last day; 4 near a limit"
        assert (found.key, found.confidence) == (None, "medium")


def test_a_gpu_that_slows_itself_is_told_each_reason_once(busy: Snapshot) -> None:
    two = replace(busy, devices=busy.devices * 2)
    found = rules.hardware_throttles(case(gpu(two, throttle=("thermal", "power cap"))))
    assert found is not None
    assert (found.id, found.evidence, found.confidence) == ("hardware-throttle", "thermal", "high")
    assert rules.hardware_throttles(case(busy)) is None


@pytest.mark.parametrize(("done", "sure"), [(9, "low"), (10, "medium"), (49, "medium"), (50, "high")])
def test_confidence_grows_with_what_is_finished(busy: Snapshot, done: int, sure: str) -> None:
    found = rules.more_gpu_slots(case(run(busy, finished_10m=done)))
    assert found is not None
    assert found.confidence == sure
