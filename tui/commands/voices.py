"""``voices``: the people who are known by their voice."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.desk import DeskError
from engine.flow.cancel import CancelToken
from tui.commands.common import (
    clock,
    open_database,
    paths_of,
    place_arguments,
    plain,
    print_json,
    setting_arguments,
    settings_of,
    speaking,
    table,
)

if TYPE_CHECKING:
    from engine.store.database import Database
    from engine.terms import Audio
    from engine.voices.extract import VoiceExtractor
    from engine.voices.profiles import EnrolmentReport

EXAMPLES = {
    "voices": """examples:
  gainstage voices enrol Helen helen-1.wav helen-2.mp3 --primary
  gainstage voices enrol Oscar https://example.org/talk.mp3 --range 12:30-14:10
  gainstage voices enrol Clara --from dQw4:"Speaker 2"      a speaker of a stored recording
  gainstage voices list
  gainstage voices check
  gainstage voices import profiles/*.json
  gainstage voices merge Helen Helene        Helene turns out to be Helen
  gainstage voices delete Oscar              with everything derived from the voice""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(word: str, help: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(word, help=help, description=help)
        place_arguments(made)
        setting_arguments(made)
        return made

    enrol = verb("enrol", "make or renew a profile from at least 30 s of one person's speech")
    enrol.add_argument("name", metavar="NAME")
    enrol.add_argument("sources", nargs="*", metavar="FILE|URL")
    enrol.add_argument("--range", action="append", default=[], metavar="START-END", help="only this part (12:30-14:10); repeatable")
    enrol.add_argument("--from", dest="stored", metavar="ID:SPEAKER", help="a speaker of a stored recording")
    enrol.add_argument("--add", action="store_true", help="keep the voices there are and add to them")
    enrol.add_argument("--primary", action="store_true", help="the person most recordings are about")
    verb("list", "everybody enrolled")
    verb("check", "profiles against each other and against speech kept out of them")
    rename = verb("rename", "give a profile another name, stored labels too")
    rename.add_argument("name")
    rename.add_argument("new")
    merge = verb("merge", "the second profile turns out to be the first")
    merge.add_argument("name")
    merge.add_argument("other")
    undo = verb("undo", "back to the version before")
    undo.add_argument("name")
    primary = verb("primary", "mark the primary profile, or `none`")
    primary.add_argument("name")
    threshold = verb("threshold", "a threshold of the profile's own, or `none` for the setting's")
    threshold.add_argument("name")
    threshold.add_argument("value")
    delete = verb("delete", "delete a profile and everything derived from the voice")
    delete.add_argument("name")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    bring = verb("import", "profiles of older tools as JSON")
    bring.add_argument("files", nargs="+", type=Path, metavar="FILE")
    bring.add_argument("--dry-run", action="store_true", help="check, write nothing")


def run(name: str, args: argparse.Namespace) -> int:
    handler = {"enrol": enrol, "list": list_profiles, "check": check, "delete": delete, "import": import_profiles}.get(
        args.verb, change
    )
    return handler(args)


@contextmanager
def listening(args: argparse.Namespace, database: Database) -> Iterator[VoiceExtractor]:
    """The voice model of the settings, loaded here: enrolling works with or without an engine."""
    from engine.models.registry import Models
    from engine.voices.extract import VoiceExtractor, voice_batcher

    loaded = settings_of(args)
    models = Models(lambda: loaded.settings, paths_of(args).models)
    extractor = VoiceExtractor(
        models.voice_encoder, voice_batcher(models.voice_encoder, lambda: loaded.settings.voice.batch_seconds)
    )
    try:
        yield extractor
    finally:
        extractor.close()


def enrol(args: argparse.Namespace) -> int:
    from engine.store.recordings import RecordingStore
    from engine.voices.profiles import ProfileStore, enrol, enrol_speaker

    if bool(args.sources) == bool(args.stored):
        raise DeskError("give files or addresses to listen to, or --from ID:SPEAKER")
    spans = [_span(text) for text in args.range] or None
    with open_database(args, settings_of(args)) as database, ExitStack() as stack:
        profiles = ProfileStore(database)
        if args.stored:
            store = RecordingStore(database)
            id, colon, speaker = args.stored.rpartition(":")
            if not colon:
                raise DeskError(f"--from {args.stored}: write ID:SPEAKER, as in dQw4:'Speaker 2'")
            recording = store.find(id)
            maker = profiles.maker(recording)
            if maker is None:
                raise DeskError(f"no voices are stored with {recording}")
            report = enrol_speaker(profiles, args.name, store, recording, speaker, maker, add=args.add)
        else:
            extractor = stack.enter_context(listening(args, database))
            audios = [stack.enter_context(_audio(args, database, source)) for source in args.sources]
            report = enrol(
                profiles,
                args.name,
                audios,
                extractor,
                token=CancelToken(),
                provenance=", ".join(args.sources),
                ranges=[spans] * len(audios) if spans else None,
                add=args.add,
            )
        if args.primary:
            profiles.set_primary(args.name)
    return _told(args, report)


@contextmanager
def _audio(args: argparse.Namespace, database: Database, source: str) -> Iterator[Audio]:
    """A source fetched and decoded in a work folder that is gone afterwards."""
    from engine.flow.work_folder import WorkFolders
    from engine.sources.fetch import Fetcher
    from engine.sources.listing import list_source
    from engine.speech.decode import decode
    from engine.watch.journal import Journal

    paths, settings, token = paths_of(args), settings_of(args).settings, CancelToken()
    recording = next(iter(list_source(source, settings, token=token)))
    with WorkFolders(paths.work).open(f"enrol-{recording.id}") as folder:
        fetcher = Fetcher(lambda: settings, database, Journal(), paths.data / "partial")
        media = fetcher.fetch(recording, folder, token=token, progress=lambda _: None)
        yield decode(media, folder, token=token)


def _span(text: str) -> tuple[float, float]:
    def seconds(part: str) -> float:
        total = 0.0
        for piece in part.split(":"):
            total = 60 * total + float(piece)
        return total

    start, dash, end = text.partition("-")
    try:
        span = (seconds(start), seconds(end))
    except ValueError:
        dash = ""
    if not dash or span[0] >= span[1]:
        raise DeskError(f"--range {text}: write START-END as seconds or m:ss, as in 12:30-14:10")
    return span


def _told(args: argparse.Namespace, report: EnrolmentReport) -> int:
    if not speaking(args):
        print_json(report)
        return 0
    print(f"{plain(report.name)}: version {report.version}, {report.seconds:.0f} s of speech")
    print(
        f"  windows   {report.windows} used, {report.silent} silent, {report.outliers} unlike the rest; {report.exemplars} exemplars"
    )
    if report.cohesion is not None:
        print(f"  cohesion  {report.cohesion:.2f} (mean cosine of the windows)")
    if report.nearest is not None and report.nearest_cosine is not None:
        print(f"  nearest   {plain(report.nearest)} at {report.nearest_cosine:.2f}")
    if report.suggested is not None:
        print(f"  threshold {report.suggested:.2f} suggested: {plain(report.reason, 300)}")
    for warning in report.warnings:
        print(f"  ▲ {plain(warning, 300)}")
    return 0


def list_profiles(args: argparse.Namespace) -> int:
    from engine.voices.profiles import ProfileStore

    with open_database(args, settings_of(args)) as database:
        rows = ProfileStore(database).rows(settings_of(args).settings.identify.primary)
    if not speaking(args):
        print_json(list(rows))
        return 0
    if not rows:
        print("nobody is enrolled: every speaker stays unknown; `gainstage voices enrol NAME FILE...`")
        return 0
    cells = [
        [
            plain(r.name, 40),
            "primary" if r.primary else "",
            str(r.version),
            str(r.exemplars),
            clock(r.seconds),
            _number(r.cohesion),
            f"{plain(r.nearest[0], 20)} {r.nearest[1]:.2f}" if r.nearest else "·",
            _number(r.threshold),
            _number(r.suggested),
            plain(r.model, 40),
            time.strftime("%Y-%m-%d", time.localtime(r.created_wall)),
        ]
        for r in rows
    ]
    head = ["NAME", "", "VERSION", "EXEMPLARS", "SPEECH", "COHESION", "NEAREST", "THRESHOLD", "SUGGESTED", "MODEL", "MADE"]
    print(table(head, cells, right=(2, 3, 4, 5, 7, 8)))
    return 0


def _number(value: float | None) -> str:
    return "·" if value is None else f"{value:.2f}"


def change(args: argparse.Namespace) -> int:
    """rename, merge, undo, primary, threshold."""
    from engine.voices.profiles import ProfileStore

    with open_database(args, settings_of(args)) as database:
        profiles = ProfileStore(database)
        result: dict[str, Any] = {"verb": args.verb, "name": args.name}
        if args.verb == "rename":
            result["segments"] = profiles.rename(args.name, args.new)
            text = f"{args.name} is called {args.new} now, in {result['segments']} segments too"
        elif args.verb == "merge":
            result["segments"] = profiles.merge(args.name, args.other)
            text = f"{args.other} is part of {args.name} now; {result['segments']} segments renamed"
        elif args.verb == "undo":
            result["version"] = profiles.undo(args.name)
            text = f"{args.name} is at version {result['version']} again"
        elif args.verb == "primary":
            profiles.set_primary(None if args.name == "none" else args.name)
            text = f"primary profile: {args.name}"
        else:
            value = None if args.value == "none" else float(args.value)
            profiles.set_threshold(args.name, value)
            text = f"threshold of {args.name}: {'the setting' if value is None else value}"
    if speaking(args):
        print(plain(text))
    else:
        print_json(result)
    return 0


def check(args: argparse.Namespace) -> int:
    """Every profile against itself, what enrolment held out, and every other one."""
    from engine.voices.check import check as check_library
    from engine.voices.limits import Limits
    from engine.voices.profiles import ProfileStore

    loaded = settings_of(args)
    identify = loaded.settings.identify
    with open_database(args, loaded) as database:
        store = ProfileStore(database)
        models = store.models()
        if not models:
            raise DeskError("nobody is enrolled; `gainstage voices enrol NAME FILE...`")
        found = [check_library(store, model, Limits.from_settings(identify), identify.primary) for model in models]
    if not speaking(args):
        print_json(found)
        return 0
    for library in found:
        print(
            f"{plain(library.model.name)}, {len(library.profiles)} profiles" + (", scores normalised" if library.normalised else "")
        )
        rows = [
            [
                plain(p.name, 40),
                str(p.exemplars),
                _number(p.cohesion),
                _number(p.own_mean),
                _number(p.own_low),
                _number(p.held_out),
                _number(p.threshold),
                _number(p.suggestion.threshold),
            ]
            for p in library.profiles
        ]
        head = ["NAME", "EXEMPLARS", "COHESION", "OWN MEAN", "OWN LOW", "HELD OUT", "THRESHOLD", "SUGGESTED"]
        print(table(head, rows, right=(1, 2, 3, 4, 5, 6, 7)))
        for p in library.profiles:
            for warning in p.warnings:
                print(f"▲ {plain(p.name, 40)}: {plain(warning, 200)}")
        pairs = [
            [
                plain(p.name, 30),
                plain(p.other, 30),
                _number(p.cosine),
                _number(p.mean),
                _number(p.highest),
                f"{p.accepted}/{p.voices}",
            ]
            for p in library.pairs[:20]
        ]
        if pairs:
            print("\nmost alike (voices of the second scored against the first)")
            print(table(["PROFILE", "OTHER", "COSINE", "MEAN", "HIGHEST", "WOULD PASS"], pairs, right=(2, 3, 4, 5)))
        print(f"\nthe library suggests {_number(library.library.threshold)}: {plain(library.library.reason, 300)}")
    return 0


def delete(args: argparse.Namespace) -> int:
    from engine.voices.profiles import ProfileStore
    from engine.voices.removal import delete as delete_profile

    if not args.yes:
        if not sys.stdin.isatty():
            raise DeskError(f"deleting {args.name} with everything derived from the voice needs --yes here")
        typed = input(f"Delete {plain(args.name, 60)}, the voices and every label made from them? Type the name: ")
        if typed.strip() != args.name:
            raise DeskError("nothing was deleted")
    with open_database(args, settings_of(args)) as database:
        removed = delete_profile(ProfileStore(database), args.name)
    if speaking(args):
        print(
            f"{plain(removed.name, 60)} is gone: {removed.segments} segments in {removed.recordings} recordings are an unknown speaker's now, "
            f"{removed.voices} stored and {removed.cached} cached voices deleted"
        )
    else:
        print_json(removed)
    return 0


def import_profiles(args: argparse.Namespace) -> int:
    """Profiles of older tools for the voice model in use; a file that does not fit is refused, the others go on."""
    from engine.errors import EngineError
    from engine.voices.imports import import_profile, read_profile
    from engine.voices.profiles import ProfileStore

    results: list[dict[str, Any]] = []
    with open_database(args, settings_of(args)) as database, listening(args, database) as extractor:
        model = extractor.model
        for file in args.files:
            try:
                found = read_profile(file, model) if args.dry_run else import_profile(ProfileStore(database), file, model)
                results.append(
                    {"file": str(file), "name": found.name, "voices": found.voices, "warnings": list(found.warnings), "error": None}
                )
            except EngineError as error:
                results.append({"file": str(file), "name": None, "voices": 0, "warnings": [], "error": str(error)})
    if not speaking(args):
        print_json(results)
    for result in results if speaking(args) else ():
        if result["error"]:
            print(f"■ {plain(result['file'], 200)}: {plain(result['error'], 300)}")
        else:
            print(f"✓ {plain(result['name'], 60)}: {result['voices']} voices" + ("" if not args.dry_run else " (not written)"))
            for warning in result["warnings"]:
                print(f"  ▲ {plain(warning, 300)}")
    return 1 if any(r["error"] for r in results) else 0
