"""Search in what is stored, as the desk of a real system answers it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from gainstage.engine.errors import EngineError
from gainstage.engine.store.database import Database
from gainstage.engine.terms import ModelId, Vector
from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.search_rows import SearchResult


def search(
    database: Database,
    text: str,
    mode: str,
    speaker: str | None,
    limit: int,
    vector_of: Callable[[str], tuple[Vector, ModelId] | tuple[None, None]],
) -> SearchResult:
    """``mode`` of the result is "words" where ``vector_of`` had no vector of the query. Raises :class:`DeskError`."""
    from gainstage.engine.store import search as stored

    if mode not in ("meaning", "words", "both"):
        raise DeskError(f"no search mode {mode!r}; one of meaning, words, both")
    began, requested = time.perf_counter(), mode
    vector, model, embed_s = None, None, None
    written = stored.searchable(database) if mode != "words" else ()
    comparable = bool(written)
    if comparable:
        try:
            vector, model = vector_of(text)
        except EngineError:
            if mode == "meaning":
                raise  # without the text model there is no meaning; by words it works
        embed_s = time.perf_counter() - began
    own = sum(each.vectors for each in written if model is not None and each.model.is_same(model))
    if mode == "both" and vector is not None and not own:
        vector = None  # a text model in use that has embedded nothing yet: `redo embed` is about to
    if vector is None:
        if mode == "meaning":
            raise DeskError("searching by meaning needs an engine that runs; by words it works without")
        mode = "words"
    hits = stored.search(database, text, vector, model, cast(stored.Mode, mode), speaker, limit)
    note = None
    if mode == "words" and not hits and stored.only_stop_words(database, text):
        note = "only words too common to be indexed were asked for"
    elif requested != mode:
        why = "no engine runs that could compare meanings" if comparable else "nothing stored here has a text vector"
        note = f"searched by words alone: {why if model is None else f'nothing is embedded with {model.name} yet'}"
    elif vector is not None and len(written) > 1:
        share = own / sum(each.vectors for each in written)
        note = f"meaning was compared in {share:.0%} of the passages: the others await `redo embed`"
    return SearchResult(hits, time.perf_counter() - began, embed_s if vector is not None else None, mode, note)
