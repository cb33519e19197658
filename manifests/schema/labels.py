"""Labels as numbers, in the order of the card's classes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .card import DatasetCard
from .table_io import as_numbers, column_of, positions


def label_codes(table: pd.DataFrame, card: DatasetCard) -> np.ndarray:
    """The labels of `table` by position in `card.classes`.

    Returns:
        (N,) int64, or (N, C) int8 of 0 and 1 for `multilabel`. -1 throughout without a task, and where a label is blank
        or unknown, which only a manifest that was loaded leniently can have.
    """
    if card.task is None:
        return np.full(len(table), -1)
    if card.task != "multilabel":
        return positions(column_of(table, card.label_column), card.classes)
    columns = (as_numbers(column_of(table, name)) for name in card.classes)
    return np.stack([np.where((column == 0) | (column == 1), column, -1).astype(np.int8) for column in columns], axis=1)


def has_class(labels: np.ndarray, number: int) -> np.ndarray:
    """Which of `labels`, coded as by `label_codes`, have the class at position `number`: (N,) bool."""
    return labels[:, number] == 1 if labels.ndim == 2 else labels == number
