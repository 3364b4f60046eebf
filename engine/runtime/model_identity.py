"""Models under a new name: what the same weights wrote before is theirs, and the operator is informed."""

from __future__ import annotations

from collections.abc import Iterable

from gainstage.engine.runtime.models import Models
from gainstage.engine.store.database import Database
from gainstage.engine.store.vectors import model_row, same_weights, unidentified
from gainstage.engine.terms import ModelId

KEPT = {"voice": "enrolled and stored voices", "embed": "text vectors"}


def recognise(database: Database, models: Models, roles: Iterable[str] = tuple(KEPT)) -> tuple[str, ...]:
    """Register the models in use in the database; a sentence for each that has another name than its weights had before.

    Models that an earlier version wrote are identified first, where they are still on this machine.
    Raises :class:`gainstage.engine.errors.Transient` while the database is away.
    """
    sentences = []
    for role in roles:
        if role not in KEPT:
            continue
        model = models.voice_encoder().id if role == "voice" else models.text_encoder().id
        with database.transaction() as connection:
            for old in unidentified(connection, role, model.dimension):
                if content := models.content_here(role, old.name, old.revision):
                    model_row(connection, role, ModelId(old.name, old.revision, old.dimension, content))
            number = model_row(connection, role, model)
            before = same_weights(connection, role, model)
        if before is not None and before[0] == number:
            sentences.append(f"{role} model {model.name} has the weights of {before[1].name}: its {KEPT[role]} are kept")
    return tuple(sentences)
