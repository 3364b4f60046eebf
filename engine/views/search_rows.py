"""What a search answers: frozen values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A passage that answers a search: where it is, who says it, its text. A higher ``score`` is better, within one search only."""

    recording: str
    title: str
    start: float
    end: float
    speaker: str
    text: str
    score: float
    url: str | None
    segment: int
    captioned: bool = False  # its words are the publisher's, not recognised ones


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The passages found, best first, and seconds: all it took, and of these the embedding of the query (None without one)."""

    hits: tuple[SearchHit, ...]
    took_s: float
    embed_s: float | None
    mode: str
    note: str | None = None  # what an operator should know of the way it was searched


@dataclass(frozen=True, slots=True)
class ContextLine:
    """A passage beside a hit; ``here`` is the hit itself."""

    start: float
    end: float
    speaker: str
    text: str
    here: bool


@dataclass(frozen=True, slots=True)
class IndexHealth:
    """What the search has to search: passages, those that have a vector, those that lack one (``orphans``), and the kind of index."""

    segments: int
    embedded: int
    orphans: int
    dimension: int | None
    index: str  # "exact scan", "hnsw 1.1 GB"
    last_write_wall: float | None
