"""Rows of features that many problems share, standardised once and read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import cached_property

import numpy as np

from .blas import ONE_BY_ONE, cuts, rows_times, rowwise, widths_for

_BLOCK = 1024
"""Rows at a time: a block and what is computed from it stay in a core's cache between the two products."""
_SMALL, _FEWEST = 1_000_000, 96
"""Multiplications up to which OpenBLAS has kernels for small products, twice as fast for few outputs; and rows of a
block that it must have at least to be worth it."""
_HELD = 2**30
"""Bytes up to which the standardised rows are kept, rather than made again from the features at each reading."""
_FEW = 800
"""Rows up to which, where they are fewer than columns, a problem is solved in their space: its kernel has 5 MB."""
_CONSTANT = 1e-6
"""Standard deviations below so much of a column's size are rounding; such a column says nothing and becomes zero."""


class Rows:
    """n rows of d features, centred and scaled by moments of them all.

    These moments are coordinates only: what a problem is standardised by comes from its own rows (`spread`), and its
    mean goes into the intercept, which is free.

    Args:
        X: (N, d) float32 or float64, to be read only.
        rows: (n,) which of them, in the order wanted; n >= 1.
        exact: whether no problem on them may depend on those beside it, to the last bit. That costs a little where few
            are side by side.
    """

    def __init__(self, X: np.ndarray, rows: np.ndarray, *, exact: bool = False) -> None:
        self._X, self._rows, self.exact = X, rows, exact
        self.mean, self.scale = _moments(X, rows)
        self.dtype = X.dtype
        """Of all products."""
        self._Z: np.ndarray | None = None
        if len(rows) * X.shape[1] * X.dtype.itemsize <= _HELD:
            self._Z = X[rows]
            self._Z -= self.mean.astype(self.dtype)
            self._Z /= self.scale.astype(self.dtype)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def width(self) -> int:
        """D."""
        return self._X.shape[1]

    @property
    def few(self) -> bool:
        """Whether problems on them are solved in the space of the rows."""
        return len(self) <= min(_FEW, self.width)

    def for_one(self) -> Rows:
        """The same rows for problems that are always solved together, and so need not be exact."""
        rows = copy(self)
        rows.exact = False
        return rows

    def in_float64(self) -> Rows:
        """The same rows, standardised block by block in float64 at each reading."""
        rows = copy(self)
        rows.dtype, rows._Z = np.dtype(np.float64), None
        rows.__dict__.pop("_widths", None)
        return rows

    def standardized(self, X: np.ndarray) -> np.ndarray:
        """Features (m, d) in the coordinates of these rows."""
        Z = X - self.mean.astype(self.dtype)
        Z /= self.scale.astype(self.dtype)
        return Z

    def take(self, positions: np.ndarray) -> np.ndarray:
        """(m, d) those of the rows, standardised."""
        return self._Z[positions] if self._Z is not None else self.standardized(self._X[self._rows[positions]])

    def blocks(self, outputs: int = _BLOCK) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows in order: which ones, and (m, d) the rows themselves; blocks suit a product with `outputs`."""
        small = _SMALL // (outputs * self.width)
        size = self._even if self.exact else min(small, _BLOCK) if small >= _FEWEST else _BLOCK
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            yield part, self._Z[part] if self._Z is not None else self.take(np.arange(part.start, part.stop))

    def cuts(self, outputs: int) -> list[slice]:
        """How to cut a product of a block with that number of outputs; the last piece may end beyond them."""
        return cuts(outputs, self._widths) if self.exact else [slice(0, outputs)]

    def times(self, outputs: np.ndarray, Z: np.ndarray) -> np.ndarray:
        """(w, m) times a block (m, d); `outputs` are one of the `cuts`."""
        return rows_times(outputs, Z) if self.exact else outputs @ Z

    @property
    def _even(self) -> int:
        """Rows of a block: of equal blocks none is so small that BLAS treats it in another way."""
        return -(-len(self) // -(-len(self) // _BLOCK))

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        sizes = {self._even, (len(self) - 1) % self._even + 1}
        agreeing = [set(widths_for(size, self.width, self.dtype.char)) for size in sizes]
        return tuple(sorted(set.intersection(*agreeing))) or ONE_BY_ONE

    def spread(self, members: np.ndarray) -> np.ndarray:
        """Standard deviation of each column among the members of each problem.

        Args:
            members: (S, n) bool, or float: how much of a row is a member.

        Returns:
            (S, d) float64, in the coordinates of these rows; infinite where a column is constant.
        """
        first, second = (np.zeros((len(members), self.width)) for _ in range(2))
        for part, Z in self.blocks():
            inside, block = members[:, part].astype(np.float64), Z.astype(np.float64)
            first += rowwise(inside, block, exact=self.exact)
            second += rowwise(inside, block**2, exact=self.exact)
        count = members.sum(axis=1, keepdims=True)
        first, second = first / count, second / count
        variance = second - first**2
        return np.sqrt(np.where(variance > _CONSTANT * second, variance, np.inf))


class Kernel:
    """Products of the rows that a problem learns from, standardised by it.

    Args:
        rows: n rows.
        own: (m,) positions of those that it learns from.
        stretch: (d,) what a column of `rows` is multiplied by to be the problem's own feature.
    """

    def __init__(self, rows: Rows, own: np.ndarray, stretch: np.ndarray) -> None:
        self.own, self._rows, self._stretch = own, rows, stretch
        self._products: dict[np.dtype, np.ndarray] = {}

    def products(self, dtype: np.dtype) -> np.ndarray:
        """(m + 1, m + 1) in that precision, kept; the last row and column are the intercept's."""
        if dtype not in self._products:
            X = self._rows.take(self.own).astype(dtype) * self._stretch.astype(dtype)
            out = np.zeros((len(X) + 1, len(X) + 1), dtype)
            out[:-1, :-1] = X @ X.T
            out[-1, -1] = 1
            self._products[dtype] = out
        return self._products[dtype]

    def forget(self) -> None:
        """Keeps no products any longer."""
        self._products.clear()


def _moments(X: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, (d,) float64; one in place of that of a constant column."""
    parts = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    mean, variance = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for part in parts:
        mean += X[part].sum(axis=0, dtype=np.float64) / len(rows)
    for part in parts:
        variance += ((X[part] - mean) ** 2).sum(axis=0) / len(rows)
    spread = np.sqrt(variance)
    constant = spread <= 10 * np.finfo(X.dtype).eps * np.abs(mean)
    return mean, np.where(constant, 1.0, spread)
