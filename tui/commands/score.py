"""``score``: compare stored recordings with references, using the standard scorers."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gainstage.config.regular_files import read_regular
from gainstage.config.whole_files import write_whole
from gainstage.engine.views.commands import DeskError
from gainstage.tui.commands.common import open_database, place_arguments, plain, print_json, settings_of, speaking, table, waiting

if TYPE_CHECKING:
    from gainstage.engine.evaluation.intervals import Figure
    from gainstage.engine.evaluation.references import Talk
    from gainstage.engine.store.recordings import RecordingStore

MOST_TABLE = 64 * 1024**2
"""Largest table that is compared with, in bytes."""

EXAMPLES = {
    "score": """references are STM, SegLST (.json), RTTM, CTM, plain text (.txt) and gainstage's own json; an entry belongs to the
recording whose id, file name or title it has, or to the one --recording names.

examples:
  gainstage score talk.stm --recording dQw4
  gainstage score truth/*.rttm --all --json
  gainstage score truth/*.json --against scores/before.json""",
}


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    place_arguments(parser)
    parser.add_argument("references", metavar="REFERENCE", nargs="+", type=Path, help="files that say what is true")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--recording", metavar="ID", help="the recording the references belong to, or the start of its id")
    which.add_argument("--all", action="store_true", help="every stored recording that has a reference (the default)")
    parser.add_argument("--against", type=Path, metavar="FILE", help="a table saved before: compare recording by recording")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="save the table here (default: scores/ of the home)")


def run(name: str, args: argparse.Namespace) -> int:
    from gainstage.engine.evaluation.measures import need_scorers
    from gainstage.engine.evaluation.references import load_reference
    from gainstage.engine.evaluation.scored import compared, figures
    from gainstage.engine.store.recordings import RecordingStore
    from gainstage.tui.commands.common import paths_of

    need_scorers()
    talks = [(path, talk) for path in args.references for talk in load_reference(path)]
    before = _saved(args.against) if args.against else None
    with open_database(args, settings_of(args)) as database, waiting("scoring"):
        store = RecordingStore(database)
        matched = _matched(store, talks, args.recording)
        recordings = [_score(store, id, talk) for id, talk in matched]
    totals = figures(recordings)
    differences = compared(before, recordings) if before is not None else {}
    result: dict[str, Any] = {
        "figures": {key: asdict(one) for key, one in totals.items()},
        "recordings": [asdict(one) for one in recordings],
        "compared": {key: asdict(one) for key, one in differences.items()},
    }
    target = args.output or paths_of(args).data / "scores" / time.strftime("%Y%m%d-%H%M%S.json")
    _save(target, result)
    if not speaking(args):
        print_json(result | {"saved": str(target)})
        return 0
    print(_table(totals, differences))
    print(f"{len(recordings)} recording{'s' if len(recordings) != 1 else ''}; saved as {plain(target)}")
    return 0


def _matched(store: RecordingStore, talks: list[tuple[Path, Talk]], recording: str | None) -> list[tuple[str, Talk]]:
    """(id, reference) of every recording that has a reference. Raises :class:`DeskError` when there is none."""
    if recording is not None:
        id = store.find(recording)
        if len(talks) != 1:
            talks = [(path, talk) for path, talk in talks if talk.name == id] or talks
        if len(talks) != 1:
            raise DeskError(f"the references are of {len(talks)} recordings; give the one of {id}")
        return [(id, talks[0][1])]
    matched = references_of(store, talks, store.stored_ids())
    if not matched:
        raise DeskError("no stored recording has one of these references; --recording ID names it")
    return list(matched.items())


def references_of(store: RecordingStore, talks: Iterable[tuple[Path, Talk]], ids: Iterable[str]) -> dict[str, Talk]:
    """References by recording: named after its id, its title or its file, as they are themselves or as their own file is."""
    keys: dict[str, str] = {}
    for id in ids:
        stored = store.get(id)
        if stored is not None:
            source = Path(stored.recording.source)
            keys |= {key: id for key in (stored.recording.title, source.stem, source.name, id)}
    named = ((keys.get(talk.name) or keys.get(path.stem), talk) for path, talk in talks)
    return {id: talk for id, talk in named if id is not None}


def _score(store: RecordingStore, id: str, talk: Talk) -> Any:
    from gainstage.engine.evaluation.scored import scored

    stored = store.get(id)
    if stored is None or stored.row.status != "stored":
        raise DeskError(f"{id} is not stored")
    decisions = [one.decision for one in store.decisions(recording=id)]
    enrolled = sorted({score.name for decision in decisions for score in decision.scores})
    return scored(
        replace(talk, name=id),
        store.segments(id),
        stored.facts,
        decisions,
        seconds=stored.row.duration_s,
        enrolled=enrolled,
    )


def _saved(path: Path) -> list[Any]:
    from gainstage.engine.evaluation.intervals import Share
    from gainstage.engine.evaluation.names import Prediction, Search, Trial
    from gainstage.engine.evaluation.scored import Scored

    try:
        rows = json.loads(read_regular(path, MOST_TABLE))["recordings"]
        return [
            Scored(
                row["name"],
                {key: Share(**share) for key, share in row["shares"].items()},
                tuple(Search(float(one["score"]), bool(one["right"]), bool(one["enrolled"])) for one in row.get("searches", ())),
                tuple(Trial(float(one["score"]), bool(one["same"])) for one in row.get("trials", ())),
                tuple(Prediction(float(one["confidence"]), bool(one["right"])) for one in row.get("names", ())),
                tuple(Prediction(float(one["confidence"]), bool(one["right"])) for one in row.get("words", ())),
            )
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DeskError(f"{path} is no table saved by score: {error}") from None


def _save(target: Path, result: dict[str, Any]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, json.dumps(result, indent=1) + "\n")
    except OSError as error:
        raise DeskError(f"{target} cannot be written: {error.strerror}") from None


def _table(totals: dict[str, Figure], differences: dict[str, Any]) -> str:
    from gainstage.engine.evaluation.scored import HELP

    rows = []
    for key, one in totals.items():
        interval = "·" if one.low is None or one.high is None else f"{_shown(key, one.low)} to {_shown(key, one.high)}"
        moved = differences.get(key)
        change = "" if moved is None else f"{moved.difference:+.4f} (p {moved.p:.3f})"
        rows.append([key, _shown(key, one.value), interval, change, HELP[key]])
    return table(["MEASURE", "VALUE", "95 % INTERVAL", "CHANGE", "WHAT"], rows, right=(1,))


def _shown(key: str, value: float | None) -> str:
    if value is None:
        return "·"
    plain_number = key in ("cllr", "min_cllr", "min_dcf", "uncovered_speech_s", "inserted_words_per_hour", "speaker_count_error")
    return f"{value:.3f}" if plain_number else f"{value:.1%}"
