"""A decision is shown with the figures and limits it was made by: as cosines, or in one voice's own deviation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gainstage.config.settings import Identify
from gainstage.engine.desk.replay import ReplayDesk
from gainstage.engine.runtime.run_totals import RunTotals
from gainstage.engine.terms import Cast, Decision
from gainstage.engine.views.judged import Judged
from gainstage.engine.views.snapshot import DecisionRow, DecisionsView
from gainstage.tui.render import judged

ROW = DecisionRow(1, 0.0, "talk-1", "A talk", "A", 9, 60.0, 0.7, 0.061, 0.2, 0.9, 0.70, (), False, False, "under limits", (), "", 1)
CALIBRATED = replace(ROW, id=2, variance_spreads=1.8, range_spreads=4.1)
VIEW = DecisionsView(2, 2, 0, 0, 0, 0, 0, 0.05, 0.5, variance_spreads=6.5, range_spreads=7.5)


def test_a_row_is_held_against_the_limits_of_its_own_scale() -> None:
    cosine, own = Judged.of(ROW, VIEW), Judged.of(CALIBRATED, VIEW)
    assert (cosine.variance_limit, cosine.range_limit, cosine.over, cosine.share) == (0.05, 0.5, True, 0.061 / 0.05)
    assert (own.variance_limit, own.range_limit, own.over, own.share) == (6.5, 7.5, False, 1.8 / 6.5)
    assert not own.grey
    assert Judged.of(replace(CALIBRATED, range_spreads=7.0), VIEW).grey
    assert Judged.of(replace(CALIBRATED, variance_spreads=6.6), VIEW).over
    assert Judged.limits(VIEW) == Judged(None, None, 6.5, 7.5, True)
    assert Judged.limits(replace(VIEW, variance_spreads=None)) == Judged(None, None, 0.05, 0.5, False)


def test_where_a_limit_is_unknown_nothing_is_over_or_near_it() -> None:
    for row, view in ((CALIBRATED, None), (CALIBRATED, replace(VIEW, variance_spreads=None, range_spreads=None))):
        figures = Judged.of(row, view)
        assert (figures.over, figures.grey, figures.share) == (False, False, None)
    assert Judged.of(ROW, replace(VIEW, variance_limit=0.0)).share == 2.0


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        (ROW, (".061", ".70", ".050", ".50")),
        (CALIBRATED, ("1.8×", "4.1σ", "6.5×", "7.5σ")),
        (replace(CALIBRATED, variance_spreads=12.34, range_spreads=120.0), ("12×", "120σ", "6.5×", "7.5σ")),
        (replace(ROW, variance=None, range=None), ("·", "·", ".050", ".50")),
    ],
)
def test_the_unit_is_told(row: DecisionRow, texts: tuple[str, ...]) -> None:
    figures = Judged.of(row, VIEW)
    shown = (judged.variance, judged.range_of, judged.variance_limit, judged.range_limit)
    assert tuple(text(figures) for text in shown) == texts


def decision(**more: object) -> Decision:
    return replace(
        Decision(
            cluster="A", turns=9, seconds=60.0, reference="main", similarities=(0.2, 0.8, 0.9), mean=0.7, variance=0.061, low=0.2,
            high=0.9, spread=0.70, bimodality=0.1, split=False, rule="under limits", limits={}, revision=1, scores=(), margin=None,
            speaker="Helen", seconds_by_speaker={"Helen": 60.0}, provenance="cluster", evidence=(), why="",
        ),
        **more,
    )  # type: ignore[arg-type]  # fmt: skip


def test_the_totals_name_the_limits_that_decide_at_present() -> None:
    totals, identify = RunTotals(lambda: 0.0), Identify()
    assert totals.decisions_view(identify).variance_spreads is None
    totals.decisions("talk-1", "A talk", Cast((), (decision(variance_spreads=1.8, range_spreads=4.1),)), (1,), identify)
    view = totals.decisions_view(identify)
    assert (view.variance_spreads, view.range_spreads) == (identify.variance_spreads, identify.range_spreads)
    assert (view.variance_limit, view.range_limit) == (identify.variance_limit, identify.range_limit)
    assert not Judged.of(view.latest[0], view).over, "kept, and within the limits that are shown"
    totals.decisions("talk-2", "A talk", Cast((), (decision(variance=None, spread=None, rule="too few"),)), (2,), identify)
    assert totals.decisions_view(identify).variance_spreads is not None, "a cluster without statistics was not judged"
    totals.decisions("talk-3", "A talk", Cast((), (decision(),)), (3,), identify)
    assert totals.decisions_view(identify).variance_spreads is None


def test_a_replay_tries_limits_on_the_scale_of_each_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    class Frame:
        decisions = VIEW

    desk = object.__new__(ReplayDesk)
    rows = (CALIBRATED, replace(ROW, variance=0.01, range=0.4))
    monkeypatch.setattr(ReplayDesk, "snapshot", lambda self: Frame())
    monkeypatch.setattr(ReplayDesk, "decisions", lambda self, last=500: rows)
    assert desk.what_if({}).split_after == 0
    assert [flip.recording for flip in desk.what_if({"identify.variance_spreads": 1.5}).flips] == ["talk-1"]
    assert desk.what_if({"identify.range_limit": 0.3}).split_after == 1
