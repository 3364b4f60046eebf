"""Query results of the scripted desk: pages of recordings, failures, what-if, profiles, search, previews."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gainstage.engine.advisor.predicted import decisions_text
from gainstage.engine.desk.scripted import text as scripted_text
from gainstage.engine.desk.scripted.cast import FAILURES, GUESTS, HOST
from gainstage.engine.desk.scripted.commands import found_at
from gainstage.engine.desk.scripted.frames import row as decision_row
from gainstage.engine.desk.scripted.items import Item
from gainstage.engine.desk.scripted.voices import conclude
from gainstage.engine.desk.scripted.world import MODELS, World
from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.rows import (
    FailureGroup,
    ModelNeed,
    Preview,
    PreviewRow,
    ProfileRow,
    Query,
    RecordingDetail,
    RecordingPage,
    RecordingRow,
    RunPlan,
    Span,
    WhatIf,
    WhatIfDiff,
)
from gainstage.engine.views.search_rows import ContextLine, IndexHealth, SearchResult
from gainstage.engine.views.snapshot import Forecast

_HINTS = {
    "members only": "Only members of the channel can watch it: set fetch.cookies to a member's cookies file.",
    "private": "The uploader made it private.",
    "removed": "The uploader removed it.",
    "geo-blocked": "Not available here: set fetch.proxy to another country.",
}


def _row(world: World, item: Item) -> RecordingRow:
    cause = item.cause
    hint = None
    if cause is not None:
        hint = FAILURES[cause][1] if cause in FAILURES else _HINTS.get(cause)
    return RecordingRow(
        id=item.id,
        title=item.part.title,
        source=item.part.url,
        status=item.status,
        duration_s=item.part.duration_s,
        stage=_stage(item),
        attempt=item.attempt,
        attempts=item.attempts,
        priority=item.priority,
        added_wall=round(world.wall(item.added), 3),
        changed_wall=round(world.wall(item.changed), 3),
        segments=item.segments or None,
        speakers=len(item.speakers) or None,
        cause=cause,
        error=None if cause is None else f"{cause} ({item.attempt} of {item.attempts} attempts)",
        hint=hint,
        engine=world.engine if item.status == "running" else None,
        next_try_wall=None if item.next_try is None else round(world.wall(item.next_try), 3),
        url=item.part.url,
    )


def _stage(item: Item) -> str | None:
    if item.status == "running":
        return "transcribe" if "transcribe" in item.passes else next(iter(item.passes), None)
    if item.status == "failed" and item.spans:
        return item.spans[-1].stage
    return None


_SORTS: dict[str, Any] = {
    "changed": lambda i: i.changed,
    "stored": lambda i: i.changed,
    "added": lambda i: i.added,
    "id": lambda i: i.id,
    "title": lambda i: i.part.title.lower(),
    "status": lambda i: i.status,
    "duration": lambda i: i.part.duration_s,
    "stage": lambda i: _stage(i) or "",
    "attempt": lambda i: i.attempt,
    "priority": lambda i: i.priority,
    "segments": lambda i: i.segments,
    "speakers": lambda i: len(i.speakers),
    "cause": lambda i: i.cause or "",
}


def _matches(item: Item, query: Query, text: str) -> bool:
    return (
        (not text or text in item.haystack)
        and (not query.status or item.status in query.status)
        and (query.stage is None or _stage(item) == query.stage)
        and (query.cause is None or (item.cause is not None and query.cause.lower() in item.cause.lower()))
        and (query.min_duration_s is None or item.part.duration_s >= query.min_duration_s)
        and (query.max_duration_s is None or item.part.duration_s <= query.max_duration_s)
    )


class Pages:
    """Pages of recordings. While the query is the same, the last order is kept and only corrected, because few rows move."""

    def __init__(self) -> None:
        self._query: Query | None = None
        self._version = -1
        self._matching: list[Item] = []

    def page(self, world: World, query: Query) -> RecordingPage:
        """One page. Ties keep the order of the queue, so that rows do not move."""
        key = _SORTS.get(query.sort)
        if key is None:
            raise DeskError(f"cannot sort by {query.sort!r}; one of {', '.join(_SORTS)}")
        wanted = replace(query, offset=0, limit=0)
        if wanted != self._query or self._version != world.version:
            plain = wanted == replace(Query(), sort=query.sort, descending=query.descending, offset=0, limit=0)
            if plain and wanted == self._query and len(self._matching) == len(world.items):
                matching = self._matching
            else:
                text = query.text.lower()
                matching = [i for i in world.items.values() if plain or _matches(i, query, text) != query.invert]
            matching.sort(key=lambda i: i.order)
            matching.sort(key=key, reverse=query.descending)
            self._query, self._version, self._matching = wanted, world.version, matching
        page = self._matching[query.offset : query.offset + query.limit]
        return RecordingPage(tuple(_row(world, i) for i in page), len(world.items), len(self._matching))


def recording(world: World, id: str) -> RecordingDetail:
    item = world.items.get(id)
    if item is None:
        raise DeskError(f"unknown recording {id}")
    spans = list(item.spans)
    for one in item.passes.values():
        start = round(world.wall(one.queued), 3)
        wait = round((one.start if one.start is not None else world.now) - one.queued, 3)
        served = None if one.start is None else round(world.now - one.start, 3)
        spans.append(Span(one.stage, start, wait, served, "waiting" if one.start is None else "running", item.attempt))
    decisions = [d for d in world.decisions if d.item is item]
    events = tuple(e for e in world.events if e.recording == id)
    facts = (
        ("recogniser", f"{world.settings['asr.model']} float16, beam {world.settings['asr.beam']}"),
        ("diarizer", "fast path" if item.note == "fast path" else str(world.settings["diarization.model"])),
        ("voices", str(world.settings["voice.model"])),
        ("language", f"{item.part.language} 0.99" if item.segments else "unknown"),
        ("settings revision", str(item.revision) if item.attempt else "none yet"),
    )
    trace = next((e.traceback for e in reversed(events) if e.traceback), None)
    people = tuple(sorted(item.speakers.items(), key=lambda p: -p[1]))
    return RecordingDetail(
        _row(world, item), tuple(spans), tuple(decision_row(world, d) for d in decisions), events, people, facts, trace
    )


def failures(world: World) -> tuple[FailureGroup, ...]:
    groups: dict[str, list[str]] = {}
    for item in world.items.values():
        if item.status == "failed" and item.cause:
            groups.setdefault(item.cause, []).append(item.id)
    rows = [FailureGroup(c, len(ids), FAILURES[c][1], FAILURES[c][2], tuple(ids)) for c, ids in groups.items()]
    return tuple(sorted(rows, key=lambda g: (-g.count, g.cause)))


def decided(world: World, limits: dict[str, Any]) -> str | None:
    """What these limits would have made of the decisions, in words; None where one of them is no limit that can be tried."""
    try:
        return decisions_text(what_if(world, limits, 500))
    except DeskError:
        return None


def what_if(world: World, changes: dict[str, Any], last: int) -> WhatIf:
    """Apply the split rule to the stored similarities with other limits; nothing is extracted again."""
    unknown = [k for k in changes if not k.startswith("identify.") or k not in world.settings]
    if unknown:
        raise DeskError(f"what-if knows the identify.* settings, not {unknown[0]}")
    limits = {**world.settings, **changes}
    decisions = world.decisions[-last:]
    flips, moved, before, after = [], 0.0, 0, 0
    touched = set()
    for d in decisions:
        new = conclude(d.cluster, limits, d.unknown)
        before += d.conclusion.split
        after += new.split
        old_s, new_s = dict(d.conclusion.speakers), dict(new.speakers)
        seconds = sum(abs(old_s.get(n, 0.0) - new_s.get(n, 0.0)) for n in old_s.keys() | new_s.keys()) / 2
        moved += seconds
        if seconds > 0.05 or new.split != d.conclusion.split:
            touched.add(d.item.id)
            flips.append(
                WhatIfDiff(
                    d.item.id,
                    d.item.part.title,
                    d.cluster.name,
                    _words(d.conclusion.split, d.conclusion.speakers),
                    _words(new.split, new.speakers),
                    round(seconds, 1),
                )
            )
    flips.sort(key=lambda f: -f.seconds)
    return WhatIf(dict(changes), len(decisions), before, after, tuple(flips), round(moved, 1), len(touched), 0.002)


def _words(split: bool, speakers: tuple[tuple[str, float], ...]) -> str:
    if not split:
        return speakers[0][0]
    return "split: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in speakers)


def profiles(world: World) -> tuple[ProfileRow, ...]:
    if not world.profiles:
        return ()
    created = world.wall(-86_400 * 12)
    model = str(world.settings["voice.model"])
    need = float(world.settings["identify.primary_threshold"])
    other = float(world.settings["identify.other_threshold"])
    host = ProfileRow(
        1, HOST, 3, True, 48, 214.5, 0.81, (GUESTS[3], 0.31), need, 0.64, model, 192, created, "4 files, 1 stored cluster"
    )
    rest = [
        ProfileRow(
            i + 2, name, 1, False, 20 + 3 * i, 62.0 + 17 * i, 0.74 + 0.02 * (i % 3), (HOST, 0.22 + 0.02 * i), None if i else other,
            0.79 + 0.01 * i, model, 192, created + 9000 * i, "1 stored cluster",
        )
        for i, name in enumerate(GUESTS)
    ]  # fmt: skip
    return (host, *rest)


def _searchable(world: World) -> list[Item]:
    return [i for i in world.items.values() if i.status == "stored"]


def search(world: World, text: str, mode: str, speaker: str | None, limit: int) -> SearchResult:
    if mode not in ("meaning", "words", "both"):
        raise DeskError(f"no search mode {mode!r}; one of meaning, words, both")
    if world.database_down is not None:
        raise DeskError("Postgres: connection refused. Finished recordings wait in the engine until it is back.")
    hits = scripted_text.search(world.seed, _searchable(world), text, mode, speaker, limit)
    return SearchResult(hits, 0.041, None if mode == "words" else 0.009, mode)


def context(world: World, segment: int, around: int) -> tuple[ContextLine, ...]:
    item = next((i for i in _searchable(world) if i.order == segment // 1000), None)
    lines = () if item is None else scripted_text.context(world.seed, item, segment, around)
    if not lines:
        raise DeskError(f"no segment {segment}")
    return lines


def index_health(world: World) -> IndexHealth:
    n = world.stored_segments
    last = None if world.last_commit is None else round(world.wall(world.last_commit), 3)
    return IndexHealth(n, n, 0, 384, "exact scan", last)


def preview(world: World, sources: tuple[str, ...], options: dict[str, Any]) -> Preview:
    rows: list[PreviewRow] = []
    known = {i.part.url for i in world.items.values()}
    longest = float(options.get("max_duration", world.settings["fetch.max_duration"]))
    limit = int(options.get("limit", 10_000))
    for source in sources:
        if not source.strip():
            raise DeskError("an empty source")
        for k, part in enumerate(found_at(source, world.seed)):
            take, reason = True, "new"
            if part.url in known or part.id in world.items:
                take, reason = False, "already known"
            elif part.duration_s > longest:
                take, reason = False, f"longer than {longest:.0f} s"
            elif k == 6:
                take, reason = False, "members only"
            elif sum(r.take for r in rows) >= limit:
                take, reason = False, f"over the limit of {limit}"
            rows.append(PreviewRow(part.id, part.title, part.duration_s, take, reason))
    taken = [r for r in rows if r.take]
    audio = sum(r.duration_s or 0.0 for r in taken)
    left = round(audio / 240, 1)
    plan = RunPlan(
        recordings=len(taken),
        audio_s=audio,
        unknown=0,
        downloads=len(taken),
        download_bytes=round(audio * 16_000),
        left=Forecast(left, left * 0.8, left * 1.3, "measured on this run"),
        bottleneck="transcribe",
        rtfx=240.0,
        disk_peak=round(audio * 48_000),
        disk_stored=round(audio * 900),
        models=tuple(ModelNeed(m[0], m[1], int(m[4]), True) for m in MODELS),
    )
    return Preview(tuple(rows), audio, left, ("durations are what the site says",), plan)
