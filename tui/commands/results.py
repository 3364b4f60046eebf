"""``recordings``, ``show``, ``search``, ``export``: the stored results."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.exports import EXPORT_FORMATS
from gainstage.engine.views.rows import Query, RecordingRow
from gainstage.tui.commands.common import (
    clock,
    open_database,
    open_desk,
    paths_of,
    place_arguments,
    plain,
    print_json,
    settings_of,
    speaking,
    table,
)
from gainstage.tui.render.format import roughly

CAPTIONED = "  (publisher's captions)"
CLIPS = "clips"

EXAMPLES = {
    "recordings": """examples:
  gainstage recordings
  gainstage recordings --status failed --json
  gainstage recordings --match interview --limit 20""",
    "show": """examples:
  gainstage show dQw4w9WgXcQ
  gainstage show dQw4 --json            the start of an id is enough""",
    "search": """examples:
  gainstage search "rings of Saturn"
  gainstage search telescope --speaker Helen --mode words
  gainstage search "what grows in spring" --mode meaning --json""",
    "export": """examples:
  gainstage export dQw4 --format srt -o subtitles/
  gainstage export dQw4 --format vtt --max-speed 17 --line-width 37
  gainstage export dQw4 --format srt --cues passages       whole passages, as they are stored
  gainstage export --all --format json -o out/
  gainstage export --all --format rttm -o out/             who speaks when; stm, ctm, seglst for scorers""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser, json_too=name != "export")
    if name == "recordings":
        parser.add_argument("--status", action="append", default=[], help="queued, running, stored, failed, skipped, cancelled")
        parser.add_argument("--match", default="", metavar="TEXT", help="part of an id or a title")
        parser.add_argument("--cause", help="only failures of this cause")
        parser.add_argument("--limit", type=int, default=100, metavar="N", help="at most N (default %(default)s)")
        orders = ["changed", "added", "title", "duration", "status", "priority"]
        parser.add_argument("--sort", default="changed", choices=orders, help="order of the rows (default %(default)s)")
    elif name == "show":
        parser.add_argument("id", metavar="ID", help="id of a recording, or its start")
        parser.add_argument("--words", action="store_true", help="with the time of every word")
        parser.add_argument("--captions", action="store_true", help="with the publisher's captions that were taken beside")
    elif name == "search":
        parser.add_argument("text", metavar="TEXT", help="what to look for")
        parser.add_argument("--speaker", metavar="NAME", help="only what this person says")
        parser.add_argument(
            "--mode", choices=["meaning", "words", "both"], default="both", help="how to match (default %(default)s)"
        )
        parser.add_argument("--limit", type=int, default=10, metavar="N", help="at most N passages (default %(default)s)")
        parser.add_argument("--profile", help=argparse.SUPPRESS)
    else:
        parser.add_argument("ids", metavar="ID", nargs="*", help="ids of recordings, or their starts")
        parser.add_argument("--all", action="store_true", help="every stored recording")
        parser.add_argument(
            "--format",
            required=True,
            choices=[*EXPORT_FORMATS, CLIPS],
            help="subtitles, plain text, everything, speaker turns, what scorers read, or each passage as a sound file",
        )
        parser.add_argument("-o", "--output", type=Path, default=Path(), metavar="DIR", help="folder of the files (default: here)")
        cue_arguments(parser)


def cue_arguments(parser: argparse.ArgumentParser) -> None:
    cues = parser.add_argument_group("subtitles (srt and vtt)")
    cues.add_argument("--cues", choices=["words", "passages"], default="words", help="cut by word times, or the stored passages")
    cues.add_argument("--lines", type=bounded(int, 1, 4), default=2, metavar="N", help="most lines of a cue (default: 2)")
    width = "most columns of a line, a wide sign takes two (default: 42; 32 in Chinese and Korean, 26 in Japanese)"
    cues.add_argument("--line-width", type=bounded(int, 10, 200), metavar="N", help=width)
    cues.add_argument("--min-seconds", type=bounded(float, 0.1, 10), default=1.0, metavar="S", help="shortest cue (default: 1)")
    cues.add_argument("--max-seconds", type=bounded(float, 1, 60), default=7.0, metavar="S", help="longest cue (default: 7)")
    speed = "most columns a second, where the talk leaves time for it (default: 21)"
    cues.add_argument("--max-speed", type=bounded(float, 5, 100), default=21.0, metavar="N", help=speed)
    gap = "time between two cues (default: 0.083, two frames)"
    cues.add_argument("--gap", type=bounded(float, 0, 1), default=0.083, metavar="S", help=gap)
    named = "name the speaker where another begins, in every cue, or never; vtt does it by voice tags (default: change)"
    cues.add_argument("--speakers", choices=["change", "always", "never"], default="change", help=named)


def bounded(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """An argument type: a number from ``low`` to ``high``."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    return parse


def run(name: str, args: argparse.Namespace) -> int:
    return {"recordings": recordings, "show": show, "search": search, "export": export}[name](args)


def recordings(args: argparse.Namespace) -> int:
    with open_desk(args) as desk:
        page = desk.recordings(
            Query(text=args.match, status=tuple(args.status), cause=args.cause, sort=args.sort, limit=args.limit)
        )
        now = desk.now()
    if not speaking(args):
        print_json(page)
        return 0
    if not page.rows:
        print("no recordings" + (" match" if page.total else "; `gainstage run SOURCE` takes some in"))
        return 0
    print(
        table(
            ["ID", "LENGTH", "STATUS", "SEGMENTS", "SPEAKERS", "CHANGED", "TITLE"],
            [_row(r, now) for r in page.rows],
            right=(1, 3, 4),
        )
    )
    if page.matched > len(page.rows):
        print(f"{len(page.rows)} of {page.matched:,}; --limit shows more")
    return 0


def _row(r: RecordingRow, now: float) -> list[str]:
    reason = r.cause or r.warning
    status = f"{'▲ ' if r.warning else ''}{r.status}" + (f": {plain(reason, 40)}" if reason else "")
    ago = roughly(now - r.changed_wall)
    return [
        r.id,
        clock(r.duration_s),
        status,
        "·" if r.segments is None else str(r.segments),
        "·" if r.speakers is None else str(r.speakers),
        f"{ago} ago",
        plain(r.title, 70),
    ]


def show(args: argparse.Namespace) -> int:
    from gainstage.engine.store.export import document
    from gainstage.engine.store.recordings import RecordingStore

    with open_desk(args) as desk:
        store = RecordingStore(desk.database)
        id = store.find(args.id)
        detail = desk.recording(id)
        content = document(store, id)
    if not speaking(args):
        from dataclasses import asdict

        print_json({**asdict(detail), "captions": content.get("captions"), "segments": content["segments"]})
        return 0
    r = detail.row
    print(f"{plain(r.id)}  {plain(r.title)}  {clock(r.duration_s)}  {plain(r.status)}")
    print(f"source  {plain(r.source, 500)}")
    for label, value in detail.facts:
        print(f"{plain(label, 60)}  {plain(value)}")
    for warning in detail.warnings:
        print(f"▲ {plain(warning.cause, 60)}: {plain(warning.message, 500)}")
        if warning.hint:
            print(f"  what to do: {plain(warning.hint, 500)}")
    if r.error:
        print(f"\n{plain(r.status)} at {plain(r.stage or '·', 60)} (attempt {r.attempt}): {plain(r.error, 1000)}")
        if r.hint:
            print(f"what to do: {plain(r.hint, 500)}")
        if detail.traceback:
            print("\n" + "\n".join(plain(line, 500) for line in detail.traceback.splitlines()))
    if detail.speakers:
        print("\nspeakers  " + _speech_by_name(dict(detail.speakers)))
    wordless: dict[str, float] = {}
    for name, seconds in (pair for d in detail.decisions for pair in d.speakers):
        if name not in dict(detail.speakers):
            wordless[name] = wordless.get(name, 0.0) + seconds
    if detail.speakers and wordless:
        print("no words  " + _speech_by_name(wordless))
    if detail.spans:
        rows = [
            [s.stage, f"{s.wait_s:.2f}", "·" if s.service_s is None else f"{s.service_s:.2f}", s.outcome, plain(s.note or "")]
            for s in detail.spans
        ]
        print("\n" + table(["STAGE", "WAIT s", "TOOK s", "RESULT", "NOTE"], rows, right=(1, 2)))
    for d in detail.decisions:
        print(f"\ncluster {plain(d.cluster, 20)}: {plain(d.why, 400)}")
    if content["segments"]:
        print()
    for segment in content["segments"]:
        print(f"{clock(segment['start']):>8}  {plain(segment['speaker'], 24):<14} {plain(segment['text'], 5000)}")
        if args.words:
            print("          " + "  ".join(f"{w['start']:.2f} {plain(w['word'], 60)}" for w in segment["words"]))
    if args.captions:
        _print_captions(content.get("captions"))
    return 0


def _print_captions(captions: Mapping[str, Any] | None) -> None:
    lines = (captions or {}).get("text")
    if not lines:
        print("\nno publisher's captions were taken beside")
        return
    print("\npublisher's captions")
    for start, _, text in lines:
        print(f"{'·' if start is None else clock(start):>8}  {plain(text, 5000)}")


def _speech_by_name(seconds: Mapping[str, float]) -> str:
    """Names with their speech: "Helen 1:02, Speaker 1 0.4 s"."""
    return ", ".join(f"{plain(name, 40)} {clock(s) if s >= 1 else f'{s:.1f} s'}" for name, s in seconds.items())


def search(args: argparse.Namespace) -> int:
    with open_desk(args, settings_of(args)) as desk:
        result = desk.search(args.text, mode=args.mode, speaker=args.speaker, limit=args.limit)
    if not speaking(args):
        print_json(result)
        return 0
    if result.note:
        print(plain(result.note, 300))
    if not result.hits:
        print("nothing found")
        return 0
    for n, hit in enumerate(result.hits, 1):
        print(
            f"{n:>2}  {hit.score:.2f}  {plain(hit.title, 60)}  {clock(hit.start)}  {plain(hit.speaker, 30)}{CAPTIONED if hit.captioned else ''}"
        )
        print(f"          {plain(hit.text, 300)}")
        if hit.url:
            print(f"          {plain(hit.url, 500)}")
    return 0


def export(args: argparse.Namespace) -> int:
    from gainstage.engine.store.export import export_recording
    from gainstage.engine.store.recordings import RecordingStore
    from gainstage.engine.text.cues import CueStyle

    if not args.ids and not args.all:
        raise DeskError("name the recordings to export, or give --all")
    if args.max_seconds < args.min_seconds:
        raise DeskError("--max-seconds is less than --min-seconds")
    style = CueStyle(
        lines=args.lines,
        width=args.line_width,
        shortest_s=args.min_seconds,
        longest_s=args.max_seconds,
        speed=args.max_speed,
        gap_s=args.gap,
        speakers=args.speakers,
    )
    with open_database(args) as database:
        store = RecordingStore(database)
        ids = [store.find(i) for i in args.ids] if args.ids else store.stored_ids()
        args.output.mkdir(parents=True, exist_ok=True)
        for id in ids:
            if args.format == CLIPS:
                from gainstage.engine.desk.playing import export_clips

                for clip in export_clips(store, id, args.output, paths_of(args).audio):
                    print(clip)
                continue
            print(export_recording(store, id, args.format, args.output, style if args.cues == "words" else None))
    return 0
