"""Bins of equal mass: one way of making them, for calibration error, reliability data and the Brier score's parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15
"""Of the calibration error, and so of all that explains it."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """n probabilities in order, T of them distinct. Equal ones stay together, so the order of units never matters."""

    order: np.ndarray
    """(n,) the units by their chance."""
    starts: np.ndarray
    """(T,) where each distinct chance begins in that order."""

    @classmethod
    def of(cls, chance: np.ndarray) -> Ranked:
        """The probabilities are (n,), n >= 1."""
        order = np.argsort(chance, kind="stable")
        return cls(order, np.flatnonzero(np.r_[True, np.diff(chance[order]) != 0]))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(B, T) sums over the units of each distinct chance, from (B, n)."""
        return np.add.reduceat(values[:, self.order], self.starts, axis=1)

    def bins(self, mass: np.ndarray, most: int = BINS) -> np.ndarray:
        """Which of at most `most` bins of equal mass each distinct chance is in.

        Args:
            mass: (B, T) of the distinct probabilities; where all is zero there is one bin.
            most: bins; some may be empty, for equal probabilities share one.

        Returns:
            (B, T) int64, rising.
        """
        total = mass.sum(axis=1, keepdims=True)
        middle = np.divide(np.cumsum(mass, axis=1) - mass / 2, total, out=np.zeros(mass.shape), where=total > 0)
        return np.minimum((middle * most).astype(np.int64), most - 1)

    def of_units(self, values: np.ndarray) -> np.ndarray:
        """(n,) in the order of the units, from a value a distinct chance (T,)."""
        out = np.empty(len(self.order), values.dtype)
        out[self.order] = np.repeat(values, np.diff(np.append(self.starts, len(self.order))))
        return out
