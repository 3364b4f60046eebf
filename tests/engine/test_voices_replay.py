"""What-if over stored decisions, and making it good."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gainstage.engine.errors import Permanent
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.writing import SegmentLabel
from gainstage.engine.terms import Cast, ModelId, Provenance, Recording, Segment, Turn
from gainstage.engine.text.segments import balance
from gainstage.engine.voices.analysis import judge
from gainstage.engine.voices.evidence import build_evidence, wanted
from gainstage.engine.voices.labelling import decide, decision
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_index import ProfileIndex, profile
from gainstage.engine.voices.relabel import apply, relabelled, undo
from gainstage.engine.voices.replay import FAST_PATH, checked_changes, read, replay, what_if, with_turns
from gainstage.engine.voices.spans import clusters
from gainstage.engine.voices.vectors import checked

MODEL = ModelId("tests/voice", "1", 16)
RNG = np.random.default_rng(4)
HOST, GUEST = (checked(RNG.standard_normal(16)) for _ in range(2))
GALLERY = ProfileIndex(
    [
        profile(1, "Ann", MODEL, checked(HOST + 0.05 * RNG.standard_normal((5, 16))), primary=True),
        profile(2, "Bob", MODEL, checked(GUEST + 0.05 * RNG.standard_normal((5, 16)))),
    ],
    MODEL,
)


def cast_of(seed: int, revision: int = 1) -> Cast:
    """A recording: cluster A is the host, sometimes with the guest in it; B is the guest; C is somebody in between."""
    rng = np.random.default_rng(seed)
    turns, now = [], 0.0
    for _ in range(30):
        length = float(rng.uniform(0.3, 14))
        turns.append(Turn(now, now + length, "AABC"[int(rng.integers(4))]))
        now += length + float(rng.uniform(0, 1))
    spans = clusters(turns)
    middles = {"A": HOST, "B": GUEST, "C": checked(HOST + GUEST)}
    voices = []
    for c in spans:
        for _ in wanted([c]):
            middle = GUEST if c.cluster == "A" and seed % 2 and rng.random() < 0.3 else middles[c.cluster]
            voices.append(checked(middle + 0.12 * rng.standard_normal(16)))
    evidence, kept = build_evidence(spans, voices, GALLERY)
    return decide(evidence, Limits(), revision, voices=kept)


def turn_rows(cast: Cast) -> list[list[object]]:
    return [[round(t.start, 3), round(t.end, 3), t.cluster, t.speaker, str(t.provenance), t.confidence] for t in cast.turns]


def stored(store: RecordingStore, seed: int, cast: Cast | None = None) -> Cast:
    """Store a recording with one segment per turn."""
    cast = cast or cast_of(seed)
    store.store(
        Recording(f"rec{seed:03d}", f"test:{seed}", f"/{seed}.wav", f"Talk {seed}"),
        [Segment(t.start, t.end, t.speaker, t.profile, t.confidence, t.provenance, "said", ()) for t in cast.turns],
        cast.decisions,
        models={},
        revision=1,
        facts={"turns": turn_rows(cast)},
        spans=(),
        fingerprint=f"audio {seed}",
        balance=balance(cast),
    )
    return cast


@pytest.fixture
def store(database: Database) -> RecordingStore:
    return RecordingStore(database)


def test_replay_at_unchanged_settings_equals_history_exactly(store: RecordingStore) -> None:
    casts = {f"rec{seed:03d}": stored(store, seed) for seed in range(12)}
    assert any(d.split for cast in casts.values() for d in cast.decisions)
    held = read(store.db, 500)
    assert {h.recording for h in held} == set(casts)
    for h in with_turns(store.db, held, {}):
        again = tuple(decision(x, h.limits, 1) for x in judge(h.clusters, h.limits))
        history = casts[h.recording].decisions
        assert [replace(d, evidence=(), turns=0) for d in again] == [replace(d, evidence=(), turns=0) for d in history]
        assert [d.evidence for d in again if d.split] == [d.evidence for d in history if d.split]
    assert replay(store.db, held, {}).changed == ()
    found = what_if(store.db, {})
    assert (found.flips, found.seconds_moved, found.recordings) == ((), 0.0, 0)
    assert found.split_before == found.split_after
    assert found.clusters == sum(len(cast.decisions) for cast in casts.values())


def test_other_limits_show_who_changes_hands_and_change_nothing(store: RecordingStore) -> None:
    casts = [stored(store, seed) for seed in range(8)]
    before = store.decisions()
    found = what_if(store.db, {"identify.range_limit": 2, "identify.variance_limit": 1.0})
    assert found.split_before == sum(d.split for cast in casts for d in cast.decisions) > found.split_after == 0
    assert found.flips
    assert any(f.before.startswith("split: ") for f in found.flips)
    assert not any(f.after.startswith("split: ") for f in found.flips)
    assert found.seconds_moved == pytest.approx(sum(f.seconds for f in found.flips), abs=0.01)
    assert {f.title for f in found.flips} <= {f"Talk {seed}" for seed in range(8)}
    assert store.decisions() == before


def test_only_the_recordings_of_the_last_decisions_are_judged(store: RecordingStore) -> None:
    for seed in range(3):
        stored(store, seed)
    assert what_if(store.db, {}, last=2).clusters == len(cast_of(2).decisions)
    assert what_if(store.db, {}, last=0).clusters == 0


def test_what_is_no_limit_is_refused(store: RecordingStore) -> None:
    for changes in ({"identify.primary": "Ann"}, {"identify.fast_path_mean": 0.5}, {"workers.fetch": 2}, {"identify.margin": "x"}):
        with pytest.raises(Permanent):
            what_if(store.db, changes)
    assert checked_changes({"identify.margin": "0.1"}) == {"identify.margin": 0.1}


def test_applied_limits_rewrite_labels_and_can_be_taken_back(store: RecordingStore) -> None:
    for seed in range(4):
        stored(store, seed)
    ids = store.stored_ids()
    before = {id: (store.segments(id), [d.decision for d in store.decisions(recording=id)], store.get(id)) for id in ids}
    changes = {"identify.range_limit": 2.0, "identify.variance_limit": 1.0}
    done = apply(store, changes, revision=9)
    assert done.difference.seconds_moved > 0
    assert set(done.recordings) == {f.recording for f in done.difference.flips}
    for id in done.recordings:
        decisions = [d.decision for d in store.decisions(recording=id)]
        assert {d.revision for d in decisions} == {9}
        assert not any(d.split for d in decisions)
        assert {d.limits["identify.range_limit"] for d in decisions} == {2.0}
        named = {(s.start, s.speaker) for s in store.segments(id)}
        whole = {d.cluster: d.speaker for d in decisions}
        turns = cast_of(int(id[3:])).turns
        assert all((t.start, whole[t.cluster]) in named for t in turns if whole[t.cluster] is not None)
        kept = store.get(id)
        assert kept is not None
        assert kept.balance is not None
        assert kept.balance.labelled + kept.balance.unknown == pytest.approx(kept.balance.speech)
        assert kept.revision == 9
    assert what_if(store.db, {}).flips == ()
    assert set(undo(store, 9)) == set(done.recordings)
    for id in ids:
        restored = store.get(id)
        assert restored is not None
        assert store.segments(id) == before[id][0]
        assert [d.decision for d in store.decisions(recording=id)] == before[id][1]
        assert restored.balance == before[id][2].balance  # type: ignore[union-attr]
    assert undo(store, 9) == ()


def test_labels_given_by_hand_stay(store: RecordingStore) -> None:
    cast = cast_of(1)
    turns = tuple(replace(t, speaker="Zoe", provenance=Provenance.MANUAL) for t in cast.turns)
    stored(store, 1, replace(cast, turns=turns))
    done = apply(store, {"identify.range_limit": 2.0, "identify.variance_limit": 1.0}, revision=2)
    assert done.recordings == ("rec001",)
    assert {s.speaker for s in store.segments("rec001")} == {"Zoe"}


def test_the_named_turns_follow_other_limits_and_back(store: RecordingStore) -> None:
    """Exports, scores and a stage done again read them: they must say what the passages say."""
    casts = {f"rec{seed:03d}": stored(store, seed) for seed in range(8)}
    hand = SegmentLabel(0, "Zoe", None, None, Provenance.MANUAL)
    store.relabel("rec001", [hand], 1)
    done = apply(store, {"identify.range_limit": 2.0, "identify.variance_limit": 1.0}, revision=2)
    assert "rec001" in done.recordings
    for id in done.recordings:
        found = store.get(id)
        assert found is not None
        by_start = {turn[0]: turn[3] for turn in found.facts["turns"]}
        assert all(by_start.get(round(s.start, 3), s.speaker) == s.speaker for s in store.segments(id))
    zoe = store.get("rec001")
    assert zoe is not None
    assert zoe.facts["turns"][0][3] == "Zoe"
    undo(store, 2)
    for id in set(done.recordings) - {"rec001"}:
        found = store.get(id)
        assert found is not None
        assert found.facts["turns"] == turn_rows(casts[id])


def test_a_passage_that_now_holds_two_people_is_counted_and_named_after_the_longer_one() -> None:
    lengths, sims = (10.0, 14.0, 12.0, 12.0), (0.9, 0.1, 0.9, 0.1)
    starts = (0.0, 11.0, 26.0, 39.0)
    spans = clusters([Turn(s, s + n, "A") for s, n in zip(starts, lengths, strict=True)])
    voices = [checked(s * GALLERY.profiles[0].centroid + (1 - s) * GALLERY.profiles[1].centroid) for s in sims]
    evidence, _ = build_evidence(spans, voices, GALLERY)
    whole = decide(evidence, Limits(range_limit=2, variance_limit=1, primary_threshold=0.5, margin=0), 1)
    split = decide(evidence, Limits(), 2)
    assert [t.speaker for t in split.turns] == ["Ann", "Bob", "Ann", "Bob"]
    first, last = whole.turns[0], whole.turns[-1]
    passages = [
        Segment(0.0, 25.0, first.speaker, first.profile, 0.5, first.provenance, "two turns", ()),
        Segment(39.0, 51.0, last.speaker, last.profile, 0.5, last.provenance, "one turn", ()),
    ]
    labels, mixed = relabelled(passages, whole, split)
    assert mixed == 1
    assert [label.speaker for label in labels if label.ordinal == 1] == (["Bob"] if last.speaker != "Bob" else [])
    assert [label.speaker for label in labels if label.ordinal == 0] == (["Bob"] if first.speaker != "Bob" else [])


def test_fast_path_decisions_are_left_as_they_are(store: RecordingStore) -> None:
    cast = cast_of(2)
    fast = replace(cast, decisions=tuple(replace(d, rule=FAST_PATH) for d in cast.decisions), fast_path=True)
    stored(store, 2, fast)
    assert what_if(store.db, {"identify.primary_threshold": 1.0}).clusters == 0
