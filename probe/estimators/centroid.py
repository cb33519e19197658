"""The nearest class mean on frozen embeddings: nothing to fit but means, the usual baseline where labels are few."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from ._prediction import centred, centroid_proba
from ._validation import MultilabelMixin, checked_pair, checked_rows, encode_labels, require_flag, require_positive


class CentroidProbe(MultilabelMixin, ClassifierMixin, BaseEstimator):
    """Nearest class mean of embeddings of unit length (SimpleShot; Wang et al. 2019, arXiv 1911.04623).

    Parameters
    ----------
    center : bool, default=True
        Subtract the training mean before anything else.
    normalize : bool, default=True
        Give every row unit length, so that distances follow the cosine.
    temperature : float, default=0.1
        Of the softmax over the negative halves of squared distances to the means (over cosine similarities, but for
        the lengths of the means, where rows have unit length).

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or of shape (n_labels,) for multilabel
    mean_ : ndarray of shape (n_features,)
        What was subtracted.
    centroids_ : ndarray of shape (n_classes, n_features), or of shape (n_labels, 2, n_features) for multilabel
        Means of the classes; for multilabel of the rows without and with each label. A label that is the same in
        every row has NaN for the side that there is not.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from medprobe.probe import CentroidProbe
    >>> X, y = make_classification(random_state=0)
    >>> CentroidProbe().fit(X, y).predict_proba(X).shape
    (100, 2)
    """  # noqa: D416  (numpydoc, as scikit-learn has it)

    def __init__(self, *, center: bool = True, normalize: bool = True, temperature: float = 0.1) -> None:
        self.center = center
        self.normalize = normalize
        self.temperature = temperature

    def fit(self, X: Any, y: Any) -> CentroidProbe:
        """Fits to `X` of shape (n_samples, n_features) and `y` of shape (n_samples,) or (n_samples, n_labels)."""
        require_flag("center", self.center)
        require_flag("normalize", self.normalize)
        require_positive("temperature", self.temperature)
        X, y = checked_pair(self, X, y)
        y, self.classes_, self.multilabel_ = encode_labels(self, y)
        self.mean_ = X.mean(axis=0, dtype=np.float64).astype(X.dtype) if self.center else X[0] * 0
        Z = centred(X, self.mean_, normalize=self.normalize)
        if self.multilabel_:
            self.centroids_ = np.stack([_class_means(Z, label, 2) for label in y.T])
        else:
            self.centroids_ = _class_means(Z, y, len(self.classes_))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of shape (n_samples, n_classes); for multilabel, the probability of each label."""
        check_is_fitted(self)
        return centroid_proba(
            checked_rows(self, X),
            mean=self.mean_,
            centroids=self.centroids_,
            normalize=self.normalize,
            temperature=self.temperature,
        )


def _class_means(Z: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    """(classes, d), NaN for a class without rows."""
    means = np.full((classes, Z.shape[1]), np.nan)
    for c in np.unique(codes):
        means[c] = Z[codes == c].mean(axis=0, dtype=np.float64)
    return means
