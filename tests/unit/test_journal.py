"""The journal: numbered events in a ring, harmless texts, JSON Lines that survive rotation, crashes and full disks."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.engine.telemetry.journal import Journal, clean_lines
from gainstage.engine.telemetry.journal_file import JournalFile
from gainstage.engine.views.events import Event
from gainstage.engine.views.passes import BatchRecord, StageSpan

PATIENCE_S = 60.0


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def everything(folder: Path) -> list[dict[str, Any]]:
    """All files, oldest first."""
    older = sorted(folder.glob("journal.*.jsonl"), key=lambda p: -int(p.suffixes[0][1:]))
    return [tree for path in (*older, folder / "journal.jsonl") if path.exists() for tree in lines(path)]


def test_events_are_numbered_and_read_after_a_cursor() -> None:
    journal = Journal(engine="e1", wall=lambda: 12.5)
    for n in range(5):
        journal.log("info", f"line {n}", stage="asr", recording="rec", n=n)
    first = journal.after(0, 2)
    assert [e.text for e in first.items] == ["line 0", "line 1"]
    assert (first.cursor, first.dropped) == (2, 0)
    rest = journal.after(first.cursor)
    assert [e.seq for e in rest.items] == [3, 4, 5]
    event = rest.items[-1]
    assert (event.wall, event.level, event.kind, event.stage, event.recording) == (12.5, "info", "log", "asr", "rec")
    assert (event.engine, event.thread, event.data) == ("e1", threading.current_thread().name, {"n": 4})
    assert journal.after(5) == type(rest)((), 5, 0)
    assert journal.last == 5


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 20), st.lists(st.one_of(st.just("emit"), st.integers(0, 7)), max_size=80))
def test_a_reader_gets_every_event_once_or_is_told_how_many_it_missed(capacity: int, steps: list[str | int]) -> None:
    journal = Journal(capacity=capacity)
    cursor, seen, dropped = 0, [], 0
    for step in [*steps, 100]:
        if isinstance(step, str):
            journal.log("info", "x")
        else:
            events = journal.after(cursor, step)
            seen += [e.seq for e in events.items]
            dropped += events.dropped
            cursor = events.cursor
            assert len(seen) + dropped == cursor
    assert seen == sorted(set(seen))
    assert len(seen) + dropped == journal.last


def test_a_cursor_of_an_earlier_engine_reads_from_the_start() -> None:
    journal = Journal()
    journal.log("info", "fresh")
    assert [e.text for e in journal.after(999).items] == ["fresh"]


def test_texts_tracebacks_and_data_are_made_harmless() -> None:
    journal = Journal()
    try:
        raise ValueError("bad \x1b]0;title\x07 name\u202e")
    except ValueError as error:
        event = journal.log(
            "error",
            "hostile \x1b[31mred\x1b[0m\nline",
            error=error,
            title="x\x07y",
            bad=float("nan"),
            vector=np.array([1.0, np.inf]),
            path=Path("/a/b"),
            deep={"k\x00": ["\x1b[2J"]},
        )
    assert event.text == "hostile red line"
    assert event.data == {"title": "xy", "bad": None, "vector": [1.0, None], "path": "/a/b", "deep": {"k": [""]}}
    assert event.traceback is not None
    assert "\x1b" not in event.traceback
    assert "\u202e" not in event.traceback
    assert '\n  File "' in event.traceback
    emitted = journal.emit(Event(0, 0.0, "error", "failure", "a\tb", traceback="  x\x1b[1m"))
    assert (emitted.seq, emitted.text, emitted.traceback) == (2, "a b", "  x")
    assert emitted.wall > 0
    assert clean_lines("\n".join(map(str, range(100)))).startswith("40\n")


def test_spans_and_batches_become_events() -> None:
    journal = Journal()
    journal.span(StageSpan("asr", "rec", 1, 2.0, 0.5, 3.25, "ok", None, 99.0, 60.0))
    journal.span(StageSpan("asr", "rec", None, 2.0, 0.0, None, "cancelled", "drain", 99.0))
    journal.span(StageSpan("asr", "rec", 0, 0.0, 0.0, 1.0, "failed", "out of memory", 99.0))
    journal.batch(BatchRecord("voices", 12, 48.0, 120.0, "s of audio", "age", 0.5, 0.25, "ok", None, 0.0, 99.0))
    ok, cancelled, failed, batch = journal.after(0).items
    assert (ok.kind, ok.level, ok.text, ok.stage) == ("stage", "debug", "asr ok in 3.25 s, waited 2.00 s", "asr")
    assert ok.data["paused_s"] == 0.5
    assert ok.data["slot"] == 1
    assert cancelled.text == "asr cancelled, waited 2.00 s: drain"
    assert failed.level == "warning"
    assert (batch.kind, batch.text) == ("batch", "voices ok, 12 items in 0.250 s (age)")
    assert batch.data["cost"] == 48.0


def test_the_file_holds_every_event_in_order_over_its_rotations(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "logs", max_bytes=2000, files=100)
    threads = [threading.Thread(target=lambda k=k: [journal.log("info", f"{k} é {n}", n=n) for n in range(50)]) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.flush()
    assert [tree["seq"] for tree in everything(tmp_path / "logs")] == list(range(1, 201))
    journal.log("info", "last words")
    journal.close()
    journal.close()
    trees = everything(tmp_path / "logs")
    assert trees[-1]["text"] == "last words"
    assert all(path.stat().st_size <= 2000 for path in (tmp_path / "logs").iterdir())
    assert set(trees[0]) == {"seq", "wall", "level", "kind", "text", "thread", "data"}
    journal.log("info", "in memory only")
    assert journal.last == 202


def test_only_the_newest_files_are_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=500, files=3)
    for n in range(100):
        journal.log("info", f"line {n}")
    journal.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["journal.1.jsonl", "journal.2.jsonl", "journal.jsonl"]
    trees = everything(tmp_path)
    assert [tree["seq"] for tree in trees] == list(range(101 - len(trees), 101))


def test_a_line_cut_off_by_a_crash_is_closed_before_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b'{"seq":1}\n{"seq":2,"te')
    journal = Journal(tmp_path)
    journal.log("info", "after the crash")
    journal.close()
    before, cut, after = (tmp_path / "journal.jsonl").read_bytes().splitlines()
    assert json.loads(before) == {"seq": 1}
    assert cut == b'{"seq":2,"te'
    assert json.loads(after)["text"] == "after the crash"


def test_a_disk_that_refuses_costs_no_event_once_it_takes_them_again(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.write_text("a file where the folder should be")
    journal = Journal(folder)
    journal.log("info", "first")
    journal.flush()
    assert journal.trouble is not None
    assert [e.text for e in journal.after(0).items] == ["first"]
    folder.unlink()
    journal.log("info", "second")
    journal.close()
    assert journal.trouble is None
    assert [tree["text"] for tree in everything(folder)] == ["first", "second"]


def test_a_write_that_fails_half_way_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = JournalFile(tmp_path, 10_000, 2)
    file.write([b"whole\n"])
    real, room = os.write, [3]

    def short(handle: int, data: bytes) -> int:
        if room[0] == 0:
            raise OSError(28, "No space left on device")
        done = real(handle, data[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="No space"):
        file.write([b"another line\n"])
    monkeypatch.undo()
    file.write([b"third\n"])
    file.close()
    assert (tmp_path / "journal.jsonl").read_bytes() == b"whole\nthird\n"


def test_what_left_the_ring_before_the_disk_took_it_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.write_text("in the way")
    journal = Journal(folder, capacity=10)
    journal.log("info", "first")
    journal.flush()
    for n in range(40):
        journal.log("info", f"line {n}")
    folder.unlink()
    journal.close()
    trees = everything(folder)
    lost = [tree for tree in trees if tree["kind"] == "lost"]
    written = [tree for tree in trees if tree["kind"] == "log"]
    assert sum(int(tree["text"].split()[0]) for tree in lost) + len(written) == 41
    assert written[-1]["text"] == "line 39"


def test_an_echo_hears_every_event_until_its_terminal_is_gone() -> None:
    journal = Journal()
    heard: list[str] = []

    def listen(event: Event) -> None:
        if event.text == "closed":
            raise BrokenPipeError
        heard.append(event.text)

    journal.echo(listen)
    for text in ("a", "closed", "b"):
        journal.log("info", text)
    assert heard == ["a"]
    assert journal.last == 3


def test_journal_threads_end_with_the_journal(tmp_path: Path) -> None:
    before = threading.active_count()
    journals = [Journal(tmp_path / str(n)) for n in range(5)]
    assert threading.active_count() == before + 5
    for journal in journals:
        journal.close()
    assert threading.active_count() == before
    assert not any(tmp_path.iterdir()), "nothing to say, nothing written"
