"""Import of profiles that other tools wrote as JSON: everything is validated, and nothing is changed to make it fit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from gainstage.config.regular_files import read_regular
from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent
from gainstage.engine.terms import ModelId
from gainstage.engine.voices.exemplars import cohesion, spread_exemplars
from gainstage.engine.voices.profile_store import ProfileStore, Version, checked_name
from gainstage.engine.voices.vectors import BadVoice, ForeignVoice, checked

MOST_BYTES = 64 * 1024**2
HINT = "A profile is a JSON object with a name and embeddings, or a centroid."
ONE_PERSON = 0.15
"""When the rows of a flat list are less similar than this on average, they are not voices of one person: the list was cut at
the wrong length."""


class _File(BaseModel):
    """The fields that the known tools write; others are ignored."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    name: str = Field(validation_alias=AliasChoices("name", "profile_name", "speaker", "speaker_name"))
    centroid: Any = Field(None, validation_alias=AliasChoices("centroid", "mean", "mean_embedding", "embedding"))
    embeddings: Any = Field(None, validation_alias=AliasChoices("embeddings", "exemplars", "voices", "vectors"))
    threshold: float | None = Field(None, ge=0, le=1)
    model: str | None = Field(None, validation_alias=AliasChoices("model", "model_name", "embedding_model"))
    revision: str | None = Field(None, validation_alias=AliasChoices("revision", "model_revision"))
    dimension: int | None = Field(None, validation_alias=AliasChoices("dimension", "embedding_dim", "dim"))


@dataclass(frozen=True, slots=True)
class Imported:
    """A profile read from a file. ``exemplars`` (k, d) unit vectors, k <= 64; the centroid alone where the file has none."""

    name: str
    version: Version
    threshold: float | None
    voices: int  # in the file
    warnings: tuple[str, ...]


def read_profile(path: Path, model: ModelId, *, name: str | None = None) -> Imported:
    """Read a profile for ``model`` (name, centroid, embeddings flat or nested, threshold).

    Raises :class:`Permanent` for a file that is not a profile, ``BadVoice`` for NaN, infinite and zero vectors, ``ForeignVoice``
    for another dimension or model.
    """
    parsed = _parsed(path)
    warnings = []
    if parsed.model is None:
        warnings.append(f"the file names no model; taken as {model.name}")
    elif _short(parsed.model) != _short(model.name):
        _foreign(f"{path.name} was made by {clean_text(parsed.model, 100)}, in use is {model.name}")
    elif parsed.revision is not None and parsed.revision != model.revision:
        _foreign(f"{path.name} was made by revision {clean_text(parsed.revision, 60)}, in use is {model.revision}")
    if parsed.dimension is not None and parsed.dimension != model.dimension:
        _foreign(f"{path.name} holds vectors of {parsed.dimension} numbers, {model.name} makes {model.dimension}")
    what = f"the profile in {path.name}"
    centroid = None if parsed.centroid is None else _rows(parsed.centroid, model.dimension, what)
    if centroid is not None and len(centroid) != 1:
        _foreign(f"{what} has a centroid of {centroid.size} numbers, {model.name} makes {model.dimension}")
    voices = np.zeros((0, model.dimension), np.float32)
    if parsed.embeddings is not None and parsed.embeddings != []:
        voices = _rows(parsed.embeddings, model.dimension, what)
    if centroid is None and not len(voices):
        raise Permanent(f"{what} holds neither a centroid nor embeddings", cause="not a profile", hint=HINT)
    alike = cohesion(voices)
    if alike is not None and alike < ONE_PERSON:
        raise BadVoice(
            f"the {len(voices)} voices of {what} are not alike (cohesion {alike:.2f})",
            cause="not one person's voices",
            hint="Is it another model's, or a list of another dimension?",
        )
    report = {"seconds": 0.0, "cohesion": None if alike is None else round(alike, 4), "windows": len(voices)}
    version = Version(
        model,
        spread_exemplars(voices),
        None if centroid is None else centroid[0],
        {"text": f"imported from {clean_text(path.name, 200)}", "fingerprints": []},
        report,
    )
    return Imported(checked_name(name or parsed.name), version, parsed.threshold, len(voices), tuple(warnings))


def import_profile(store: ProfileStore, path: Path, model: ModelId, *, name: str | None = None) -> Imported:
    """Read a profile and store it as a new person, or as the next version of the profile of that name. Errors of
    :func:`read_profile`."""
    imported = read_profile(path, model, name=name)
    store.save(imported.name, imported.version, threshold=imported.threshold)
    return imported


def _parsed(path: Path) -> _File:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Permanent(f"{path.name} is larger than {MOST_BYTES // 1024**2} MB", cause="not a profile", hint=HINT)
        text = read_regular(path, MOST_BYTES).decode("utf-8")
        tree = json.loads(text, parse_constant=lambda c: _not_finite(path, c))
        return _File.model_validate(tree)
    except OSError as error:
        raise Permanent(
            f"{path} cannot be read: {error.strerror}", cause="file cannot be read", hint="Check its name and permissions."
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Permanent(f"{path.name} is no JSON: {error}", cause="not a profile", hint=HINT) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(p) for p in first["loc"]) or "the file"
        raise Permanent(f"{path.name} is no profile: {place}: {first['msg']}", cause="not a profile", hint=HINT) from None


def _not_finite(path: Path, constant: str) -> NoReturn:
    raise BadVoice(f"{path.name} holds {constant}", cause="not a voice")


def _foreign(message: str) -> NoReturn:
    raise ForeignVoice(message, cause="voice of another model", hint="Enrol this person again with the model in use.")


def _rows(value: Any, dimension: int, what: str) -> NDArray[np.float32]:
    """Vectors written as a flat list, a list of lists or deeper nested lists, as (k, d) unit vectors."""
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise BadVoice(f"{what} holds something that is no vector, or vectors of several lengths", cause="not a voice") from None
    flat = array.ndim == 1 and array.size % dimension == 0
    if array.ndim == 0 or array.size == 0 or not (flat or array.shape[-1] == dimension):
        length = array.shape[-1] if array.ndim else 0
        _foreign(f"{what} holds vectors of {length} numbers, the model in use makes {dimension}")
    return checked(array.reshape(-1, dimension), dimension, what=what)


def _short(name: str) -> str:
    """A model's name without its owner: older tools wrote either form."""
    return name.strip().rstrip("/").rsplit("/", 1)[-1].lower()
