"""Classes that can be predicted without looking at a pixel: from how their files are stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..image_stats.compute import ImageStats
from ..schema.groups import codes_of
from ..schema.labels import has_class
from ..stratified_groups import shuffle_keys, shuffled
from ..validation.diagnostics import Diagnostic, diagnostic
from .context import CheckContext
from .labels import RARE

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

TELLING = 0.7
"""Area under the ROC curve above which a class is reported."""
_FOLDS, _DEPTH = 5, 3
_LEAF = 0.01
"""Share of the rows that a leaf of the tree holds at least, and five rows."""
_MOST_ROWS = 50_000
"""A tree of depth 3 learns nothing from more."""
_MOST_KINDS = 8
"""Ways of being stored that get a feature each, the most frequent ones."""


def formats_that_tell_classes(context: CheckContext) -> Iterator[Diagnostic]:
    """A class that a small decision tree predicts from image size, stored mode or file size alone, on unseen groups.

    One tree per class against all others, in five-fold cross-validation over groups.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    rows = _chosen_rows(context)
    features, labels = _features(context.stats.take(rows)), context.labels[rows]
    if features.empty:
        return
    group, groups = codes_of(context.manifest.group_ids.iloc[rows])
    fold = np.empty(len(groups), np.int64)
    fold[shuffled(shuffle_keys(groups), 0)] = np.arange(len(groups)) % _FOLDS
    for number, name in enumerate(context.manifest.card.classes):
        positive = has_class(labels, number)
        if min(len(np.unique(group[positive])), len(np.unique(group[~positive]))) < RARE:
            continue  # too few to separate a rule from chance
        unseen, tree = PredefinedSplit(fold[group]), _tree(len(rows))
        predicted = cross_val_predict(tree, features.to_numpy(), positive, cv=unseen, method="predict_proba")
        area = roc_auc_score(positive, np.asarray(predicted)[:, 1])
        if area > TELLING:
            most = features.columns[tree.fit(features.to_numpy(), positive).feature_importances_.argmax()]
            message = f'class "{name}" can be predicted without looking at a pixel (AUC {area:.2f}), mostly by: {most}'
            yield diagnostic("format-tells-class", message, context.ids, rows[positive])


def _chosen_rows(context: CheckContext) -> np.ndarray:
    """Readable and labelled rows, evenly spaced where there are very many."""
    labels = context.labels
    labelled = (labels >= 0).all(axis=1) if labels.ndim == 2 else labels >= 0
    rows = np.flatnonzero(context.stats.readable & labelled)
    return rows[:: -(-len(rows) // _MOST_ROWS)] if len(rows) else rows


def _features(stats: ImageStats) -> pd.DataFrame:
    """What is known of M images without their pixels, float64, without constant features."""
    features = {"height": stats.height, "width": stats.width, "file size": stats.bytes}
    kinds, counts = np.unique(stats.stored.astype(str), return_counts=True)
    for kind in kinds[np.argsort(-counts, kind="stable")][:_MOST_KINDS]:
        features[f"stored as {kind}"] = stats.stored == kind
    table = pd.DataFrame(features).astype(np.float64)
    return table.loc[:, table.nunique() > 1]


def _tree(rows: int) -> DecisionTreeClassifier:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=_DEPTH, min_samples_leaf=max(5, int(_LEAF * rows)), random_state=0)
