"""Made-up rows for the tests of estimators."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import make_classification


def classified(classes: int = 3, n: int = 240, features: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return make_classification(
        n, features, n_informative=6, n_classes=classes, class_sep=0.8, scale=None, random_state=seed
    )


def labelled(n: int = 240, features: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, features))
    return X, (X[:, :3] + 0.5 * rng.standard_normal((n, 3)) > 0.3).astype(int)
