"""Finding passages by meaning, by words, and by both."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pgvector import HalfVector

from gainstage.engine.errors import Misconfigured, Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.store.database import Database
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.search import breadth, context, index_health, link, only_stop_words, search, searchable
from gainstage.engine.store.vector_index import build_in_progress, build_indexes, indexes, valid_index
from gainstage.engine.store.vectors import ensure_table, tables
from gainstage.engine.terms import ModelId
from tests.chaos.kit import wait_for
from tests.engine.store_kit import MODELS, TEXT, VOICE, recording, segment, store, vector

TEXTS = (
    "the rings of Saturn are mostly water ice",
    "a telescope shows the rings and the moons",
    "bread needs flour, water, salt and time",
    "the moons of Jupiter were seen through a telescope",
    "planting seeds in spring",
)


@pytest.fixture
def library(database: Database) -> Database:
    recordings = RecordingStore(database)
    said = [segment(n, text, speaker="Helen" if n % 2 else "Ravi") for n, text in enumerate(TEXTS)]
    store(recordings, recording(1, title="Sky and kitchen"), said)
    return database


def texts(db: Database, *args: object, **how: object) -> list[str]:
    return [hit.text for hit in search(db, *args, **how)]  # type: ignore[arg-type]


def test_meaning_finds_the_nearest_vectors(library: Database) -> None:
    hits = search(library, "ice", vector(2), TEXT, "meaning", limit=3)
    assert hits[0].text == TEXTS[2]
    assert hits[0].score == pytest.approx(1.0, abs=1e-3)
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    first = hits[0]
    assert (first.recording, first.title, first.speaker) == ("rec00001", "Sky and kitchen", "Ravi")
    assert first.url == "https://www.youtube.com/watch?v=1&t=20s"


def test_words_are_found_by_their_stem_every_word_before_some(library: Database) -> None:
    found = texts(library, "telescopes rings", None, None, "words")
    assert found[0] == TEXTS[1]
    assert set(found[1:]) == {TEXTS[0], TEXTS[3]}
    assert texts(library, "telescopes rings", None, None, "words", limit=1) == [TEXTS[1]]
    assert texts(library, '"water ice"', None, None, "words", limit=1) == [TEXTS[0]]
    assert texts(library, "zebra", None, None, "words") == []


def test_words_are_searched_in_the_language_they_were_said_in(library: Database) -> None:
    recordings = RecordingStore(library)
    store(recordings, recording(2), [segment(0, "die Häuser stehen am Fluss")], facts={"language": "de"})
    store(recordings, recording(3), [segment(0, "les maisons sont belles")], facts={"language": "fr"})
    store(recordings, recording(4), [segment(0, "日本 zzz")], facts={"language": "ja"})
    assert texts(library, "Haus", None, None, "words") == ["die Häuser stehen am Fluss"]
    assert texts(library, "maison", None, None, "words") == ["les maisons sont belles"]
    assert texts(library, "zzz", None, None, "words") == ["日本 zzz"]


def test_both_fuses_the_two_ranks(library: Database) -> None:
    hits = search(library, "seeds spring", vector(0), TEXT, "both")
    assert {hits[0].text, hits[1].text} == {TEXTS[0], TEXTS[4]}
    # first by words and among the nearest by meaning beats being in one of them only
    agreed = search(library, "seeds spring", vector(4), TEXT, "both")
    assert agreed[0].text == TEXTS[4]
    assert agreed[0].score == pytest.approx(1.0), "first both ways"
    assert 0.5 < hits[0].score < agreed[0].score
    assert len(hits) == len(TEXTS)


def test_without_a_vector_both_is_words_and_meaning_is_nothing(library: Database) -> None:
    assert texts(library, "seeds", None, None, "both") == [TEXTS[4]]
    assert texts(library, "seeds", None, None, "meaning") == []
    assert texts(library, "", vector(1), TEXT, "both")[0] == TEXTS[1]


@pytest.mark.parametrize("mode", ["meaning", "words", "both"])
def test_a_speaker_is_named_in_any_case(library: Database, mode: str) -> None:
    hits = search(library, "telescope rings bread seeds", vector(2), TEXT, mode, "helen")  # type: ignore[arg-type]
    assert {h.speaker for h in hits} == {"Helen"}
    assert {h.text for h in hits} == {TEXTS[1], TEXTS[3]}
    assert search(library, "telescope", vector(2), TEXT, mode, "nobody") == ()  # type: ignore[arg-type]


def test_a_search_uses_the_model_that_wrote_what_it_searches(library: Database) -> None:
    wide = ModelId("tests/wide", "1", 384)
    store(RecordingStore(library), recording(2), [segment(0, "wide", vector=vector(1, 384))], models={**MODELS, "embed": wide})
    assert texts(library, "x", vector(1, 384), wide, "meaning") == ["wide"]
    assert "wide" not in texts(library, "x", vector(1), TEXT, "meaning")
    assert [(s.model, s.vectors) for s in searchable(library)] == [(TEXT, 5), (wide, 1)]
    with pytest.raises(Misconfigured, match="nothing here was embedded with tests/other"):
        search(library, "x", vector(1), ModelId("tests/other", "1", 16), "both")
    with pytest.raises(Misconfigured):  # the same model in another revision is another model
        search(library, "x", vector(1), ModelId(TEXT.name, "newer", 16), "meaning")
    with pytest.raises(Permanent, match="shape"):
        search(library, "x", vector(1), wide, "meaning")


def test_an_empty_database_finds_nothing(database: Database) -> None:
    assert search(database, "x", vector(1), TEXT, "both") == ()
    assert searchable(database) == ()
    health = index_health(database)
    assert (health.segments, health.embedded, health.orphans, health.dimension, health.index) == (0, 0, 0, None, "exact scan")
    assert health.last_write_wall is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40) | st.text(alphabet="&|!()<->:*'\"\\% or", max_size=20))
def test_no_query_text_is_an_error(library: Database, text: str) -> None:
    for mode in ("words", "both"):
        search(library, text, vector(1), TEXT, mode, speaker=text)  # type: ignore[arg-type]
        search(library, text, vector(1), TEXT, mode)  # type: ignore[arg-type]


# -- the index --------------------------------------------------------------------------------------------------------


@pytest.fixture
def crowd(database: Database) -> Database:
    """2,500 passages near each other, one in a hundred by Helen, and an index over them."""
    draw = np.random.default_rng(7)
    centre = vector(1)
    recordings = RecordingStore(database)
    for n in range(5):
        near = centre + 0.2 * draw.standard_normal((500, TEXT.dimension)).astype(np.float32)
        said = [
            segment(k, "word", words=(), voice=None, vector=near[k], speaker="Helen" if k % 100 == 99 else "Ravi")
            for k in range(500)
        ]
        store(recordings, recording(n), said, models={"embed": TEXT, "voice": VOICE})
    return database


def test_the_index_is_built_when_the_table_is_large_enough(crowd: Database) -> None:
    assert build_indexes(crowd, 10_000) == ()
    assert index_health(crowd).index == "exact scan"
    exact = search(crowd, "", vector(3), TEXT, "meaning", limit=10)
    assert build_indexes(crowd, 2_000) == ("text_vector_1_hnsw200_2500",)
    assert build_indexes(crowd, 2_000) == ()
    with crowd.transaction() as connection:
        connection.execute("analyze text_vector_1")
    health = index_health(crowd)
    assert health.index.startswith("hnsw ")
    assert (health.segments, health.embedded, health.orphans, health.dimension) == (2500, 2500, 0, 16)
    found = search(crowd, "", vector(3), TEXT, "meaning", limit=10)
    assert len({h.segment for h in found} & {h.segment for h in exact}) >= 9


def test_a_rare_speaker_still_fills_the_page(
    crowd: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index scan of 100 candidates holds one of Helen's passages: it has to go on."""
    monkeypatch.setattr("gainstage.engine.store.search.FEW", 10)  # she is not looked through one by one
    build_indexes(crowd, 2_000)
    with crowd.connection() as connection:
        connection.execute("analyze")
        for choice in ("enable_seqscan", "enable_sort"):  # the planner of a large table's mind
            connection.execute(f"alter database {connection.info.dbname} set {choice} = off")  # type: ignore[arg-type]
    with Database.open(database_url, tmp_path) as large:
        query = (
            "select v.segment from text_vector_1 v join segment s on s.id = v.segment where lower(s.speaker) = 'helen' and v.segment <= 2500"
            " order by v.vector <=> (select vector from text_vector_1 limit 1) limit 20"
        )
        with large.connection() as connection:
            plan = "".join(str(line) for (line,) in connection.execute(f"explain {query}"))  # type: ignore[arg-type]
            assert "text_vector_1_hnsw" in plan
            assert len(connection.execute(query).fetchall()) < 20  # type: ignore[arg-type]
        hits = search(large, "", vector(3), TEXT, "meaning", "Helen", limit=20)
        assert len(hits) == 20
        assert {h.speaker for h in hits} == {"Helen"}


def test_an_index_left_half_built_is_built_again(crowd: Database) -> None:
    build_indexes(crowd, 2_000)
    with crowd.transaction() as connection:
        connection.execute("update pg_index set indisvalid = false where indexrelid = 'text_vector_1_hnsw200_2500'::regclass")
    assert crowd.check().problems == ("index text_vector_1_hnsw200_2500 is half built; it is built again by itself",)
    assert index_health(crowd).index == "hnsw, being built"
    assert build_indexes(crowd, 2_000) == ("text_vector_1_hnsw200_2500",)
    assert crowd.check().problems == ()


def test_what_is_stored_after_the_build_is_found_and_is_not_put_into_the_index(crowd: Database) -> None:
    build_indexes(crowd, 2_000)
    with crowd.own_connection() as connection:
        size = connection.execute("select pg_relation_size('text_vector_1_hnsw200_2500')").fetchone()
        store(RecordingStore(crowd), recording(9), [segment(k, "later", voice=None, vector=vector(500 + k)) for k in range(300)])
        assert connection.execute("select pg_relation_size('text_vector_1_hnsw200_2500')").fetchone() == size
    hits = search(crowd, "", vector(577), TEXT, "meaning", limit=5)
    assert (hits[0].text, round(hits[0].score, 3)) == ("later", 1.0)
    assert search(crowd, "", vector(577), TEXT, "meaning", "Speaker 2", limit=5)[0].segment == hits[0].segment
    assert build_indexes(crowd, 2_000) == ()


def test_an_index_that_misses_many_passages_gives_way_to_one_that_covers_them(crowd: Database) -> None:
    build_indexes(crowd, 1_000)
    for n in (9, 10):
        store(RecordingStore(crowd), recording(n), [segment(k, voice=None, vector=vector(500 + k)) for k in range(300)])
    assert build_indexes(crowd, 1_000) == ("text_vector_1_hnsw200_3100",)
    with crowd.connection() as connection:
        (table,) = tables(connection, "embed")
        assert [(index.name, index.valid, index.upto) for index in indexes(connection, table)] == [
            ("text_vector_1_hnsw200_3100", True, 3100)
        ]


def test_an_index_of_an_earlier_version_serves_until_one_with_an_end_is_built(crowd: Database) -> None:
    with crowd.connection() as connection:
        connection.execute("create index text_vector_1_hnsw on text_vector_1 using hnsw (vector halfvec_cosine_ops)")
        (table,) = tables(connection, "embed")
        assert valid_index(connection, table) == indexes(connection, table)[0]
    assert len(search(crowd, "", vector(3), TEXT, "meaning", limit=10)) == 10
    assert build_indexes(crowd, 2_000) == ("text_vector_1_hnsw200_2500",)
    with crowd.connection() as connection:
        assert [index.name for index in indexes(connection, table)] == ["text_vector_1_hnsw200_2500"]


def test_an_index_that_was_built_less_broadly_serves_until_a_broader_one_is_built(crowd: Database) -> None:
    with crowd.connection() as connection:
        for n, options in enumerate(("", " with (ef_construction = 100)")):
            connection.execute(
                f"create index text_vector_1_hnsw_{n} on text_vector_1 using hnsw (vector halfvec_cosine_ops){options}"  # type: ignore[arg-type]
                " where segment <= 2500"
            )
        (table,) = tables(connection, "embed")
        assert sorted(index.breadth for index in indexes(connection, table)) == [64, 100]
    assert build_indexes(crowd, 2_000) == ("text_vector_1_hnsw200_2500",)
    with crowd.connection() as connection:
        assert [(index.name, index.breadth) for index in indexes(connection, table)] == [("text_vector_1_hnsw200_2500", 200)]
    assert build_indexes(crowd, 2_000) == ()


def test_a_killed_build_leaves_nothing_for_long_and_a_stop_ends_it(crowd: Database) -> None:
    """A transaction that reads keeps the build waiting, as it does with every index that is built beside writers."""
    token, ended = CancelToken(), []
    with crowd.own_connection() as reader, crowd.connection() as connection:
        reader.execute("begin isolation level repeatable read")
        reader.execute("select count(*) from text_vector_1")
        builder = threading.Thread(target=lambda: ended.append(build_indexes(crowd, 2_000, token)))
        builder.start()
        wait_for(lambda: build_in_progress(connection), "the build")
        build = build_in_progress(connection)
        assert build is not None
        assert build.table == "text_vector_1"
        assert build.phase
        assert build_indexes(crowd, 2_000) == ()  # one at a time
        token.cancel("the engine stops")
        builder.join(30)
        assert not builder.is_alive()
        assert ended == [()]
        assert build_in_progress(connection) is None
        (table,) = tables(connection, "embed")
        assert [index.valid for index in indexes(connection, table)] == [False]
        reader.execute("rollback")
        assert build_indexes(crowd, 10_000) == ()  # none is due; what is half built goes all the same
        assert indexes(connection, table) == ()


def test_more_hits_than_usual_are_looked_for_more_broadly(crowd: Database) -> None:
    build_indexes(crowd, 2_000)
    with crowd.connection() as connection:
        connection.execute("analyze")
    exact = {h.segment for h in search(crowd, "", vector(3), TEXT, "meaning", limit=400)}
    with crowd.connection() as connection:
        rows = connection.execute(
            "select segment from text_vector_1 order by vector <=> %s limit 400", [HalfVector(vector(3))]
        ).fetchall()
    assert len(exact & {n for (n,) in rows}) >= 392
    assert [breadth(n) for n in (10, 60, 100, 400, 600)] == [100, 120, 200, 800, 1000]


# -- around a hit -----------------------------------------------------------------------------------------------------


def test_the_context_of_a_hit(library: Database) -> None:
    (hit,) = search(library, "flour", None, None, "words")
    lines = context(library, hit.segment, 1)
    assert [(line.text, line.here) for line in lines] == [(TEXTS[1], False), (TEXTS[2], True), (TEXTS[3], False)]
    assert [line.text for line in context(library, hit.segment, 0)] == [TEXTS[2]]
    assert context(library, 10**9) == ()


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("https://www.youtube.com/watch?v=abc", "https://www.youtube.com/watch?v=abc&t=83s"),
        ("https://youtube.com/watch?v=abc&t=5&list=x#frag", "https://youtube.com/watch?v=abc&list=x&t=83s"),
        ("https://youtu.be/abc", "https://youtu.be/abc?t=83s"),
        ("https://example.org/talk.mp3", "https://example.org/talk.mp3#t=83.5"),
        ("https://example.org/a?b=c#old", "https://example.org/a?b=c#t=83.5"),
        ("/tmp/a file.wav", "file:///tmp/a%20file.wav#t=83.5"),
        ("https://notyoutube.com/watch?v=abc", "https://notyoutube.com/watch?v=abc#t=83.5"),
        ("javascript:alert(1)", None),
        ("http://[broken", None),
        ("", None),
    ],
)
def test_a_link_opens_at_the_time(source: str, url: str | None) -> None:
    assert link(source, 83.5) == url


def test_the_link_of_a_local_file_names_the_file(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "a talk.wav"
    store(RecordingStore(database), recording(1, source=str(file)), [segment(0, "hello")])
    (hit,) = search(database, "hello", None, None, "words")
    assert hit.url == f"{file.as_uri()}#t=0.0"


# -- scripts without spaces, and Korean -------------------------------------------------------------------------------

SAID = {
    "zh": "今天北京的天气很好，我们用 machine learning做 iPhone 15 Pro Max的测试。",
    "ja": "昨日は東京で会議がありました。カメラとAIの話。",
    "th": "วันนี้อากาศดีมาก เราไปเที่ยวทะเลกัน",
    "km": "ថ្ងៃនេះអាកាសធាតុល្អ",
    "lo": "ມື້ນີ້ອາກາດດີ",
    "my": "ဒီနေ့ရာသီဥတုကောင်းတယ်",
    "ko": "번역을 부탁해요, 서울에서",
}


@pytest.fixture
def scripts(database: Database) -> Database:
    for n, (language, text) in enumerate(SAID.items(), 1):
        store(RecordingStore(database), recording(n), (segment(0, text),), facts={"language": language})
    return database


@pytest.mark.parametrize(
    ("language", "query"),
    [
        ("zh", "天气"),
        ("zh", "北京 天气"),
        ("zh", "好"),
        ("zh", "测试"),
        ("zh", "learning"),
        ("zh", "iPhone 15"),
        ("zh", "LEARNING做"),
        ("ja", "東京"),
        ("ja", "会議"),
        ("ja", "カメラ"),
        ("ja", "AI"),
        ("th", "อากาศ"),
        ("th", "ทะเล"),
        ("km", "អាកាស"),
        ("lo", "ອາກາດ"),
        ("my", "ရာသီဥတု"),
        ("ko", "번역"),
        ("ko", "번역이"),
        ("ko", "서울"),
    ],
)
def test_words_are_found_in_scripts_that_write_none_apart(scripts: Database, language: str, query: str) -> None:
    assert texts(scripts, query, None, None, "words")[:1] == [SAID[language]]


def test_a_run_is_found_as_it_is_before_its_pairs(database: Database) -> None:
    said = ("京都へ。東京から", "東京都へ行く", "大阪へ")
    store(RecordingStore(database), recording(1), [segment(n, text) for n, text in enumerate(said)], facts={"language": "ja"})
    assert texts(database, "東京都", None, None, "words") == [said[1], said[0]]
    assert texts(database, "名古屋", None, None, "words") == []
    assert texts(database, "東京", None, None, "words", "nobody") == []


def test_only_stop_words_is_said(library: Database) -> None:
    assert only_stop_words(library, "the and of")
    assert not only_stop_words(library, "the rings")
    assert not only_stop_words(library, "")
    assert not only_stop_words(library, "天气")


def test_vectors_too_long_for_any_index_are_searched_one_by_one_and_that_is_said(database: Database) -> None:
    ensure_table(database, "embed", ModelId("long", "1", 5000))
    assert build_indexes(database, 0) == ()
    assert index_health(database).index == "exact scan: no index holds more than 4,000 dimensions"
