"""The experiments of a database, as a desk gives them."""

from __future__ import annotations

from gainstage.engine.errors import EngineError
from gainstage.engine.queue.experiments import list_experiments
from gainstage.engine.store.database import Database
from gainstage.engine.views.commands import DeskError
from gainstage.engine.views.experiments import ExperimentLine


class ExperimentLines:
    """The part of a desk that lists experiments."""

    database: Database

    def experiments(self, limit: int = 50) -> tuple[ExperimentLine, ...]:
        """The newest experiments, newest first."""
        try:
            rows = list_experiments(self.database, limit)
        except EngineError as error:
            raise DeskError(str(error)) from error
        return tuple(ExperimentLine(row.id, row.wall, row.what, row.state, row.verdict.replace("\n", ". ")) for row in rows)
