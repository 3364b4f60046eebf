"""Voices (speaker embeddings) cached in the database, so that a run with other thresholds extracts none again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np

from gainstage.engine.errors import Transient
from gainstage.engine.store.database import Database
from gainstage.engine.store.vectors import model_row
from gainstage.engine.terms import ModelId, Vector
from gainstage.engine.voices.evidence import Refusal
from gainstage.engine.voices.vectors import BadVoice, checked

Key = tuple[int, int]
"""Start and end of a span in milliseconds."""


class VoiceCache:
    """Voices by audio fingerprint, span, model and preprocessing. Thread-safe; ``hits`` and ``misses`` count requested spans.

    A cache failure never fails a run: while the database is away or busy, every span is a miss and nothing is stored. The same
    holds when ``enabled()`` returns False (``voice.cache`` off).
    """

    def __init__(self, database: Database, enabled: Callable[[], bool] = lambda: True) -> None:
        self._database = database
        self._enabled = enabled
        self._lock = threading.Lock()
        self._models: dict[ModelId, int] = {}
        self.hits = 0
        self.misses = 0

    def get(self, fingerprint: str, spans: Sequence[Key], model: ModelId, preprocessing: str) -> dict[Key, Vector | Refusal]:
        """The cached entries of ``spans``, read in one statement; spans without an entry are left out."""
        entries: dict[Key, Vector | Refusal] = {}
        if self._enabled():
            with suppress(Transient):
                entries = self._read(fingerprint, spans, model, preprocessing)
        with self._lock:
            self.hits += len(entries)
            self.misses += len(spans) - len(entries)
        return entries

    def put(self, fingerprint: str, voices: Mapping[Key, Vector | Refusal], model: ModelId, preprocessing: str) -> None:
        """Store voices, and the reasons why spans have none, in one statement; existing entries are not changed."""
        if not (voices and self._enabled()):
            return
        starts, ends = [list(column) for column in zip(*voices, strict=True)]
        vectors = [None if isinstance(v, Refusal) else np.asarray(v, "<f4").tobytes() for v in voices.values()]
        reasons = [v.reason if isinstance(v, Refusal) else None for v in voices.values()]
        with suppress(Transient):
            number = self._model(model)
            with self._database.connection() as connection:
                connection.execute(
                    "insert into voice_cache (fingerprint, start_ms, end_ms, model, preprocessing, voice, refused)"
                    " select %s, start_ms, end_ms, %s, %s, voice, refused"
                    " from unnest(%s::int[], %s::int[], %s::bytea[], %s::text[]) as new (start_ms, end_ms, voice, refused)"
                    " on conflict do nothing",
                    [fingerprint, number, preprocessing, starts, ends, vectors, reasons],
                )

    def _read(self, fingerprint: str, spans: Sequence[Key], model: ModelId, preprocessing: str) -> dict[Key, Vector | Refusal]:
        number = self._model(model)
        with self._database.connection() as connection:
            rows = connection.execute(
                "select start_ms, end_ms, voice, refused from voice_cache"
                " where fingerprint = %s and model = %s and preprocessing = %s"
                " and (start_ms, end_ms) in (select * from unnest(%s::int[], %s::int[]))",
                [fingerprint, number, preprocessing, [s for s, _ in spans], [e for _, e in spans]],
            ).fetchall()
        entries: dict[Key, Vector | Refusal] = {}
        for start_ms, end_ms, voice, refused in rows:
            kept = Refusal(refused) if voice is None else _voice(voice, model)
            if kept is not None:
                entries[start_ms, end_ms] = kept
        return entries

    def _model(self, model: ModelId) -> int:
        with self._lock:
            number = self._models.get(model)
        if number is None:
            with self._database.connection() as connection:
                number = model_row(connection, "voice", model)
            with self._lock:
                self._models[model] = number
        return number


def _voice(stored: bytes, model: ModelId) -> Vector | None:
    """Decode a stored voice; None when the row is damaged, so that the voice is extracted again."""
    vector = np.frombuffer(stored, "<f4")
    if len(vector) != model.dimension:
        return None
    try:
        return checked(vector)
    except BadVoice:
        return None
