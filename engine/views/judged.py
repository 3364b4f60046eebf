"""The figures by which a cluster was judged to be one voice or several, on the scale it was judged on."""

from __future__ import annotations

from dataclasses import dataclass

from gainstage.engine.views.snapshot import DecisionRow, DecisionsView, near_limit


@dataclass(frozen=True, slots=True)
class Judged:
    """Variance and range of the similarities and the limits in force for them.

    ``calibrated``: the variance in variances of one voice, the range in its standard deviations; else both as cosines.
    """

    variance: float | None
    range: float | None
    variance_limit: float | None
    range_limit: float | None
    calibrated: bool

    @classmethod
    def of(cls, row: DecisionRow, view: DecisionsView | None) -> Judged:
        """The figures of a decision; without a view its limits are unknown."""
        if row.variance_spreads is not None:
            limits = (view.variance_spreads, view.range_spreads) if view is not None else (None, None)
            return cls(row.variance_spreads, row.range_spreads, limits[0], limits[1], True)
        cosines = (view.variance_limit, view.range_limit) if view is not None else (None, None)
        return cls(row.variance, row.range, cosines[0], cosines[1], False)

    @classmethod
    def limits(cls, view: DecisionsView) -> Judged:
        """The limits by which most decisions of a view are made, without a decision."""
        if view.variance_spreads is not None:
            return cls(None, None, view.variance_spreads, view.range_spreads, True)
        return cls(None, None, view.variance_limit, view.range_limit, False)

    @property
    def grey(self) -> bool:
        """Near one of the limits, on either side."""
        return near_limit(self.variance, self.variance_limit) or near_limit(self.range, self.range_limit)

    @property
    def over(self) -> bool:
        """Above one of the limits; not where one of the four is unknown."""
        if self.variance is None or self.range is None or self.variance_limit is None or self.range_limit is None:
            return False
        return self.variance > self.variance_limit or self.range > self.range_limit

    @property
    def share(self) -> float | None:
        """The variance in units of its limit; None where one is unknown. Beyond every scale where the limit is 0."""
        if self.variance is None or self.variance_limit is None:
            return None
        return self.variance / self.variance_limit if self.variance_limit > 0 else (2.0 if self.variance > 0 else 0.0)
