"""Hostile input by the thousand: settings, names, frames, feeds, captions.

    python -m tests.fuzz.text                              # two minutes over all targets
    python -m tests.fuzz.text --minutes 30 feeds frames
    python -m tests.fuzz.text --count 2000 feeds           # so many cases of each target, however long they take
    python -m tests.fuzz.text --seed 4711 names            # one case again

A case is a target and a seed, nothing else: the same seed makes the same input. It may end well or with one of gainstage's typed
errors. Any other exception, ten seconds of a processor, 500 MB more memory or the death of the process is a finding: it is printed, and kept in
``seeds.txt``, whose cases run with the tests from then on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout, suppress
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import psutil

from gainstage.config.origins import SettingError, load, profile_names, profile_text
from gainstage.config.settings import SPECS
from gainstage.engine.advisor import forecast
from gainstage.engine.advisor.verdict import verdict
from gainstage.engine.clean import clean_text, terminal_json
from gainstage.engine.errors import EngineError
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.feed_parser import FeedParser
from gainstage.engine.sources.feeds import is_feed, parse_feed
from gainstage.engine.text.captions import NoCaptions, parse
from gainstage.engine.views.frame_json import BadFrame, dumps, loads
from gainstage.engine.views.rows import SettingRow
from gainstage.tui.commands.control import describe
from gainstage.tui.render import safe
from gainstage.tui.render.filters import read_filter
from gainstage.tui.render.values import BadValue, read_value
from tests.frames_kit import story

LIMIT_S = 10.0
"""Seconds of processor time of one case, its parsers included."""

STUCK_S = 120.0
"""Seconds of the clock after which a case is stuck, on a machine of any load."""

LOOK_S = 1.0
MOST_BYTES = 500 * 1024**2
SEEDS = Path(__file__).with_name("seeds.txt")
TYPED = (EngineError, SettingError, BadFrame, BadValue)
"""What a case may end with: errors that say in words what is wrong."""

PIECES = (
    "\x00", "\x1b[31m", "\x9b2J", "\u202e", "\u2066", "\ud800", "\ufeff", "\U000e0041", "e" + "\u0301" * 40, "天気", "[@click=app.quit]", "[/]",
    "'", '"', "\\", "\n", "\r", "\t", "=", "[", "]", "{", "}", "<", ">", "&", "&#0;", "&#x9b;", "<!--", "-->", "<![CDATA[", "]]>", "<item>", "</item>",
    "..", "/", "://", "%s", "%", "{0}", "9" * 400, "-1", "0", "1e999", "nan", "inf", "none", "true", "[[", "a.a.a", "x" * 3000, " ", "",
)  # fmt: skip


def mutated(random: Random, text: str) -> str:
    """A text with pieces put in, taken out, doubled and swapped."""
    for _ in range(random.randrange(1, 12)):
        at, to = sorted(random.randrange(len(text) + 1) for _ in range(2))
        match random.randrange(5):
            case 0:
                text = text[:at] + random.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[min(to, at + 200) :]
            case 2:
                text = text[:to] + text[at:to][:500] * random.choice((1, 2, 40)) + text[to:]
            case 3:
                text = text[:at] + random.choice(PIECES) * random.choice((1, 3, 500)) + text[to:]
            case _:
                text = (
                    text[:at]
                    + chr(random.choice((random.randrange(0x20), random.randrange(0x3000), random.randrange(0x110000))))
                    + text[at:]
                )
    return text[:200_000]


def settings(random: Random) -> None:
    """A settings file, the environment and the command line, each bent."""
    text = mutated(random, profile_text(random.choice(profile_names())))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "gainstage.toml")
        file.write_bytes(text.encode("utf-8", random.choice(("surrogatepass", "replace"))))
        load(user_file=file, environ={}, overrides={random.choice(list(SPECS)): mutated(random, "1")})


def values(random: Random) -> None:
    """A value typed in the console."""
    spec = random.choice(list(SPECS.values()))
    text = mutated(random, random.choice(("1", "4G", "on", "auto", "none", "0.5")))
    read_value(SettingRow.of(spec, spec.default, "default"), text)


def names(random: Random) -> None:
    """Titles, names and ids on their way to a terminal, and filters typed for them."""
    text = mutated(random, random.choice(("A title", "Ann", "rec00001", "len>2h !stage:transcribe 'two words'")))
    cells = random.randrange(0, 80)
    assert not {unicodedata.category(c) for c in clean_text(text)} & {"Cc", "Cs", "Zl", "Zp"}
    for shown in (safe.display(text), safe.fit(text, cells), *safe.wrapped(text, max(1, cells))):
        assert shown.isprintable(), ascii(shown)
    assert safe.width(safe.fit(text, cells)) == cells
    printed = terminal_json(json.dumps({"title": text}, ensure_ascii=False))
    assert json.loads(printed) == {"title": text}
    assert not {unicodedata.category(c) for c in printed.encode("utf-8").decode("utf-8")} & {"Cc", "Cs", "Zl", "Zp"}
    read_filter(text, {"stage", "cause"})


def frames(random: Random) -> None:
    """Frames of any content, and JSON that only looks like a frame."""
    settings = {key: spec.default for key, spec in SPECS.items()}
    made = story(random, 3)
    for n in range(len(made)):
        verdict(made[: n + 1], settings)
    forecast.expect(made[-1], 24, {"workers.transcribe": 4})
    with redirect_stdout(StringIO()):
        describe(made[-1])
    text = dumps(made[-1])
    assert loads(text) == made[-1]
    loads(mutated(random, text))


FEED = (
    '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel>'
    "<title>Show</title>"
    + "".join(
        f"<item><title>Episode {n}</title><guid>guid-{n}</guid><pubDate>Tue, 01 Sep 2026 10:00:00 GMT</pubDate>"
        f'<itunes:duration>1:02:03</itunes:duration><enclosure url="/media/{n}.mp3" length="1" type="audio/mpeg"/></item>'
        for n in range(12)
    )
    + "</channel></rss>"
)


_parsers: list[FeedParser] = []


def feeds(random: Random) -> None:
    """A feed bent at some places, in blocks of any size, through the parser's own child, which lives as long as it answers."""
    data = mutated(random, FEED).encode(random.choice(("utf-8", "utf-16")), random.choice(("replace", "xmlcharrefreplace")))
    size = random.choice((1, 7, 100, 65_536))
    blocks: Iterable[bytes] = (data[at : at + size] for at in range(0, len(data), size))
    is_feed(data[:4096])
    if not _parsers:
        _parsers.append(FeedParser(CancelToken()))
    for item in parse_feed(blocks, "https://example.org/feed.xml", "https://example.org/feed.xml", _parsers[0]):
        assert item is not None


CAPTIONS = (
    "WEBVTT\n\nSTYLE\n::cue { color: red }\n\n00:01.000 --> 00:02.500 align:start\n<v Ann>One <00:01.500>word</v>\n\n00:03.000 --> 00:04.000\n(laughs)\n",
    "1\n00:00:01,000 --> 00:00:02,500\n{\\an8}<i>One</i> word\n\n2\n00:00:03,000 --> 00:00:04,000\n- Two\n",
    '<?xml version="1.0"?><!-- a --><tt xmlns="http://www.w3.org/ns/ttml"><body><div><p begin="1s" end="2.5s">One<br/>word</p></div></body></tt>',
    "[Script Info]\n[Events]\nFormat: Layer, Start, End, Style, Text\nDialogue: 0,0:00:01.00,0:00:02.50,D,One {\\i1}word\\Ntwo\n",
    '{"segments": [{"speaker": "Ann", "startTime": 1.0, "endTime": 2.5, "body": "One word"}, {"startTime": "0:03", "body": "two"}]}',
    "<html><body><cite>Ann</cite><time>0:01</time><p>One word</p><script>x</script></body></html>",
    "Ann: one word\n\nBob: two words\n",
)


def captions(random: Random) -> None:
    """A file of captions bent at some places."""
    data = mutated(random, random.choice(CAPTIONS)).encode(random.choice(("utf-8", "utf-16", "cp1252")), "replace")
    with suppress(NoCaptions):
        _, lines = parse(data)
        assert not {unicodedata.category(c) for line in lines for c in line.text} & {"Cc", "Cs", "Zl", "Zp"}


TARGETS: dict[str, Callable[[Random], None]] = {
    "settings": settings,
    "values": values,
    "names": names,
    "frames": frames,
    "feeds": feeds,
    "captions": captions,
}


def case(target: str, seed: int) -> str | None:
    """Run one case in this process; the traceback of what it should not have raised, None when all is well."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with suppress(*TYPED):
            TARGETS[target](Random(f"{target} {seed}"))
    except Exception:  # the finding itself
        return traceback.format_exc(limit=-4)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return f"{grown / 1024**2:.0f} MB more memory" if grown > MOST_BYTES else None


def kept() -> list[tuple[str, int]]:
    """The cases that once were findings."""
    lines = SEEDS.read_text("utf-8").splitlines() if SEEDS.exists() else []
    return [(words[0], int(words[1])) for line in lines if (words := line.split()) and not line.startswith("#")]


def _work(pipe: Connection, target: str, first: int) -> None:
    for seed in range(first, first + 100_000):
        pipe.send(("begin", seed, None))
        pipe.send(("end", seed, case(target, seed)))


def worked_s(pid: int | None) -> float:
    """Processor time of a process and what it has started; 0 after its end."""
    total = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                times = each.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


def stuck(pipe: Connection, pid: int | None) -> str | None:
    """Wait for the next word of a child; why it is waited for no longer."""
    began, worked = time.monotonic(), worked_s(pid)
    while not pipe.poll(LOOK_S):
        clock_s, own_s = time.monotonic() - began, worked_s(pid) - worked
        if own_s > LIMIT_S or clock_s > STUCK_S:
            return f"{own_s:.1f} s of a processor, {clock_s:.0f} s of the clock"
    return None


def findings(target: str, first: int, seconds: float) -> Iterator[tuple[int, str | None]]:
    """(seed, finding or None) of case after case for so many seconds, in a child that is watched and replaced when it hangs."""
    end, seed = time.monotonic() + seconds, first
    while time.monotonic() < end:
        here, there = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=_work, args=(there, target, seed), daemon=True)
        child.start()
        there.close()
        try:
            while time.monotonic() < end:
                if why := stuck(here, child.pid):
                    yield seed, why
                    break
                what, seed, found = here.recv()
                if what == "end":
                    yield seed, found
        except EOFError:
            child.join()
            yield seed, f"the process ended with {child.exitcode}"
        finally:
            child.kill()
            child.join()
            here.close()
        seed += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--minutes", type=float, default=2.0, help="of all targets together (default: 2)")
    parser.add_argument("--count", type=int, help="so many cases of each target instead")
    parser.add_argument("--seed", type=int, help="run this one case and show its traceback")
    args = parser.parse_args()
    chosen = args.targets or list(TARGETS)
    if unknown := [t for t in chosen if t not in TARGETS]:
        parser.error(f"no target {', '.join(unknown)}")
    if args.seed is not None:
        told = [case(target, args.seed) for target in chosen]
        print("\n".join(t or "well" for t in told))
        return int(any(told))
    bad = 0
    for target in chosen:
        first, done, wrong = int(time.time()), 0, 0
        began, seconds = time.monotonic(), float("inf") if args.count else 60.0 * args.minutes / len(chosen)
        for seed, found in findings(target, first, seconds):
            done += 1
            if found:
                wrong += 1
                print(f"{target} {seed}: {found}", flush=True)
                with SEEDS.open("a", encoding="utf-8") as file:
                    file.write(f"{target} {seed}\n")
            if done == args.count:
                break
        bad += wrong
        took_s = time.monotonic() - began
        print(f"{target}: {done} cases from seed {first} in {took_s:.0f} s, {wrong} findings", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
