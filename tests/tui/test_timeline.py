"""What a console keeps of the past: its ring of frames, how old the newest is, the frame it shows."""

from __future__ import annotations

from dataclasses import replace

from gainstage.engine.views.snapshot import SCHEMA, Snapshot
from gainstage.tui.console.ring import BLOCK, Ring
from gainstage.tui.console.timeline import Timeline
from gainstage.tui.state.frame import Contact, SnapshotAge, contact_of


def test_ring_gives_back_what_it_was_given(story: tuple[Snapshot, ...]) -> None:
    ring = Ring()
    assert all(ring.add(s) for s in story)
    assert len(ring) == len(story) > 2 * BLOCK
    for s in (story[0], story[BLOCK - 1], story[BLOCK], story[77], story[-1]):
        assert ring.at(s.wall + 0.3) == s
    assert ring.at(0.0) == story[0]
    assert ring.bytes / len(ring) < 5000


def test_ring_keeps_one_a_second_and_forgets_the_oldest(story: tuple[Snapshot, ...]) -> None:
    ring = Ring(seconds=60)
    for s in story:
        ring.add(s)
        assert not ring.add(replace(s, seq=s.seq + 1, wall=s.wall + 0.2))
    assert ring.walls()[0] > story[-1].wall - 60 - 2 * BLOCK
    assert ring.step(story[-1].wall, -1) == story[-2].wall
    assert ring.step(story[-1].wall, 10) == story[-1].wall
    assert ring.step(story[-1].wall, -(10**6)) == ring.walls()[0]


def test_ring_takes_older_frames_before_its_own(story: tuple[Snapshot, ...]) -> None:
    ring = Ring()
    for s in story[100:]:
        ring.add(s)
    assert ring.prepend(story[:120]) == 100
    assert ring.walls() == [s.wall for s in story]
    assert ring.at(story[42].wall) == story[42]


def test_an_empty_ring_has_nothing() -> None:
    assert Ring().at(1.0) is None
    assert Ring().step(1.0, -1) is None


def test_age_counts_from_the_last_move_whatever_the_clocks_say(story: tuple[Snapshot, ...]) -> None:
    age = SnapshotAge()
    first = story[5]
    assert age.of(None, 0.0) is None
    assert age.of(first, first.wall + 900) == 900, "a row some engine left behind"
    assert age.of(story[6], first.wall + 901) == 0, "it moves: the engine lives, its clock is 15 minutes behind"
    assert age.of(story[6], first.wall + 903) == 2


def test_contact_grows_old(story: tuple[Snapshot, ...]) -> None:
    s = story[-1]
    seen = [contact_of(s, a) for a in (0.2, 1.4, 1.6, 4.9, 5.1)]
    assert seen == [Contact.LIVE, Contact.LIVE, Contact.STALE, Contact.STALE, Contact.OFFLINE]
    assert contact_of(None, None) is Contact.NONE
    assert contact_of(replace(s, schema=SCHEMA + 1), 0.1) is Contact.FOREIGN
    for state, age_s in (("stopped", 0.2), ("stopped", 99.0), ("done", 1.6), ("done", 99.0)):
        assert contact_of(replace(s, run=replace(s.run, state=state)), age_s) is Contact.STOPPED


def test_view_freezes_scrubs_and_comes_back(story: tuple[Snapshot, ...]) -> None:
    ring = Ring()
    for s in story:
        ring.add(s)
    view, newest = Timeline(ring), story[-1]
    assert view.shown(newest) is newest
    assert view.scrub(newest, 0.0, 1) == "this is the newest frame"
    assert view.scrub(newest, 0.0, -1) is None
    assert view.shown(newest) == story[-2]
    assert view.scrub(newest, 0.0, -60) is None
    assert view.shown(newest) == story[-62]
    view.arrived(3)
    assert view.newer == 3
    view.live()
    assert view.shown(newest) is newest
    assert view.freeze(newest, 1.0)
    assert not view.freeze(newest, 2.0)


def test_a_minute_is_a_minute_however_far_apart_frames_are(story: tuple[Snapshot, ...]) -> None:
    """Reproduced: of frames ten seconds apart, from before the console was there, a minute back led ten minutes back."""
    ring = Ring()
    for s in story[100:]:
        ring.add(s)
    ring.prepend(story[:100:10])
    timeline, newest = Timeline(ring), story[-1]
    start = newest.wall
    for back in range(1, 3):
        assert timeline.move(newest, start, -60.0) is None
        shown = timeline.shown(newest)
        assert shown is not None
        assert start - 60 * back - 11 * back <= shown.wall <= start - 60 * back
    assert timeline.move(newest, start, 60.0) is None
    forward = timeline.shown(newest)
    assert forward is not None
    assert shown.wall < forward.wall <= shown.wall + 60
    while timeline.mode != "live":
        assert timeline.move(newest, start, 60.0) is None
    assert timeline.move(newest, start, 60.0) == "this is the newest frame"
    assert timeline.move(newest, start, -1e9) is None
    assert timeline.move(newest, start, -60.0) == "no older frame"
