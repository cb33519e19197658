"""What is in the attribute columns of a manifest: values and how often they occur, or the spread of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..manifest import Manifest
from ..schema.columns import as_numbers, as_words, column_of

MOST_VALUES = 20
"""Values of an attribute that are counted one by one."""
_FEW_NUMBERS = 10
"""Numbers of so few different values are grades or codes, and counted like words."""


@dataclass(frozen=True, eq=False)
class AttributeCounts:
    """One attribute, over units. Every table has a column or row per class of the card, so that an attribute that
    goes with the label shows.
    """

    name: str
    missing: int
    """Units without a value, or whose images disagree in it."""
    distinct: int
    """Different values."""
    values: pd.DataFrame | None
    """One row per value, the commonest first, at most `MOST_VALUES`; columns `units` and each class, int64. None for
    numbers, and for an attribute whose values may be names: nearly every unit has its own."""
    spread: pd.DataFrame | None
    """Of numbers: rows `all` and each class; columns `units`, `smallest`, `lower`, `median`, `upper`, `largest`
    (`lower` and `upper` are the quartiles), NaN where no unit has a value."""


def attribute_counts(manifest: Manifest) -> list[AttributeCounts]:
    """Every attribute of the card, in its order.

    Raises:
        ManifestError: the manifest is not sound.

    Examples:
        >>> from medprobe.manifests import attribute_counts
        >>> [(counts.name, counts.missing, counts.distinct) for counts in attribute_counts(manifest)]
        [('sex', 0, 2)]
    """
    units, classes = manifest.units(), manifest.card.classes
    return [_counted(column_of(units.attributes, name), units.y, classes) for name in manifest.card.attributes]


def _counted(column: pd.Series, y: np.ndarray, classes: list[str]) -> AttributeCounts:
    name, missing, distinct = str(column.name), int(column.isna().sum()), int(column.nunique())
    if _is_measured(column, distinct):
        return AttributeCounts(name, missing, distinct, None, _spread(as_numbers(column), y, classes))
    if distinct > MOST_VALUES and distinct > (len(column) - missing) / 2:
        return AttributeCounts(name, missing, distinct, None, None)
    return AttributeCounts(name, missing, distinct, _values(column, y, classes), None)


def _is_measured(column: pd.Series, distinct: int) -> bool:
    """Whether a column holds measurements rather than names, codes or grades."""
    numeric = pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)
    return numeric and distinct > _FEW_NUMBERS


def _values(column: pd.Series, y: np.ndarray, classes: list[str]) -> pd.DataFrame:
    codes, values = pd.factorize(column)
    names = as_words(_whole_where_possible(pd.Series(values)))
    known = codes >= 0
    counts = np.bincount(codes[known], minlength=len(names))
    order = np.lexsort((names.astype(str), -counts))[:MOST_VALUES]
    # The few that are shown are found by their place in the order; there may be a million others.
    place = np.full(len(names), -1)
    place[order] = np.arange(len(order))
    shown = np.where(known, place[codes], -1)
    of_class = [
        np.bincount(shown[_has(y, number) & (shown >= 0)], minlength=len(order)) for number in range(len(classes))
    ]
    index = pd.Index(names[order], name=column.name)
    return pd.DataFrame(np.column_stack([counts[order], *of_class]), index=index, columns=["units", *classes])


def _whole_where_possible(values: pd.Series) -> pd.Series:
    """Whole numbers that became decimals because others were missing, as whole numbers again: 1.0 as 1."""
    is_whole = pd.api.types.is_float_dtype(values.dtype) and (values % 1 == 0).all()
    return values.astype("Int64") if is_whole else values


def _spread(numbers: np.ndarray, y: np.ndarray, classes: list[str]) -> pd.DataFrame:
    known = ~np.isnan(numbers)
    rows = [numbers[known], *(numbers[known & _has(y, number)] for number in range(len(classes)))]
    return pd.DataFrame(
        [_quartiles(row) for row in rows],
        index=["all", *classes],
        columns=["units", "smallest", "lower", "median", "upper", "largest"],
    ).astype({"units": np.int64})


def _has(y: np.ndarray, number: int) -> np.ndarray:
    """Which units have the class at `number`: (U,) bool."""
    return y[:, number] == 1 if y.ndim == 2 else y == number


def _quartiles(numbers: np.ndarray) -> list[float]:
    five = np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]) if len(numbers) else np.full(5, np.nan)
    return [len(numbers), *five.tolist()]
