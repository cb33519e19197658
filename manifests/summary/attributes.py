"""What is in the attribute columns of a manifest: values and how often they occur, or the spread of numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..manifest import Manifest
from ..schema.labels import has_class
from ..schema.table_io import as_numbers, as_words, column_of

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
    numeric = pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)
    if numeric and distinct > _FEW_NUMBERS:  # measurements rather than names, codes or grades
        return AttributeCounts(name, missing, distinct, None, _spread(pd.Series(as_numbers(column)), y, classes))
    if distinct > MOST_VALUES and distinct > (len(column) - missing) / 2:
        return AttributeCounts(name, missing, distinct, None, None)
    return AttributeCounts(name, missing, distinct, _values(column, y, classes), None)


def _values(column: pd.Series, y: np.ndarray, classes: list[str]) -> pd.DataFrame:
    of_class = [column[has_class(y, number)].value_counts() for number in range(len(classes))]
    counts = pd.concat([column.value_counts(), *of_class], axis=1).fillna(0).astype(np.int64)
    counts.columns = pd.Index(["units", *classes])
    values = counts.index.to_series()
    if pd.api.types.is_float_dtype(values.dtype) and (values % 1 == 0).all():
        values = values.astype("Int64")  # They became decimals because others are missing.
    counts.index = pd.Index(as_words(values), name=column.name)
    occurring = counts[counts.iloc[:, 0].to_numpy() > 0]  # a category may have none
    order = np.lexsort((occurring.index.astype(str), -occurring.iloc[:, 0]))
    return occurring.iloc[order[:MOST_VALUES]]


def _spread(numbers: pd.Series, y: np.ndarray, classes: list[str]) -> pd.DataFrame:
    parts = [numbers, *(numbers[has_class(y, number)] for number in range(len(classes)))]
    names = {"count": "units", "min": "smallest", "25%": "lower", "50%": "median", "75%": "upper", "max": "largest"}
    spread = pd.DataFrame([part.describe() for part in parts]).set_axis(["all", *classes])
    return spread[list(names)].rename(columns=names).astype({"units": np.int64})
