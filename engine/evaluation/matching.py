"""Two classic matchings: words in order by edit distance, labels one to one by the Hungarian method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def edit_distances(truth: Sequence[str], hypothesis: Sequence[str]) -> NDArray[np.int32]:
    """(n + 1, m + 1) Levenshtein distances between all prefixes."""
    code = {word: k for k, word in enumerate(dict.fromkeys([*truth, *hypothesis]))}
    columns = np.array([code[word] for word in hypothesis], np.int32)
    ramp = np.arange(len(hypothesis) + 1, dtype=np.int32)
    edits = np.zeros((len(truth) + 1, len(hypothesis) + 1), np.int32)
    edits[0] = ramp
    for i, word in enumerate(truth, 1):
        row = np.concatenate([[i], np.minimum(edits[i - 1, 1:] + 1, edits[i - 1, :-1] + (columns != code[word]))])
        edits[i] = np.minimum.accumulate(row - ramp) + ramp  # an insertion costs one more per step to the right
    return edits


def best_pairs(gain: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The one-to-one pairs (row, column) with the largest sum of gains: the Hungarian method with potentials, O(n^3)."""
    if gain.size == 0:
        return []
    if gain.shape[0] > gain.shape[1]:
        return [(row, column) for column, row in best_pairs(gain.T)]
    rows, columns = gain.shape
    cost = np.zeros((rows + 1, columns + 1))
    cost[1:, 1:] = -gain
    row_potential, column_potential = np.zeros(rows + 1), np.zeros(columns + 1)
    owner = np.zeros(columns + 1, int)  # row matched to each column; 0 is nobody
    for row in range(1, rows + 1):
        owner[0], here = row, 0
        slack, came_from, used = np.full(columns + 1, np.inf), np.zeros(columns + 1, int), np.zeros(columns + 1, bool)
        while owner[here]:
            used[here] = True
            reduced = cost[owner[here]] - row_potential[owner[here]] - column_potential
            better = ~used & (reduced < slack)
            slack[better], came_from[better] = reduced[better], here
            following = int(np.argmin(np.where(used, np.inf, slack)))
            step = slack[following]
            row_potential[owner[used]] += step
            column_potential[used] -= step
            slack[~used] -= step
            here = following
        while here:
            owner[here] = owner[came_from[here]]
            here = int(came_from[here])
    return [(int(row) - 1, column - 1) for column, row in enumerate(owner) if row and column]
