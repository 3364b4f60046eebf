"""Differences between trees: applied, they give the newer tree."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.engine.telemetry.delta import apply, diff

plain = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
trees = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["id", "a", "b", "="]), inner, max_size=4)
        | st.lists(st.fixed_dictionaries({"id": st.integers(0, 6), "v": inner}), max_size=5)
    ),
    max_leaves=25,
)


@settings(deadline=None, max_examples=150)
@given(trees, trees)
def test_a_patch_makes_the_new_tree_of_the_old(old: Any, new: Any) -> None:
    before = json.dumps(old)
    patch = json.loads(json.dumps(diff(old, new)))
    assert apply(old, patch) == new
    assert json.dumps(old) == before
    assert diff(old, old) == {}


@settings(deadline=None)
@given(st.lists(st.integers(), min_size=9, max_size=40), st.integers(0, 8), st.lists(st.integers(), max_size=8))
def test_a_moving_history_costs_only_its_tail(row: list[int], gone: int, tail: list[int]) -> None:
    new = row[gone:] + tail
    patch = diff(row, new)
    assert apply(row, patch) == new
    assert patch == {} or patch[0] != "=" or len(json.dumps(patch)) <= len(json.dumps(["<", gone, tail])) + 4


def test_rows_keep_their_identity_when_they_move() -> None:
    old = [{"id": "a", "n": 1, "title": "long" * 50}, {"id": "b", "n": 2, "title": "other" * 50}]
    new = [{"id": "c", "n": 0, "title": "new"}, {"id": "b", "n": 3, "title": "other" * 50}]
    patch = diff(old, new)
    assert apply(old, patch) == new
    assert "other" not in json.dumps(patch)


def test_true_is_not_one() -> None:
    assert apply(diff(0, 1), diff(1, True)) is True
