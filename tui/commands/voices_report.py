"""Output of ``voices``: the list, one profile's versions, the report of an enrolment, a check of all."""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import TYPE_CHECKING

from gainstage.engine.views.commands import DeskError
from gainstage.tui.commands.common import clock, open_database, plain, print_json, settings_of, speaking, table
from gainstage.tui.commands.voices_curve import as_data, curve

if TYPE_CHECKING:
    from gainstage.engine.voices.check import LibraryCheck
    from gainstage.engine.voices.profiles import EnrolmentReport


def enrolled(args: argparse.Namespace, report: EnrolmentReport) -> int:
    """Print the report of an enrolment."""
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
    print(f"  threshold {_suggested(report.suggested)} suggested: {plain(report.reason, 300)}")
    for warning in report.warnings:
        print(f"  ▲ {plain(warning, 300)}")
    return 0


def list_profiles(args: argparse.Namespace) -> int:
    """Print everybody enrolled, one line each."""
    from gainstage.engine.voices.profiles import ProfileStore

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
            clock(r.seconds or None),
            number(r.cohesion),
            f"{plain(r.nearest[0], 20)} {r.nearest[1]:.2f}" if r.nearest else "·",
            number(r.threshold),
            number(r.suggested),
            plain(r.model, 40),
            time.strftime("%Y-%m-%d", time.localtime(r.created_wall)),
        ]
        for r in rows
    ]
    head = ["NAME", "", "VERSION", "EXEMPLARS", "SPEECH", "COHESION", "NEAREST", "THRESHOLD", "SUGGESTED", "MODEL", "MADE"]
    print(table(head, cells, right=(2, 3, 4, 5, 7, 8)))
    return 0


def number(value: float | None) -> str:
    """Two decimals, or · when unknown."""
    return "·" if value is None else f"{value:.2f}"


def show(args: argparse.Namespace) -> int:
    """Print every version of one profile with its report."""
    from gainstage.engine.voices.history import versions
    from gainstage.engine.voices.profiles import ProfileStore

    with open_database(args, settings_of(args)) as database:
        rows = versions(ProfileStore(database), args.name)
    if not speaking(args):
        print_json(list(rows))
        return 0
    cells = [
        [
            f"{r.version} in use" if r.in_use else str(r.version),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(r.created_wall)),
            str(r.exemplars),
            clock(r.seconds or None),
            number(r.cohesion),
            number(r.held_out),
            f"{plain(r.nearest, 20)} {number(r.nearest_cosine)}" if r.nearest else "·",
            number(r.suggested),
            plain(r.model, 40),
            plain(r.provenance, 60),
        ]
        for r in rows
    ]
    head = ["VERSION", "MADE", "EXEMPLARS", "SPEECH", "COHESION", "HELD OUT", "NEAREST", "SUGGESTED", "MODEL", "MADE FROM"]
    print(table(head, cells, right=(2, 3, 4, 5, 7)))
    for r in rows:
        if r.in_use and r.reason:
            print(f"\nthreshold {_suggested(r.suggested)} suggested: {plain(r.reason, 300)}")
        for warning in r.warnings if r.in_use else ():
            print(f"▲ {plain(warning, 300)}")
    return 0


def _suggested(threshold: float | None) -> str:
    return "none" if threshold is None else f"{threshold:.2f}"


def check(args: argparse.Namespace) -> int:
    """Print the check of every profile against itself, its held-out windows, and every other profile."""
    from gainstage.engine.voices.calibrating import Calibrations
    from gainstage.engine.voices.check import check as check_library
    from gainstage.engine.voices.limits import Limits
    from gainstage.engine.voices.profiles import ProfileStore

    loaded = settings_of(args)
    identify = loaded.settings.identify
    with open_database(args, loaded) as database:
        store = ProfileStore(database)
        models = store.models()
        if not models:
            raise DeskError("nobody is enrolled; `gainstage voices enrol NAME FILE...`")
        checks = [check_library(store, model, Limits.from_settings(identify), identify.primary) for model in models]
        fitted = [Calibrations(database).stored(store.load(model, identify.primary), model) for model in models]
    if not speaking(args):
        print_json(
            [
                {**dataclasses.asdict(library), "calibration": None if scale is None else as_data(scale, identify)}
                for library, scale in zip(checks, fitted, strict=True)
            ]
        )
        return 0
    for library, scale in zip(checks, fitted, strict=True):
        _print_library(library)
        if scale is None:
            print("no calibration of these profiles yet: the next run fits one, or `gainstage voices calibrate`")
        else:
            curve(scale, identify)
    return 0


def _print_library(library: LibraryCheck) -> None:
    """The profiles of one model, and the pairs that are most alike."""
    print(f"{plain(library.model.name)}, {len(library.profiles)} profiles" + (", scores normalised" if library.normalised else ""))
    rows = [
        [
            plain(p.name, 40),
            str(p.exemplars),
            number(p.cohesion),
            number(p.own_mean),
            number(p.own_low),
            number(p.held_out),
            number(p.threshold),
            number(p.suggestion.threshold),
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
            number(p.cosine),
            number(p.mean),
            number(p.highest),
            f"{p.accepted}/{p.voices}",
        ]
        for p in library.pairs[:20]
    ]
    if pairs:
        print("\nmost alike (voices of the second scored against the first)")
        print(table(["PROFILE", "OTHER", "COSINE", "MEAN", "HIGHEST", "WOULD PASS"], pairs, right=(2, 3, 4, 5)))
    print(f"\nthe library suggests {_suggested(library.library.threshold)}: {plain(library.library.reason, 300)}")
