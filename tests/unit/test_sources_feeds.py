"""Feeds in every state feeds come in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.engine.errors import Permanent, Transient
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.feed_entries import FeedItem, duration_of
from gainstage.engine.sources.feed_parser import FeedParser
from gainstage.engine.sources.feeds import parse_feed

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"'
    ' xmlns:atom="http://www.w3.org/2005/Atom" xmlns:media="http://search.yahoo.com/mrss/"><channel><title>The Show</title>'
)
TAIL = "</channel></rss>"
PARSER = FeedParser(CancelToken())


@pytest.fixture(scope="module", autouse=True)
def _parser() -> Iterator[None]:
    yield
    PARSER.close()


def episode(n: int, extra: str = "") -> str:
    return (
        f"<item><title>Episode {n}</title><guid isPermaLink='false'>show-episode-{n:04d}-guid</guid>"
        f"<pubDate>Tue, {1 + n % 28:02d} Sep 2026 10:00:00 GMT</pubDate><itunes:duration>1:02:{n % 60:02d}</itunes:duration>"
        f'<enclosure url="/media/{n}.mp3?x=1&amp;y=2" length="{1000 + n}" type="audio/mpeg"/>{extra}</item>'
    )


def parse(text: str | bytes, size: int = 1000) -> tuple[list[FeedItem], str | None]:
    data = text.encode() if isinstance(text, str) else text
    blocks = (data[at : at + size] for at in range(0, len(data), size))
    items: list[FeedItem] = []

    def run() -> Iterator[FeedItem]:
        nonlocal following
        following = yield from parse_feed(blocks, "https://example.org/feed.xml", "https://example.org/feed.xml", PARSER)

    following: str | None = None
    items = list(run())
    return items, following


def test_an_episode_has_its_address_date_length_size_and_show() -> None:
    (item,), _ = parse(HEAD + episode(7) + TAIL)
    recording = item.recording
    assert recording is not None
    assert recording.source == "https://example.org/media/7.mp3?x=1&y=2"
    assert (recording.title, recording.published, recording.duration) == ("Episode 7", "2026-09-08", 3727.0)
    assert (recording.channel, recording.extra["bytes"], recording.extra["fetch"]) == ("The Show", 1007, "http")
    assert recording.key.startswith("feed:")


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
def test_it_does_not_matter_where_the_blocks_end(size: int) -> None:
    text = HEAD + "".join(episode(n) for n in range(12)) + '<atom:link rel="next" href="feed.xml?page=2"/>' + TAIL
    items, following = parse(text, size)
    assert [i.title for i in items] == [f"Episode {n}" for n in range(12)]
    assert following == "https://example.org/feed.xml?page=2"


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_every_cut_gives_the_same_episodes(cuts: list[int]) -> None:
    tricky = "<description><![CDATA[an <item> inside </item> & text <b>]]></description><!-- </item> -->"
    data = (HEAD + "".join(episode(n, tricky) for n in range(3)) + TAIL).encode()
    blocks, at = [], 0
    for cut in cuts:
        blocks.append(data[at : at + cut])
        at += cut
    blocks.append(data[at:])
    assert [i.title for i in parse_feed(blocks, "f", "https://e.org/f", PARSER)] == ["Episode 0", "Episode 1", "Episode 2"]


def test_a_moved_file_is_the_same_recording_and_short_guids_belong_to_their_feed() -> None:
    moved = episode(1).replace("/media/", "https://cdn.example.net/v2/")
    assert _key(HEAD + episode(1) + TAIL) == _key(HEAD + moved + TAIL)
    short = episode(1).replace("show-episode-0001-guid", "1")
    data = (HEAD + short + TAIL).encode()
    keys = {next(iter(parse_feed([data], feed, feed, PARSER))).recording.key for feed in ("https://a.org/f", "https://b.org/f")}  # type: ignore[union-attr]
    assert len(keys) == 2


def _key(text: str) -> str:
    recording = parse(text)[0][0].recording
    assert recording is not None
    return recording.key


def test_atom_and_rdf_are_feeds_too() -> None:
    atom = (
        '<feed xmlns="http://www.w3.org/2005/Atom"><title>A</title><link rel="next" href="/p2"/><entry><title>One</title>'
        "<id>urn:uuid:1225c695-cfb8-4ebb-aaaa-80da344efa6a</id><updated>2026-05-01T00:00:00Z</updated>"
        '<link rel="enclosure" type="audio/ogg" href="https://e.org/1.ogg" length="5"/></entry></feed>'
    )
    (item,), following = parse(atom)
    assert item.recording is not None
    assert (item.recording.source, item.recording.published, following) == (
        "https://e.org/1.ogg",
        "2026-05-01",
        "https://example.org/p2",
    )
    rdf = (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"><channel><title>R</title>'
        '</channel><item rdf:about="x"><title>One</title><link>https://e.org/p</link></item></rdf:RDF>'
    )
    (item,), _ = parse(rdf)
    assert (item.recording, item.title, item.reason) == (None, "One", "no audio or video in its entry")


def test_an_entry_without_audio_is_told_and_a_video_is_taken_where_there_is_no_audio() -> None:
    both = "<enclosure url='/v.mp4' type='video/mp4'/>"
    items, _ = parse(HEAD + "<item><title>News</title></item>" + episode(1, both) + f"<item><title>V</title>{both}</item>" + TAIL)
    assert [i.reason for i in items] == ["no audio or video in its entry", "", ""]
    assert items[1].recording is not None
    assert items[1].recording.source.endswith("1.mp3?x=1&y=2")
    assert items[2].recording is not None
    assert items[2].recording.source.endswith("/v.mp4")


@pytest.mark.parametrize(
    "href", ["file:/etc/passwd.mp3", "file:///etc/passwd", "javascript:alert(1)", "c:\\x.mp3", "ftp://e.org/a.mp3", "http://[::1", "x:/../../etc/a.mp3"]
)  # fmt: skip
def test_audio_at_no_web_address_is_told_and_not_taken(href: str) -> None:
    strange = f"<item><title>T</title><enclosure url='{href}' type='audio/mpeg'/></item>"
    (item,), _ = parse(HEAD + strange + TAIL)
    assert (item.recording, item.reason) == (None, "its audio is at no http(s) address")


def test_a_youtube_feed_gives_youtubes_own_recordings() -> None:
    text = (
        '<feed xmlns:yt="http://www.youtube.com/xml/schemas/2015" xmlns="http://www.w3.org/2005/Atom"><title>Ch</title>'
        "<entry><id>yt:video:dQw4w9WgXcQ</id><yt:videoId>dQw4w9WgXcQ</yt:videoId><title>T</title>"
        "<published>2026-09-01T08:00:00+00:00</published></entry></feed>"
    )
    (item,), _ = parse(text)
    assert item.recording is not None
    assert (item.recording.id, item.recording.key, item.recording.published) == (
        "yt-dQw4w9WgXcQ",
        "youtube:dQw4w9WgXcQ",
        "2026-09-01",
    )


def test_an_empty_feed_is_empty_and_a_page_is_no_feed() -> None:
    assert parse(HEAD + TAIL) == ([], None)
    for text in ("<html><body>hello</body></html>", "", "just text", '{"a": 1}'):
        with pytest.raises(Permanent, match="not a feed"):
            parse(text)


def test_a_feed_that_ends_too_early_says_so_after_what_was_whole() -> None:
    seen: list[str] = []
    data = (HEAD + episode(1) + episode(2)[:80]).encode()
    with pytest.raises(Transient, match="middle of an entry"):
        seen += [i.title for i in parse_feed([data], "f", "https://e.org/f", PARSER)]


def test_an_entry_without_end_and_a_bomb_are_refused() -> None:
    with pytest.raises(Permanent, match="no end"):
        parse(HEAD + "<item>" + "x" * 5_000_000, size=1 << 20)
    bomb = (
        '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "'
        + "a" * 1000
        + '">'
        + "".join(f'<!ENTITY {chr(98 + n)} "{("&" + chr(97 + n) + ";") * 10}">' for n in range(8))
        + f"]><rss><channel><title>&i;</title>{episode(1)}{TAIL}"
    )
    titles = [i.title for i in parse(bomb)[0]]
    assert all(len(title) < 400 for title in titles)


def test_titles_are_harmless() -> None:
    evil = (
        "<item><title>\x1b[31m[red]&#x202E;Gone\u2066 [@click=app.quit]</title><enclosure url='/a.mp3' type='audio/mpeg'/></item>"
    )
    (item,), _ = parse(HEAD + evil + TAIL)
    assert "\x1b" not in item.title
    assert "\u202e" not in item.title


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3723", 3723.0),
        ("62:03", 3723.0),
        ("1:02:03", 3723.0),
        ("01:02:03.5", 3723.0),
        ("", None),
        (None, None),
        ("an hour", None),
        ("0", None),
    ],
)
def test_durations_as_feeds_write_them(text: str | None, seconds: float | None) -> None:
    assert duration_of(text) == seconds


def test_of_several_transcripts_the_one_that_surely_has_times_is_kept() -> None:
    offers = (
        '<podcast:transcript url="t.html" type="text/html"/><podcast:transcript url="/t.srt" type="application/x-subrip"'
        ' language="de"/><podcast:transcript url="t.json" type="application/json"/><podcast:transcript url="file:///t.vtt"/>'
    )
    (item,), _ = parse(HEAD + episode(7, offers) + TAIL)
    assert item.recording is not None
    transcript = item.recording.extra["transcript"]
    assert transcript["url"].endswith("/t.srt")
    assert (transcript["type"], transcript["language"]) == ("application/x-subrip", "de")
    (item,), _ = parse(HEAD + episode(7, '<podcast:transcript url="t.txt" type="text/plain"/>') + TAIL)
    assert item.recording is not None
    assert item.recording.extra["transcript"]["type"] == "text/plain"
