"""A small decision tree for a yes or no, in numpy: importing scikit-learn would take longer than a whole second check.

CART with the Gini impurity (Breiman et al. 1984), as scikit-learn's `DecisionTreeClassifier` grows it: the same cuts
and chances, but where two cuts are equally good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Node:
    """A question with two subtrees, or a leaf."""

    chance: float
    """Share of yes among the rows it was grown from."""
    column: int = -1
    """-1 in a leaf."""
    cut: float = 0.0
    """Rows with a value up to this go to `below`, others to `above`."""
    below: Node | None = None
    above: Node | None = None

    def chances(self, values: np.ndarray) -> np.ndarray:
        """The chance of yes of each row: (M, F) to (M,) float64."""
        if self.below is None or self.above is None:
            return np.full(len(values), self.chance)
        goes_below = values[:, self.column] <= self.cut
        found = np.empty(len(values))
        found[goes_below] = self.below.chances(values[goes_below])
        found[~goes_below] = self.above.chances(values[~goes_below])
        return found


def grow(values: np.ndarray, yes: np.ndarray, *, depth: int, least: int) -> Node:
    """The tree of at most `depth` questions in a row whose leaves hold at least `least` rows each.

    Args:
        values: (M, F) float64, M at least 1.
        yes: (M,) bool.
        depth: 0 for a leaf alone.
        least: at least 1.
    """
    chance = float(yes.mean())
    cuts = [_best_cut(values[:, column], yes, least) for column in range(values.shape[1])] if depth else []
    gain, cut = max(cuts, key=lambda found: found[0], default=(-np.inf, 0.0))
    if chance in (0.0, 1.0) or gain == -np.inf:
        return Node(chance)
    column = [found[0] for found in cuts].index(gain)
    below = values[:, column] <= cut
    parts = (grow(values[side], yes[side], depth=depth - 1, least=least) for side in (below, ~below))
    return Node(chance, column, cut, *parts)


def _best_cut(column: np.ndarray, yes: np.ndarray, least: int) -> tuple[float, float]:
    """What the best cut of one feature gains, up to a constant, and where it is; minus infinity where there is none."""
    order = np.argsort(column, kind="stable")
    ordered, ups = column[order], np.cumsum(yes[order])
    before = np.arange(1, len(column))
    allowed = (ordered[1:] > ordered[:-1]) & (before >= least) & (len(column) - before >= least)
    if not allowed.any():
        return -np.inf, 0.0
    before, up = before[allowed], ups[:-1][allowed]
    after, rest = len(column) - before, ups[-1] - up
    # The weighted impurity of both sides falls as this sum of p (yes) + q (no), squared and weighted, rises.
    gains = (up**2 + (before - up) ** 2) / before + (rest**2 + (after - rest) ** 2) / after
    place = int(np.argmax(gains))
    low, high = ordered[:-1][allowed][place], ordered[1:][allowed][place]
    return float(gains[place]), float((low + high) / 2)
