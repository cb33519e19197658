"""Labels as numbers, in the order of the card's classes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .card import DatasetCard


def label_codes(table: pd.DataFrame, card: DatasetCard) -> np.ndarray:
    """The labels of `table` by position in `card.classes`.

    Returns:
        (N,) int64, or (N, C) int8 of 0 and 1 for `multilabel`. -1 where a label is blank or unknown, which only a
        manifest that was loaded leniently can have.
    """
    if card.task != "multilabel":
        return pd.Index(card.classes).get_indexer(pd.Index(table[card.label_column].astype(object))).astype(np.int64)
    columns = [pd.to_numeric(table[name], errors="coerce").astype("Float64") for name in card.classes]
    known = [column.where(column.isin([0, 1])).fillna(-1).to_numpy("int8") for column in columns]
    return np.stack(known, axis=1)
