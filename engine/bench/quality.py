"""Accuracy of the engine: the real libraries on recordings with a known truth, bundled or newly generated.

``python -m gainstage.engine.bench.quality [--fresh N]`` prints it. The models, the rules and the settings are the engine's own;
what is left out is everything around them: queue, stages, database. Fresh recordings need espeak-ng and flite on this machine, real talk
the models of ``make real-models``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gainstage.config import origins
from gainstage.config.settings import Settings, changed
from gainstage.engine.errors import Misconfigured
from gainstage.engine.evaluation.intervals import Figure
from gainstage.engine.evaluation.measures import scorers_missing
from gainstage.engine.evaluation.quality import Hypothesis, Quality, load_truth, score, spoken
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.models.resolve import DEMO
from gainstage.engine.terms import Audio, Cast, DiarizationResult, Transcript, Turn

if TYPE_CHECKING:
    from gainstage.engine.evaluation.scored import Scored
    from gainstage.engine.models.voice import VoiceEncoder
    from gainstage.engine.voices.calibration import Calibration
    from gainstage.engine.voices.profile_index import Profile


GOALS = {"wer": 0.04, "der": 0.08, "speaker_accuracy": 0.97, "within_250ms": 0.90}
"""Goals: word and diarization error rate at most, speaker accuracy and share of near word starts at least."""

DEMO_MODELS = {role: DEMO / role for role in ("asr", "diarization", "voice")}
REAL = Path(__file__).parents[2] / "tests" / "data" / "real"
"""Real talk with its truth, in a clone."""

_ENROL_WINDOW_S, _ENROL_HOP_S = 3.0, 1.5


@dataclass(frozen=True, slots=True)
class Row:
    """The measurement of one recording: ``seconds`` of audio took ``wall_s``."""

    kind: str  # "bundled", "hard", "fresh", "real"
    name: str
    seconds: float
    wall_s: float
    quality: Quality | None  # None where the truth has no times of words
    cast: Cast
    scored: Scored | None = None  # None without the scorers of the extra


class Chain:
    """Recogniser, diarizer and identification with the settings of a profile, without the rest of the engine.

    ``models`` holds a folder for each role; ``encoder`` replaces its voice model, ``voices`` are recordings of the people enrolled, each
    under the name of its file. Close it when done.
    """

    def __init__(
        self,
        settings: Settings,
        models: Mapping[str, Path] = DEMO_MODELS,
        voices: Mapping[str, Path] | None = None,
        encoder: VoiceEncoder | None = None,
    ) -> None:
        from gainstage.engine.models.diarizer import load_diarizer
        from gainstage.engine.models.resolve import find
        from gainstage.engine.models.voice import load_voice_encoder
        from gainstage.engine.speech.diarize import Diarizer
        from gainstage.engine.speech.recogniser import load_transcriber
        from gainstage.engine.voices.extract import VoiceExtractor, voice_batcher

        self.settings = settings
        self._token = CancelToken()
        self._folder = tempfile.TemporaryDirectory()
        resolved = {role: find(role, str(folder), None, folder) for role, folder in models.items()}
        loaded = encoder or load_voice_encoder(resolved["voice"], "cpu")
        self.transcriber = load_transcriber(resolved["asr"], "cpu", "int8", threads=2, workers=1, warn=print)
        self.diarizer = Diarizer(load_diarizer(resolved["diarization"], "cpu", lambda _name, _folder: loaded))
        self.extractor = VoiceExtractor(lambda: loaded, voice_batcher(lambda: loaded, lambda: settings.voice.batch_seconds))
        people = {path.stem: path for path in sorted((DEMO / "voices").iterdir())} if voices is None else voices
        self.profiles = [self._enrolled(k, name, path) for k, (name, path) in enumerate(people.items(), 1)]
        self.calibration = self._calibration() if settings.identify.scale == "calibrated" else None

    def __enter__(self) -> Chain:
        return self

    def __exit__(self, *_: object) -> None:
        self.extractor.close()
        self._folder.cleanup()

    def decode(self, path: Path) -> Audio:
        """The audio of a file, kept until the next file is decoded."""
        from gainstage.engine.speech.decode import decode

        return decode(path, Path(self._folder.name), token=self._token)

    def understand(self, audio: Audio, given: DiarizationResult | None = None) -> tuple[Transcript, DiarizationResult | None, Cast]:
        """What the engine would store: words, anonymous turns (None for the fast path), names. ``given`` replaces the diarizer's
        result."""
        transcript = self.transcriber.transcribe(audio, self.settings.asr, token=self._token)
        if not given and (cast := self.fast_path(audio)):
            return transcript, None, cast
        diarization = given or self.diarizer.diarize(audio, self.settings.diarization, token=self._token)
        return transcript, diarization, self.named(audio, diarization)

    def named(self, audio: Audio, diarization: DiarizationResult) -> Cast:
        """Who the speakers of a diarization are."""
        from gainstage.engine.voices.identify import identify

        return identify(
            audio,
            diarization,
            self.profiles,
            self.settings.identify,
            revision=0,
            extractor=self.extractor,
            token=self._token,
            calibration=self.calibration,
        )

    def result(self, audio: Audio, given: DiarizationResult | None = None) -> tuple[Hypothesis, Cast]:
        """The same in the form that the measures need."""
        transcript, diarization, cast = self.understand(audio, given)
        return Hypothesis(transcript.words, spoken(cast.turns), None if diarization is None else spoken(diarization.turns)), cast

    def fast_path(self, audio: Audio) -> Cast | None:
        """The cast of a monologue by the host, when it is one and the settings allow the fast path."""
        from gainstage.engine.voices.fast_path import monologue

        return monologue(
            audio,
            self.profiles,
            self.settings.identify,
            revision=0,
            extractor=self.extractor,
            token=self._token,
            calibration=self.calibration,
        )

    def _calibration(self) -> Calibration | None:
        from gainstage.engine.voices import cohort
        from gainstage.engine.voices.calibrating import calibrate
        from gainstage.engine.voices.identify import as_primary

        people = as_primary(self.profiles, self.settings.identify.primary)
        calibration = calibrate(people, cohort.listen(self.extractor, self._token), self.extractor.model)
        return None if calibration is None else calibration.calibration

    def _enrolled(self, id: int, name: str, path: Path) -> Profile:
        from gainstage.engine.voices.evidence import Refusal
        from gainstage.engine.voices.exemplars import inliers, spread_exemplars
        from gainstage.engine.voices.profile_index import profile

        audio = self.decode(path)
        starts = np.arange(0, audio.seconds - _ENROL_WINDOW_S, _ENROL_HOP_S)
        spans = [(float(start), float(start) + _ENROL_WINDOW_S) for start in starts]
        extracted = self.extractor.extract(audio, spans, token=self._token).voices
        voices = np.stack([voice for voice in extracted if not isinstance(voice, Refusal)])
        return profile(id, name, self.extractor.model, spread_exemplars(voices[inliers(voices)]))


def demo_settings(changes: Mapping[str, Any] | None = None) -> Settings:
    """The settings of the demo with ``changes`` by key, independent of the environment."""
    settings = origins.load(profile="demo", environ={}).settings
    for key, value in (changes or {}).items():
        settings = changed(settings, key, value)
    return settings


def run(
    fresh: int = 0,
    *,
    seed: int = 0,
    folders: Mapping[str, Path] | None = None,
    models: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Measure every recording of ``folders`` (by kind; the bundled ones by default) and ``fresh`` new ones generated from ``seed``.

    ``models`` is the folder that ``make real-models`` made: with it, real talk is measured too. Settings are those of the demo with
    ``changes`` by key. The fast path is off, so that monologues are diarized as well.
    """
    settings = demo_settings({"identify.fast_path": False, **(changes or {})})
    with tempfile.TemporaryDirectory() as name, Chain(settings) as chain:
        wanted = dict(folders if folders is not None else {"bundled": DEMO / "recordings"})
        if fresh:
            wanted["fresh"] = _made_fresh(Path(name), range(seed, seed + fresh))
        rows = [measured(chain, kind, path) for kind, folder in wanted.items() for path in media_with_truth(folder)]
    return rows + (real_talk(Path(models)) if models else [])


def real_talk(models: Path, clips: Path = REAL) -> list[Row]:
    """Measure the real talk of a clone with models with real weights: Whisper base, a diarizer, and CAM++ for voices.

    Readers who are enrolled talk in some of it, and strangers. Raises :class:`Misconfigured` without the models, the talk or the scorers.
    """
    from gainstage.engine.bench.campp import load
    from gainstage.engine.evaluation.measures import need_scorers

    need_scorers()
    folders = {"asr": models / "whisper-base", "diarization": models / "diarization"}
    missing = [path for path in (*folders.values(), models / "campp", clips) if not path.is_dir()]
    if missing:
        raise Misconfigured(
            f"there is no folder {missing[0]}", cause="no real models", hint="Run make real-models in a clone, and name its folder."
        )
    voices = {path.stem.removeprefix("enrol-"): path for path in sorted(clips.glob("enrol-*")) if path.suffix != ".json"}
    settings = demo_settings(
        {"identify.fast_path": False, "identify.primary": None, "identify.scale": "calibrated", "asr.language": "auto"}
    )
    with Chain(settings, folders, voices, load(models / "campp")) as chain:
        rows = []
        for path in media_with_truth(clips):
            audio = chain.decode(path)
            began = time.perf_counter()
            transcript, _, cast = chain.understand(audio)
            took = time.perf_counter() - began
            rows.append(Row("real", path.name, audio.seconds, took, None, cast, _scored(chain, path, audio, transcript, cast)))
    return rows


def measured(chain: Chain, kind: str, path: Path) -> Row:
    """Process one recording and compare the result with the truth stored beside it."""
    truth, audio = load_truth(path.with_suffix(".json")), chain.decode(path)
    began = time.perf_counter()
    transcript, diarization, cast = chain.understand(audio)
    took = time.perf_counter() - began
    result = Hypothesis(transcript.words, spoken(cast.turns), None if diarization is None else spoken(diarization.turns))
    scores = _scored(chain, path, audio, transcript, cast) if scorers_missing() == [] else None
    return Row(kind, path.name, audio.seconds, took, score(truth, result), cast, scores)


def _scored(chain: Chain, path: Path, audio: Audio, transcript: Transcript, cast: Cast) -> Scored:
    """Score the same recording with the standard scorers, in the form that is stored."""
    from gainstage.engine.evaluation.references import load_reference
    from gainstage.engine.evaluation.scored import scored
    from gainstage.engine.speech.words import assign
    from gainstage.engine.text.segments import cut

    (truth,) = load_reference(path.with_suffix(".json"))
    words = assign(transcript.words, cast.turns, cast.overlaps)
    facts = {
        "language": transcript.language,
        "coverage": transcript.coverage.facts(),
        "turns": [[t.start, t.end, t.cluster, t.speaker, str(t.provenance), t.confidence] for t in cast.turns],
    }
    segments = cut(words, cast.turns, transcript, chain.settings.segment)
    names = [p.name for p in chain.profiles]
    return scored(truth, segments, facts, cast.decisions, seconds=audio.seconds, enrolled=names)


def document(rows: list[Row]) -> dict[str, Any]:
    """For ``--json``: every figure of the standard scorers with its interval, and the rows."""
    from gainstage.engine.evaluation.scored import HELP, figures

    scores = [row.scored for row in rows if row.scored is not None]
    totals = figures(scores)
    shown = {key: totals.get(key, Figure(None)) for key in HELP} if scores else {}
    return {
        **{key: asdict(one) for key, one in shown.items()},
        "rows": [asdict(replace(row, scored=None, cast=Cast((), ()))) for row in rows],
    }


def media_with_truth(folder: Path) -> list[Path]:
    """The recordings of a folder that have a truth file."""
    return sorted(p for p in folder.iterdir() if p.suffix != ".json" and p.with_suffix(".json").exists())


def hand_written(path: Path) -> DiarizationResult:
    """The hand-written diarization beside a recording (``.turns.json``)."""
    import json

    rows = json.loads(path.with_suffix(".turns.json").read_text("utf-8"))["turns"]
    turns = tuple(Turn(row["start"], row["end"], row["cluster"]) for row in rows)
    return DiarizationResult(turns, turns, "hand-written")


def _made_fresh(folder: Path, seeds: Iterable[int]) -> Path:
    try:
        from gainstage.engine.models.demo.recipe.recordings import fresh, make
    except ImportError as error:
        raise Misconfigured(
            "fresh recordings are made by the demo's recipe, which an installed gainstage does not hold",
            cause="no recipe",
            hint="Measure in a clone of the repository.",
        ) from error

    for seed in seeds:
        make(fresh(seed), folder)
    return folder


def table(rows: list[Row]) -> str:
    """The result as plain text: every recording, then the sum of each kind with the goals."""
    head = f"{'recording':<34}{'audio':>7}{'WER':>7}{'DER':>7}{'names':>8}{'starts p90':>12}{'< 250 ms':>10}{'x real time':>13}"
    timed = [row for row in rows if row.quality is not None]
    lines = [head, *(_line(row.name, [row]) for row in timed), ""]
    for kind in dict.fromkeys(row.kind for row in timed):
        same = [row for row in timed if row.kind == kind]
        missed = [name for name, reached in reached_goals(total(same)).items() if not reached]
        lines.append(_line(f"{len(same)} {kind}", same) + ("  MISSED: " + ", ".join(missed) if missed else "  all goals reached"))
    lines += _scores(rows)
    lines.append("goals: " + ", ".join(f"{name} {goal:.0%}" for name, goal in GOALS.items()))
    return "\n".join(lines)


def _scores(rows: list[Row]) -> list[str]:
    """The figures of the standard scorers for each kind, one per line; without them, what to install."""
    from gainstage.engine.evaluation.scored import HELP, figures

    if missing := scorers_missing():
        return [f"not scored by {', '.join(missing)}: install gainstage[score]", ""]
    lines = []
    for kind in dict.fromkeys(row.kind for row in rows):
        same = [row.scored for row in rows if row.kind == kind and row.scored is not None]
        lines.append(f"{kind}, {len(same)} recordings: value, 95 % interval by recording")
        for key, one in figures(same).items():
            interval = "" if one.low is None or one.high is None else f"{one.low:.4f} to {one.high:.4f}"
            lines.append(f"{key:<26}{one.value:>9.4f}  {interval:<20}  {HELP[key]}")
        lines.append("")
    return lines


def total(rows: list[Row]) -> Quality:
    """The combined quality of several recordings; at least one."""
    first, *others = (row.quality for row in rows if row.quality is not None)
    for quality in others:
        first = first + quality
    return first


def reached_goals(quality: Quality) -> dict[str, bool]:
    """Which goals are reached, by name."""
    return {
        name: getattr(quality, name) <= goal if name in ("wer", "der") else getattr(quality, name) >= goal
        for name, goal in GOALS.items()
    }


def _line(name: str, rows: list[Row]) -> str:
    quality, seconds = total(rows), sum(row.seconds for row in rows)
    late = "·" if quality.word_start_p90_s is None else f"{quality.word_start_p90_s:.3f} s"
    speed = seconds / sum(row.wall_s for row in rows)
    return (
        f"{name:<34}{seconds:>6.0f}s{quality.wer:>7.1%}{quality.der:>7.1%}{quality.speaker_accuracy:>8.1%}{late:>12}"
        f"{quality.within_250ms:>10.1%}{speed:>13.1f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", type=int, default=0, help="recordings to make and measure beside the bundled ones")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first fresh one")
    parser.add_argument("--folder", type=Path, action="append", default=[], help="measure this folder of recordings too")
    parser.add_argument("--models", metavar="FOLDER", help="of make real-models: measure real talk too")
    options = parser.parse_args()
    folders = {"bundled": DEMO / "recordings"} | {folder.name: folder for folder in options.folder}
    print(table(run(options.fresh, seed=options.seed, folders=folders, models=options.models)))
