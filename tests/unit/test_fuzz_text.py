"""Cases of the fuzzer that once were findings, and a few of every target, so that it cannot rust."""

from __future__ import annotations

import pytest

from tests.fuzz.text import TARGETS, case, kept


@pytest.mark.parametrize(("target", "seed"), [*kept(), *((target, seed) for target in TARGETS for seed in range(4))])
def test_a_case_ends_well_or_in_words(target: str, seed: int) -> None:
    found = case(target, seed)
    assert found is None, found
