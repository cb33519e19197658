"""How many there are of what."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .labels import label_codes
from .manifest import Manifest
from .structure import SPLITS
from .tables import as_words, column_of


def class_counts(manifest: Manifest) -> pd.DataFrame:
    """Samples per class and split.

    Returns:
        int64, one row per class of the card in its order, one column per split that occurs (`all` where the manifest
        has none) and, where there are several, `total`. In a multilabel set a sample counts in each of its classes.
    """
    card, table = manifest.card, manifest.table
    labels = label_codes(table, card)
    splits = as_words(column_of(table, "split")) if "split" in table else np.full(len(table), "all", object)
    names = [name for name in (*SPLITS, "all") if (splits == name).any()]
    counts = {name: _per_class(labels[splits == name], len(card.classes)) for name in names}
    frame = pd.DataFrame(counts, index=pd.Index(card.classes, name="class"), dtype=np.int64)
    if len(names) > 1:
        frame["total"] = frame.sum(axis=1)
    return frame


def _per_class(labels: np.ndarray, classes: int) -> np.ndarray:
    if labels.ndim == 2:
        return (labels == 1).sum(axis=0)
    return np.bincount(labels[labels >= 0], minlength=classes)
