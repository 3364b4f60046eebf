"""Batches of an engine wait for recordings that can still come, and for no others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from engine_kit import make_engine

from gainstage.engine.errors import Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.speech.listening import Listening
from gainstage.engine.speech.recogniser import CALLS, UNDER_WAY_S, under_way_s
from gainstage.engine.store.database import Database
from tests.queue_kit import until

PATIENCE_S = 60.0


@pytest.fixture
def context(database: Database, home: Path) -> Iterator[EngineContext]:
    """The parts of an engine with the bundled models, and batches that wait for minutes unless they need not."""
    engine = make_engine(database, home, embed__model="demo:text", asr__model="demo:asr", embed__linger=10, workers__embed=3)
    engine.context.models.load(["embed"])
    engine.context.texts.resize(linger_s=600.0)
    yield engine.context
    engine.close()


class Recording:
    """A recording inside a stage, until it is let go."""

    def __init__(self, context: EngineContext, stage: str, error: Exception | None = None) -> None:
        self.inside, self.go, self.error = threading.Event(), threading.Event(), error
        self.context, self.stage = context, stage
        self.thread = threading.Thread(target=self._pass, daemon=True)
        self.thread.start()
        assert self.inside.wait(PATIENCE_S)

    def _pass(self) -> None:
        try:
            with self.context.stages[self.stage].enter(f"in-{self.stage}", token=CancelToken()):
                self.inside.set()
                assert self.go.wait(PATIENCE_S)
                if self.error is not None:
                    raise self.error
        except Permanent:
            pass

    def leave(self) -> None:
        self.go.set()
        self.thread.join(PATIENCE_S)


@contextmanager
def embedding(context: EngineContext, *texts: str) -> Iterator[Future[int]]:
    """A recording whose passages are on their way; the number of vectors."""

    def submit() -> int:
        with context.stages["embed"].enter("embedding", token=CancelToken()):
            return len(context.texts.submit(list(texts), token=CancelToken()))

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(submit)


@pytest.mark.parametrize("elsewhere", [(), ("fetch",), ("fetch", "decode"), ("store",)])
def test_passages_go_at_once_when_nobody_can_join_them(context: EngineContext, elsewhere: tuple[str, ...]) -> None:
    others = [Recording(context, stage) for stage in elsewhere]
    with embedding(context, "one", "two") as done:
        assert done.result(PATIENCE_S) == 2
    for other in others:
        other.leave()


@pytest.mark.parametrize("stage", ["transcribe", "diarize", "identify", "segment"])
def test_passages_wait_for_a_recording_on_its_way_until_it_fails(context: EngineContext, stage: str) -> None:
    other = Recording(context, stage, Permanent("broken", cause="test"))
    with embedding(context, "one") as done:
        until(lambda: context.texts.view().waiting == 1)
        assert not done.done()
        other.leave()
        assert done.result(PATIENCE_S) == 1


def test_passages_do_not_wait_for_a_recording_that_finds_no_slot_beside_them(context: EngineContext) -> None:
    context.stages["embed"].resize(1)
    other = Recording(context, "segment")
    with embedding(context, "one") as done:
        assert done.result(PATIENCE_S) == 1
    other.leave()


def test_passages_do_not_wait_for_a_held_stage(context: EngineContext) -> None:
    other = Recording(context, "diarize")
    context.stages["diarize"].pause()
    with embedding(context, "one") as done:
        assert done.result(PATIENCE_S) == 1
    context.stages["diarize"].resume()
    other.leave()


def test_passages_of_several_recordings_share_a_call(context: EngineContext) -> None:
    other = Recording(context, "segment")
    with embedding(context, "one") as first:
        until(lambda: context.texts.view().waiting == 1)
        with embedding(context, "two") as second:
            until(lambda: context.texts.view().waiting == 2)
            other.leave()
            context.texts.wake()
            assert (first.result(PATIENCE_S), second.result(PATIENCE_S)) == (1, 1)
    assert context.texts.view().batches == 1


def test_a_recogniser_on_a_cpu_gets_calls_that_pay_and_little_to_do_again(context: EngineContext) -> None:
    assert context.windows.view().budget == context.settings.asr.batch
    context.models.load(["asr"])
    assert context.windows.view().budget == 1
    context.fit_windows()  # as when asr.batch is changed
    assert context.windows.view().budget == 1
    assert under_way_s(context.models.transcriber().listening) <= 30


def test_every_call_of_a_cpu_may_hold_a_window_of_the_same_recording() -> None:
    assert under_way_s(Listening(window_s=30.0)) == CALLS * 30.0
    assert under_way_s(Listening(window_s=10.0)) == UNDER_WAY_S == 30.0
