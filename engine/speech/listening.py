"""How audio is cut into windows for a recogniser: a rule per model, chosen by measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gainstage.engine.errors import Misconfigured

FILE = "gainstage.json"
"""File in a model's folder that holds its rule, when it is not the one for Whisper."""

MARGIN_S = 2.0
"""Least silence behind a window that is padded to a step, in seconds: with less, Whisper base makes more errors."""


@dataclass(frozen=True, slots=True)
class Listening:
    """The rule of one model; all values in seconds. The defaults hold for Whisper.

    Speech, with ``pad_s`` on each side, is joined, with its pauses, into windows of up to ``window_s``; with ``pause_s``, only over
    pauses of at most that. On Whisper base, 0.4 s on each side in place of 0.2 save a tenth of the word errors, most of them under
    noise. A window of up to ``short_s`` is padded to ``short_context_s``, every other one to ``context_s``: on Whisper base the
    encoder needs a sixth of the time for ten seconds that it needs for thirty. With ``step_s``, others are padded to the next multiple
    of it instead, at most to ``context_s``: a fifth less processor time on real talk and the bundled recordings, at the same word
    errors (10.9 and 10.7 %), but fewer windows of one kind for a call. ``timestamps`` says whether the model can write
    times among the words. With ``again``, a gap is recognised again with up to ``around_s`` of the words on each side of it, with 0 alone.
    """

    window_s: float = 30.0
    pause_s: float | None = None
    pad_s: float = 0.4
    context_s: int = 30
    short_s: float = 8.0
    short_context_s: int = 10
    step_s: int | None = None
    timestamps: bool = True
    again: bool = True
    around_s: float = 2.5

    def context_of(self, seconds: float) -> int:
        """The length in seconds that a window is padded to."""
        if seconds <= self.short_s:
            return self.short_context_s
        if self.step_s is None:
            return self.context_s
        return min(self.context_s, max(self.short_context_s, math.ceil((seconds + MARGIN_S) / self.step_s) * self.step_s))


def listening_of(folder: Path) -> Listening:
    """The rule of the model in a folder. Raises :class:`Misconfigured` for an invalid file."""
    file = folder / FILE
    if not file.is_file():
        return Listening()
    try:
        return TypeAdapter(Listening).validate_json(file.read_bytes(), strict=True)
    except (OSError, ValidationError) as error:
        raise Misconfigured(
            f"{FILE} of the recogniser cannot be used: {error}",
            cause="model cannot be loaded",
            hint="Remove the file, or fetch the model again.",
        ) from error
