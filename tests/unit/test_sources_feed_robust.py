"""Feeds that somebody broke, on purpose or not: bounded work, and every entry taken or left with its reason."""

from __future__ import annotations

import contextlib
import gzip
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gainstage.config.settings import Settings, changed
from gainstage.engine.errors import Cancelled, Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources import child_parser as parsing
from gainstage.engine.sources import pace as pacing
from gainstage.engine.sources.feed_cutter import KEPT_HEAD, MOST_ENTRY_BYTES, Cutter, narrow
from gainstage.engine.sources.feed_entries import FeedItem
from gainstage.engine.sources.feed_parser import FeedParser
from gainstage.engine.sources.feeds import TOO_LONG, parse_feed
from gainstage.engine.sources.listing import Faulty, ListedItem, list_items
from gainstage.engine.sources.web import Web
from gainstage.engine.sources.ytdlp import open_ytdlp
from gainstage.engine.terms import Recording
from tests.http_server import Request, Server, running

LOCAL = changed(changed(Settings(), "fetch.allow_private", True), "fetch.timeout", 2)
HEAD = '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel><title>The Show</title>'
TAIL = "</channel></rss>"
PARSER = FeedParser(CancelToken())


@pytest.fixture(scope="module", autouse=True)
def _parser() -> Iterator[None]:
    yield
    PARSER.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def entry(n: int, guid: str | None = None, *, title: str | None = None, more: str = "", kind: str = ' type="audio/mpeg"') -> str:
    return (
        f"<item><title>{title if title is not None else f'Episode {n}'}</title><guid>{guid or f'an-own-guid-of-{n:06d}'}</guid>"
        f'<pubDate>Mon, 02 Mar 2026 10:00:00 GMT</pubDate>{more}<enclosure url="http://127.0.0.1/ep.mp3?e={n}"{kind} length="1"/></item>'
    )


def items(text: str | bytes, feed: str = "https://example.org/feed", size: int = 65_536) -> list[FeedItem]:
    data = text.encode() if isinstance(text, str) else text
    return list(parse_feed((data[at : at + size] for at in range(0, len(data), size)), feed, feed, PARSER))


def taken(found: list[FeedItem]) -> list[Recording]:
    return [item.recording for item in found if item.recording is not None]


def listed(source: str) -> list[ListedItem]:
    return list(list_items(source, LOCAL, token=CancelToken()))


# -- nothing is left out without a word -------------------------------------------------------------------------------------


def test_entries_that_share_a_guid_are_told_apart_by_their_titles() -> None:
    same = "https://example.org/podcast/"
    found = taken(items(HEAD + "".join(entry(n, same) for n in range(1, 6)) + TAIL))
    assert [r.title for r in found] == [f"Episode {n}" for n in range(1, 6)]
    assert len({r.key for r in found}) == 5
    newer = taken(items(HEAD + "".join(entry(n, same) for n in range(0, 6)) + TAIL))
    assert {r.key for r in found} < {r.key for r in newer}, "a new episode makes no other one new"


def test_shared_guids_without_titles_are_told_apart_by_address() -> None:
    found = taken(items(HEAD + "".join(entry(n, "the-same-guid-everywhere", title="") for n in range(3)) + TAIL))
    assert len({r.key for r in found}) == 3


def test_equal_guids_of_two_shows_are_two_recordings() -> None:
    text = HEAD + entry(1, "a-guid-that-is-long-enough-to-be-own") + TAIL
    assert taken(items(text, "https://a.org/f"))[0].key != taken(items(text, "https://b.org/f"))[0].key


def test_a_moved_feed_that_names_itself_keeps_its_recordings() -> None:
    head = HEAD.replace("<rss", '<rss xmlns:podcast="https://podcastindex.org/namespace/1.0"') + (
        "<podcast:guid>917393e3-1b1e-5cef-ace4-edaa54e1f810</podcast:guid>"
    )
    first, second = (taken(items(head + entry(1) + TAIL, feed))[0] for feed in ("https://a.org/f", "https://b.org/new"))
    assert first.key == second.key


@pytest.mark.parametrize(
    ("length", "size"), [("1024", 1024), ("❶1", None), ("²", None), ("١٢", 12), ("-1", None), ("9" * 400, None)]
)
def test_a_length_of_any_signs_is_a_number_or_unknown(length: str, size: int | None) -> None:
    (item,) = items(
        f'{HEAD}<item><title>T</title><guid>x</guid><enclosure url="http://e.org/a.mp3" length="{length}"/></item>{TAIL}'
    )
    assert item.recording.extra.get("bytes") == size


@pytest.mark.parametrize(
    ("enclosure", "is_taken"),
    [
        ('url="http://e.org/a.mp3"', True),
        ('url="http://e.org/play?id=7"', True),
        ('url="http://e.org/play?id=7" type=""', True),
        ('url="http://e.org/play?id=7" type="application/octet-stream"', True),
        ('url="http://e.org/play?id=7" type="application/ogg"', True),
        ('url="http://e.org/cover.jpg"', False),
        ('url="http://e.org/play?id=7" type="image/jpeg"', False),
        ('url="http://e.org/paper" type="application/pdf"', False),
        ('url="http://e.org/live" type="application/x-mpegurl"', False),
    ],
)
def test_an_enclosure_without_a_type_is_taken_and_what_is_no_medium_is_told(enclosure: str, is_taken: bool) -> None:
    (item,) = items(f"{HEAD}<item><title>T</title><guid>x</guid><enclosure {enclosure}/></item>{TAIL}")
    assert (item.recording is not None) == is_taken
    assert bool(item.reason) != is_taken


def test_audio_with_a_type_goes_before_something_without() -> None:
    both = '<enclosure url="http://e.org/page"/><enclosure url="http://e.org/a" type="audio/mpeg"/>'
    (found,) = taken(items(f"{HEAD}<item><title>T</title><guid>x</guid>{both}</item>{TAIL}"))
    assert found.source == "http://e.org/a"


def test_one_entry_that_is_too_long_is_left_out_alone() -> None:
    big = entry(2, more=f"<description>{'x' * (5 << 20)}</description>")
    found = items(HEAD + entry(1) + big + entry(3) + TAIL)
    assert [(i.title, i.reason) for i in found] == [("Episode 1", ""), ("Episode 2", TOO_LONG), ("Episode 3", "")]
    large = items(HEAD + entry(1, more=f"<description>{'x' * (3 << 20)}</description>") + TAIL)
    assert [r.title for r in taken(large)] == ["Episode 1"]


@pytest.mark.parametrize(
    ("told", "day"),
    [
        ("1772445600", "2026-03-02"),
        ("1772445600000", "2026-03-02"),
        (" 1772445600 ", "2026-03-02"),
        ("Mon, 02 Mar 2026 10:00:00 GMT", "2026-03-02"),
        ("2026-03-02T10:00:00Z", "2026-03-02"),
        ("12", None),
        ("99999999999999", None),
        ("soon", None),
    ],
)
def test_dates_as_feeds_write_them(told: str, day: str | None) -> None:
    text = entry(1).replace("Mon, 02 Mar 2026 10:00:00 GMT", told)
    assert taken(items(HEAD + text + TAIL))[0].published == day


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "latin-1", "windows-1251", "shift_jis"]
)
@pytest.mark.parametrize("size", [7, 65_536])
def test_feeds_in_other_encodings(encoding: str, size: int) -> None:
    title = {"latin-1": "Über Höhen", "windows-1251": "Привет", "shift_jis": "日本の話"}.get(encoding, "日本 Über")
    declared = {"utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-8-sig": "UTF-8"}.get(encoding, encoding)
    text = HEAD.replace("UTF-8", declared) + entry(1, title=title) + entry(2) + TAIL
    assert [r.title for r in taken(items(text.encode(encoding), size=size))] == [title, "Episode 2"]


def test_a_local_feed_and_a_local_list_of_subscriptions_are_read(server: Server, tmp_path: Path) -> None:
    (tmp_path / "show.xml").write_text(HEAD + entry(1) + entry(2) + TAIL)
    assert [f.title for f in listed(str(tmp_path / "show.xml"))] == ["Episode 1", "Episode 2"]
    feed = server.serve("/feed", lambda r: r.answer(200, (HEAD + entry(7) + TAIL).encode(), Content_Type="application/rss+xml"))
    opml = (
        f'<opml version="2.0"><body><outline text="a"><outline type="rss" xmlUrl="{feed}"/><outline xmlUrl="{feed}"/></outline>'
        f'<outline type="rss" xmlUrl="{server.url}/gone"/></body></opml>'
    )
    (tmp_path / "players.opml").write_text(opml)
    first, second = listed(str(tmp_path / "players.opml"))
    assert first.title == "Episode 7"
    assert isinstance(second, Faulty)
    assert "404" in second.reason
    there = server.serve("/subscriptions", lambda r: r.answer(200, opml.encode(), Content_Type="text/xml"))
    assert [f.title for f in listed(there)][:1] == ["Episode 7"]


def test_a_malformed_list_of_subscriptions_says_so(tmp_path: Path) -> None:
    for text in ("<opml><body><outline", '<!DOCTYPE x [<!ENTITY a "b">]><opml><body/></opml>'):
        (tmp_path / "x.opml").write_text(text)
        with pytest.raises(Permanent) as caught:
            listed(str(tmp_path / "x.opml"))
        assert caught.value.cause == "malformed list"


# -- bounded work -----------------------------------------------------------------------------------------------------------

HOSTILE = {
    "an unclosed comment": lambda n: "<!--" + "x" * n,
    "many unclosed comments": lambda n: "<!--" * (n // 4),
    "an unclosed CDATA section": lambda n: "<item><![CDATA[" + "x" * n,
    "many openings": lambda n: "<" * n,
    "many entries that begin": lambda n: "<item>" * (n // 6),
    "many entries that end": lambda n: "</item>" * (n // 7),
    "tags without an end": lambda n: "<item" + " " * n,
    "endings without an end": lambda n: "<item></item" + " " * n,
    "long names": lambda n: "<" + "a" * n,
    "a long prefix": lambda n: "<item></" + "a" * n + ":item>",
}


def seconds_to_cut(text: str, size: int) -> float:
    data = (HEAD + text).encode()
    begun = time.thread_time()
    with contextlib.suppress(Permanent, Transient):
        for _ in Cutter().entries(narrow(data[at : at + size] for at in range(0, len(data), size))):
            pass
    return time.thread_time() - begun


@pytest.mark.parametrize("size", [512, 65_536])
@pytest.mark.parametrize("name", HOSTILE)
def test_eight_times_the_input_costs_eight_times_the_time(name: str, size: int) -> None:
    """The best of several runs in turn; a quadratic scan would give 64."""
    n = 100_000
    runs = [(seconds_to_cut(HOSTILE[name](n), size), seconds_to_cut(HOSTILE[name](8 * n), size)) for _ in range(3)]
    once, eight = (min(column) for column in zip(*runs, strict=True))
    assert eight < 24 * once + 0.02


def test_a_parser_that_is_too_slow_is_ended_and_the_next_document_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = FeedParser(CancelToken())
    try:
        whole = (HEAD + entry(1) + TAIL).encode()
        before = set(psutil.Process().children())
        assert len(parser.parse(whole)["entries"]) == 1
        (child,) = set(psutil.Process().children()) - before
        child.suspend()
        monkeypatch.setattr(parsing, "DEADLINE_S", 0.05)
        with pytest.raises(Permanent) as caught:
            parser.parse(whole)
        assert caught.value.cause == "broken feed"
        assert not child.is_running()
        monkeypatch.setattr(parsing, "DEADLINE_S", 30.0)
        assert len(parser.parse(whole)["entries"]) == 1
    finally:
        parser.close()


def test_a_stop_ends_the_parser_at_once() -> None:
    token = CancelToken()
    parser = FeedParser(token)
    try:
        token.cancel("enough")
        with pytest.raises(Cancelled):
            parser.parse((HEAD + TAIL).encode())
    finally:
        parser.close()


def test_compression_in_several_layers_is_refused(server: Server) -> None:
    bomb = gzip.compress(gzip.compress(b"\0" * (64 << 20)))
    assert len(bomb) < 5000
    url = server.serve("/feed", lambda r: r.answer(200, bomb, Content_Type="application/rss+xml", Content_Encoding="gzip, gzip"))
    with contextlib.closing(Web(lambda: LOCAL.fetch)) as web, pytest.raises(Permanent) as caught, web.get(url, CancelToken(), {}):
        pass
    assert caught.value.cause == "stacked encodings"
    with pytest.raises(Permanent) as again, open_ytdlp(LOCAL.fetch, CancelToken()) as ytdlp:
        ytdlp.urlopen(url)
    assert again.value.cause == "stacked encodings"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity"])
def test_a_page_in_any_encoding_is_read_and_a_bomb_is_refused(server: Server, coding: str) -> None:
    import zlib

    import brotli

    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "br": lambda b: brotli.compress(b, quality=1), "identity": bytes}[
        coding
    ]
    for path, size in (("/page", 100_000), ("/bomb", 200 << 20)):
        if coding == "identity" and path == "/bomb":
            continue
        body = pack(b"x" * size)  # type: ignore[operator]
        url = server.serve(path, lambda r, body=body: r.answer(200, body, Content_Type="text/html", Content_Encoding=coding))  # type: ignore[misc]
        if path == "/page":
            with open_ytdlp(LOCAL.fetch, CancelToken()) as ytdlp:
                assert ytdlp.urlopen(url).read() == b"x" * size
            continue
        with pytest.raises(Permanent) as caught, open_ytdlp(LOCAL.fetch, CancelToken()) as ytdlp:
            ytdlp.urlopen(url)
        assert caught.value.cause == "page too large"


def test_a_feed_that_drips_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "WINDOW_S", 0.5)

    def drip(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/rss+xml")
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        request.wfile.write((HEAD + " " * 8000).encode())
        while not request.server.ending.wait(0.05):
            request.wfile.write(b" ")
            request.wfile.flush()

    with pytest.raises(Transient) as caught:
        list(list_items(server.serve("/feed", drip), LOCAL, token=CancelToken()))
    assert caught.value.cause == "too slow"


def test_the_head_of_an_entry_that_is_too_long_is_all_that_is_kept() -> None:
    text = f"{HEAD}<item><title>T</title>{'x' * (3 * MOST_ENTRY_BYTES)}</item>{entry(1)}{TAIL}".encode()
    cutter = Cutter()
    first, second = cutter.entries(text[at : at + 100_000] for at in range(0, len(text), 100_000))
    assert (first.too_long, len(first.text)) == (True, KEPT_HEAD)
    assert not second.too_long
    assert b"<item" not in cutter.frame


def test_many_threads_may_parse_at_once() -> None:
    results: list[Any] = []

    def work() -> None:
        parser = FeedParser(CancelToken())
        try:
            results.append(len(parser.parse((HEAD + entry(1) + TAIL).encode())["entries"]))
        finally:
            parser.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1] * 4


def test_nothing_of_this_process_is_given_to_the_parser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder on PYTHONPATH cannot put its own feedparser there."""
    (tmp_path / "feedparser.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    parser = FeedParser(CancelToken())
    try:
        assert len(parser.parse((HEAD + entry(1) + TAIL).encode())["entries"]) == 1
    finally:
        parser.close()
