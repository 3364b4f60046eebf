"""``voices``: the enrolled people and their profiles."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gainstage.engine.clean import counted
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.views.commands import DeskError
from gainstage.tui.commands.common import (
    open_database,
    paths_of,
    place_arguments,
    plain,
    print_json,
    setting_arguments,
    settings_of,
    speaking,
    tell_downloads,
)
from gainstage.tui.commands.voices_curve import as_data, curve
from gainstage.tui.commands.voices_report import check, enrolled, list_profiles, show

if TYPE_CHECKING:
    from gainstage.engine.store.database import Database
    from gainstage.engine.terms import Audio, ModelId
    from gainstage.engine.voices.extract import VoiceExtractor

EXAMPLES = {
    "voices": """examples:
  gainstage voices enrol Helen helen-1.wav helen-2.mp3 --primary
  gainstage voices enrol Oscar https://example.org/talk.mp3 --range 12:30-14:10
  gainstage voices enrol Clara --from dQw4:"Speaker 2"      a speaker of a stored recording
  gainstage voices list
  gainstage voices show Helen                versions and how good they are
  gainstage voices check
  gainstage voices calibrate                 what scores mean with this model and these people, fitted again
  gainstage voices import profiles/*.json
  gainstage voices merge Helen Helene        Helene turns out to be Helen
  gainstage voices delete Oscar              with everything derived from the voice""",
}


VERB_EXAMPLES = {
    "enrol": """  gainstage voices enrol Helen helen-1.wav helen-2.mp3 --primary
  gainstage voices enrol Oscar https://example.org/talk.mp3 --range 12:30-14:10
  gainstage voices enrol Clara --from dQw4:"Speaker 2" --add""",
    "list": "  gainstage voices list\n  gainstage voices list --json",
    "show": "  gainstage voices show Helen",
    "check": "  gainstage voices check",
    "calibrate": "  gainstage voices calibrate\n  gainstage voices calibrate --json",
    "rename": "  gainstage voices rename Helen 'Helen Keller'",
    "merge": "  gainstage voices merge Helen Helene      Helene turns out to be Helen",
    "undo": "  gainstage voices undo Helen",
    "primary": "  gainstage voices primary Helen\n  gainstage voices primary none",
    "threshold": "  gainstage voices threshold Oscar 0.7\n  gainstage voices threshold Oscar none",
    "delete": "  gainstage voices delete Oscar\n  gainstage voices delete Oscar --yes",
    "import": "  gainstage voices import profiles/*.json --dry-run",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(word: str, help: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(
            word,
            help=help,
            description=help,
            epilog=f"examples:\n{VERB_EXAMPLES[word]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        place_arguments(made)
        setting_arguments(made)
        return made

    enrol = verb("enrol", "make or renew a profile from at least 30 s of one person's speech")
    enrol.add_argument("name", metavar="NAME", help="who speaks")
    enrol.add_argument("sources", nargs="*", metavar="FILE|URL", help="recordings in which nobody else speaks")
    enrol.add_argument("--range", action="append", default=[], metavar="START-END", help="only this part (12:30-14:10); repeatable")
    enrol.add_argument("--from", dest="stored", metavar="ID:SPEAKER", help="a speaker of a stored recording")
    enrol.add_argument("--add", action="store_true", help="keep the voices there are and add to them")
    enrol.add_argument("--primary", action="store_true", help="the person most recordings are about")
    verb("list", "everybody enrolled")
    shown = verb("show", "one profile: its versions, what they were made from, how good they are")
    shown.add_argument("name", metavar="NAME", help="whose profile")
    verb("check", "profiles against each other and against speech kept out of them; what scores mean")
    verb("calibrate", "fit again what scores mean: probabilities by score and length of speech")
    rename = verb("rename", "give a profile another name, stored labels too")
    rename.add_argument("name", metavar="NAME", help="the name now")
    rename.add_argument("new", metavar="NEW", help="the name from now on")
    merge = verb("merge", "the second profile turns out to be the first, stored labels too")
    merge.add_argument("name", metavar="NAME", help="who stays")
    merge.add_argument("other", metavar="OTHER", help="who turns out to be NAME and is gone afterwards")
    undo = verb("undo", "back to the version before the one in use")
    undo.add_argument("name", metavar="NAME", help="whose profile")
    primary = verb("primary", "mark the primary profile, or `none`")
    primary.add_argument("name", metavar="NAME|none", help="the person most recordings are about")
    threshold = verb("threshold", "a threshold of the profile's own, or `none` for the setting's")
    threshold.add_argument("name", metavar="NAME", help="whose profile")
    threshold.add_argument("value", metavar="0..1|none", help="similarity needed for this name")
    delete = verb("delete", "delete a profile and everything derived from the voice")
    delete.add_argument("name", metavar="NAME", help="whose profile")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    bring = verb("import", "profiles of older tools as JSON")
    bring.add_argument("files", nargs="+", type=Path, metavar="FILE", help="JSON files, one person each")
    bring.add_argument("--dry-run", action="store_true", help="check, write nothing")


def run(name: str, args: argparse.Namespace) -> int:
    handlers = {
        "enrol": enrol,
        "list": list_profiles,
        "show": show,
        "check": check,
        "calibrate": recalibrate,
        "delete": delete,
        "import": import_profiles,
    }
    return handlers.get(args.verb, change)(args)


@contextmanager
def listening(args: argparse.Namespace, database: Database) -> Iterator[VoiceExtractor]:
    """The voice model of the settings, loaded in this process: enrolment works with or without an engine."""
    from gainstage.engine.runtime.model_identity import recognise
    from gainstage.engine.runtime.models import Models
    from gainstage.engine.voices.extract import VoiceExtractor, voice_batcher

    loaded = settings_of(args)
    models = Models(lambda: loaded.settings, paths_of(args).models)
    tell_downloads(models)
    for sentence in recognise(database, models, ["voice"]):
        print(plain(sentence, 500), file=sys.stderr)
    extractor = VoiceExtractor(
        models.voice_encoder, voice_batcher(models.voice_encoder, lambda: loaded.settings.voice.batch_seconds)
    )
    try:
        yield extractor
    finally:
        extractor.close()


def recalibrate(args: argparse.Namespace) -> int:
    """Fit the calibration of the voice model in use and the profiles made by it again, and print its curve."""
    from gainstage.engine.voices.calibrating import Calibrations
    from gainstage.engine.voices.profiles import ProfileStore

    identify = settings_of(args).settings.identify
    with open_database(args, settings_of(args)) as database, listening(args, database) as extractor:
        profiles = ProfileStore(database).load(extractor.model, identify.primary)
        fitted = Calibrations(database).renew(profiles, extractor.model, lambda: extractor, CancelToken())
    if fitted is None:
        raise DeskError("too few voices to fit a calibration to")
    if speaking(args):
        print(f"{plain(extractor.model.name)}, {counted(len(profiles), 'profile')}: calibrated")
        curve(fitted, identify)
    else:
        print_json({"model": extractor.model, **as_data(fitted, identify)})
    return 0


def enrol(args: argparse.Namespace) -> int:
    from gainstage.engine.store.recordings import RecordingStore
    from gainstage.engine.voices.profiles import ProfileStore, enrol, enrol_speaker

    if bool(args.sources) == bool(args.stored):
        raise DeskError("give files or addresses to listen to, or --from ID:SPEAKER")
    if args.stored and args.range:
        raise DeskError("--range goes with files and addresses; --from takes all of a speaker's segments")
    spans = [_span(text) for text in args.range] or None
    with open_database(args, settings_of(args), make=True) as database, ExitStack() as stack:
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
        warnings = _missed(args, database, maker if args.stored else extractor.model, None if args.stored else extractor)
        report = replace(report, warnings=(*report.warnings, *warnings))
    status = enrolled(args, report)
    if args.primary and speaking(args):
        print("  primary   " + plain(f"{args.name}{_overruled(args)}"))
    return status


def _missed(args: argparse.Namespace, database: Database, model: ModelId | None, extractor: VoiceExtractor | None) -> list[str]:
    """What to say of a profile that is not known again by its own voices. Fits the calibration of the new set of profiles, where the
    voice model is at hand or has heard the cohort before."""
    from gainstage.engine.voices.calibrating import Calibrations
    from gainstage.engine.voices.limits import Limits
    from gainstage.engine.voices.own_voices import missed
    from gainstage.engine.voices.profiles import ProfileStore

    identify = settings_of(args).settings.identify
    if model is None:
        return []
    profiles, calibrations = ProfileStore(database).load(model, identify.primary), Calibrations(database)
    scale = None
    if identify.scale == "calibrated" and extractor is not None:
        scale = calibrations.current(profiles, model, lambda: extractor, CancelToken())
    elif identify.scale == "calibrated":
        calibration = calibrations.stored(profiles, model)
        if calibration is None:
            return []
        scale = calibration.calibration
    return [m.text for m in missed(profiles, model, Limits.from_settings(identify, scale)) if m.name == args.name]


def _overruled(args: argparse.Namespace) -> str:
    """A remark when the settings name another primary than the one just marked."""
    setting = settings_of(args).settings.identify.primary
    return f"; but the setting identify.primary = {setting} goes first" if setting and setting != args.name else ""


@contextmanager
def _audio(args: argparse.Namespace, database: Database, source: str) -> Iterator[Audio]:
    """A source fetched and decoded in a temporary folder, which is deleted afterwards."""
    from gainstage.engine.flow.work_folder import WorkFolders
    from gainstage.engine.sources.fetch import Fetcher
    from gainstage.engine.sources.listing import list_source
    from gainstage.engine.speech.decode import decode
    from gainstage.engine.telemetry.journal import Journal

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
    if not dash or not 0 <= span[0] < span[1] < math.inf:
        raise DeskError(f"--range {text}: write START-END as seconds or m:ss, as in 12:30-14:10")
    return span


def change(args: argparse.Namespace) -> int:
    """Run rename, merge, undo, primary or threshold."""
    from gainstage.engine.voices.profiles import ProfileStore

    with open_database(args, settings_of(args)) as database:
        profiles = ProfileStore(database)
        result: dict[str, Any] = {"verb": args.verb, "name": args.name}
        if args.verb == "rename":
            result["segments"] = profiles.rename(args.name, args.new)
            text = f"{args.name} is called {args.new} now; {counted(result['segments'], 'segment')} renamed"
        elif args.verb == "merge":
            result["segments"] = profiles.merge(args.name, args.other)
            text = f"{args.other} is part of {args.name} now; {counted(result['segments'], 'segment')} renamed"
        elif args.verb == "undo":
            result["version"] = profiles.undo(args.name)
            text = f"{args.name} is at version {result['version']} again"
        elif args.verb == "primary":
            profiles.set_primary(None if args.name == "none" else args.name)
            result["setting"] = settings_of(args).settings.identify.primary
            text = f"primary profile: {args.name}{_overruled(args)}"
        else:
            result["threshold"] = value = _threshold(args.value)
            profiles.set_threshold(args.name, value)
            text = f"threshold of {args.name}: {'the setting' if value is None else f'{value:g}'}"
    if speaking(args):
        print(plain(text))
    else:
        print_json(result)
    return 0


def _threshold(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise DeskError(f"threshold {text}: write a number from 0 to 1, or none for the setting's") from None


def delete(args: argparse.Namespace) -> int:
    from gainstage.engine.voices.profiles import ProfileStore
    from gainstage.engine.voices.removal import delete as delete_profile

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
            f"{plain(removed.name, 60)} is gone: {counted(removed.segments, 'segment')} in "
            f"{counted(removed.recordings, 'recording')} said by somebody unknown now, "
            f"{removed.voices} stored and {counted(removed.cached, 'cached voice')} deleted"
        )
    else:
        print_json(removed)
    return 0


def import_profiles(args: argparse.Namespace) -> int:
    """Import profiles of older tools for the voice model in use; a file that does not fit is refused, the others are imported."""
    from gainstage.engine.errors import EngineError
    from gainstage.engine.voices.imports import import_profile, read_profile
    from gainstage.engine.voices.profiles import ProfileStore

    results: list[dict[str, Any]] = []
    with open_database(args, settings_of(args), make=True) as database, listening(args, database) as extractor:
        model = extractor.model
        for file in args.files:
            try:
                profile = read_profile(file, model) if args.dry_run else import_profile(ProfileStore(database), file, model)
                results.append(
                    {
                        "file": str(file),
                        "name": profile.name,
                        "voices": profile.voices,
                        "warnings": list(profile.warnings),
                        "error": None,
                    }
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
