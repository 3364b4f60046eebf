"""Listing of files, folders, lists and addresses: good ones and bad ones."""

from __future__ import annotations

import json
import os
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.config.settings import Settings, changed
from gainstage.engine.errors import Cancelled, EngineError, Permanent, Throttled
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.fetch import local_file
from gainstage.engine.sources.ids import apart, own_id
from gainstage.engine.sources.listing import WRITING, Faulty, list_items, list_source, url_recording
from gainstage.engine.sources.local import content_hash, path_of
from gainstage.engine.terms import Recording
from tests.http_server import Media, Request, Server, running

SAFE = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")
LOCAL = changed(Settings(), "fetch.allow_private", True)


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def names(source: str | Path, settings: Settings = LOCAL) -> list[str]:
    return [r.title for r in list_source(str(source), settings, token=CancelToken())]


def one(source: str | Path) -> Recording:
    (found,) = list_source(str(source), LOCAL, token=CancelToken())
    return found


# -- files and folders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["two words.mp3", 'it\'s "quoted".wav', "line\nbreak.mp3", "🎙 talk — ünï.flac", "-rf $(x);.mp3", "a" * 250 + ".mp3"]
)
def test_odd_file_names_are_listed_and_found_again(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"audio of " + name.encode())
    listed = one(tmp_path)
    assert local_file(listed).read_bytes() == b"audio of " + name.encode()
    assert "\n" not in listed.title
    assert one(tmp_path / name) == listed
    assert SAFE.fullmatch(listed.id)


def test_a_name_that_is_no_text_is_found_again_from_its_readable_form(tmp_path: Path) -> None:
    place = os.fsencode(tmp_path) + b"/caf\xe9.mp3"
    Path(os.fsdecode(place)).write_bytes(b"x")
    listed = one(tmp_path)
    stored = Recording(listed.id, listed.key, "a text with \N{REPLACEMENT CHARACTER}", listed.title, extra=listed.extra)
    assert path_of(stored).read_bytes() == b"x"


def test_a_folder_gives_its_media_by_name_and_nothing_hidden(tmp_path: Path) -> None:
    for name in ("b.mp3", "a.WAV", "sub/c.m4a", ".hidden.mp3", ".git/d.mp3", "notes.txt", "cover.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    assert names(tmp_path) == ["a", "b", "c"]


def test_the_same_content_under_two_names_has_one_key(tmp_path: Path) -> None:
    for name in ("a.mp3", "b.mp3"):
        (tmp_path / name).write_bytes(b"same")
    assert len({r.key for r in list_source(str(tmp_path), LOCAL, token=CancelToken())}) == 1


def test_the_id_of_a_file_says_its_name_and_depends_on_its_content_only_beside(tmp_path: Path) -> None:
    for folder, name, content in (
        ("a", "Talk.mp3", b"1"),
        ("b", "Talk.mp3", b"1"),
        ("c", "Talk.mp3", b"2"),
        ("d", "chat.mp3", b"1"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(content)
    ids = [r.id for r in list_source(str(tmp_path), LOCAL, token=CancelToken())]
    assert [id.rpartition("-")[0] for id in ids] == ["talk", "talk", "talk", "chat"]
    assert ids[0] == ids[1] != ids[2]


def test_a_changed_file_is_another_recording(tmp_path: Path) -> None:
    file = tmp_path / "a.mp3"
    file.write_bytes(b"one")
    before = one(file)
    file.write_bytes(b"other")
    assert one(file).key != before.key
    assert content_hash(file) == one(file).key.removeprefix("sha256:")


def test_a_folder_without_media_and_a_missing_one_say_so(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(Permanent) as caught:
        names(tmp_path)
    assert caught.value.cause == "no media"
    for missing in (tmp_path / "nowhere", "x" * 5000, "a\0b"):
        with pytest.raises(Permanent) as caught:
            names(missing)
        assert caught.value.cause == "missing source"


def test_a_missing_media_file_is_listed_so_that_it_fails_visibly(tmp_path: Path) -> None:
    listed = one(tmp_path / "gone.mp3")
    with pytest.raises(Permanent) as caught:
        local_file(listed)
    assert caught.value.cause == "missing file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_listed_and_fails_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"x")
    (tmp_path / "a.mp3").chmod(0)
    with pytest.raises(Permanent) as caught:
        local_file(one(tmp_path))
    assert caught.value.cause == "unreadable file"


def test_a_folder_named_like_a_file_fails_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").mkdir()
    with pytest.raises(Permanent) as caught:
        local_file(Recording("x", "x", str(tmp_path / "a.mp3"), "x"))
    assert caught.value.cause == "unreadable file"
    with pytest.raises(Permanent, match="no media"):
        names(tmp_path / "a.mp3")


def test_a_followed_folder_may_be_empty_and_leaves_what_is_being_written(tmp_path: Path) -> None:
    assert list(list_items(str(tmp_path), LOCAL, token=CancelToken(), settled=True)) == []
    (tmp_path / "old.mp3").write_bytes(b"old")
    os.utime(tmp_path / "old.mp3", (1e9, 1e9))
    (tmp_path / "new.mp3").write_bytes(b"new")
    found = list(list_items(str(tmp_path), LOCAL, token=CancelToken(), settled=True))
    assert found[0] == Faulty("new.mp3", WRITING)
    assert isinstance(found[1], Recording)


@pytest.mark.parametrize("source", ["a" * 300 + ".mp3", "/x/" + "a/" * 3000, "nul\0.mp3", "half\ud83d.mp3", "", "  "])
def test_what_can_be_no_path_says_so_and_stops_no_list(tmp_path: Path, source: str) -> None:
    with pytest.raises(Permanent) as caught:
        one(source)
    assert caught.value.cause == "missing source"
    (tmp_path / "good.mp3").write_bytes(b"x")
    lines = [{"path": source or "gone/"}, {"path": "~nobody-of-this-name/a.mp3"}, {"path": "good.mp3"}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = list(list_items(str(tmp_path / "list.jsonl"), LOCAL, token=CancelToken()))
    assert [f.title for f in found if isinstance(f, Recording)] == ["good"]
    assert len(found) == 3


def test_hashing_a_file_ends_with_the_token(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"x")
    token = CancelToken()
    listing = list_source(str(tmp_path), LOCAL, token=token)
    token.cancel("enough")
    with pytest.raises(Cancelled):
        next(listing)


# -- lists ------------------------------------------------------------------------------------------------------------------


def test_a_text_list_names_urls_files_and_folders_beside_it(tmp_path: Path) -> None:
    (tmp_path / "talks").mkdir()
    (tmp_path / "talks/b.mp3").write_bytes(b"b")
    (tmp_path / "a.mp3").write_bytes(b"a")
    text = "\ufeff# mine\n\nhttps://e.org/x.mp3#t=3\na.mp3\ntalks\r\nhttps://youtu.be/dQw4w9WgXcQ?t=5\nnowhere.mp3\nfile:///etc/passwd\n"
    (tmp_path / "list.txt").write_text(text)
    found = list(list_items(str(tmp_path / "list.txt"), Settings(), token=CancelToken()))
    assert [r.title for r in found if isinstance(r, Recording)] == ["x", "a", "b", "dQw4w9WgXcQ"]
    assert [f.reason.split(":")[0] for f in found if isinstance(f, Faulty)] == ["no such file or folder", "not an http(s) address"]


def test_json_lines_tell_more_and_bad_lines_stop_nothing(tmp_path: Path) -> None:
    lines = [
        {
            "url": "https://e.org/1.mp3",
            "title": "One\x1b[2J",
            "duration": 61,
            "published": "2026-01-02",
            "priority": 7,
            "channel": "C",
        },
        "https://e.org/2.mp3",
        {"title": "no address"},
        {"url": 5},
        {"url": "https://e.org/3.mp3", "duration": -1, "priority": "high"},
    ]
    text = "\n".join(map(json.dumps, lines)) + "\n{broken\n" + "[" * 50_000 + "\n"
    (tmp_path / "list.jsonl").write_text(text)
    found = list(list_items(str(tmp_path / "list.jsonl"), Settings(), token=CancelToken()))
    first, second, third = (f for f in found if isinstance(f, Recording))
    assert (first.title, first.duration, first.published, first.priority, first.channel) == ("One", 61.0, "2026-01-02", 7, "C")
    assert (second.title, third.duration, third.priority) == ("2", None, 0)
    assert [f.title.split(":")[1].strip() for f in found if isinstance(f, Faulty)] == ["no url", "no url", "not JSON", "not JSON"]


def test_a_list_inside_a_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a.txt\n")
    (fault,) = list_items(str(tmp_path / "a.txt"), Settings(), token=CancelToken())
    assert isinstance(fault, Faulty)
    assert fault.reason.startswith("a list inside a list")


def test_a_long_list_is_a_stream(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"https://e.org/{n}.mp3\n" for n in range(10_000)))
    tracemalloc.start()
    try:
        count = sum(1 for _ in list_source(str(tmp_path / "list.txt"), Settings(), token=CancelToken()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert peak < 5_000_000


# -- addresses --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "title", "id"),
    [
        ("/a%20talk.mp3", "a talk", "a-talk"),
        ("/%1b%5b31mred%0a.mp3", "red", "red"),
        ("/..%2f..%2fetc%2fpasswd.mp3", "passwd", "passwd"),
        ("/" + "n" * 300 + ".mp3", "n" * 300, "n" * 24),
        ("/%E2%80%AEgnp.mp3", "gnp", "gnp"),
        ("/%E6%9C%9D%E3%81%AE%E8%A9%B1.mp3", "朝の話", "url"),
        ("/-rf.mp3", "-rf", "rf"),
        ("/x.mp3?token=1", "x", "x"),
    ],
)
def test_hostile_names_become_harmless_titles_and_our_own_ids(path: str, title: str, id: str) -> None:
    listed = one("https://e.org" + path)
    assert listed.title == title
    assert SAFE.fullmatch(listed.id)
    assert listed.id.rpartition("-")[0] == id


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Morning Talk", "morning-talk"),
        ("L'été à Köln — Straße №5", "lete-a-koln-strae-no5"),
        ("朝の話", "file"),
        ("", "file"),
        ("\x00\x1b]0;x\x07\n", "file"),
        ("../../etc/passwd", "etc-passwd"),
        ("con.", "con"),
        ("How the gut bacteria of mice change their sleep", "how-the-gut-bacteria-of"),
        ("a" * 300, "a" * 24),
        ("x " + "a" * 300, "x-" + "a" * 22),
    ],
)
def test_ids_are_readable_where_names_are(name: str, expected: str) -> None:
    assert own_id(name, "0123456789abcdef", "file") == f"{expected}-01234567"


@given(name=st.text(), digest=st.text("0123456789abcdef", min_size=64, max_size=64))
def test_every_id_is_safe(name: str, digest: str) -> None:
    id = own_id(name, digest, "file")
    assert SAFE.fullmatch(id)
    assert id == own_id(name, digest, "file")
    assert SAFE.fullmatch(apart(id, name))


def test_a_fragment_makes_no_other_recording() -> None:
    assert url_recording("https://e.org/a.mp3#t=10").key == url_recording("HTTPS://e.org/a.mp3").key


@pytest.mark.parametrize(
    "source",
    [
        "file:///etc/passwd.mp3",
        "ftp://e.org/a.mp3",
        "http:///a.mp3",
        "javascript://x/a.mp3",
        "http://[::1/a.mp3",
        "http://e.org:99999/a.mp3",
    ],
)
def test_other_schemes_and_malformed_addresses_are_refused(source: str) -> None:
    with pytest.raises(Permanent) as caught:
        names(source)
    assert caught.value.cause == "address refused"


def test_an_address_inside_is_refused_before_anything_is_asked(server: Server) -> None:
    with pytest.raises(Permanent) as caught:
        names(server.serve("/feed", lambda r: r.answer(200)), Settings())
    assert caught.value.cause == "private address refused"
    assert not server.hits


def feed_page(server: Server, first: int, count: int, following: str | None) -> bytes:
    items = "".join(
        f"<item><title>Episode {n}</title><guid>https://pod.example/{n}</guid>"
        f'<enclosure url="{server.url}/{n}.mp3" type="audio/mpeg" length="9"/></item>'
        for n in range(first, first + count)
    )
    link = f'<atom:link rel="next" href="{following}"/>' if following else ""
    return f'<rss xmlns:atom="http://www.w3.org/2005/Atom"><channel><title>Pod</title>{link}{items}</channel></rss>'.encode()


def serve_feed(server: Server, pages: int = 3, each: int = 20) -> str:
    def page(n: int) -> None:
        following = f"/feed?page={n + 1}" if n + 1 < pages else None
        body[n] = feed_page(server, n * each, each, following)

    body: dict[int, bytes] = {}
    for n in range(pages):
        page(n)

    def answer(request: Request) -> None:
        number = int(request.path.partition("page=")[2] or 0)
        request.answer(200, body[number], Content_Type="application/rss+xml")

    return server.serve("/feed", answer)


def test_a_feed_of_sixty_episodes_over_three_pages_is_whole(server: Server) -> None:
    listed = list(list_source(serve_feed(server), LOCAL, token=CancelToken()))
    assert [r.title for r in listed] == [f"Episode {n}" for n in range(60)]
    assert len({r.key for r in listed}) == 60


def test_pages_that_lead_in_a_circle_end(server: Server) -> None:
    server.serve("/feed", lambda r: r.answer(200, feed_page(server, 0, 2, "/feed")))
    assert len(names(server.url + "/feed")) == 2


def test_a_feed_that_is_lost_half_way_is_an_error_not_a_short_list(server: Server) -> None:
    def answer(request: Request) -> None:
        if "page" in request.path:
            request.answer(500)
        else:
            request.answer(200, feed_page(server, 0, 20, "/feed?page=1"))

    with pytest.raises(EngineError, match="HTTP 500"):
        names(server.serve("/feed", answer))


def test_a_throttled_feed_says_when_to_come_back(server: Server) -> None:
    with pytest.raises(Throttled) as caught:
        names(server.serve("/feed", lambda r: r.answer(429, Retry_After="60")))
    assert caught.value.after_s == 60


def test_media_is_known_by_its_type_where_its_name_says_nothing(server: Server) -> None:
    listed = one(server.serve("/download", Media(b"x" * 100)))
    assert listed.extra["fetch"] == "http"


def test_a_missing_feed_says_so(server: Server) -> None:
    with pytest.raises(Permanent, match="HTTP 404"):
        names(server.url + "/nothing")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/pdf", b"%PDF-1.4"),
        ("application/feed+json", b"{}"),
        ("application/vnd.ms-excel", b"\xd0\xcf"),
        ("application/zip", b"PK\3\4"),
        ("image/png", b"\x89PNG"),
        ("text/plain; charset=utf-8", b"some notes"),
    ],
)
def test_an_address_of_no_medium_is_refused_in_the_preview(kind: str, body: bytes) -> None:
    with running() as server:
        url = server.serve("/thing", lambda r: r.answer(200, body, Content_Type=kind))
        with pytest.raises(Permanent) as caught:
            list(list_items(url, LOCAL, token=CancelToken()))
    assert caught.value.cause == "not media"


def test_media_under_a_wrong_type_is_listed_all_the_same() -> None:
    with running() as server:
        for kind in ("application/octet-stream", "text/plain"):
            url = server.serve("/get", lambda r, kind=kind: r.answer(200, b"OggS\0\2\0\0", Content_Type=kind))  # type: ignore[misc]
            assert [type(item) for item in list_items(url, LOCAL, token=CancelToken())] == [Recording]
