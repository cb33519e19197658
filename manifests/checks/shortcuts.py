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
        unseen, tree = PredefinedSplit(fold[group]), _tree(_DEPTH, len(rows))
        predicted = cross_val_predict(tree, features.to_numpy(), positive, cv=unseen, method="predict_proba")
        area = roc_auc_score(positive, np.asarray(predicted)[:, 1])
        if area > TELLING:
            rule = _rule(features, positive)
            message = f'class "{name}" can be predicted without looking at a pixel (AUC {area:.2f}): {rule}'
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


def _tree(depth: int, rows: int) -> DecisionTreeClassifier:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=depth, min_samples_leaf=max(5, int(_LEAF * rows)), random_state=0)


def _rule(features: pd.DataFrame, positive: np.ndarray) -> str:
    """The best single threshold, with the shares of the class and of the others above or below it."""
    stump = _tree(1, len(features)).fit(features.to_numpy(), positive).tree_
    if stump.node_count == 1:
        return "by several features of their files together"
    name, cut = str(features.columns[stump.feature[0]]), float(stump.threshold[0])
    above = features[name].to_numpy() > cut
    yes = bool(above[positive].mean() > above[~positive].mean())
    of_class, of_others = (float((above == yes)[some].mean()) for some in (positive, ~positive))
    return f"{of_class:.0%} of its images are {_in_words(name, cut, yes)}, of the others {of_others:.0%}"


def _in_words(feature: str, cut: float, above: bool) -> str:
    """What is true of images that have more of a feature than `cut`, or not more."""
    if feature.startswith("stored"):
        return feature if above else f"not {feature}"
    size = f"{'more than' if above else 'at most'} {cut:,.0f}"
    return {"file size": f"of {size} bytes", "height": f"{size} px high", "width": f"{size} px wide"}[feature]
