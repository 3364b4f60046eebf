"""Foreign text that is parsed in the engine's or a command's own process: twice as much of it takes about twice as long."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gainstage.config.errors import SettingError
from gainstage.config.origins import read_toml
from gainstage.engine.errors import EngineError
from gainstage.engine.evaluation.references import load_reference
from gainstage.engine.sources.cookies import read_cookies
from gainstage.engine.sources.feed_cutter import Cutter, narrow
from gainstage.engine.sources.feeds import is_feed
from gainstage.engine.sources.lists import read_list
from gainstage.engine.sources.opml import is_opml, read_opml

Parser = Callable[[Path], object]


def whole(path: Path) -> list[bytes]:
    content = path.read_bytes()
    return [content[at : at + 4096] for at in range(0, len(content), 4096)]


def opml(path: Path) -> object:
    return read_opml(iter(whole(path)))


def cut(path: Path) -> object:
    return list(Cutter().entries(narrow(whole(path))))


def heads(path: Path) -> object:
    return is_feed(path.read_bytes()), is_opml(path.read_bytes())


WORDS = [{"word": "a", "start": n / 10, "speaker": "A"} for n in range(8000)]
TURNS = [{"speaker": "A", "start": n / 10, "end": n / 10 + 1} for n in range(8000)]

TEXTS: dict[str, tuple[str, Parser, Callable[[int], str]]] = {
    "outlines": ("a.opml", opml, lambda n: "<opml>" + '<outline xmlUrl="http://a.b/c"/>' * n + "</opml>"),
    "outlines in outlines": ("a.opml", opml, lambda n: "<opml>" + "<outline>" * n),
    "one long attribute": ("a.opml", opml, lambda n: '<opml><outline xmlUrl="' + "x" * 20 * n),
    "many attributes": ("a.opml", opml, lambda n: "<opml><outline " + " ".join(f"a{k}='1'" for k in range(n)) + "/></opml>"),
    "a comment without an end": ("a.opml", opml, lambda n: "<opml><!--" + "- " * 10 * n),
    "a feed of open comments": ("a.xml", cut, lambda n: "<rss><item>" + "<!--" * 10 * n),
    "a feed of open tags": ("a.xml", cut, lambda n: "<rss>" + "<item " * 5 * n),
    "a head of open tags": ("a.xml", heads, lambda n: "<" * 20 * n),
    "a head of blanks": ("a.xml", heads, lambda n: "< " + " " * 20 * n),
    "stm": ("a.stm", load_reference, lambda n: "a 1 Ada 0.0 1.0 some words\n" * n),
    "stm of one line": ("a.stm", load_reference, lambda n: "a 1 Ada 0.0 1.0 " + "w " * 10 * n),
    "rttm": ("a.rttm", load_reference, lambda n: "SPEAKER a 1 0 1 <NA> <NA> Ada <NA> <NA>\n" * n),
    "ctm": ("a.ctm", load_reference, lambda n: "a A 0.0 1.0 word\n" * n),
    "truth": ("a.json", load_reference, lambda n: json.dumps({"turns": TURNS[: n // 4], "words": WORDS[: n // 4]})),
    "a list": ("a.txt", lambda path: list(read_list(path)), lambda n: "talk.mp3\n" * n),
    "a list of one line": ("a.jsonl", lambda path: list(read_list(path)), lambda n: '{"url": "' + "x" * 20 * n),
    "tables of settings": ("a.toml", read_toml, lambda n: "\n".join(f"[a{k}]" for k in range(n))),
    "one long key": ("a.toml", read_toml, lambda n: "a" * 20 * n + " = 1"),
    "one long value": ("a.toml", read_toml, lambda n: 'a = "' + chr(92) * 20 * n),
    "a list of settings": ("a.toml", read_toml, lambda n: "a = [" + "1," * n),
    "cookies": ("a.txt", read_cookies, lambda n: "# Netscape HTTP Cookie File\n" + ".a.b\tTRUE\t/\tFALSE\t0\tn\tv\n" * n),
    "a cookie of tabs": ("a.txt", read_cookies, lambda n: "# Netscape HTTP Cookie File\n" + "\t" * 10 * n),
}

SIZE = 8000


@pytest.mark.parametrize("name", TEXTS)
def test_twice_as_much_takes_about_twice_as_long(name: str, tmp_path: Path) -> None:
    file, parse, make = TEXTS[name]
    path = tmp_path / file

    def took_s(size: int) -> float:
        path.write_text(make(size), "utf-8")
        path.chmod(0o600)
        began = time.process_time()
        with suppress(EngineError, SettingError):
            parse(path)
        return time.process_time() - began

    took_s(SIZE // 8)  # imports
    small, large = min(took_s(SIZE) for _ in range(3)), min(took_s(4 * SIZE) for _ in range(3))
    assert large < 10 * small + 0.05, f"{small:.3f} s, and {large:.3f} s for four times as much"
    assert large < 5.0
