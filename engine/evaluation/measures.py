"""The field's own scorers on one recording: jiwer, whisper-normalizer, pyannote.metrics and meeteval. Needs the extra ``score``."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from gainstage.engine.errors import Misconfigured
from gainstage.engine.evaluation.intervals import Share
from gainstage.engine.evaluation.references import Said, Talk

COLLAR_S = 5.0
"""Of the time-constrained word error rates."""

MEASURES = {
    "wer": "word errors, whoever said them (jiwer)",
    "cpwer": "word errors with the best matching of speakers (meeteval)",
    "tcpwer": "the same, words within 5 s of their place (meeteval)",
    "tcorcwer": "words within 5 s, each utterance on its best channel (meeteval)",
    "dicpwer": "the same, speakers matched utterance by utterance (meeteval)",
    "wder": "recognised words with the wrong speaker",
    "der": "diarization error, no collar, overlap included (pyannote.metrics)",
    "jer": "Jaccard error (pyannote.metrics)",
    "speaker_count_right": "recordings with the right number of people",
    "speaker_count_error": "people too many or too few, per recording",
}
"""What is measured, and by whom. Rates are errors per unit of truth."""


def scorers_missing() -> list[str]:
    """Which libraries of the extra are not installed."""
    return [name for name in ("whisper_normalizer", "meeteval") if not _installed(name)]


def need_scorers() -> None:
    """Raises :class:`Misconfigured` where the extra is not installed."""
    if missing := scorers_missing():
        raise Misconfigured(
            f"scoring needs {', '.join(missing)}",
            cause="scorers not installed",
            hint="Install the extra: pip install 'gainstage[score]' (meeteval is built with a C compiler, about a minute).",
        )


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def normaliser(language: str) -> Callable[[str], str]:
    """whisper-normalizer's rules: for English its own, for every other language the basic ones."""
    if language == "en":
        from whisper_normalizer.english import EnglishTextNormalizer

        english: Callable[[str], str] = EnglishTextNormalizer()
        return english
    from whisper_normalizer.basic import BasicTextNormalizer

    basic: Callable[[str], str] = BasicTextNormalizer()
    return basic


def measured(truth: Talk, understood: Talk, turns: Sequence[Said], language: str = "en") -> dict[str, Share]:
    """Every measure the truth allows, by name. ``understood`` has the words, ``turns`` the named turns of the same recording."""
    plain = normaliser(language)
    shares: dict[str, Share] = {}
    if truth.worded:
        shares["wer"] = word_errors(plain(truth.text), plain(understood.text))
    if truth.worded and truth.timed:
        true, hypothesis = _normal(truth.parts, plain), _normal(understood.parts, plain)
        shares |= speaker_word_errors(truth.name, true, hypothesis)
        shares["wder"] = wrong_speakers(true, hypothesis)
    if truth.turned:
        shares |= diarization_errors(truth.turns, turns)
        off = abs(len({p.speaker for p in truth.turns}) - len({t.speaker for t in turns}))
        shares |= {"speaker_count_right": Share(float(off == 0), 1.0), "speaker_count_error": Share(float(off), 1.0)}
    return shares


def word_errors(truth: str, hypothesis: str) -> Share:
    """Substitutions, deletions and insertions of words that are normal already."""
    true, recognised = truth.split(), hypothesis.split()
    if not true or not recognised:
        return Share(float(len(true) + len(recognised)), float(len(true)))
    import jiwer

    result = jiwer.process_words(" ".join(true), " ".join(recognised))
    return Share(float(result.substitutions + result.deletions + result.insertions), float(len(true)))


def speaker_word_errors(name: str, truth: Sequence[Said], hypothesis: Sequence[Said]) -> dict[str, Share]:
    """meeteval's rates, each as errors and true words."""
    length = float(sum(len((p.text or "").split()) for p in truth))
    if not truth or not hypothesis:
        errors = length + sum(len((p.text or "").split()) for p in hypothesis)
        return {key: Share(errors, length) for key in ("cpwer", "tcpwer", "tcorcwer", "dicpwer")}
    from meeteval.io import SegLST
    from meeteval.wer import cpwer, greedy_dicpwer, greedy_tcorcwer, tcpwer

    def table(parts: Sequence[Said]) -> Any:
        return SegLST(
            [{"session_id": name, "speaker": p.speaker, "start_time": p.start, "end_time": p.end, "words": p.text} for p in parts]
        )

    true, recognised = table(truth), table(hypothesis)
    results = {
        "cpwer": cpwer(true, recognised),
        "tcpwer": tcpwer(true, recognised, collar=COLLAR_S),
        "tcorcwer": greedy_tcorcwer(true, recognised, collar=COLLAR_S),
        "dicpwer": greedy_dicpwer(true, recognised),
    }
    return {key: Share(float(result[name].errors), float(result[name].length)) for key, result in results.items()}


def wrong_speakers(truth: Sequence[Said], hypothesis: Sequence[Said]) -> Share:
    """Words of the alignment, right or substituted, whose speaker is not the true one under the best one-to-one naming
    (word diarization error rate of El Shafey et al., 2019)."""
    import jiwer
    from scipy.optimize import linear_sum_assignment

    true, recognised = _by_word(truth), _by_word(hypothesis)
    if not true or not recognised:
        return Share(0.0, 0.0)
    pairs: Counter[tuple[str, str]] = Counter()
    for chunk in jiwer.process_words(" ".join(w for w, _ in true), " ".join(w for w, _ in recognised)).alignments[0]:
        if chunk.type in ("equal", "substitute"):
            for k in range(chunk.ref_end_idx - chunk.ref_start_idx):
                pairs[true[chunk.ref_start_idx + k][1], recognised[chunk.hyp_start_idx + k][1]] += 1
    people, labels = sorted({a for a, _ in pairs}), sorted({b for _, b in pairs})
    together = np.array([[pairs[a, b] for b in labels] for a in people])
    rows, columns = linear_sum_assignment(together, maximize=True) if pairs else ((), ())
    right = sum(int(together[i, k]) for i, k in zip(rows, columns, strict=True))
    return Share(float(pairs.total() - right), float(pairs.total()))


class TimedPart(Protocol):
    """Somebody speaks from start to end (seconds)."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def speaker(self) -> str: ...


def diarization_errors(truth: Sequence[TimedPart], turns: Sequence[TimedPart], collar: float = 0.0) -> dict[str, Share]:
    """DER in seconds of speech and JER in speakers, by pyannote.metrics over the whole time of both. ``collar`` on either side."""
    from pyannote.metrics.diarization import JaccardErrorRate

    errors = diarization_parts(truth, turns, collar)
    if not errors:
        return {}
    jaccard = JaccardErrorRate(collar=2 * collar)(_annotation(truth), _annotation(turns), uem=_whole(truth, turns), detailed=True)
    return {
        "der": Share(errors["missed detection"] + errors["false alarm"] + errors["confusion"], errors["total"]),
        "jer": Share(jaccard["speaker error"], jaccard["speaker count"]),
    }


def diarization_parts(truth: Sequence[TimedPart], turns: Sequence[TimedPart], collar: float = 0.0) -> dict[str, float]:
    """Speaker-seconds of pyannote.metrics over the whole time of both: "total", "missed detection", "false alarm", "confusion".

    Empty where neither has a turn. ``collar`` seconds on either side of each true boundary are left out (pyannote.metrics takes the
    whole width, twice this).
    """
    from pyannote.metrics.diarization import DiarizationErrorRate

    if not any(part.end > part.start for part in [*truth, *turns]):
        return {}
    whole = _whole(truth, turns)
    parts = DiarizationErrorRate(collar=2 * collar)(_annotation(truth), _annotation(turns), uem=whole, detailed=True)
    return {key: float(parts[key]) for key in ("total", "missed detection", "false alarm", "confusion")}


def _whole(truth: Sequence[TimedPart], turns: Sequence[TimedPart]) -> Any:
    from pyannote.core import Segment, Timeline

    return Timeline([Segment(min(0.0, *(p.start for p in [*truth, *turns])), max(part.end for part in [*truth, *turns]))])


def _annotation(parts: Sequence[TimedPart]) -> Any:
    from pyannote.core import Annotation, Segment

    made = Annotation()
    for track, part in enumerate(parts):
        if part.end > part.start:
            made[Segment(part.start, part.end), track] = part.speaker
    return made.support()


def _normal(parts: Sequence[Said], plain: Callable[[str], str]) -> list[Said]:
    texts = ((part, plain(part.text or "")) for part in parts)
    return [Said(part.speaker, part.start, part.end, text) for part, text in texts if text.split()]


def _by_word(parts: Sequence[Said]) -> list[tuple[str, str]]:
    ordered = sorted(parts, key=lambda p: (p.start, p.end))
    return [(word, part.speaker) for part in ordered for word in (part.text or "").split()]
