"""The effect of each rule of speaker identification, on speech with known truth.

``python -m gainstage.engine.bench.voices_quality`` prints it: verification by length of speech, speaker accuracy with and without
the rules, savings and error of the fast path, score normalisation. The voices are synthetic and the models the bundled small ones:
only the differences between the lines are meaningful.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.bench import voices_calibrated
from gainstage.engine.bench.quality import Chain, demo_settings, hand_written, media_with_truth
from gainstage.engine.bench.voices_smoothing import SmoothingTalk, accuracy, in_pieces, sweep, sweep_lines, unsure
from gainstage.engine.evaluation.quality import Truth, load_truth
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.terms import Audio, DiarizationResult, Turn
from gainstage.engine.voices import cohort
from gainstage.engine.voices.evidence import ClusterEvidence, Refusal, build_evidence, wanted
from gainstage.engine.voices.extract import Span
from gainstage.engine.voices.fast_path import PLACES, monologue
from gainstage.engine.voices.identify import as_primary, identify
from gainstage.engine.voices.limits import Limits
from gainstage.engine.voices.openset import equal_error
from gainstage.engine.voices.profile_index import ProfileIndex, profile
from gainstage.engine.voices.spans import clusters
from gainstage.engine.voices.trials import WINDOW_S

TESTS = Path(__file__).parents[2] / "tests" / "data"
"""The test set of a checkout: people for verification, a late guest, a quick exchange."""

LENGTHS_S = (1.0, 2.0, 3.0)
INTRO_S = 30.0

RULES: Mapping[str, Mapping[str, float]] = {
    "cluster level only": {"range_limit": 2.0, "variance_limit": 1.0},
    "with split, no smoothing": {"smooth_below": 0.0},
    "with split and smoothing (as shipped)": {},
    "every turn by itself": {"range_limit": 0.0, "variance_limit": 0.0, "smooth_below": 0.0},
    "every turn by itself, smoothed": {"range_limit": 0.0, "variance_limit": 0.0},
}
"""Changes to the limits in force."""


def run(folders: Sequence[Path] = (), *, data: Path = TESTS) -> dict[str, Any]:
    """Measure over the bundled recordings, those of ``data``, and ``folders`` of more (see the recipe's ``recordings``)."""
    settings = demo_settings()
    limits = Limits.from_settings(settings.identify)
    with Chain(settings) as chain:
        index = ProfileIndex(as_primary(chain.profiles, settings.identify.primary), chain.extractor.model)
        paths = [p for folder in (DEMO / "recordings", data, *folders) if folder.is_dir() for p in media_with_truth(folder)]
        talks = [_talk(chain, index, path) for path in paths]
        fast = [_fast_path(chain, path) for path in paths]
        people = _people(chain, data)  # last: the chain keeps only one decoded audio
        verified = _verification(chain, people) if people else []
        return {
            "verification": [row for row, _ in verified],
            "rules": [_rule(name, changes, limits, talks) for name, changes in RULES.items()],
            "smoothing": sweep(talks, limits, unsure(*verified[0][1]) if verified else None),
            "recordings": [t.name for t in talks],
            "fast_path": fast,
            "normalisation": _normalisation(chain, people) if people else None,
            "calibration": _calibration(chain, people) if people else [],
        }


def table(result: Mapping[str, Any]) -> str:
    """The result of :func:`run` as plain text."""
    lines = []
    if result["verification"]:
        lines += ["equal error rate of same against different speaker, by length of speech", ""]
        lines.append(f"{'':10s}{'demo voices':>14s}{'held out':>12s}{'all':>10s}{'threshold':>12s}{'pairs':>10s}")
        for row in result["verification"]:
            shares = "".join(
                f"{100 * row[group]:>{width - 2}.1f} %" for group, width in (("demo", 14), ("held out", 12), ("all", 10))
            )
            lines.append(f"{row['seconds']:>8.0f} s{shares}{row['threshold']:>12.2f}{row['pairs']:>10d}")
        lines.append("")
    lines += voices_calibrated.lines(result["calibration"])
    lines += [f"speaker accuracy over {len(result['recordings'])} recordings, by rule", ""]
    lines.append(f"{'':40s}{'diarizer':>10s}{'host and guest in one cluster':>32s}")
    for row in result["rules"]:
        mixed = "·" if row["mixed"] is None else f"{100 * row['mixed']:.1f} %"
        lines.append(f"{row['rule']:40s}{100 * row['diarizer']:>8.1f} %{mixed:>32s}")
    lines += ["", *sweep_lines(result["smoothing"])]
    lines += ["", "fast path: twelve places over the whole recording, against the first half minute alone", ""]
    lines.append(f"{'recording':34s}{'host alone':>12s}{'taken':>8s}{'intro only':>12s}{'wrong then':>12s}{'saved':>10s}")
    for row in result["fast_path"]:
        cells = [
            _yes(row["alone"]),
            _yes(row["taken"]),
            _yes(row["intro"]),
            f"{row['intro_wrong_s']:.0f} s",
            f"{row['saved_s']:.1f} s",
        ]
        lines.append(f"{row['recording']:34s}{cells[0]:>12s}{cells[1]:>8s}{cells[2]:>12s}{cells[3]:>12s}{cells[4]:>10s}")
    if normalised := result["normalisation"]:
        lines += ["", f"identification among {normalised['people']} people by {normalised['seconds']:.0f} s, equal error rate"]
        lines.append(
            f"plain {100 * normalised['plain']:.2f} %, normalised against the cohort {100 * normalised['normalised']:.2f} %"
        )
    return "\n".join(lines)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


# -- rules ----------------------------------------------------------------------------------------------------------


def _talk(chain: Chain, index: ProfileIndex, path: Path) -> SmoothingTalk:
    truth, audio = load_truth(path.with_suffix(".json")), chain.decode(path)
    diarization = chain.diarizer.diarize(audio, chain.settings.diarization, token=CancelToken())
    mixed = None
    if path.with_suffix(".turns.json").exists():
        mixed = hand_written(path)
    elif len(truth.speakers) > 1:
        mixed = two_in_one(truth, index.candidates[0].name)
    return SmoothingTalk(
        path.name,
        truth,
        _evidence(chain, index, audio, diarization.exclusive),
        _evidence(chain, index, audio, in_pieces(diarization.exclusive)),
        None if mixed is None else _evidence(chain, index, audio, mixed.exclusive),
        None if mixed is None else _evidence(chain, index, audio, in_pieces(mixed.exclusive)),
    )


def two_in_one(truth: Truth, host: str) -> DiarizationResult:
    """The true turns with the host and the guest who speaks most in one cluster, like a diarizer that missed a change of voice.

    Overlapping turns are cut just before the next one starts."""
    seconds: dict[str, float] = {}
    for turn in truth.turns:
        seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + turn.end - turn.start
    guest = max((s for s in seconds if s != host), key=lambda s: seconds[s])
    merged = {host, guest} if host in seconds else {guest, min(s for s in seconds if s != guest)}
    line = sorted(truth.turns, key=lambda t: t.start)
    ends = [min([t.end, *(u.start - 0.01 for u in line[i + 1 : i + 2])]) for i, t in enumerate(line)]
    turns = [
        Turn(t.start, end, "merged" if t.speaker in merged else t.speaker)
        for t, end in zip(line, ends, strict=True)
        if end > t.start
    ]
    return DiarizationResult(tuple(turns), tuple(turns), "two in one")


def _evidence(chain: Chain, index: ProfileIndex, audio: Audio, turns: Iterable[Turn]) -> tuple[ClusterEvidence, ...]:
    spans = clusters(turns)
    return build_evidence(spans, chain.extractor.extract(audio, wanted(spans), token=CancelToken()).voices, index)[0]


def _rule(name: str, changes: Mapping[str, float], limits: Limits, talks: Sequence[SmoothingTalk]) -> dict[str, Any]:
    tried = limits.changed({f"identify.{key}": value for key, value in changes.items()})
    mixed = [(t.truth, t.mixed) for t in talks if t.mixed is not None]
    return {
        "rule": name,
        "diarizer": accuracy([(t.truth, t.diarized) for t in talks], tried),
        "mixed": accuracy(mixed, tried) if mixed else None,
    }


# -- verification ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EnrolledPeople:
    """Spans of single voices in one audio."""

    audio: Audio
    voices: tuple[tuple[str, str, float, float], ...]  # name, group, start, end

    def spans(self, seconds: float, part: slice = slice(None)) -> Iterator[tuple[str, str, Span]]:
        """Consecutive spans of ``seconds`` from every voice, or those selected by ``part`` (by index)."""
        for name, group, start, end in self.voices:
            count = int((end - start) // seconds)
            for k in range(count)[part]:
                yield name, group, (start + k * seconds, start + (k + 1) * seconds)


def _people(chain: Chain, data: Path) -> EnrolledPeople | None:
    panel = data / "people.panel.json"
    if not panel.exists():
        return None
    rows = json.loads(panel.read_text("utf-8"))
    voices = tuple((v["voice"], v["group"], float(v["start"]), float(v["end"])) for v in rows["voices"])
    return EnrolledPeople(chain.decode(data / rows["audio"]), voices)


Pairs = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Cosines of pairs of the same voice, and of different voices."""


def _verification(chain: Chain, people: EnrolledPeople) -> list[tuple[dict[str, Any], Pairs]]:
    """For each length the rates by group, and the cosines of all pairs."""
    rows = []
    for seconds in LENGTHS_S:
        named = list(people.spans(seconds))
        vectors, kept = _voices(chain, people.audio, [span for _, _, span in named])
        names = np.array([n for (n, _, _), k in zip(named, kept, strict=True) if k])
        groups = np.array([g for (_, g, _), k in zip(named, kept, strict=True) if k])
        row: dict[str, Any] = {"seconds": seconds}
        for group in ("demo", "held out", "all"):
            inside = np.ones(len(names), bool) if group == "all" else groups == group
            same, different = _pairs(vectors[inside], names[inside])
            point = equal_error(same, different)
            row[group] = point.rate
        row |= {"threshold": point.threshold, "pairs": len(same) + len(different)}
        rows.append((row, (same, different)))
    return rows


def _pairs(vectors: NDArray[np.float32], names: NDArray[Any]) -> Pairs:
    upper = np.triu_indices(len(names), 1)
    cosines = (vectors @ vectors.T)[upper]
    same = (names[:, None] == names[None])[upper]
    return cosines[same], cosines[~same]


def _voices(chain: Chain, audio: Audio, spans: Sequence[Span]) -> tuple[NDArray[np.float32], list[bool]]:
    vectors = chain.extractor.extract(audio, spans, token=CancelToken()).voices
    kept = [not isinstance(v, Refusal) for v in vectors]
    return np.stack([v for v in vectors if not isinstance(v, Refusal)]), kept


def _normalisation(chain: Chain, people: EnrolledPeople, seconds: float = 2.0) -> dict[str, Any]:
    """Enrol every person from the first half of their speech and score the second half against all, plain and normalised."""
    half = {name: int((end - start) // seconds) // 2 for name, _, start, end in people.voices}
    by_name: dict[str, list[Span]] = {}
    for name, _, span in people.spans(seconds):
        by_name.setdefault(name, []).append(span)
    model = chain.extractor.model
    enrolled = [
        profile(k, name, model, _voices(chain, people.audio, by_name[name][: half[name]])[0]) for k, name in enumerate(by_name)
    ]
    index = ProfileIndex(enrolled, model)
    plain: tuple[list[float], list[float]] = ([], [])
    shifted: tuple[list[float], list[float]] = ([], [])
    for column, p in enumerate(index.profiles):
        alike = index.similarities(_voices(chain, people.audio, by_name[p.name][half[p.name] :])[0])
        for (same, different), table in ((plain, alike), (shifted, index.scores(alike))):
            same += table[:, column].tolist()
            different += np.delete(table, column, axis=1).ravel().tolist()
    return {
        "people": len(enrolled),
        "seconds": seconds,
        "plain": equal_error(*plain).rate,
        "normalised": equal_error(*shifted).rate,
    }


def _calibration(chain: Chain, people: EnrolledPeople) -> list[dict[str, Any]]:
    """Everybody enrolled from windows of the first half of their speech, and calibrated ratios of the second half against all."""
    enrolled, speech = [], {seconds: {} for seconds in LENGTHS_S}  # type: ignore[var-annotated]
    for number, (name, _, start, end) in enumerate(people.voices):
        middle = (start + end) / 2
        windows = [(float(at), float(at) + WINDOW_S) for at in np.arange(start, middle - WINDOW_S, 0.5)]
        enrolled.append(profile(number, name, chain.extractor.model, _voices(chain, people.audio, windows)[0]))
        for seconds in LENGTHS_S:
            spans = [(float(at), float(at) + seconds) for at in np.arange(middle, end - seconds + 1e-6, seconds)]
            speech[seconds][number] = _voices(chain, people.audio, spans)[0]
    cohort_voices = cohort.listen(chain.extractor, CancelToken())
    return voices_calibrated.measured(enrolled, speech, cohort_voices, chain.extractor.model)


# -- fast path ------------------------------------------------------------------------------------------------------


def _fast_path(chain: Chain, path: Path) -> dict[str, Any]:
    """Whether the fast path is taken and what it saves; whether the first half minute alone would have led to it, and the
    seconds of other people's speech that would then have been assigned to the host."""
    truth, audio = load_truth(path.with_suffix(".json")), chain.decode(path)
    host = str(chain.settings.identify.primary)
    others = sum(t.end - t.start for t in truth.turns if t.speaker != host)
    began = time.perf_counter()
    cast = chain.fast_path(audio)
    fast_s = time.perf_counter() - began
    began = time.perf_counter()
    diarization = chain.diarizer.diarize(audio, chain.settings.diarization, token=CancelToken())
    identify(
        audio, diarization, chain.profiles, chain.settings.identify, revision=0, extractor=chain.extractor, token=CancelToken()
    )
    full_s = time.perf_counter() - began
    intro = replace(audio, samples=min(audio.samples, round(INTRO_S * 16000)))
    settings = chain.settings.identify
    fooled = monologue(intro, chain.profiles, settings, revision=0, extractor=chain.extractor, token=CancelToken()) is not None
    return {
        "recording": path.name,
        "alone": others == 0,
        "taken": cast is not None,
        "places": PLACES,
        "mean": cast.decisions[0].mean if cast else None,
        "intro": fooled,
        "intro_wrong_s": others if fooled else 0.0,
        "saved_s": full_s - fast_s if cast is not None else -fast_s,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, action="append", default=[], help="measure this folder of recordings too")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    measured = run(args.folder)
    print(json.dumps(measured) if args.json else table(measured))
