"""Finding what was said: by meaning (vectors), by words (full text), or both fused in one statement."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString
from typing import Literal as OneOf
from urllib.parse import parse_qsl, urlencode, urlsplit

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composed, Identifier, Literal

from gainstage.engine.errors import Misconfigured
from gainstage.engine.store import grams
from gainstage.engine.store.codec import checked_vector, plain
from gainstage.engine.store.database import Database
from gainstage.engine.store.vector_index import indexes, valid_index
from gainstage.engine.store.vectors import LONGEST_INDEXED, VectorTable, rows_about, tables
from gainstage.engine.terms import ModelId, Vector
from gainstage.engine.text.sentences import spaced
from gainstage.engine.views.search_rows import ContextLine, IndexHealth, SearchHit

Mode = OneOf["meaning", "words", "both"]

CANDIDATES = 60
"""Hits of each way that are fused."""

RANKED = 3_000
"""Matches of a full-text query that are ranked; of words as common as that, the rest is left out: ranking costs 10 us each."""

FUSION = 60
"""k of reciprocal rank fusion, 1 / (k + rank): Cormack, Clarke, Büttcher, SIGIR 2009."""

EF_SEARCH = 100
"""Breadth of the index scan: recall@10 of 0.99 at 100,000 rows, 0.98 at 500,000."""

MOST_EF_SEARCH = 1000
"""The broadest scan that pgvector allows; for more hits than that, the scan goes on until there are enough."""

EF_OF_A_HIT = 2
"""Breadth for each hit that is asked for: at the breadth of the limit itself, a third of the true neighbours is missing."""

FEW = 10_000
"""Passages of one person that are compared one by one, some 20 ms: of 2 % of 300,000, an index scan finds 94 % of the nearest."""

COUNTED = 100_000
"""Rows of a table up to which they are counted one by one, some 10 ms."""

INEXACT = 0.05
"""How far the database's own estimate of a table may be off."""

YOUTUBE = ("youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com")


@dataclass(frozen=True, slots=True)
class Searchable:
    """A text model whose vectors can be searched; their number is an estimate above 10,000."""

    model: ModelId
    vectors: int


def searchable(db: Database) -> tuple[Searchable, ...]:
    """The text models that wrote vectors of this database, the one with most first: a query is embedded with one of them."""
    with db.connection() as connection:
        counted = [(table, rows_about(connection, table.name, 10_000)) for table in tables(connection, "embed")]
    return tuple(Searchable(table.model, n) for table, n in sorted(counted, key=lambda pair: -pair[1]) if n)


def search(
    db: Database,
    text: str,
    vector: Vector | None,
    model: ModelId | None,
    mode: Mode = "both",
    speaker: str | None = None,
    limit: int = 20,
) -> tuple[SearchHit, ...]:
    """The best passages first. ``vector`` is ``text`` embedded by ``model``; the words mode needs neither.

    Scores are the cosine (meaning), the rank of the full-text search (words) or the fused rank (both): comparable within one
    search only. All words are asked for first; any of them only where that finds too few. ``speaker`` is a name in any case.
    Raises :class:`Misconfigured` when nothing was written by ``model``.
    """
    text, limit = plain(text), max(1, limit)
    values: dict[str, Any] = {"text": text, "limit": limit, "candidates": max(CANDIDATES, limit), "speaker": plain(speaker or "")}
    speaking = SQL(" and lower(s.speaker) = lower(%(speaker)s)") if speaker else SQL("")
    with db.transaction() as connection:
        table = None if mode == "words" else _table(connection, model)
        ways: list[Composed] = []
        if table is not None and vector is not None:
            values["vector"] = checked_vector(vector, table.model, "the query's vector")
            ways.append(_meaning(connection, table, values, speaking))
        if mode != "meaning" and text.strip():
            ways.append(_words(connection, values, speaking))
        if not ways:
            return ()
        # beside a filter the index scan goes on until the limit is full
        connection.execute(
            "select set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', %s, true)",
            [str(breadth(values["candidates"]))],
        )
        rows = connection.execute(_fused(ways), values).fetchall()
    return tuple(
        SearchHit(
            recording=recording,
            title=title,
            start=start,
            end=end,
            speaker=said_by,
            text=said,
            score=float(score),
            url=link(source, start),
            segment=segment,
            captioned=captioned,
        )
        for segment, recording, title, source, start, end, said_by, said, score, captioned in rows
    )


def breadth(candidates: int) -> int:
    """``hnsw.ef_search`` for so many candidates."""
    return min(MOST_EF_SEARCH, max(EF_SEARCH, EF_OF_A_HIT * candidates))


def _table(connection: Connection[TupleRow], model: ModelId | None) -> VectorTable | None:
    with_vectors = tables(connection, "embed")
    table = next((t for t in with_vectors if model is not None and t.model.is_same(model)), None)
    if table is None and model is not None and with_vectors:
        raise Misconfigured(
            f"nothing here was embedded with {model.name} ({model.dimension} numbers, revision {model.revision[:12]})",
            cause="search with another model",
            hint=f"Search with {with_vectors[0].model.name}, which wrote these vectors, or search by words.",
        )
    return table


def _meaning(connection: Connection[TupleRow], table: VectorTable, values: dict[str, Any], speaking: SQL) -> Composed:
    """The vectors next to the query's: by the index, and one by one those it does not cover. Of a person who says little, all one
    by one, because the index would be read for long before it meets them.
    """
    said = SQL(" join segment s on s.id = v.segment{}").format(speaking) if speaking.as_string() else SQL("")
    form = SQL(
        "(select v.segment as id, 1 - (v.vector <=> %(vector)s) as score from {} v{} where {} order by {} limit %(candidates)s)"
    )
    index = valid_index(connection, table)
    little = bool(speaking.as_string()) and _says_little(connection, values, speaking)
    if little or (index is not None and index.upto is not None):  # over sooner than other processes have started
        connection.execute("select set_config('max_parallel_workers_per_gather', '0', true)")
    everything, near = SQL("true"), SQL("v.vector <=> %(vector)s")
    if little:
        ways = [form.format(Identifier(table.name), said, everything, SQL("score desc"))]  # which no index can give
    elif index is None or index.upto is None:
        ways = [form.format(Identifier(table.name), said, everything, near)]
    else:
        covered, bare = (_range(sign, index.upto, both=bool(speaking.as_string())) for sign in (SQL("<="), SQL(">")))
        ways = [
            form.format(Identifier(table.name), said, covered, near),
            form.format(Identifier(table.name), said, bare, SQL("score desc")),
        ]
    return SQL("select id, score from ({}) as near order by score desc, id limit %(candidates)s").format(
        SQL(" union all ").join(ways)
    )


def _range(sign: SQL, upto: int, *, both: bool) -> SQL | Composed:
    """The passages up to one or after it, said of both tables where two are joined: the planner infers no range from an equality."""
    vectors = SQL("v.segment {} {}").format(sign, Literal(upto))
    return SQL("{} and s.id {} {}").format(vectors, sign, Literal(upto)) if both else vectors


def _says_little(connection: Connection[TupleRow], values: dict[str, Any], speaking: SQL) -> bool:
    row = connection.execute(
        SQL("select count(*) from (select 1 from segment s where true{} limit {}) as few").format(speaking, Literal(FEW + 1)),
        values,
    ).fetchone()
    return bool(row and row[0] <= FEW)


def _words(connection: Connection[TupleRow], values: dict[str, Any], speaking: SQL) -> Composed:
    """The full-text way: every word, in the languages written here; any word too where that finds fewer than asked for."""
    languages = [str(code) for (code,) in connection.execute("select code from language order by code")] or [""]
    every = _in_all(languages, "websearch_to_tsquery(text_config({}), %(text)s)")
    row = connection.execute(
        SQL("select count(*) from (select 1 from segment s where tsv @@ {}{} limit %(limit)s) as few").format(every, speaking),
        values,
    ).fetchone()
    ways = [_ranked(every, speaking, base=0.5)]
    if not row or row[0] < values["limit"]:
        any_of_them = _in_all(languages, "replace(plainto_tsquery(text_config({}), %(text)s)::text, ' & ', ' | ')::tsquery")
        ways.append(_ranked(any_of_them, speaking, base=0.0))
    if grams.has_grams(values["text"]) or any(not spaced(code) for code in languages):
        ways += _by_grams(connection, values, speaking)
    return SQL("select id, max(score) as score from ({}) as found group by id order by score desc, id limit %(candidates)s").format(
        SQL(" union all ").join(ways)
    )


def _ranked(query: Composed, speaking: SQL, base: float) -> Composed:
    # rank / (rank + 1) is below 1: halved, passages with every word (base 0.5) come before those with some
    return SQL(
        "select id, {} + ts_rank_cd(tsv, {}, 32) / 2 as score from"
        " (select s.id, s.tsv from segment s where s.tsv @@ {}{} limit {}) as matching"
    ).format(Literal(base), query, query, speaking, Literal(RANKED))


def _by_grams(connection: Connection[TupleRow], values: dict[str, Any], speaking: SQL) -> list[Composed]:
    """The ways of scripts without spaces: every pair of signs of the query and its runs as they are; some of the pairs."""
    every, some = grams.query_of(values["text"], every=True), grams.query_of(values["text"], every=False)
    if not every:
        return []
    values["every_gram"], values["some_gram"] = every, some
    values["runs"] = [_literal_pattern(run) for run in grams.runs_of(values["text"])]
    form = SQL(
        "select id, {} + ts_rank(grams, {}, 32) / 2 as score from (select s.id, s.grams from segment s"
        " where s.grams @@ {}{}{} limit {}) as matching"
    )
    exactly = SQL(" and s.text ilike all (%(runs)s::text[])")
    one, other = SQL("%(every_gram)s::tsquery"), SQL("%(some_gram)s::tsquery")
    first = form.format(Literal(0.5), one, one, exactly, speaking, Literal(RANKED))
    row = connection.execute(SQL("select count(*) from ({} limit %(limit)s) as few").format(first), values).fetchone()
    if row and row[0] >= values["limit"]:
        return [first]
    return [first, form.format(Literal(0.0), other, other, SQL(""), speaking, Literal(RANKED))]


def _literal_pattern(text: str) -> str:
    return "%" + text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"


def only_stop_words(db: Database, text: str) -> bool:
    """Whether a query holds nothing but words too common to be indexed, in some language that is stored here."""
    text = plain(text)
    if not text.strip() or grams.has_grams(text):
        return False
    with db.connection() as connection:
        row = connection.execute(
            "select bool_or(numnode(websearch_to_tsquery(text_config(code), %(text)s)) = 0"
            " and numnode(websearch_to_tsquery('simple', %(text)s)) > 0) from language",
            {"text": text},
        ).fetchone()
    return bool(row and row[0])


def _in_all(languages: list[str], form: LiteralString) -> Composed:
    return SQL("({})").format(SQL(" || ").join(SQL(form).format(Literal(code)) for code in languages))


def _fused(ways: list[Composed]) -> Composed:
    """One way with its own score, or several by reciprocal rank fusion, with what a hit shows. Fused scores are scaled so that the
    first of every way has 1, the first of one way and of no other 1 / (number of ways)."""
    if len(ways) == 1:
        best = SQL("select id, score from ({}) as way order by score desc, id limit %(limit)s").format(ways[0])
    else:
        ranked = (
            SQL("select id, row_number() over (order by score desc, id) as place from ({}) as way").format(way) for way in ways
        )
        best = SQL(
            "select id, sum({} / ({} + place)) as score from ({}) as ranked group by id order by score desc, id limit %(limit)s"
        ).format(Literal((FUSION + 1.0) / len(ways)), Literal(FUSION), SQL(" union all ").join(ranked))
    return SQL(
        "select s.id, s.recording, r.title, r.source, s.start_s, s.end_s, s.speaker, s.text, best.score,"
        " coalesce(r.facts -> 'captions' ? 'word_times', false) from ({}) as best"
        " join segment s on s.id = best.id join recording r on r.id = s.recording order by best.score desc, s.id"
    ).format(best)


def link(source: str, start: float) -> str | None:
    """An address that opens a recording at a time: ``&t=`` for YouTube, ``#t=`` (media fragments) for files and other URLs."""
    try:
        parts = urlsplit(source)
    except ValueError:
        return None
    host = (parts.hostname or "").lower()
    if parts.scheme in ("http", "https"):
        if host in YOUTUBE or host == "youtu.be":
            query = [(name, value) for name, value in parse_qsl(parts.query) if name not in ("t", "start", "time_continue")]
            return parts._replace(query=urlencode([*query, ("t", f"{int(start)}s")]), fragment="").geturl()
        return parts._replace(fragment=f"t={start:.1f}").geturl()
    if source.startswith("/"):
        return f"{Path(source).as_uri()}#t={start:.1f}"
    return None


def context(db: Database, segment: int, around: int = 3) -> tuple[ContextLine, ...]:
    """The passages before and after a segment, in time order; empty when there is no such segment."""
    with db.connection() as connection:
        rows = connection.execute(
            "select s.start_s, s.end_s, s.speaker, s.text, s.id = here.id from segment here join segment s"
            " on s.recording = here.recording and s.ordinal between here.ordinal - %(around)s and here.ordinal + %(around)s"
            " where here.id = %(segment)s order by s.ordinal",
            {"segment": segment, "around": max(0, around)},
        ).fetchall()
    return tuple(ContextLine(start, end, speaker, text, here) for start, end, speaker, text, here in rows)


def index_health(db: Database) -> IndexHealth:
    """What can be searched by meaning. Orphans are segments without a text vector: only words find them. Large tables are
    estimated; there only many orphans can be told from an inexact count.
    """
    with db.connection() as connection:
        counted = sorted(
            ((rows_about(connection, t.name, COUNTED), t) for t in tables(connection, "embed")), key=lambda pair: -pair[0]
        )
        segments, embedded = rows_about(connection, "segment", COUNTED), sum(n for n, _ in counted)
        row = connection.execute(
            "select extract(epoch from changed)::float8 from recording where status = 'stored' order by changed desc limit 1"
        ).fetchone()
        index = "exact scan"
        if counted:
            largest = counted[0][1]
            if largest.model.dimension > LONGEST_INDEXED:
                index = f"exact scan: no index holds more than {LONGEST_INDEXED:,} dimensions"
            if built := indexes(connection, largest):
                index = f"hnsw {built[0].size}" if built[0].valid else "hnsw, being built"
    orphans = max(0, segments - embedded)
    return IndexHealth(
        segments=segments,
        embedded=embedded,
        orphans=orphans if segments < COUNTED or orphans > INEXACT * segments else 0,
        dimension=counted[0][1].model.dimension if counted else None,
        index=index,
        last_write_wall=row[0] if row else None,
    )
