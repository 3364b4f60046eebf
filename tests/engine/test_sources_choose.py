"""What a run would take: selection against the database, holds and rechecks, the plan."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gainstage.config.settings import Settings, changed
from gainstage.engine.desk.scripted.desk import ScriptedDesk
from gainstage.engine.errors import Cancelled, Postponed, Throttled
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.queue.backlog import Backlog, Enqueued
from gainstage.engine.sources.choice import Choice, Left
from gainstage.engine.sources.choose import TWICE, choose
from gainstage.engine.sources.enqueue import enqueue, hold
from gainstage.engine.sources.hosts import Hosts
from gainstage.engine.sources.plan import plan_run, polite_time
from gainstage.engine.sources.selection import Selection
from gainstage.engine.sources.ytdlp_list import video_of
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.terms import Recording, Status
from tests.engine.store_kit import set_status
from tests.http_server import Server, running
from tests.queue_kit import column, job_queue, store
from tests.unit.test_sources_listing import serve_feed

LOCAL = changed(changed(Settings(), "fetch.allow_private", True), "fetch.sleep", 0)


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty episodes, newest first, of one to twenty minutes."""
    lines = [
        {"url": f"https://e.org/{n}.mp3", "title": f"Talk {n}", "duration": 60 * n, "published": f"2026-03-{21 - n:02d}"}
        for n in range(1, 21)
    ]
    file = tmp_path / "talks.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def chosen(database: Database, source: object, **options: Any) -> Choice:
    return choose([str(source)], LOCAL, database, Selection.of(options), token=CancelToken())


def titles(choice: Choice) -> list[int]:
    return [int(r.title.split()[1]) for r in choice.taken]


def test_the_limit_counts_what_is_not_stored_yet(database: Database, source: Path) -> None:
    queue = job_queue(database)
    enqueue(queue, chosen(database, source, limit=3))
    claim = queue.take()
    assert claim
    store(database, queue, claim)
    choice = chosen(database, source, limit=3)
    assert titles(choice) == [2, 3, 4]
    assert choice.reasons == (("stored already", 1),)
    assert enqueue(queue, choice) == Enqueued(added=1, known=2)
    assert titles(chosen(database, source, limit=1, force=True)) == [1]


def test_what_failed_is_not_taken_again_unasked(database: Database, source: Path) -> None:
    backlog = Backlog(database)
    enqueue(backlog, chosen(database, source, limit=2))
    first, second = (r.id for r in chosen(database, source, limit=2).taken)
    set_status(RecordingStore(database), first, Status.FAILED, cause="no audio stream")
    backlog.skip([second])
    choice = chosen(database, source, limit=2)
    assert titles(choice) == [3, 4]
    assert sorted(reason for reason, _ in choice.reasons) == [
        "failed already: no audio stream",
        "skipped already: skipped by the operator",
    ]
    assert titles(chosen(database, source, limit=2, force=True)) == [1, 2]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"limit": 2, "order": "oldest"}, [20, 19]),
        ({"limit": 2, "order": "newest"}, [1, 2]),
        ({"since": "2026-03-18"}, [1, 2, 3]),
        ({"until": "2026-03-03"}, [18, 19, 20]),
        ({"min_duration": 1080, "max_duration": 1140}, [18, 19]),
        ({"match": "talk 1$|talk 7"}, [1, 7]),
        ({"skip_shorts": True, "limit": 1}, [1]),
    ],
)
def test_selections(database: Database, source: Path, options: dict[str, Any], expected: list[int]) -> None:
    choice = chosen(database, source, **options)
    assert titles(choice) == expected
    if choice.seen == 20:
        assert len(choice.left) == 20 - len(expected)


def test_a_limit_reads_no_further_than_it_must(database: Database, server: Server) -> None:
    url = serve_feed(server, pages=3)
    choice = choose([url], LOCAL, database, Selection(limit=5), token=CancelToken())
    assert [r.title for r in choice.taken] == [f"Episode {n}" for n in range(5)]
    assert server.hits["/feed"] == 2, "once to see what it is, once for the first page"


def test_the_same_recording_from_two_sources_is_taken_once(database: Database, source: Path) -> None:
    choice = choose([str(source), str(source)], LOCAL, database, Selection(), token=CancelToken())
    assert (len(choice.taken), choice.seen, choice.reasons) == (20, 40, ((TWICE, 20),))


def test_a_feed_is_taken_once_and_then_only_what_is_new(database: Database, server: Server) -> None:
    backlog = Backlog(database)
    assert enqueue(backlog, chosen(database, serve_feed(server, pages=2))) == Enqueued(added=40)
    assert enqueue(backlog, chosen(database, serve_feed(server, pages=3))) == Enqueued(added=20, known=40)


def test_listing_a_feed_is_counted_and_its_throttle_opens_the_breaker(database: Database, server: Server) -> None:
    url = serve_feed(server, pages=3)
    chosen(database, url)
    hosts = Hosts(database, lambda: LOCAL.fetch)
    assert [(view.host, view.used) for view in hosts.views()] == [("127.0.0.1", 4)]
    server.serve("/feed", lambda r: r.answer(429, Retry_After="500"))
    with pytest.raises(Throttled):
        chosen(database, url)
    asked = server.hits["/feed"]
    with pytest.raises(Postponed, match="cooling down"):
        chosen(database, url)
    assert server.hits["/feed"] == asked


def test_progress_is_told_and_a_cancel_ends_the_listing(database: Database, source: Path) -> None:
    token, seen = CancelToken(), []

    def progress(listed: int, taken: int) -> None:
        seen.append((listed, taken))
        token.cancel("enough")

    with pytest.raises(Cancelled):
        choose([str(source)], LOCAL, database, Selection(match="1"), token=token, progress=progress)
    assert seen == [(8, 1)]


def members_only(id: str = "a", reason: str = "members-only") -> Choice:
    recording = Recording(f"yt-{id}", f"youtube:{id}", f"https://www.youtube.com/watch?v={id}", "T\0itle", extra={"fetch": "ytdlp"})
    return Choice((), (Left(recording.title, reason, recording, refused=True),), 1)


def test_refused_ones_are_kept_with_their_reason_counted_and_retryable(database: Database) -> None:
    backlog = Backlog(database)
    enqueue(backlog, members_only())
    enqueue(backlog, members_only("b", "private"))
    assert (column(database, "yt-a", "status"), column(database, "yt-a", "cause")) == ("skipped", "members-only")
    assert backlog.counts().skipped == 2
    enqueue(backlog, members_only(reason="upcoming"))
    assert column(database, "yt-a", "cause") == "upcoming", "the newest reason is shown"
    assert backlog.retry(["yt-a"]) == 1
    assert hold(database, members_only()) == 1
    assert column(database, "yt-a", "status") == "queued", "what was queued meanwhile is left alone"


def test_what_was_refused_is_taken_when_it_can_be_had(database: Database, tmp_path: Path) -> None:
    backlog = Backlog(database)
    enqueue(backlog, members_only("dQw4w9WgXcQ"))
    (tmp_path / "l.txt").write_text("https://www.youtube.com/watch?v=dQw4w9WgXcQ\n")
    choice = chosen(database, tmp_path / "l.txt", check="none")
    assert choice.recheck == ("yt-dQw4w9WgXcQ",)
    assert enqueue(backlog, choice) == Enqueued(requeued=1)
    assert column(database, "yt-dQw4w9WgXcQ", "status") == "queued"


def test_many_of_one_name_are_all_taken_whatever_their_digits(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gainstage.engine.sources.ids.HEX", 1)  # forty of one name cannot all have another first digit
    monkeypatch.setattr("gainstage.engine.sources.choose.apart", lambda id, key: f"{id}-{key[-12:]}")
    for n in range(40):
        (tmp_path / str(n)).mkdir()
        (tmp_path / str(n) / "audio.mp3").write_bytes(b"%d" % n)
    backlog = Backlog(database)
    assert enqueue(backlog, chosen(database, tmp_path, limit=15)) == Enqueued(added=15)
    choice = chosen(database, tmp_path)
    assert len({r.id for r in choice.taken}) == 40
    assert enqueue(backlog, choice) == Enqueued(added=25, known=15)
    assert [r.id for r in chosen(database, tmp_path).taken] == [r.id for r in choice.taken]


def test_a_renamed_file_keeps_the_id_it_was_taken_under(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "Morning talk.mp3"
    file.write_bytes(b"x")
    backlog = Backlog(database)
    enqueue(backlog, chosen(database, tmp_path))
    (id,) = (r.id for r in chosen(database, tmp_path).taken)
    assert id.startswith("morning-talk-")
    file.rename(tmp_path / "evening.mp3")
    set_status(RecordingStore(database), id, Status.FAILED, cause="no audio stream")
    choice = chosen(database, tmp_path, force=True)
    assert [r.id for r in choice.taken] == [id]
    assert enqueue(backlog, choice, force=True) == Enqueued(requeued=1)


# -- the plan ---------------------------------------------------------------------------------------------------------------


def test_a_plan_of_files_probes_their_length_and_needs_no_download(database: Database, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(8000)
        file.writeframes(bytes(16_000 * 30))
    (tmp_path / "broken.mp3").write_bytes(b"not audio at all")
    choice = chosen(database, tmp_path)
    plan = plan_run(choice.taken, LOCAL, database)
    assert (plan.recordings, plan.audio_s, plan.unknown, plan.downloads, plan.download_bytes) == (2, 60.0, 1, 0, None)
    assert "nothing measured here" in plan.left.basis
    assert plan.bottleneck in ("transcribe", "diarize")


def test_a_plan_takes_measured_service_times(database: Database, source: Path) -> None:
    queue = job_queue(database)
    enqueue(queue, chosen(database, source, limit=4))
    before = plan_run(chosen(database, source).taken, LOCAL, database)
    while claim := queue.take():
        store(database, queue, claim)
    spans = [
        {"stage": s, "start_wall": 0, "wait_s": 0, "service_s": 1.0, "outcome": "ok"} for s in ("fetch", "decode", "transcribe")
    ]
    with database.connection() as connection:
        connection.execute("update recording set duration = 1000, spans = %s where status = 'stored'", [json.dumps(spans)])
    after = plan_run(chosen(database, source).taken, LOCAL, database)
    assert after.left.basis.startswith("service times measured here; usual ones for diarize")
    assert before.left.left_s is not None
    assert after.left.left_s is not None
    assert after.left.left_s < before.left.left_s
    assert after.downloads == 16
    assert after.audio_s == sum(60 * n for n in range(5, 21))


def test_a_plan_knows_the_budget_of_its_host(database: Database, source: Path) -> None:
    rated = changed(LOCAL, "fetch.rate", 4)
    plan = plan_run(chosen(database, source).taken, rated, database)
    assert plan.bottleneck == "fetch.rate"
    assert plan.left.left_s == 4 * 3600
    many = [(r, 1.0) for r in chosen(database, source).taken]
    assert polite_time(many, 20) == 0.0
    assert polite_time(many, 19) == 3600.0


def test_a_plan_says_what_a_channel_costs_at_this_budget(database: Database) -> None:
    videos = [video_of(f"https://www.youtube.com/watch?v=vid{n:08d}") for n in range(1200)]
    long = plan_run([replace(v, duration=1800.0) for v in videos if v], Settings(), database)
    assert long.left.basis.endswith("; 1,200 videos: 5 h of downloading at fetch.rate 300/h")
    plan = plan_run([replace(v, duration=10.0) for v in videos if v], Settings(), database)
    assert plan.left.basis == "1,200 videos: 5 h of downloading at fetch.rate 300/h"
    assert plan.bottleneck == "fetch.rate"


def test_a_plan_knows_what_its_models_weigh(database: Database, source: Path) -> None:
    taken = chosen(database, source, limit=1).taken
    guessed = {need.role: need for need in plan_run(taken, LOCAL, database).models}
    assert set(guessed) == {"asr", "diarization", "voice", "embed"}
    assert guessed["asr"].bytes == 2 * 756_000_000, "half precision, as its card counts its parameters"
    assert not any(need.measured for need in guessed.values())
    frame = ScriptedDesk().snapshot()
    assert frame
    running = replace(frame, models=(replace(frame.models[0], role="asr", name=LOCAL.asr.model, memory=1_234),))
    measured = {need.role: need for need in plan_run(taken, LOCAL, database, running).models}
    assert (measured["asr"].bytes, measured["asr"].measured) == (1_234, True)
    odd = changed(LOCAL, "asr.model", "somebody/else")
    assert plan_run(taken, odd, database).models[0].bytes is None, "unknown is unknown"


def test_an_empty_plan_says_nothing_it_does_not_know(database: Database) -> None:
    plan = plan_run([], LOCAL, database)
    assert (plan.recordings, plan.left.left_s, plan.rtfx) == (0, None, None)
