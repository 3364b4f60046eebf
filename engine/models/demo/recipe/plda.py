"""The diarizer's PLDA: how voices of one person differ, and how people do, so that clustering can weigh the one against the other."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gainstage.engine.models.demo.recipe import sounds
from gainstage.engine.models.demo.recipe.bank import Bank
from gainstage.engine.models.demo.recipe.voices import PEOPLE
from gainstage.engine.models.voice import VoiceEncoder
from gainstage.engine.terms import SAMPLE_RATE

_NUMBERS = 64
"""Dimensions kept."""
_CLIPS = 25
"""Per voice."""
_SMOOTHING = 1e-3

Matrix = NDArray[np.float64]


def estimate(bank: Bank, encoder: VoiceEncoder, folder: Path) -> None:
    """Write ``xvec_transform.npz`` (centre, whiten to unit length, LDA) and ``plda.npz`` (mean, basis, variances), as pyannote
    reads them, from raw voices of the training crowd."""
    voices, people = _voices(bank, encoder)
    size = voices.shape[1]
    centre = voices.mean(0)
    unit = np.sqrt(size) * _normed(voices - centre)
    _, within, between = _scatter(unit, people)
    lda = _principal(between, within + _SMOOTHING * np.trace(within) / size * np.eye(size))[1][:, ::-1][:, :_NUMBERS]
    centre_of_lda = (unit @ lda).mean(0)
    reduced = np.sqrt(_NUMBERS) * _normed(unit @ lda - centre_of_lda)
    mean, within, between = _scatter(reduced, people)
    ridge = _SMOOTHING / _NUMBERS * np.eye(_NUMBERS)
    variances, basis = _principal(between + np.trace(between) * ridge, within + np.trace(within) * ridge)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "xvec_transform.npz", mean1=centre, mean2=centre_of_lda, lda=lda)
    np.savez(folder / "plda.npz", mu=mean, tr=basis.T[::-1], psi=variances[::-1])


def _voices(bank: Bank, encoder: VoiceEncoder) -> tuple[Matrix, NDArray[np.int64]]:
    """(n, d) raw voices of cuts of 1.2 to 3 s and (n,) whose they are."""
    rng, noise = random.Random(3), np.random.default_rng(3)
    crowd = [entries for voice, entries in sorted(bank.by_voice.items()) if voice not in PEOPLE]
    rows: list[NDArray[np.float32]] = []
    people: list[int] = []
    for person, entries in enumerate(crowd):
        for entry in rng.sample(entries, _CLIPS):
            count = min(entry.count, round(rng.choice((1.2, 2.0, 3.0)) * SAMPLE_RATE))
            start = rng.randint(0, entry.count - count)
            sound = bank.clip(entry, start, start + count) + sounds.hiss(count, 1e-3, noise)
            rows.append(encoder.raw(sound[None])[0])
            people.append(person)
    return np.stack(rows).astype(np.float64), np.array(people)


def _normed(rows: Matrix) -> Matrix:
    unit: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _scatter(rows: Matrix, people: NDArray[np.int64]) -> tuple[Matrix, Matrix, Matrix]:
    """Mean, and covariance within and between people."""
    mean = rows.mean(0)
    centres = np.stack([rows[people == person].mean(0) for person in range(people.max() + 1)])[people]
    inner, outer = rows - centres, centres - mean
    return mean, inner.T @ inner / len(rows), outer.T @ outer / len(rows)


def _principal(between: Matrix, within: Matrix) -> tuple[Matrix, Matrix]:
    """Eigenvalues, ascending, and eigenvectors of ``between`` relative to ``within``."""
    from scipy.linalg import eigh

    values, vectors = eigh(between, within)
    return values, vectors
