"""What a correction means: the passages of its place, and the person. Nothing is written.

:func:`plan` is the whole of it: see :mod:`gainstage.engine.voices.correct` for writing it, and taking it back.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from gainstage.engine.errors import Permanent
from gainstage.engine.store.corrections import Correction, Kind, Place, corrections_of, cut_word
from gainstage.engine.store.passages import halves
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.rows import StoredRecording
from gainstage.engine.store.writing import SegmentLabel
from gainstage.engine.terms import Provenance, Segment
from gainstage.engine.views.corrections import CorrectionAsk
from gainstage.engine.voices.correction import NEW, CorrectedPlace, Person, Plan
from gainstage.engine.voices.correction_likes import decide_likes
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.profile_store import ProfileStore, checked_name
from gainstage.engine.voices.removal import free_name

NEAR_S = 2.0
"""A time between two passages means the nearest one within this many seconds."""

LONGEST_TEXT = 400


def plan(store: RecordingStore, ask: CorrectionAsk, limits: Limits, primary: str | None) -> Plan:
    """What a correction would change. Raises :class:`Permanent` for a place, name or person there is not."""
    _checked(ask)
    here = _here(store, ask)
    kind: Kind = "nobody" if ask.nobody else "split" if ask.speaker is None else "name"
    person = _person(ask, here, store)
    chosen = [here.segments[n] for n in here.chosen]
    made = Plan(
        ask=ask,
        kind=kind,
        recording=ask.recording,
        title=here.stored.recording.title,
        places=_places(here),
        text=" ".join(s.text for s in chosen)[:LONGEST_TEXT],
        was=here.was,
        person=person,
        cut=here.cut,
        labels=[]
        if kind == "split"
        else [SegmentLabel(n, person.name, person.profile, None, Provenance.MANUAL) for n in here.chosen],
        seconds=sum(s.end - s.start for s in chosen),
    )
    if kind != "split":
        named = all(s.speaker == person.name and s.provenance is Provenance.MANUAL for s in chosen)
        made.standing = _standing(store, made) if named else None
        if made.standing is not None:
            made.was = Person(made.standing.was, made.standing.was_profile)
        decide_likes(store, made, here, limits, primary)
    return made


def _checked(ask: CorrectionAsk) -> None:
    if (ask.at is None) == (ask.of is None):
        raise Permanent("say which: a time, or all of one speaker", cause="bad correction", hint="Give --at 12:30 or --of NAME.")
    if sum((ask.speaker is not None, ask.nobody)) > 1 or not (ask.speaker or ask.nobody or ask.split):
        raise Permanent("say who it is", cause="bad correction", hint="Give --speaker NAME, --nobody or --split.")
    if ask.split and (ask.at is None or ask.nobody):
        raise Permanent(
            "a split needs a time and no --nobody", cause="bad correction", hint="Give --at 12:30 --split --speaker NAME."
        )
    if ask.new and ask.speaker is None:
        raise Permanent("--new needs a name", cause="bad correction", hint="Give --speaker NAME --new.")


# -- the place ------------------------------------------------------------------------------------------------------


def _here(store: RecordingStore, ask: CorrectionAsk) -> CorrectedPlace:
    stored = store.get(ask.recording)
    segments = list(store.segments(ask.recording, vectors=True))
    if stored is None or not segments:
        raise Permanent(
            f"nothing is stored under {ask.recording!r}", cause="not stored", hint="`gainstage recordings` shows where it stands."
        )
    if ask.of is not None:
        chosen = [n for n, s in enumerate(segments) if s.speaker == ask.of]
        if not chosen:
            speakers = ", ".join(sorted({s.speaker for s in segments}))
            raise Permanent(
                f"nobody called {ask.of} speaks in {ask.recording}",
                cause="no such speaker",
                hint=f"Speakers there: {speakers}.",
            )
        return CorrectedPlace(stored, tuple(segments), tuple(chosen), None)
    at = float(ask.at or 0.0)
    passage = _passage_at(segments, at)
    turn = _turn_around(stored, segments[passage], at)
    if not ask.split:
        return CorrectedPlace(stored, tuple(segments), _under(segments, passage, turn), None)
    word = cut_word(segments[passage], at)
    if not word:
        raise Permanent(
            f"the passage at {at:.1f} s cannot be cut there: it has no words on both sides",
            cause="nothing to split",
            hint="`gainstage show ID --words` has the time of every word.",
        )
    segments[passage : passage + 1] = halves(segments[passage], word, str(stored.facts.get("language") or ""))
    rest = (segments[passage + 1].start, turn[1])
    return CorrectedPlace(stored, tuple(segments), _under(segments, passage + 1, rest), (passage, word))


def _passage_at(segments: Sequence[Segment], at: float) -> int:
    def distance(n: int) -> float:
        return max(segments[n].start - at, at - segments[n].end, 0.0)

    nearest = min(range(len(segments)), key=distance)
    if distance(nearest) > NEAR_S:
        raise Permanent(
            f"nobody speaks at {at:.1f} s; the nearest passage is from {segments[nearest].start:.1f} to {segments[nearest].end:.1f} s",
            cause="no passage there",
            hint="`gainstage show ID` lists the passages with their times.",
        )
    return nearest


def _turn_around(stored: StoredRecording, passage: Segment, at: float) -> tuple[float, float]:
    """The stored turn of the passage's speaker at a time, joined with the passage."""
    for start, end, _, speaker, *_ in stored.facts.get("turns") or ():
        if start <= at < end and speaker == passage.speaker:
            return min(start, passage.start), max(end, passage.end)
    return passage.start, passage.end


def _under(segments: Sequence[Segment], passage: int, turn: tuple[float, float]) -> tuple[int, ...]:
    """The passage, and its neighbours of the same speaker that lie within the turn."""
    speaker, chosen = segments[passage].speaker, [passage]
    for step in (-1, 1):
        n = passage + step
        while 0 <= n < len(segments) and segments[n].speaker == speaker:
            if not turn[0] <= (segments[n].start + segments[n].end) / 2 <= turn[1]:
                break
            chosen.append(n)
            n += step
    return tuple(sorted(chosen))


def _places(here: CorrectedPlace) -> tuple[Place, ...]:
    """The chosen passages as places; those that follow each other are one."""
    places: list[Place] = []
    last = None
    for n in here.chosen:
        s = here.segments[n]
        words = tuple(w.text for w in s.words)
        if last is not None and n == last + 1:
            places[-1] = Place(places[-1].start, s.end, places[-1].words + words)
        else:
            places.append(Place(s.start, s.end, words))
        last = n
    return tuple(places)


# -- who ------------------------------------------------------------------------------------------------------------


def _person(ask: CorrectionAsk, here: CorrectedPlace, store: RecordingStore) -> Person:
    names = [s.speaker for s in here.segments]
    if ask.speaker is None:
        return Person(free_name(names), None) if ask.nobody else here.was
    known = {row.name: row.id for row in ProfileStore(store.db).rows()}
    name = next((n for n in known if n == ask.speaker), None) or next(
        (n for n in known if n.casefold() == ask.speaker.casefold()), None
    )
    if name is not None and ask.new:
        raise Permanent(f"{name} is enrolled already", cause="name taken", hint="Leave --new away.")
    if name is not None:
        return Person(name, known[name])
    if ask.speaker in names:
        return Person(ask.speaker, next(s.profile for s in here.segments if s.speaker == ask.speaker))
    if ask.new:
        return Person(checked_name(ask.speaker), NEW)
    near = difflib.get_close_matches(ask.speaker, [*known, *set(names)], 3)
    raise Permanent(
        f"nobody is called {ask.speaker}",
        cause="no such person",
        hint=(f"Did you mean {' or '.join(near)}? " if near else "") + "--new adds a person by this voice.",
    )


def _standing(store: RecordingStore, made: Plan) -> Correction | None:
    """The correction that said the same of the same place, where it was made before."""
    with store.db.connection() as connection:
        standing = corrections_of(connection, made.recording)
    start, end = made.places[0].start, made.places[-1].end
    for c in reversed(standing):
        if c.kind == made.kind and c.speaker == made.person.name and c.places[0].start < end and c.places[-1].end > start:
            return c
    return None
